"""Ways to mark a text, by name: ours, and those that `transformers` ships, to compare with.

A `Writer` takes the tokens of one text as they come; a `Scheme` says afterwards how likely an
unmarked text is to look as marked. Both see only what was written, never the prompt, so that
whoever has the text and the key can check it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from scipy.special import bdtrc
from torch import Tensor

from mtgen.errors import UnknownNameError
from mtgen.marks.gumbel import GumbelMark, evidence, p_value
from mtgen.model.sampling import Writer, nucleus, sample_token

KGW_GAMMA = 0.25
"""Share of the vocabulary that is green."""
KGW_DELTA = 2.0
"""Added to the logits of green tokens."""
SYNTHID_DEPTH = 30
SYNTHID_NGRAM = 5


@dataclass(frozen=True)
class Reading:
    """What a scheme finds in a text."""

    num_scored: int
    """Tokens that counted."""
    p_value: float
    """How often a text without this mark looks at least as marked."""


@runtime_checkable
class Scheme(Protocol):
    """Marks texts with one key, and finds the mark."""

    def writer(self) -> Writer: ...

    def read(self, ids: Sequence[int]) -> Reading:
        """What is found in the tokens of a text."""
        ...


class GumbelScheme:
    """The mark of `mtgen.marks.gumbel`. At temperature 0 there is no choice, and no mark."""

    def __init__(self, secret: bytes, width: int = 2, num_keys: int = 2) -> None:
        self.mark = GumbelMark(secret, width, num_keys)

    def writer(self) -> GumbelWriter:
        return GumbelWriter(self.mark)

    def read(self, ids: Sequence[int]) -> Reading:
        found = evidence(self.mark.numbers(ids, self.mark.pairs(ids)))
        return Reading(len(found), p_value(found))


class GumbelWriter:
    """Marks where a context comes for the first time; else the choice would be the same again."""

    def __init__(self, mark: GumbelMark) -> None:
        self.mark = mark
        self.context: tuple[int, ...] = ()
        self.seen: set[tuple[int, ...]] = set()
        self.num_marked = 0

    def next(
        self, logits: Tensor, temperature: float, top_p: float, generator: torch.Generator
    ) -> int:
        known = len(self.context) < self.mark.width or self.context in self.seen
        if known or temperature == 0:
            token = sample_token(logits, temperature, top_p, generator)
        else:
            odds, index = (x.numpy() for x in nucleus(logits, temperature, top_p))
            coin = int(torch.randint(self.mark.num_keys, (), generator=generator))
            tokens, odds = index[odds > 0], odds[odds > 0]
            place = self.mark.choose(self.context, tokens, odds, coin)
            token = int(tokens[place])
            self.num_marked += len(tokens) > 1
        self.seen.add(self.context)
        self.context = (*self.context, token)[-self.mark.width :]
        return token


class KGWScheme:
    """Green and red lists (arXiv:2301.10226) as `transformers` applies them."""

    def __init__(self, secret: bytes, vocab_size: int) -> None:
        from transformers import WatermarkLogitsProcessor

        self.processor: Any = WatermarkLogitsProcessor(
            vocab_size, "cpu", KGW_GAMMA, KGW_DELTA, int.from_bytes(secret[:4], "big") | 1
        )

    def writer(self) -> ProcessedWriter:
        return ProcessedWriter(self.processor, self.processor.context_width)

    def read(self, ids: Sequence[int]) -> Reading:
        """Each pair of a token and the one before counts once: a repeat is no new evidence."""
        pairs = set(zip(ids, ids[1:], strict=False))
        green = sum(
            int(token) in set(self.processor._get_greenlist_ids(torch.tensor([before])).tolist())
            for before, token in pairs
        )
        share = self.processor.greenlist_size / self.processor.vocab_size
        return Reading(len(pairs), float(bdtrc(green - 1, len(pairs), share)))


class SynthIDScheme:
    """Tournament sampling (doi:10.1038/s41586-024-08025-4) as `transformers` applies it."""

    def __init__(self, secret: bytes, vocab_size: int) -> None:
        self.keys = np.frombuffer(secret * 4, "<u4")[:SYNTHID_DEPTH].astype(int).tolist()
        self.keys = [key + place for place, key in enumerate(self.keys)]

    def processor(self) -> Any:
        """A fresh one: it remembers the contexts of its text."""
        from transformers import SynthIDTextWatermarkLogitsProcessor

        class OfPossible(SynthIDTextWatermarkLogitsProcessor):
            """Scores are of these tokens, not of the first ones of the vocabulary."""

            possible: Tensor | None = None

            def _compute_keys(self, n_minus_1_grams: Any, indices: Any) -> Any:
                possible: Any = indices if self.possible is None else self.possible[None]
                return super()._compute_keys(n_minus_1_grams, possible)

        return OfPossible(SYNTHID_NGRAM, self.keys, 2**16, 0, 1024, torch.device("cpu"))

    def writer(self) -> SynthIDWriter:
        return SynthIDWriter(self.processor(), 1)

    def read(self, ids: Sequence[int]) -> Reading:
        """Ones among the g-values of all layers, which are fair coins where there is no mark."""
        if len(ids) < SYNTHID_NGRAM:
            return Reading(0, 1.0)
        processor, row = self.processor(), torch.tensor([list(ids)])
        fresh = processor.compute_context_repetition_mask(row)[0]
        values = processor.compute_g_values(row)[0][fresh]
        fair = float(processor.sampling_table.float().mean())
        return Reading(len(values), float(bdtrc(int(values.sum()) - 1, values.numel(), fair)))


class ProcessedWriter:
    """Samples from odds that a processor of `transformers` has changed.

    As there, it comes after temperature and top_p (huggingface/transformers#34630): before them, it
    would lift tokens that are cut off otherwise, and look better found and worse to read than it
    is. At temperature 0 it takes the likeliest of the changed odds.

    Args:
        processor: Takes the tokens so far and scores of the whole vocabulary.
        width: Tokens that must stand there first.
    """

    def __init__(self, processor: Any, width: int) -> None:
        self.processor, self.width = processor, width
        self.written: list[int] = []
        self.num_marked = 0

    def changed(self, scores: Tensor, tokens: Tensor, vocab_size: int) -> Tensor:
        """New scores of the tokens that may follow."""
        whole = scores.new_full((1, vocab_size), -torch.inf)
        whole[0, tokens] = scores
        return self.processor(torch.tensor([self.written]), whole)[0, tokens]

    def next(
        self, logits: Tensor, temperature: float, top_p: float, generator: torch.Generator
    ) -> int:
        if len(self.written) < self.width:
            token = sample_token(logits, temperature, top_p, generator)
        elif not temperature:
            token = int(self.changed(logits, torch.arange(len(logits)), len(logits)).argmax())
            self.num_marked += 1
        else:
            probabilities, tokens = nucleus(logits, temperature, top_p)
            odds = self.changed(probabilities.log(), tokens, len(logits)).softmax(0)
            token = int(tokens[torch.multinomial(odds, 1, generator=generator)])
            self.num_marked += len(tokens) > 1
        self.written.append(token)
        return token


class SynthIDWriter(ProcessedWriter):
    """Plays the tournament among the tokens that may follow alone; the others have no odds to win.

    The processor plays it for the whole vocabulary, which takes a hundred times as long.
    """

    def changed(self, scores: Tensor, tokens: Tensor, vocab_size: int) -> Tensor:
        self.processor.possible = tokens
        return self.processor(torch.tensor([self.written]), scores[None])[0]


SCHEMES: dict[str, Callable[[bytes, int], Scheme]] = {
    "gumbel": lambda secret, vocab_size: GumbelScheme(secret),
    "gumbel-single": lambda secret, vocab_size: GumbelScheme(secret, num_keys=1),
    "kgw": KGWScheme,
    "synthid": SynthIDScheme,
}


def scheme(name: str, secret: bytes, vocab_size: int) -> Scheme:
    """A scheme by its name.

    Raises:
        UnknownNameError: none is called so.
    """
    if name not in SCHEMES:
        raise UnknownNameError("scheme of marks", name, SCHEMES)
    return SCHEMES[name](secret, vocab_size)
