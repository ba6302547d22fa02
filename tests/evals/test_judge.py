"""The judge: what it is trained on, that it learns, and what it says when it is missing."""

from __future__ import annotations

import copy
import itertools
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from evals.judge import weights
from evals.judge.check import check_judge, select_nouns
from evals.judge.concepts import NUM_CAPTIONS, groups, judged_concepts, question
from evals.judge.corpus import odds, open_corpus
from evals.judge.model import Judge, JudgeConfig, to_pixels
from evals.judge.muon import optimizers_of, orthogonalised
from evals.judge.pictures import Painter
from evals.judge.styles import JUDGED_STYLES, PROMPT_STYLES, TRAINING_STYLES
from evals.judge.train_judge import (
    EMA,
    RENDER_PX,
    Lessons,
    Naming,
    naming_loss,
    rate_at,
    strength_at,
    train_judge,
)
from evals.judge.training import follow
from evals.judge.training import rate_at as usual_rate_at
from evals.judge.words import Bags, features
from mtgen.data.images.held_out import TWIN_STYLES
from mtgen.data.images.lexicon import Lexicon
from mtgen.data.images.sources import EMOJI_SETS
from mtgen.data.packed import Packed
from mtgen.errors import ConfigError, CorruptedFileError, SettingError, WeightsNotFoundError
from mtgen.model.checkpoint import save_weights
from tests.evals.tiny_pictures import STYLES, write_pack

TINY = JudgeConfig(size_px=16, widths=(16, 32), blocks=(0, 1), n_word=32, n_embd=32)
STEPS = 100
DRAWN = frozenset(noun.codepoints for noun in Lexicon.read().nouns[:120])


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def corpus(pack, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    packed = Packed(pack, "images")
    made = open_corpus(packed, work, RENDER_PX, show=False)
    again = open_corpus(packed, work, RENDER_PX, show=False)  # from the file
    assert np.array_equal(made.sprites.rgba, again.sprites.rgba)
    assert np.array_equal(made.bags.ids, again.bags.ids)
    return again


@pytest.fixture
def one_thread():
    """Two threads that share a core wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# --- styles and concepts -------------------------------------------------------------------------


def test_no_style_is_on_both_sides_and_none_is_left_over():
    assert set(JUDGED_STYLES).isdisjoint(TRAINING_STYLES)
    assert set(JUDGED_STYLES) | set(TRAINING_STYLES) == set(EMOJI_SETS)
    assert set(PROMPT_STYLES) <= set(JUDGED_STYLES)
    assert set(JUDGED_STYLES) >= TWIN_STYLES  # the same drawings, rendered again


def test_the_judge_sees_no_picture_of_a_judged_style(pack, corpus):
    packed = Packed(pack, "images")
    own = sum(style in TRAINING_STYLES for style in packed.column("source"))
    assert own < len(packed)
    assert len(corpus.sprites.rgba) == own


def test_people_clocks_and_concepts_of_one_name_are_one_group():
    def named(*words):
        return dict.fromkeys(("en", "fr", "de", "es"), list(words))

    found = groups(
        {
            "concept": ["1f468-200d-2695", "1f469-200d-2695", "1f550", "1f551", "1f34e", "1f34f"],
            "person": ["1f9d1-200d-2695", "1f9d1-200d-2695", None, None, None, None],
            "names": [named("man"), named("woman"), named("one"), named("two"),
                      named("apple"), named("pear", "apple")],
        }
    )  # fmt: skip
    assert found["1f468-200d-2695"] == found["1f469-200d-2695"]
    assert found["1f550"] == found["1f551"]
    assert found["1f34e"] == found["1f34f"]
    assert len(set(found.values())) == 3


def test_a_question_has_one_true_caption_and_no_related_ones(pack):
    concepts = judged_concepts(Packed(pack, "images"))
    by_caption = {concept.caption(): concept for concept in concepts}
    assert len(by_caption) == len(concepts)
    for concept in concepts[::20]:
        captions = question(concept, concepts, "seed")
        assert len(set(captions)) == len(captions) == NUM_CAPTIONS
        assert captions[0] == concept.caption()
        assert captions == question(concept, concepts, "seed")
        others = {by_caption[caption].noun.codepoints for caption in captions[1:]}
        assert others.isdisjoint(concept.related)
    fish = by_caption["a fish"]
    assert by_caption["a bird"].noun.codepoints not in fish.related


def test_too_few_concepts_are_named(tmp_path):
    with pytest.raises(
        SettingError, match=r"needs 100 nouns .* hold 1?[0-9]; build all emoji sets"
    ):
        judged_concepts(Packed(write_pack(tmp_path, num_nouns=12), "images"))


# --- captions ------------------------------------------------------------------------------------


def test_captions_share_what_words_share_across_languages():
    english, french = set(features("an elephant")), set(features("un éléphant"))
    assert len(english & french) > 5
    assert set(features("a dog")).isdisjoint(features("un chat"))


def test_the_order_of_words_matters():
    assert sorted(features("red car, blue tree")) != sorted(features("blue car, red tree"))
    assert features("!?") == features("")


def test_bags_give_back_each_caption():
    captions = ["a dog", "", "une pomme rouge"]
    ids, starts = Bags(captions).take([2, 0])
    assert ids.tolist() == features(captions[2]) + features(captions[0])
    assert starts.tolist() == [0, len(features(captions[2]))]


# --- pictures ------------------------------------------------------------------------------------


def test_without_changes_a_sprite_stands_in_the_middle_of_white(corpus):
    painter = Painter(corpus.sprites)
    rows = np.arange(40)
    pixels = painter.paint(rows, np.random.default_rng(0), strength=0.0)
    assert pixels.shape == (40, 3, RENDER_PX, RENDER_PX)
    assert pixels.min() >= -1
    assert pixels.max() <= 1
    backs, _ = painter._backgrounds(rows, RENDER_PX)
    assert (backs * 255 >= 247).all()


def test_the_same_source_of_draws_paints_the_same(corpus):
    painter = Painter(corpus.sprites)
    first, second = (painter.paint(np.arange(8), np.random.default_rng(7)) for _ in "ab")
    assert torch.equal(first, second)
    assert not torch.equal(first, painter.paint(np.arange(8), np.random.default_rng(8)))


def test_training_and_judging_shrink_pictures_alike(corpus):
    pixels = Painter(corpus.sprites).paint(np.arange(4), np.random.default_rng(0))
    shrunk = F.interpolate(pixels, (TINY.size_px, TINY.size_px), mode="area")
    large = ((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    large = large.repeat(4, axis=1).repeat(4, axis=2)  # 256 px, as the generator draws
    judged = to_pixels([Image.fromarray(p) for p in large], TINY.size_px, Image.Resampling.BOX)
    assert (judged - shrunk).abs().max() < 0.02


# --- draws ---------------------------------------------------------------------------------------


def test_groups_are_drawn_by_their_weight_however_many_pictures_they_have():
    group = np.array([0, 0, 0, 1, 2])
    found = odds(group, np.array([1.0, 1, 2, 1, 5]), np.array([3.0, 1, 4]))
    assert found == pytest.approx(np.array([0.75, 0.75, 1.5, 1, 4]) / 8)


def test_pictures_and_captions_of_a_step_come_with_their_groups(corpus):
    lessons = Lessons(corpus, TINY.size_px)
    pixels, shown = lessons.pictures(np.random.default_rng(0), 500, 0.0)
    assert pixels.shape == (500, 3, TINY.size_px, TINY.size_px)
    ids, starts, said = lessons.captions(np.random.default_rng(0), 500)
    assert len(shown) == len(starts) == len(said) == 500
    assert max(shown.max(), said.max()) < corpus.num_groups
    first, second = lessons.pictures(np.random.default_rng(0), 500, 0.0)
    assert torch.equal(first, pixels)
    assert torch.equal(second, shown)
    rows = [bytes(ids[a:b].numpy()) for a, b in itertools.pairwise([*starts.tolist(), len(ids)])]
    of_caption = dict(zip(rows, said.tolist(), strict=True))
    assert all(of_caption[row] == group for row, group in zip(rows, said.tolist(), strict=True))


# --- learning ------------------------------------------------------------------------------------


def test_losses_are_least_for_the_vector_of_the_own_group():
    naming = Naming(Judge(TINY), 9)
    vectors = F.normalize(naming.groups.weight, dim=-1)
    own, other = torch.arange(9), torch.arange(9).roll(1)
    right, all_right = naming.picture_loss(vectors, own)
    wrong, none_right = naming.picture_loss(vectors, other)
    assert right < wrong / 2
    assert (all_right, none_right) == (1.0, 0.0)
    near, cosine = naming.caption_loss(vectors, own)
    far, _ = naming.caption_loss(vectors, other)
    assert (float(near.detach()), cosine) == pytest.approx((0.0, 1.0), abs=1e-4)
    assert far > 1


def test_captions_follow_the_table_and_do_not_move_it():
    naming = Naming(Judge(TINY), 4)
    loss, _ = naming.caption_loss(torch.eye(4, TINY.n_embd, requires_grad=True), torch.arange(4))
    loss.backward()
    assert naming.groups.weight.grad is None


def test_an_average_starts_at_once_and_then_follows_slowly():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    average = copy.deepcopy(model)
    before = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1.0)
        model[1].running_mean.add_(1.0)
        model[1].num_batches_tracked.add_(7)
    follow(average, model, EMA, 0)
    assert average[0].weight.detach() == pytest.approx((before + 0.9).numpy())
    assert average[1].running_mean == pytest.approx(0.9)
    assert average[1].num_batches_tracked == 7
    follow(average, model, EMA, 10**6)
    assert average[1].running_mean == pytest.approx(0.9 + 0.1 * (1 - EMA))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.slow
def test_a_tiny_judge_learns_to_tell_pictures_of_unseen_styles(pack, corpus):
    torch.manual_seed(0)
    naming = Naming(Judge(TINY), corpus.num_groups)
    lessons = Lessons(corpus, TINY.size_px)
    optimizers = optimizers_of(naming, 0.05, 1e-2)
    for number in range(STEPS):
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = group["peak"] * rate_at(number / STEPS)
        loss, shown = naming_loss(naming, lessons, number, 0.0, batch_size=64)
        naming.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    assert shown["captions"] > 0.8, shown
    judge, packed = naming.judge.eval(), Packed(pack, "images")
    overall, *_, unselected = check_judge(judge, packed, nouns=DRAWN)
    assert overall.value > 0.25, overall  # chance: 0.01
    assert overall.value == unselected.value
    told, asked = select_nouns(judge, packed, "noto")
    assert 0 < len(told) < asked <= len(DRAWN)
    fewer = DRAWN - {told[0].codepoints}
    assert check_judge(judge, packed, nouns=fewer)[0].n_scored < overall.n_scored


def test_muon_brings_all_singular_values_near_one():
    torch.manual_seed(0)
    for shape in ((20, 90), (90, 20)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
        assert values.min() > 0.5
        assert values.max() < 1.3


def test_kernels_and_matrices_get_muon_and_the_rest_adam():
    judge = Judge(TINY)
    adam, muon = (
        [p for g in o.param_groups for p in g["params"]] for o in optimizers_of(judge, 1, 1)
    )
    assert sum(map(len, (adam, muon))) == len(list(judge.parameters()))
    assert all(parameter.ndim > 1 for parameter in muon)
    assert any(parameter is judge.captions.features.weight for parameter in adam)


def test_pictures_and_captions_lie_on_the_unit_sphere_whatever_their_size():
    judge = Judge(TINY).eval()
    pictures = [Image.new("RGB", (size, size), "red") for size in (8, 16, 40)]
    vectors = judge.embed_pictures(pictures)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    assert judge.embed_captions(["a dog", ""]).shape == (2, 32)
    assert judge.embed_pictures([]).shape == (0, 32)


def test_a_first_stage_alone_may_have_no_block():
    with pytest.raises(ConfigError, match=r"blocks=\(1, 0\) has a 0 after the first"):
        JudgeConfig(size_px=16, widths=(8, 16), blocks=(1, 0))


@pytest.mark.parametrize("schedule", [rate_at, usual_rate_at])
def test_the_rate_warms_up_and_is_nothing_at_the_end(schedule):
    rates = [schedule(share / 100) for share in range(101)]
    assert rates[0] < 0.05
    assert max(rates) == 1
    assert rates[100] < 0.01
    assert rates.index(1) < 10


def test_pictures_become_harder():
    strengths = [strength_at(share / 100) for share in range(101)]
    assert strengths == sorted(strengths)
    assert (strengths[0], strengths[-1]) == (0.3, 1.0)


# --- files and the command -----------------------------------------------------------------------


def test_training_is_given_minutes_resumes_and_is_checked(pack, tmp_path, capsys):
    out, work = tmp_path / "judge.safetensors", tmp_path / "work"
    options = {"config": TINY, "batch_size": 16}
    train_judge(pack, out, work, minutes=0.01, **options)
    assert out.stat().st_size < 10e6
    saved = torch.load(work / "judge.pt", weights_only=True)
    table = "groups.weight"
    assert not torch.equal(saved["model"][table], saved["average"][table])
    first = weights.load_judge(out).pictures.out.weight
    kept = saved["average"]["judge.pictures.out.weight"]
    assert torch.equal(first, kept.bfloat16().float())
    over = saved["seconds"] / 60
    train_judge(pack, out, work, minutes=over, resume=True, **options)  # no time is left
    assert "goes on after" in capsys.readouterr().err
    assert torch.equal(weights.load_judge(out).pictures.out.weight, first)
    train_judge(pack, out, work, minutes=over + 0.01, resume=True, **options)
    judge = weights.load_judge(out)
    assert not torch.equal(judge.pictures.out.weight, first)
    assert judge.config == TINY
    scores = check_judge(judge, Packed(pack, "images"), limit=4, nouns=DRAWN)
    assert scores[0].name == "r_precision"
    assert scores[0].ci95
    assert 4 <= scores[0].n_scored <= 12
    assert [score.name for score in scores[1:]] == [
        *(f"r_precision {style}" for style in PROMPT_STYLES), "r_precision of all nouns"
    ]  # fmt: skip
    unseen = next(score for score in scores if score.name.endswith("fluent-emoji-3d"))
    assert (unseen.value, unseen.n_scored) == (None, 0)  # the tiny pictures have none
    assert set(STYLES) & set(JUDGED_STYLES)


def test_another_model_in_the_checkpoint_is_refused(pack, tmp_path):
    options = {"batch_size": 16}
    train_judge(pack, tmp_path / "a", tmp_path, minutes=0.001, config=TINY, **options)
    other = JudgeConfig(size_px=16, widths=(8, 16), blocks=(1, 1))
    with pytest.raises(CorruptedFileError, match="train without --resume"):
        train_judge(pack, tmp_path / "a", tmp_path, minutes=1, config=other, resume=True, **options)


def test_a_missing_judge_names_the_command_that_makes_it(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    with pytest.raises(WeightsNotFoundError, match="'python -m evals.judge train judge --pack DIR"):
        weights.load_judge()
    assert weights.fingerprint("judge") == "none"


def test_a_damaged_judge_is_one_sentence(tmp_path):
    path = tmp_path / "judge.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(CorruptedFileError, match="is damaged or of another kind"):
        weights.load_judge(path)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["train", "judge", "--pack", "/nowhere", "--minutes", "1"], 2, "holds no packed images"),
        (["train", "judge", "--pack", "/nowhere", "--minutes", "0"], 2, "minutes must be above 0"),
        (["check", "judge", "--pack", "/nowhere", "--out", "/none"], 1, "the judge /none is miss"),
        (["train", "oracle", "--pack", "/nowhere", "--minutes", "1"], 2, "invalid choice"),
    ],
)
def test_mistakes_are_one_sentence(shell, arguments, code, sentence):
    done = shell("-m", "evals.judge", *arguments)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_command_answers_in_json(shell, tmp_path):
    pack = write_pack(tmp_path, num_nouns=180)  # so that 100 are among those that it can tell
    out = tmp_path / "judge.safetensors"
    save_weights(out, Judge(TINY), TINY, kind="judge")
    done = shell(
        "-m", "evals.judge", "check", "judge", "--pack", pack, "--out", out, "--limit", 2, "--json"
    )
    answer = json.loads(done.stdout)
    assert answer["bar"] == 0.95
    assert answer["passed"] in (True, False)
    assert answer["scores"][0]["signature"].startswith("r_precision@100|")
