"""The judge, the detector and the embeddings that come with the project."""

from __future__ import annotations

import pytest

from evals.judge.concepts import NUM_CAPTIONS, told_nouns
from evals.judge.reference import read_reference
from evals.judge.weights import load_detector, load_judge
from evals.reports.tables import read_run
from evals.runner.run import run_suite
from evals.suites import GROUPS, SUITES
from mtgen.data.images.held_out import common_nouns
from mtgen.data.images.lexicon import LANGS, Lexicon


def test_the_judge_is_asked_only_for_what_it_can_tell():
    told = told_nouns()
    assert told <= {noun.codepoints for noun in Lexicon.read()}
    for name in ("image-concepts", "image-languages"):
        asked = {sample.id.partition("-")[2] for sample in SUITES[name].samples()}
        assert asked <= told


def test_the_embeddings_are_of_this_judge():
    vectors = read_reference()
    assert vectors.shape == (1000, load_judge().config.n_embd)


def test_the_judge_finds_a_thing_in_another_language():
    judge = load_judge()
    nouns = [noun for noun in Lexicon.read() if noun.codepoints in told_nouns()][:NUM_CAPTIONS]
    said = {
        lang: judge.embed_captions([n.words[lang][0].singular for n in nouns]) for lang in LANGS
    }
    for lang in LANGS[1:]:
        nearest = (said["en"] @ said[lang].T).argmax(1)
        assert (nearest == range(len(nouns))).mean() > 0.9, lang


def test_the_detector_knows_the_nouns_of_the_scenes():
    common = {noun.codepoints for noun in common_nouns(Lexicon.read())}
    assert set(load_detector().config.nouns) == common


def test_every_image_suite_is_ready():
    for suite in GROUPS["image"]:
        suite.check_ready()


@pytest.mark.slow
def test_released_pictures_are_drawn_and_scored(real, tmp_path):
    run_suite(SUITES["image-concepts"], real, tmp_path, seed=0, limit=3, settings={})
    found = read_run(tmp_path).scores[0]
    assert found.name == "r_precision_100"
    assert (found.n_scored, found.n_unscored) == (3, 0)
    assert found.value is not None
