"""The detector: finds what a perfect heat map shows, learns, and its scenes are scored strictly."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from evals.judge import weights
from evals.judge.check import check_detector
from evals.judge.detector import Detector, DetectorConfig, heat_loss, heat_maps, peaks
from evals.judge.muon import optimizers_of
from evals.judge.train_detector import (
    FreshScenes,
    Pool,
    detector_loss,
    open_composer,
    swapped,
    train_detector,
    truth_of,
    worn,
)
from evals.judge.wanted import Found, Wanted, WantedThing, faults, relation_of, said_of
from mtgen.data.images.colours import COLOUR_NAMES
from mtgen.data.images.held_out import NUM_NOUNS, common_nouns
from mtgen.data.images.lexicon import Lexicon
from mtgen.data.images.scenes import CATEGORIES
from mtgen.data.packed import Packed
from mtgen.errors import ConfigError, WeightsNotFoundError
from tests.evals.tiny_pictures import write_pack

NOUNS = tuple(noun.codepoints for noun in common_nouns(Lexicon.read())[:8])
TINY = DetectorConfig(
    nouns=NOUNS, size_px=64, widths=(8, 16, 32), blocks=(0, 1, 1), n_hidden=32, threshold=0.3
)


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return write_pack(tmp_path_factory.mktemp("pictures"), num_nouns=12)


# --- heat ----------------------------------------------------------------------------------------


def test_peaks_of_a_perfect_heat_map_are_the_centres():
    boxes = torch.tensor(
        [
            [[0.2, 0.3, 0.2, 0.2], [0.7, 0.3, 0.4, 0.1], [0.5, 0.8, 0.3, 0.3]],
            [[0.5, 0.5, 0.8, 0.8], [0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
        ]
    )
    is_there = torch.tensor([[True, True, True], [True, False, False]])
    heat = heat_maps(boxes, is_there, 32)
    assert heat.shape == (2, 32, 32)
    assert heat.max() == 1
    picture, row, column = peaks(heat, 0.5)
    found = {(int(b), int(r), int(c)) for b, r, c in zip(picture, row, column, strict=True)}
    expected = {
        (b, int(y * 32), int(x * 32))
        for b in range(2)
        for (x, y, _, _), there in zip(boxes[b].tolist(), is_there[b].tolist(), strict=True)
        if there
    }
    assert found == expected


def test_a_plateau_is_one_peak_and_an_empty_map_has_none():
    heat = torch.zeros(2, 8, 8)
    heat[0, 3:5, 3:5] = 0.9
    picture, _, _ = peaks(heat, 0.5)
    assert picture.tolist() == [0]


def test_the_heat_loss_is_least_for_the_truth():
    target = heat_maps(torch.tensor([[[0.5, 0.5, 0.4, 0.4]]]), torch.tensor([[True]]), 16)
    right = torch.logit(target.clamp(1e-4, 1 - 1e-4))
    wrong = torch.logit(target.roll(5, 2).clamp(1e-4, 1 - 1e-4))
    nothing = torch.full_like(target, -9.0)
    assert heat_loss(right, target) < 0.3 * heat_loss(nothing, target)
    assert heat_loss(right, target) < 0.3 * heat_loss(wrong, target)


# --- scenes --------------------------------------------------------------------------------------


def test_the_vocabulary_is_that_of_the_held_out_combinations():
    assert len(DetectorConfig().nouns) == NUM_NOUNS


def test_a_size_that_does_not_halve_is_refused():
    with pytest.raises(ConfigError, match="size_px=100 is not divisible by 16"):
        DetectorConfig(size_px=100)


def test_truth_follows_the_scene(pack):
    composer = open_composer(Packed(pack, "images"), TINY, 64)
    _, scene = composer.scene(3, "attribution")
    boxes, nouns, colours = truth_of(scene, TINY, 64)
    assert [TINY.nouns[n] for n in nouns if n >= 0] == [item.concept for item in scene.objects]
    for item, colour, (x, y, w, h) in zip(scene.objects, colours, boxes, strict=False):
        assert COLOUR_NAMES[colour] == item.colour
        x0, y0, x1, y1 = item.box
        assert (x * 64, w * 64) == pytest.approx(((x0 + x1) / 2, x1 - x0))
        assert (y * 64, h * 64) == pytest.approx(((y0 + y1) / 2, y1 - y0))


def test_mirrored_scenes_have_mirrored_boxes(pack):
    pixels, boxes, _, _ = FreshScenes(pack, TINY, 16)[0]
    dark = pixels.float() / 127.5 - 1
    seen, moved = worn(pixels, boxes, np.random.default_rng(0))
    assert seen.shape == pixels.shape
    flipped = (moved[..., 0] - boxes[..., 0]).abs().amax(1) > 1e-6
    assert flipped.any()
    assert not flipped.all()
    assert torch.allclose(moved[flipped, :, 0], 1 - boxes[flipped, :, 0])
    mirrored = dark.flip(3)
    for place in range(len(pixels)):
        same = (seen[place] - dark[place]).abs().mean()
        other = (seen[place] - mirrored[place]).abs().mean()
        assert (other < same) == bool(flipped[place]) or abs(other - same) < 0.02


def test_swapped_channels_take_the_names_of_colours_away(pack):
    pixels, _, _, colours = FreshScenes(pack, TINY, 16)[0]
    x = pixels.float()
    other, unnamed = swapped(x, colours, np.random.default_rng(0))
    is_same = (other == x).flatten(1).all(1)
    assert is_same.any()
    assert not is_same.all()
    assert torch.equal(unnamed[is_same], colours[is_same])
    assert (unnamed[~is_same] == -100).all()
    assert torch.equal(other.sort(1).values, x.sort(1).values)


def test_the_pool_keeps_the_newest_scenes_and_forgets_the_oldest(pack):
    scenes = FreshScenes(pack, TINY, 4)
    pool = Pool(iter(scenes[number] for number in range(200)), 20)
    batch = pool.batch(np.random.default_rng(0), 8)
    assert batch[0].shape == (8, 3, 64, 64)
    newest = scenes[pool.num_seen // 4 - 1][0]
    assert torch.equal(batch[0][:4].flip(0), newest)


def test_a_tiny_detector_learns_a_few_scenes_by_heart(pack):
    torch.manual_seed(0)
    detector = Detector(TINY)
    composer = open_composer(Packed(pack, "images"), TINY, 64)
    made = [composer.scene(number, CATEGORIES[number % 6]) for number in range(6)]
    pixels = torch.stack([torch.from_numpy(p).permute(2, 0, 1) for p, _ in made])
    truths = zip(*(truth_of(scene, TINY, 64) for _, scene in made), strict=True)
    boxes, nouns, colours = (torch.from_numpy(np.stack(part)) for part in truths)
    optimizers = optimizers_of(detector, 0.03, 5e-3)
    x = pixels.float() / 127.5 - 1
    for _ in range(60):
        loss, _ = detector_loss(detector, x, boxes, nouns, colours)
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
    detector.eval()
    found = detector.detect([Image.fromarray(p) for p, _ in made])
    exact = [
        not faults(things, said_of(scene)) for things, (_, scene) in zip(found, made, strict=True)
    ]
    assert sum(exact) >= 5, (exact, float(loss))


# --- exactness -----------------------------------------------------------------------------------


def thing(x, y, noun="dog", colour="brown"):
    return Found(noun=noun, colour=colour, x=x, y=y)


def test_what_was_asked_for_must_be_there_in_its_number():
    two = Wanted(things=(WantedThing(noun="dog", count=2),))
    assert faults([thing(0.2, 0.5)], two) == ["count"]
    assert not faults([thing(0.2, 0.5), thing(0.8, 0.5)], two)
    assert faults([thing(0.2, 0.5), thing(0.8, 0.5), thing(0.5, 0.9)], two) == ["count"]
    assert not faults([thing(0.2, 0.5), thing(0.8, 0.5), thing(0.5, 0.5, "cat")], two)


def test_a_relation_must_be_clear():
    assert relation_of(thing(0.2, 0.5), thing(0.8, 0.6)) == "left_of"
    assert relation_of(thing(0.8, 0.5), thing(0.2, 0.6)) == "right_of"
    assert relation_of(thing(0.5, 0.1), thing(0.6, 0.8)) == "above"
    assert relation_of(thing(0.5, 0.9), thing(0.6, 0.2)) == "below"
    assert relation_of(thing(0.5, 0.5), thing(0.55, 0.55)) is None


def test_what_composed_scenes_say_is_true_of_their_own_boxes(pack):
    composer = open_composer(Packed(pack, "images"), TINY, 128)
    for category in CATEGORIES:
        for seed in range(25):
            _, scene = composer.scene(seed, category)
            found = [
                Found(
                    noun=item.concept, colour=item.colour or "red",
                    x=(item.box[0] + item.box[2]) / 256, y=(item.box[1] + item.box[3]) / 256,
                )
                for item in scene.objects
            ]  # fmt: skip
            assert not faults(found, said_of(scene))
            wanted = said_of(scene)
            assert Wanted.from_dict(json.loads(json.dumps(wanted.as_dict()))) == wanted


# --- files and the command -----------------------------------------------------------------------


def test_training_is_given_minutes_resumes_and_is_checked(pack, tmp_path, capsys):
    out = tmp_path / "detector.safetensors"
    options = {"config": TINY, "num_workers": 0, "pool_size": 300}
    train_detector(pack, out, tmp_path, minutes=0.01, **options)
    train_detector(pack, out, tmp_path, minutes=0.02, resume=True, **options)
    assert "goes on after" in capsys.readouterr().err
    assert out.stat().st_size < 10e6
    detector = weights.load_detector(out)
    assert detector.config == TINY
    scores = check_detector(detector, Packed(pack, "images"), limit=2)
    assert [score.name for score in scores] == [
        "scene_exact", *(f"scene_exact {category}" for category in CATEGORIES)
    ]  # fmt: skip
    assert scores[0].n_scored == 12
    assert scores[0].ci95


def test_a_missing_detector_names_the_command_that_makes_it(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    with pytest.raises(WeightsNotFoundError, match="'python -m evals.judge train detector --pack"):
        weights.load_detector()
