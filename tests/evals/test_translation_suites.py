"""The translation suites: their samples, and runs of a tiny model with and without an expert."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest
import torch

import mtgen
from evals.__main__ import main
from evals.reports.page import run_page
from evals.reports.tables import compare, read_run, run_markdown
from evals.runner.records import RECORDS
from evals.runner.run import BATCH, batches, run_suite
from evals.runner.trunk_alone import TrunkAlone
from evals.suites import GROUPS, SUITES
from evals.suites.base import TranslationSample
from evals.suites.translation import (
    DIRECTIONS,
    HELD_OUT,
    KINDS_TO_KEEP,
    NUM_PAIRS,
    SHIPPED,
    VARIANTS,
    is_sized,
    with_typos,
    without_stop,
)
from mtgen.errors import PromptTooLongError, RecordsError, SettingError, WeightsNotFoundError
from mtgen.requests import LANGUAGES, TranslationRequest
from tests.conftest import save_tiny

QUICK = {"num_beams": 1}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A tiny trunk of more positions, as a letter is about a token to it."""
    folder = tmp_path_factory.mktemp("translating-trunk")
    save_tiny(folder, max_position_embeddings=2048)
    return folder


@pytest.fixture(scope="module")
def experts(trunk, tmp_path_factory):
    """A folder with a random translation expert for it."""
    from mtgen.model.checkpoint import save_weights
    from mtgen.model.config import TrunkConfig, read_json
    from mtgen.model.files import TRANSLATION_EXPERT
    from mtgen.model.transformer import LowRankConfig, LowRankExpert

    config = TrunkConfig.from_hf(read_json(trunk / "config.json"), "tiny")
    torch.manual_seed(3)
    expert = LowRankExpert(LowRankConfig(rank=2), config)
    with torch.no_grad():
        for parameter in expert.parameters():
            parameter.add_(torch.randn_like(parameter) / parameter.shape[-1] ** 0.5)
    folder = tmp_path_factory.mktemp("translation-expert")
    save_weights(folder / TRANSLATION_EXPERT, expert, expert.config)
    return folder


@pytest.fixture(scope="module")
def translating(trunk, experts):
    return mtgen.load(trunk, weights=experts, progress=False)


@pytest.fixture(scope="module")
def alone(trunk):
    return TrunkAlone.load(trunk, progress=False)


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    """A folder like that of the data build, with a few made-up pairs in each set."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = tmp_path_factory.mktemp("held_out")
    for suite in HELD_OUT:
        (folder / suite.filename).mkdir()
        for lang in ("fr", "de", "es"):
            pairs = [(f"the number is {n}", f"{lang} zahl ist {n}") for n in range(NUM_PAIRS + 50)]
            pairs += [("too short", "viel zu kurz"), ("a b c", "x " * 61), ("a b c", "x y z")]
            pairs += [("a b c", "another way to say so")]
            en, translation = zip(*pairs, strict=True)
            table = pa.table({"en": en, "translation": translation, "source": ["x"] * len(en)})
            pq.write_table(table, folder / suite.filename / f"en-{lang}.parquet")
    return folder


@pytest.fixture(scope="module")
def runs(translating, held_out, tmp_path_factory):
    """A small run of every translation suite, by name."""
    folder = tmp_path_factory.mktemp("runs")
    for suite in GROUPS["translation"]:
        given = replace(suite, data=held_out) if suite in HELD_OUT else suite
        run_suite(given, translating, folder / suite.name, limit=6, settings=QUICK)
    return {suite.name: folder / suite.name for suite in GROUPS["translation"]}


# --- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", SHIPPED, ids=lambda suite: suite.name)
def test_samples_are_unique_and_can_be_asked(suite):
    samples = suite.samples()
    assert len({sample.id for sample in samples}) == len(samples) == suite.num_samples()
    for sample in samples:
        assert isinstance(sample, TranslationSample)
        TranslationRequest(text=sample.text, source=sample.source, target=sample.target)
        assert all(sample.references)


@pytest.mark.parametrize(
    ("name", "checksum"),
    [
        ("translation-everyday", "131f78e698e76c83"),
        ("translation-robustness", "28435966857a0739"),
        ("translation-keep", "9a2a28bd701c93e5"),
        ("translation-questions", "5b04455923677e81"),
        ("translation-glossary", "3862b76fbffa46cb"),
    ],
)
def test_samples_are_what_they_were_when_scores_were_published(name, checksum):
    assert SUITES[name].checksum.startswith(checksum)


def test_everyday_has_every_sentence_in_six_directions_with_two_references():
    samples = SUITES["translation-everyday"].samples()
    counted = Counter(sample.category for sample in samples)  # type: ignore[union-attr]
    assert counted == {f"{source}-{target}": 300 for source, target in DIRECTIONS}
    assert {len(sample.references) for sample in samples} == {2}  # type: ignore[union-attr]
    assert len({sample.category for sample in samples[:6]}) == 6  # type: ignore[union-attr]


def test_variants_differ_from_the_plain_sentence_as_they_should():
    samples = SUITES["translation-robustness"].samples()
    by_id = {sample.id: sample for sample in samples}
    counted = Counter((s.category, s.variant) for s in samples)  # type: ignore[union-attr]
    assert set(counted.values()) == {50}
    assert len(counted) == len(DIRECTIONS) * len(VARIANTS)
    for sample in samples:
        assert isinstance(sample, TranslationSample)
        plain = by_id[sample.of].text  # type: ignore[index,union-attr]
        if sample.variant == "plain":
            assert sample.text == plain
            continue
        assert sample.text != plain, sample.id
        if sample.variant == "typos":
            assert sample.text == with_typos(plain, sample.id)
            assert len(sample.text.split()) == len(plain.split())
            assert abs(len(sample.text) - len(plain)) <= len(plain.split()) / 3 + 1
        elif sample.variant == "no-stop":
            assert sample.text[-1].isalnum() or sample.text[-1] in "\"'»”)"
            assert not any(r.endswith((".", "!", "?")) for r in sample.references)


def test_typos_are_single_slips_in_every_third_long_word():
    text = "Our train from Lyon will leave very early on a Monday"
    slipped = with_typos(text, "seed")
    changed = [
        (a, b) for a, b in zip(text.split(), slipped.split(), strict=True) if a != b
    ]  # fmt: skip
    assert [word for word, _ in changed] == ["train", "will", "early"]
    for word, typo in changed:
        assert word[0] == typo[0]
        assert abs(len(word) - len(typo)) <= 1
    assert with_typos(text, "seed") == slipped
    assert len({with_typos(text, str(seed)) for seed in range(20)}) > 10


def test_the_stop_goes_with_the_space_before_it():
    assert without_stop("Où est la gare ?") == "Où est la gare"
    assert without_stop("Well...") == "Well"
    assert without_stop("At 9:40") == "At 9:40"


def test_what_must_be_kept_is_in_the_sources():
    from evals.metrics.translation import kept

    samples = SUITES["translation-keep"].samples()
    assert {sample.category for sample in samples} == set(KINDS_TO_KEEP)  # type: ignore[union-attr]
    for sample in samples:
        assert isinstance(sample, TranslationSample)
        num_kept, num_items = kept(sample.text, sample.keep)
        assert num_kept == num_items > 0, sample.id


def test_every_sentence_with_a_glossary_has_a_term_and_its_reference_what_it_becomes():
    from evals.metrics.translation import holds_term

    samples = SUITES["translation-glossary"].samples()
    assert Counter(s.category for s in samples) == {  # type: ignore[union-attr]
        f"{source}-{target}": 20 for source, target in permutations(LANGUAGES, 2)
    }
    for sample in samples:
        assert isinstance(sample, TranslationSample)
        [wanted], [reference] = sample.keep, sample.references
        assert holds_term(reference, wanted), sample.id
        found = [m for term, m in sample.glossary if holds_term(sample.text, term)]
        assert found == [wanted], sample.id
        TranslationRequest(
            text=sample.text, source=sample.source, target=sample.target, glossary=sample.glossary
        )


def test_references_of_questions_are_translated_and_not_answered():
    from evals.metrics.translation import is_answered, is_copied

    for sample in SUITES["translation-questions"].samples():
        assert isinstance(sample, TranslationSample)
        [reference] = sample.references
        assert not is_answered(reference, reference, sample.answers)
        assert not is_copied(reference, sample.text)


def test_held_out_pairs_are_drawn_by_their_hash(held_out, tmp_path):
    import pyarrow.parquet as pq

    suite = replace(HELD_OUT[0], data=held_out)
    samples = suite.samples()
    counted = Counter(sample.category for sample in samples)  # type: ignore[union-attr]
    assert counted == {f"{source}-{target}": NUM_PAIRS for source, target in DIRECTIONS}
    assert len({sample.id for sample in samples}) == len(samples)
    assert all(is_sized(sample.text) for sample in samples)  # type: ignore[union-attr]
    texts = Counter((s.category, s.text) for s in samples)  # type: ignore[union-attr]
    assert max(texts.values()) == 1
    folder = tmp_path / suite.filename
    folder.mkdir()
    for path in (held_out / suite.filename).iterdir():  # the same pairs in another order
        table = pq.read_table(path)
        pq.write_table(table.take(list(reversed(range(len(table))))), folder / path.name)
    again = replace(suite, data=tmp_path)
    assert again.samples() == samples
    assert again.checksum == suite.checksum


def test_the_folder_of_held_out_sets_comes_from_the_environment(held_out, monkeypatch):
    monkeypatch.setenv("MTGEN_HELD_OUT", str(held_out))
    assert HELD_OUT[0].num_samples() == NUM_PAIRS * 6


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", GROUPS["translation"], ids=lambda suite: suite.name)
@pytest.mark.slow
def test_a_whole_run_is_translated_scored_and_reported(suite, runs):
    run = read_run(runs[suite.name])
    assert run.is_complete
    assert len(run.records) == 6
    assert "+translation-" in run.manifest["model"]
    assert run.manifest["experts_sha256"]
    assert [score.name for score in run.scores] == [use.name for use in suite.metrics]
    assert len({score.name for score in run.scores}) == len(run.scores)
    empty = run.scores[-1]
    assert (empty.name, empty.n_scored, empty.n_unscored) == ("empty", 6, 0)
    page = run_page(run)
    for record in run.records:
        assert record["output"] is not None
        assert record["id"] in page
    assert suite.metrics[0].name in run_markdown(run)


def test_each_direction_stands_apart(runs):
    run = read_run(runs["translation-everyday"])
    scores = {score.name: score for score in run.scores}
    for source, target in DIRECTIONS:
        for metric in ("chrf_pp", "bleu", "ter"):
            score = scores[f"{metric}_{source}-{target}"]
            assert score.n_scored == 1
            assert "|nrefs:2" in score.signature.replace("(nrefs", "(|nrefs")


def test_batches_hold_one_direction_and_everything_once():
    samples = SUITES["translation-keep"].samples()
    grouped = list(batches(samples))
    assert sorted(s.id for batch in grouped for s in batch) == sorted(s.id for s in samples)
    for batch in grouped:
        assert len(batch) <= BATCH
        assert len({(s.source, s.target) for s in batch}) == 1  # type: ignore[union-attr]
    smoke = SUITES["smoke"].samples()
    assert list(batches(smoke)) == [[sample] for sample in smoke]


def test_a_killed_run_goes_on_to_the_same_translations(translating, runs, tmp_path):
    suite, done = SUITES["translation-everyday"], runs["translation-everyday"]
    lines = (done / RECORDS).read_bytes().splitlines(keepends=True)
    (tmp_path / "run.json").write_bytes((done / "run.json").read_bytes())
    (tmp_path / RECORDS).write_bytes(b"".join(lines[:3]))  # in the middle of a batch
    run_suite(suite, translating, tmp_path, limit=6, settings=QUICK)
    assert (tmp_path / RECORDS).read_bytes() == (done / RECORDS).read_bytes()


def test_a_text_that_is_refused_is_unscored_alone(translating, tmp_path, monkeypatch):
    suite = SUITES["translation-keep"]
    samples = suite.samples()[:6]
    bad = replace(samples[0], text="a\x00b")  # type: ignore[type-var]
    monkeypatch.setattr(type(suite), "samples", lambda self: [bad, *samples[1:]])
    run_suite(suite, translating, tmp_path, settings=QUICK)
    run = read_run(tmp_path)
    assert run.is_complete
    assert [record["id"] for record in run.records if record["error"]] == [bad.id]
    [overall] = [score for score in run.scores if score.name == "kept"]
    assert (overall.n_scored, overall.n_unscored) == (5, 1)


def test_many_texts_at_once_are_each_translated(translating):
    texts = ["One house.", "Two\nlines here.", "One house."]
    outputs = translating.translate_all(texts, source="en", target="de", **QUICK)
    assert len(outputs) == 3
    assert outputs[0] == outputs[2]
    assert outputs[1].count("\n") == 1
    alone = translating.translate("One house.", source="en", target="de", **QUICK)
    assert outputs[0] == alone.text


def test_the_trunk_alone_is_scored_beside_the_expert(alone, runs, tmp_path):
    suite = SUITES["translation-everyday"]
    run_suite(suite, alone, tmp_path, limit=6, settings=QUICK)
    baseline, run = read_run(tmp_path), read_run(runs[suite.name])
    assert baseline.manifest["model"].endswith("+no-expert")
    assert baseline.manifest["experts_sha256"] is None
    differences = {d.name: d for d in compare(baseline, run)}
    assert differences["chrf_pp_en-fr"].n == 1
    assert differences["chrf_pp_en-fr"].difference is not None
    with pytest.raises(RecordsError, match="holds a run with model="):
        run_suite(suite, alone, runs[suite.name], limit=6, settings=QUICK)


def test_the_trunk_alone_refuses_what_it_cannot_do(alone):
    with pytest.raises(SettingError, match="takes num_beams and length_penalty, not temperature"):
        alone.translate_all(["a"], source="en", target="fr", temperature=1.0)
    with pytest.raises(PromptTooLongError, match="need more than the 2,048 tokens"):
        alone.translate_all(["word " * 900], source="en", target="fr")


def test_a_run_compared_with_itself_shows_no_difference(runs):
    for name, folder in runs.items():
        run = read_run(folder)
        for difference in compare(run, run):
            assert difference.difference in (0, None), name
            assert difference.verdict == "no clear difference"


def test_without_an_expert_one_sentence_says_so(trunk, tmp_path):
    pipeline = mtgen.load(trunk, weights=tmp_path, progress=False)
    with pytest.raises(WeightsNotFoundError, match="translation_expert"):
        run_suite(SUITES["translation-everyday"], pipeline, tmp_path / "run", limit=1)


# --- the shell -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_missing_folder_is_one_sentence_that_says_what_builds_it(shell, tmp_path):
    for arguments in (("--data", tmp_path), ()):
        done = shell(
            "-m", "evals", "run", "--suite", "translation-scratch", *arguments,
            env={"MTGEN_HELD_OUT": str(tmp_path)},
        )  # fmt: skip
        assert done.returncode == 1
        assert "python -m mtgen.data build parallel --out build/data" in done.stderr
        assert "translation-everyday" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_folder_for_a_suite_that_reads_none_is_refused(shell, tmp_path):
    done = shell("-m", "evals", "run", "--suite", "smoke", "--data", tmp_path)
    assert done.returncode == 2
    assert "suites whose data are not shipped; smoke has all it needs" in done.stderr


@pytest.mark.slow
def test_the_list_says_that_samples_are_not_there(shell, held_out, tmp_path):
    for folder, count in ((tmp_path, None), (held_out, NUM_PAIRS * 6)):
        done = shell("-m", "evals", "list", "--json", env={"MTGEN_HELD_OUT": str(folder)})
        listed = {row["suite"]: row for row in json.loads(done.stdout)["suites"]}
        assert listed["translation-near"]["samples"] == count
        assert listed["translation-everyday"]["samples"] == 1800


def test_the_group_runs_in_the_shell_without_an_expert(trunk, runs, held_out, tmp_path, capsys):
    main(
        ["run", "--suite", "translation", "--model", str(trunk), "--limit", "1", "--weights",
         "none", "--data", str(held_out), "--out", str(tmp_path)]
    )  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(runs)
    printed = capsys.readouterr()
    assert all(f"# {name}\n" in printed.out for name in runs)
    name = "translation-near"
    main(["compare", str(tmp_path / name), str(runs[name])])
    assert "chrf_pp_en-fr" in capsys.readouterr().out
