"""The mark of a translation, looked for with its original beside it.

With the original the model says what else could have stood at each place, and how likely that was.
So it is known how much each choice could be swayed by the key, and how much it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int64

from mtgen.engine.linear import Updates
from mtgen.engine.runtime import Runtime
from mtgen.errors import BadRequestError
from mtgen.marks.gumbel import GumbelMark, uniforms
from mtgen.marks.tilt import STRENGTH
from mtgen.model.language import detect_language
from mtgen.model.tokenizer import ChatTokenizer, translation_prompt
from mtgen.requests import LANGUAGES
from mtgen.tasks.segments import split

NUM_OPTIONS = 16
"""Tokens that are compared at a place: the one that stands there, and the likeliest others."""
FREE = 0.98
"""A place whose token is likelier than that says nothing."""
MAX_PLACES = 600
"""Of a text that are looked at: by then the key alone tells."""
MAX_PAIRS = 100
"""Sentences that are read, enough for as many places."""
MAX_TOKENS = 1024
"""Of an original and its translation whose sentences cannot be paired."""
RANDOM_KEYS = 9_999
CHUNK = 250


@dataclass(frozen=True)
class Choices:
    """What could have stood in a translation, at the places that tell something."""

    contexts: list[tuple[int, ...]]
    """The tokens before each place, on which a key's numbers depend; each comes once."""
    tokens: Int64[np.ndarray, "N C"]
    """The one that stands there, then others."""
    odds: Float64[np.ndarray, "N C"]
    """Their probabilities by the model, given the original."""


def paired_sentences(original: str, text: str, src_lang: str, tgt_lang: str) -> list[list[str]]:
    """The first MAX_PAIRS sentences of both; the whole of both where their numbers differ.

    Raises:
        BadRequestError: one side has none, only code or numbers.
    """
    sides = [
        [piece.text for piece in split(side, lang) if piece.translate]
        for side, lang in ((original, src_lang), (text, tgt_lang))
    ]
    for side, name in zip(sides, ("original", "translation"), strict=True):
        if not side:
            raise BadRequestError(f"there is no sentence in the {name} that could be compared")
    if len(sides[0]) == len(sides[1]):
        return [list(pair) for pair in zip(*sides, strict=True)][:MAX_PAIRS]
    return [[" ".join(side) for side in sides]]


def told_languages(original: str, text: str) -> tuple[str, str]:
    """Languages of an original and its translation.

    Raises:
        BadRequestError: one cannot be told, or they are one.
    """
    found = [detect_language(side).language for side in (original, text)]
    for lang, name in zip(found, ("original", "translation"), strict=True):
        if lang is None:
            raise BadRequestError(
                f"the language of the {name} cannot be told; it must be one of "
                f"{', '.join(LANGUAGES.values())}, and longer texts are told more surely"
            )
    source, target = found
    assert source is not None
    assert target is not None
    if source == target:
        raise BadRequestError(
            f"the original and the translation both seem to be in {LANGUAGES[source]}; give the "
            "text that was translated as the original"
        )
    return source, target


@torch.inference_mode()
def sentence_choices(
    source: str, target: str, src_lang: str, tgt_lang: str, tokenizer: ChatTokenizer,
    runtime: Runtime, expert: Sequence[Updates], width: int = 2,
) -> Choices:  # fmt: skip
    """Asks the model what it would have written.

    Args:
        source: A sentence.
        target: Its translation.
        src_lang: Language of the sentence.
        tgt_lang: Of the translation.
        tokenizer: Of the trunk.
        runtime: The trunk.
        expert: The translation expert's updates of each layer.
        width: Tokens before a place, on which the key's numbers depend.

    Raises:
        BadRequestError: they are too long to be read at once.
    """
    prompt = translation_prompt(tokenizer.encode(source), src_lang, tgt_lang, tokenizer)
    ids = tokenizer.encode(target)
    if len(prompt) + len(ids) > MAX_TOKENS:
        raise BadRequestError(
            "the original and the translation have different numbers of sentences and are too "
            "long to be compared as a whole; give a paragraph of each"
        )
    cache = runtime.new_cache(len(prompt) + len(ids))
    given = torch.tensor([*prompt, *ids[:-1]])
    logits = runtime.forward(given, cache, all_logits=True, expert=expert)[len(prompt) - 1 :]
    taken = torch.tensor(ids)[:, None]
    shares = logits.softmax(-1)
    odds = shares.gather(1, taken)
    others = shares.scatter(1, taken, 0).topk(NUM_OPTIONS - 1)
    tokens = torch.cat([taken, others.indices], 1)
    odds = torch.cat([odds, others.values], 1)
    free = [n for n in range(width, len(ids)) if odds[n, 0] < FREE]
    return Choices(
        [tuple(ids[n - width : n]) for n in free], tokens[free].numpy(),
        odds[free].double().numpy(),
    )  # fmt: skip


def merged(parts: Sequence[Choices]) -> Choices:
    """Choices of several sentences; of those with one context the first counts."""
    contexts = [context for part in parts for context in part.contexts]
    first = list({context: n for n, context in reversed(list(enumerate(contexts)))}.values())
    first = sorted(first)[:MAX_PLACES]
    return Choices(
        [contexts[n] for n in first],
        np.concatenate([part.tokens for part in parts])[first],
        np.concatenate([part.odds for part in parts])[first],
    )


def tilt_scores(
    numbers: Float64[np.ndarray, "*K N C"], odds: Float64[np.ndarray, "N C"], strength: float
) -> Float64[np.ndarray, "*K"]:
    """Log-likelihood ratio of choices that lean towards what a key likes over those that do not.

    A token of probability p that the key gives the number u is taken with a probability that is
    proportional to p exp(strength (u - 1/2)); those beyond the options count with their mean.
    """
    leans = np.exp(strength * (numbers - 0.5))
    beyond = (1 - odds.sum(-1)).clip(0) * (2 / strength) * np.sinh(strength / 2)
    total = np.einsum("...nc,nc->...n", leans, odds) + beyond
    return (np.log(leans[..., 0]) - np.log(total)).sum(-1)


def choices_p_value(
    choices: Choices, mark: GumbelMark, strength: float = STRENGTH, num_random: int = RANDOM_KEYS
) -> float:
    """How often a translation that has nothing to do with the key leans towards it as much.

    By rank among random numbers in place of the key's, which is exact for any text and model
    (Monte Carlo test; Barnard 1963); so it is no smaller than 1 in `num_random` + 1.
    """
    if not choices.contexts:
        return 1.0
    seeds = np.array([mark.seeds(context) for context in choices.contexts])
    found = tilt_scores(uniforms(seeds[:, :1], choices.tokens), choices.odds, strength)
    rng, better = np.random.default_rng(0), 0
    for start in range(0, num_random, CHUNK):
        count = min(CHUNK, num_random - start)
        random = rng.random((count, *choices.tokens.shape))
        better += int((tilt_scores(random, choices.odds, strength) >= found).sum())
    return (1 + better) / (1 + num_random)
