"""The mark of a translation, looked for beside its original."""

import numpy as np
import pytest
from scipy.stats import kstest

import mtgen
from mtgen.errors import BadRequestError
from mtgen.marks.gumbel import evidence, uniforms
from mtgen.marks.keys import KeyRing, MarkKey
from mtgen.marks.original import (
    NUM_OPTIONS,
    Choices,
    choices_p_value,
    merged,
    paired_sentences,
    sentence_choices,
    told_languages,
)
from mtgen.marks.tilt import tilt_mark, tilt_p_value

KEY = tilt_mark(b"s" * 32)
OWN = MarkKey(b"o" * 32)


def made_up(length: int, seed: int, strength: float) -> Choices:
    """Tokens drawn from odds that lean towards what KEY likes."""
    rng = np.random.default_rng(seed)
    contexts = [tuple(map(int, pair)) for pair in rng.integers(10**6, size=(length, 2))]
    tokens = np.stack([rng.choice(10_000, NUM_OPTIONS, replace=False) for _ in contexts])
    # as in translations, most places leave hardly a choice
    spread = np.where(rng.random(length) < 0.7, 0.02, 1.0)
    odds = np.stack([rng.dirichlet(np.full(NUM_OPTIONS, share)) for share in spread])
    seeds = np.array([KEY.seeds(context) for context in contexts])
    leaning = odds * np.exp(strength * uniforms(seeds, tokens))
    for row, shares in enumerate(leaning):
        taken = rng.choice(NUM_OPTIONS, p=shares / shares.sum())
        for side in (tokens, odds):
            side[row, [0, taken]] = side[row, [taken, 0]]
    return Choices(contexts, tokens, odds)


def test_without_a_mark_p_values_are_uniform():
    found = [choices_p_value(made_up(25, seed, 0.0), KEY, num_random=399) for seed in range(300)]
    assert kstest(found, "uniform").pvalue > 0.01


def test_a_mark_is_found_sooner_than_by_the_key_alone():
    texts = [made_up(60, seed, 1.0) for seed in range(40)]
    beside = [choices_p_value(text, KEY, num_random=999) for text in texts]
    alone = []
    for text in texts:
        seeds = np.array([KEY.seeds(context) for context in text.contexts])
        alone.append(tilt_p_value(evidence(uniforms(seeds, text.tokens[:, :1]))))
    assert np.mean(np.log(beside)) < np.mean(np.log(alone)) - 0.3
    other = tilt_mark(b"x" * 32)
    assert np.median([choices_p_value(text, other, num_random=199) for text in texts]) > 0.2


def test_a_context_counts_once_and_no_choice_proves_nothing():
    text = made_up(10, 0, 0.0)
    twice = merged([text, text])
    assert twice.contexts == text.contexts
    assert (twice.tokens == text.tokens).all()
    assert choices_p_value(merged([Choices([], text.tokens[:0], text.odds[:0])]), KEY) == 1


def test_sentences_are_paired_where_both_have_as_many():
    text = "It rains. We stay at home."
    assert paired_sentences(text, "Es regnet. Wir bleiben zu Hause.", "en", "de") == [
        ["It rains.", "Es regnet."], ["We stay at home.", "Wir bleiben zu Hause."],
    ]  # fmt: skip
    assert paired_sentences(text, "Es regnet, wir bleiben zu Hause.", "en", "de") == [
        [text, "Es regnet, wir bleiben zu Hause."]
    ]


def test_only_so_many_sentences_are_read_and_none_is_refused():
    assert len(paired_sentences("It rains.\n" * 300, "Es regnet.\n" * 300, "en", "de")) == 100
    for original, text, side in (
        ("```\nIt rains.\n```", "Es regnet.", "original"),
        ("It rains.", "```\nEs regnet.\n```", "translation"),
    ):
        with pytest.raises(BadRequestError, match=f"no sentence in the {side}"):
            paired_sentences(original, text, "en", "de")


def test_originals_that_cannot_be_compared_are_one_sentence():
    german = "Wir bleiben heute lieber zu Hause, weil es regnet."
    assert told_languages("We would rather stay at home today.", german) == ("en", "de")
    with pytest.raises(BadRequestError, match="both seem to be in German"):
        told_languages(german, german)
    with pytest.raises(BadRequestError, match="language of the original cannot be told"):
        told_languages("12, 13", german)


@pytest.fixture(scope="module")
def pipeline(trunk_folder):
    return mtgen.load(keys=KeyRing(OWN), progress=False)


def test_the_model_says_what_else_could_have_stood_there(pipeline):
    found = sentence_choices(
        "Where is the station?", "Où est la gare ?", "en", "fr", pipeline.tokenizer,
        pipeline.runtime, pipeline.translation_expert(),
    )  # fmt: skip
    ids = pipeline.tokenizer.encode("Où est la gare ?")
    assert set(found.tokens[:, 0]) <= set(ids)
    assert (found.odds.sum(1) <= 1 + 1e-5).all()
    assert (found.odds[:, 1:] <= found.odds[:, 1:2]).all()
    assert all(len(set(row)) == NUM_OPTIONS for row in found.tokens)


@pytest.mark.slow
def test_a_translation_is_told_from_a_persons_beside_its_original(pipeline):
    original = (
        "The old man walked slowly along the beach every morning. He liked the sound of the waves "
        "and the cries of the birds. His dog always ran ahead of him. When it rained they stayed "
        "in the small house near the harbour. There he wrote letters to his friends and cooked "
        "soup. In the evening he looked at the lights of the ships for a long time."
    )
    made = pipeline.translate(original, source="en", target="fr")
    found = pipeline.verify(made.text, original=original)
    [test] = [test for test in found.text_tests if test.mark == "translation"]
    assert test.p_model is not None
    assert test.p_value <= 1
    plain = pipeline.translate(original, source="en", target="fr", mark="none")
    without = pipeline.verify(plain.text, original=original)
    [other] = [test for test in without.text_tests if test.mark == "translation"]
    assert test.p_model < other.p_model
    with pytest.raises(BadRequestError, match="both seem to be in English"):
        pipeline.verify(original, original=original)
    with pytest.raises(BadRequestError, match="too long to be compared as a whole"):
        pipeline.verify(made.text, original=original + (" " + original) * 12)
