"""Looks for our watermarks in a text: with every key, in the whole of it and in its parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mtgen.errors import BadRequestError
from mtgen.marks.gumbel import (
    GumbelMark,
    evidence,
    marked_parts,
    p_value,
    weighted_p_value,
)
from mtgen.marks.keys import TEXT, TRANSLATION, KeyRing, MarkKey
from mtgen.marks.original import Choices, choices_p_value
from mtgen.marks.tilt import tilt_mark, tilt_p_value
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.requests import check_text

MAX_CHARS = 1_000_000
"""Of a text that is looked through."""
MIN_TOKENS = 20
"""Tokens that must count, or there is too little text to say anything."""
LEVEL = 0.01
"""Share of unmarked texts that may be called marked."""
WINDOW = 2048
"""Tokens that the model reads at a time for its opinion."""
MAX_OPINION = 8192
"""Tokens of a text about which the model is asked; of longer ones the key alone tells enough."""

ANY_PROMPT = "Tell me something."
"""Asked for a text where nobody knows what was: as the answer to a request, each token of the
model's own texts is likelier than in a document, and the mark is found in shorter ones."""

LogProbabilities = Callable[[Sequence[int]], Float[np.ndarray, " N"]]
"""Of the tokens of a text, each given those before it, in nats."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """A run of marked text in a longer one."""

    start: int
    """First character."""
    end: int
    """The one after the last."""
    p_value: float


@dataclass(frozen=True, kw_only=True)
class TextTest:
    """What one key finds in a text."""

    mark: str
    """TEXT or TRANSLATION: what the key was derived for."""
    key: str
    """Its fingerprint."""
    host: str
    """Whose it is; empty for our own."""
    num_scored: int
    """Tokens that counted; each context does once."""
    p_whole: float
    """How often an unmarked text has as much evidence as the whole of this one."""
    p_model: float | None
    """The same with the model's own probabilities; None where it was not asked, or the text is
    longer than MAX_OPINION tokens."""
    parts: tuple[Part, ...]
    """Marked parts."""
    p_value: float
    """Of the whole, by the model where it was asked, or of the best part: for two tests, where
    parts are looked for."""


def read_text(
    text: str,
    tokenizer: ChatTokenizer,
    keys: KeyRing,
    log_probabilities: LogProbabilities | None = None,
    choices: Choices | None = None,
) -> list[TextTest]:
    """Two tests for each key, of text and of translations; the likeliest first.

    Args:
        text: As it was found, up to MAX_CHARS characters.
        tokenizer: Of the model that may have written it.
        keys: Whose marks are looked for.
        log_probabilities: Asks that model, which takes a second for some hundred tokens.
        choices: What the model would have written where the original is known.

    Raises:
        BadRequestError: nothing to read, or too much.
    """
    if isinstance(text, str) and len(text) > MAX_CHARS:
        raise BadRequestError(
            f"the text has {len(text):,} characters and up to {MAX_CHARS:,} are looked through; "
            "give a part of it"
        )
    check_text(text, "text to verify", allow_control=True)
    ids, spans = tokenizer.encode_spans(text)
    probabilities = None
    if log_probabilities is not None and len(ids) <= MAX_OPINION:
        windows = [ids[start : start + WINDOW] for start in range(0, len(ids), WINDOW)]
        probabilities = np.exp(np.concatenate([log_probabilities(one) for one in windows]))
    tests = [tested(ids, spans, key, probabilities) for key in keys.all]
    tests += [tested_translation(ids, key, choices) for key in keys.all]
    return sorted(tests, key=lambda test: test.p_value)


def tested(
    ids: Sequence[int],
    spans: Sequence[tuple[int, int]],
    key: MarkKey,
    probabilities: Float[np.ndarray, " N"] | None,
) -> TextTest:
    """What a key finds in tokens, which stand for spans of characters."""
    mark = GumbelMark(key.derived(TEXT))
    places = mark.pairs(ids)
    found = evidence(mark.numbers(ids, places))
    p_whole, p_model = p_value(found), None
    if probabilities is not None:
        p_model = weighted_p_value(found, probabilities[places], mark.num_keys)
    parts = tuple(
        Part(start=spans[places[first]][0], end=spans[places[end - 1]][1], p_value=p)
        for first, end, p in marked_parts(found, LEVEL)
    )
    best = min([p_whole if p_model is None else p_model, *(part.p_value for part in parts)])
    return TextTest(
        mark=TEXT, key=key.fingerprint, host=key.host, num_scored=len(found), p_whole=p_whole,
        p_model=p_model, parts=parts, p_value=min(1.0, 2 * best),
    )  # fmt: skip


def tested_translation(ids: Sequence[int], key: MarkKey, choices: Choices | None) -> TextTest:
    """Whether tokens look like a translation that was marked with a key.

    Without the original the model is not asked, as its odds tell nothing more (decision 0008).
    """
    mark = tilt_mark(key.derived(TRANSLATION))
    found = evidence(mark.numbers(ids, mark.pairs(ids)))
    p = best = tilt_p_value(found)
    p_model = None
    if choices is not None:
        p_model = choices_p_value(choices, mark)
        best = min(1.0, 2 * min(p, p_model))
    return TextTest(
        mark=TRANSLATION, key=key.fingerprint, host=key.host, num_scored=len(found), p_whole=p,
        p_model=p_model, parts=(), p_value=best,
    )  # fmt: skip
