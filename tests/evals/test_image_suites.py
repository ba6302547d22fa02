"""The image suites: frozen prompts, whole runs on a tiny model with tiny instruments, reports."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from evals.judge import weights
from evals.judge.concepts import NUM_CAPTIONS
from evals.judge.detector import Detector, DetectorConfig
from evals.judge.model import Judge, JudgeConfig
from evals.judge.reference import read_reference, write_reference
from evals.judge.styles import PROMPT_STYLES
from evals.judge.wanted import Wanted
from evals.metrics import MetricUse
from evals.metrics.distances import DistanceUse
from evals.reports.page import run_page
from evals.reports.tables import compare, read_run, run_markdown
from evals.runner.records import RECORDS
from evals.runner.run import run_suite
from evals.suites import GROUPS, SUITES, find_suites
from evals.suites.base import DATA, ImageSample
from mtgen.data.images.held_out import HeldOut, common_nouns
from mtgen.data.images.lexicon import LANGS, Lexicon
from mtgen.data.images.scenes import CATEGORIES
from mtgen.data.images.sources import STYLES
from mtgen.errors import CorruptedFileError, RecordsError, UnknownNameError, WeightsNotFoundError
from mtgen.model.checkpoint import save_weights
from mtgen.model.files import AUTOENCODER, IMAGE_EXPERT, PICTURE_TOKENIZER
from mtgen.requests import ImageRequest

IMAGE = GROUPS["image"]
QUICK = {"num_inference_steps": 2, "size_px": 128}


@pytest.fixture(scope="module")
def instruments(tmp_path_factory):
    """A folder with a tiny judge and detector, untrained, and embeddings of noise."""
    folder = tmp_path_factory.mktemp("instruments")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(weights, "WEIGHTS", folder)
        patch.setattr("evals.judge.reference.WEIGHTS", folder)
        torch.manual_seed(0)
        judge = JudgeConfig(size_px=16, widths=(8, 16), blocks=(0, 1), n_word=16, n_embd=8)
        detector = DetectorConfig(
            size_px=32, widths=(8, 8, 8), blocks=(0, 1, 1), n_hidden=8, threshold=0.01
        )
        save_weights(folder / weights.JUDGE, Judge(judge), judge)
        save_weights(folder / weights.DETECTOR, Detector(detector), detector)
        rng = np.random.default_rng(0)
        noise = [Image.fromarray(rng.integers(0, 255, (16, 16, 3), np.uint8)) for _ in range(40)]
        write_reference(weights.load_judge().embed_pictures(noise))
        yield folder


@pytest.fixture(scope="module")
def runs(tiny_image, instruments, tmp_path_factory):
    """A small run of every image suite, by name."""
    folder = tmp_path_factory.mktemp("runs")
    for suite in IMAGE:
        run_suite(suite, tiny_image, folder / suite.name, seed=1, limit=4, settings=QUICK)
    return {suite.name: folder / suite.name for suite in IMAGE}


# --- prompts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", IMAGE, ids=lambda suite: suite.name)
def test_samples_are_frozen_unique_and_can_be_asked(suite):
    samples = suite.samples()
    assert len({sample.id for sample in samples}) == len(samples)
    prompts = [tuple(sample.prompts.values()) for sample in samples]
    assert suite.name == "image-distance" or len(set(prompts)) == len(prompts)
    for sample in samples:
        assert isinstance(sample, ImageSample)
        assert next(iter(sample.prompts)) == "en"
        for prompt in sample.prompts.values():
            ImageRequest(prompt=prompt, num_images=sample.num_images)


def test_concepts_are_asked_for_in_styles_that_they_can_be_trained_in():
    held = HeldOut.read().styles
    samples = SUITES["image-concepts"].samples()
    for sample in samples:
        assert isinstance(sample, ImageSample)
        assert sample.style in PROMPT_STYLES
        assert sample.prompts["en"].endswith(STYLES[sample.style]["en"][0])
        assert (sample.id.removeprefix("concept-"), sample.style) not in held
    assert min(Counter(sample.style for sample in samples).values()) > 20  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["image-concepts", "image-languages"])
def test_questions_have_a_hundred_different_captions_the_true_one_first(name):
    for sample in SUITES[name].samples():
        assert isinstance(sample, ImageSample)
        assert len(set(sample.captions)) == NUM_CAPTIONS
        assert sample.prompts["en"].startswith(sample.captions[0])


def test_languages_ask_for_the_same_thing():
    for sample in SUITES["image-languages"].samples():
        assert isinstance(sample, ImageSample)
        assert tuple(sample.prompts) == LANGS


@pytest.mark.parametrize("name", ["image-scenes", "image-scenes-held-out"])
def test_scenes_are_within_what_the_detector_knows(name):
    nouns = {noun.codepoints for noun in common_nouns(Lexicon.read())}
    samples = SUITES[name].samples()
    for sample in samples:
        assert isinstance(sample, ImageSample)
        wanted = Wanted.from_dict(sample.wanted or {})
        assert {thing.noun for thing in wanted.things} <= nouns
        assert (wanted.relation is not None) == (sample.category == "position")
    counted = Counter(sample.category for sample in samples)  # type: ignore[union-attr]
    assert set(counted.values()) == {25}
    assert set(counted) <= set(CATEGORIES)


def test_stated_combinations_are_held_out_in_one_suite_and_not_in_the_other():
    held = HeldOut.read()
    share = {}
    for name in ("image-scenes", "image-scenes-held-out"):
        stated = []
        for sample in SUITES[name].samples():
            assert isinstance(sample, ImageSample)
            wanted = Wanted.from_dict(sample.wanted or {})
            first, last = wanted.things[0], wanted.things[-1]
            if wanted.relation:
                stated.append((first.noun, wanted.relation, last.noun) in held.relations)
            elif sample.category in ("colours", "attribution"):
                stated.append(
                    any((t.noun, t.colour, t.count) in held.counts for t in wanted.things)
                )
        share[name] = sum(stated) / len(stated)
    assert share == {"image-scenes": 0.0, "image-scenes-held-out": 1.0}


def test_files_are_small():
    assert sum(path.stat().st_size for path in DATA.glob("image-*.jsonl")) < 500_000


# --- runs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suite", IMAGE, ids=lambda suite: suite.name)
def test_a_whole_run_is_drawn_kept_scored_and_reported(suite, runs):
    run = read_run(runs[suite.name])
    assert run.is_complete
    assert [score.name for score in run.scores] == [use.name for use in suite.metrics]
    for record in run.records:
        asked = record["sample"]
        assert len(record["images"]) == asked["num_images"] * len(asked["prompts"])
        for image in record["images"]:
            path = runs[suite.name] / image["file"]
            assert path.stat().st_size < 200_000
            with Image.open(path) as picture:
                assert picture.size == (128, 128)
    overall = run.scores[0]
    assert overall.value is not None
    assert overall.n_scored == 4
    assert weights.fingerprint("judge") in overall.signature or (
        weights.fingerprint("detector") in overall.signature
    )
    page = run_page(run)
    assert page.count("<img") == sum(len(record["images"]) for record in run.records)
    assert 'src="data:image/webp' in page
    assert run.scores[0].name in run_markdown(run)


def test_categories_without_a_sample_have_no_score(runs):
    scores = {score.name: score for score in read_run(runs["image-scenes"]).scores}
    assert scores["scene_exact_single"].n_scored == 4  # the first four of the file
    position = scores["scene_exact_position"]
    assert (position.value, position.n_scored, position.n_unscored) == (None, 0, 0)


def test_a_killed_run_goes_on_with_the_same_pictures(tiny_image, runs, tmp_path):
    suite, done = SUITES["image-languages"], runs["image-languages"]
    lines = (done / RECORDS).read_bytes().splitlines(keepends=True)
    tmp_path.joinpath("run.json").write_bytes((done / "run.json").read_bytes())
    tmp_path.joinpath(RECORDS).write_bytes(b"".join(lines[:2]))
    run_suite(suite, tiny_image, tmp_path, seed=1, limit=4, settings=QUICK)
    again = (tmp_path / RECORDS).read_bytes().splitlines()
    for before, after in zip(lines[2:], again[2:], strict=True):
        first, second = json.loads(before), json.loads(after)
        assert first["images"] == second["images"]
        for image in second["images"]:
            one, two = (folder / image["file"] for folder in (done, tmp_path))
            assert one.read_bytes() == two.read_bytes()


def test_languages_are_drawn_from_the_same_seeds(runs):
    for record in read_run(runs["image-languages"]).records:
        by_lang = {}
        for image in record["images"]:
            by_lang.setdefault(image["lang"], []).append(image["seed"])
        assert len({tuple(seeds) for seeds in by_lang.values()}) == 1
        assert tuple(by_lang) == LANGS


def test_a_run_compared_with_itself_shows_no_difference(runs):
    for name, folder in runs.items():
        run = read_run(folder)
        for difference in compare(run, run):
            assert difference.difference in (0, None), name
            assert difference.verdict == "no clear difference"


def test_other_experts_are_another_run(tiny_image, runs, tmp_path, monkeypatch):
    for name in (AUTOENCODER, PICTURE_TOKENIZER, IMAGE_EXPERT):
        tmp_path.joinpath(name).write_bytes(b"other weights")
    monkeypatch.setattr(tiny_image, "weights", tmp_path)
    suite = SUITES["image-scenes"]
    with pytest.raises(RecordsError, match="experts_sha256"):
        run_suite(suite, tiny_image, runs[suite.name], seed=1, limit=4, settings=QUICK)


def test_a_lost_picture_is_named(runs, tmp_path):
    folder = runs["image-concepts"]
    for name in ("run.json", RECORDS):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(RecordsError, match=r"pictures/concept-.* cannot be read"):
        read_run(tmp_path)


# --- distances -----------------------------------------------------------------------------------


def embedded(number: int, shift: float) -> dict:
    rng = np.random.default_rng(number)
    rows = (rng.normal(size=(2, 8)) + shift).tolist()
    return {"id": str(number), "kind": "image", "sample": {}, "rows": rows}


def test_distances_have_an_interval_and_tell_worse_from_better(instruments, monkeypatch):
    monkeypatch.setattr(
        DistanceUse, "inputs",
        lambda self, records: {r["id"]: {"predictions": json.dumps(r["rows"])} for r in records},
    )  # fmt: skip
    reference = np.random.default_rng(9).normal(size=(60, 8))
    monkeypatch.setattr("evals.judge.reference.read_reference", lambda: reference)
    near, far = ([embedded(n, shift) for n in range(40)] for shift in (0.0, 1.0))
    for name in ("frechet_distance", "kernel_distance"):
        use = DistanceUse(metric=name, unit="squared distance", higher_is_better=False)
        close, distant = use.score(near), use.score(far)
        assert close.ci95
        assert distant.ci95
        assert close.ci95[1] < distant.ci95[0]
        assert close.n_scored == 40
        assert close.signature.endswith("|ci:jackknife20")
        a, b, paired, n, left_out = use.paired(near, far)
        assert (a, b, n, left_out) == (close.value, distant.value, 40, 0)
        assert paired
        assert paired.ci95
        assert 0 < paired.ci95[0] < paired.value
        assert paired.p_value < 0.001
        assert paired.mde < paired.value
        assert use.score([]).value is None


def test_embeddings_of_another_judge_are_refused(instruments, monkeypatch):
    read_reference()
    monkeypatch.setattr("evals.judge.reference.fingerprint", lambda kind: "another")
    with pytest.raises(CorruptedFileError, match="and this one is another; 'python -m evals.judge"):
        read_reference()


# --- the command ---------------------------------------------------------------------------------


def test_a_group_is_its_suites():
    assert find_suites("image") == IMAGE
    assert find_suites("smoke") == (SUITES["smoke"],)
    with pytest.raises(UnknownNameError, match="Did you mean 'image-scenes'"):
        find_suites("image-scene")


def test_without_instruments_nothing_is_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "WEIGHTS", tmp_path)
    for suite in IMAGE:
        with pytest.raises(WeightsNotFoundError, match="python -m evals.judge train"):
            suite.check_ready()
    SUITES["smoke"].check_ready()


def test_options_name_what_a_metric_is_about():
    use = MetricUse(
        metric="scene_exact", unit="share", higher_is_better=True, options={"category": "two"}
    )
    assert use.name == "scene_exact_two"
    assert "|category:two|detector:" in use.signature()
