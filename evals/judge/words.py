"""Captions as bags of hashed features: words, pairs of neighbouring words, and parts of words.

Parts of words let languages share what they share ("elephant", "éléphant", "elefante") and carry
over to inflected forms; pairs of words keep "red car, blue tree" apart from "blue car, red tree".
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int32, Int64

from mtgen.model.language import unaccented

NUM_BUCKETS = 2**14
NGRAMS = (3, 4)
"""Lengths of the parts, in characters; a word's ends count as one character each."""

_WORD = re.compile(r"[^\W_]+")


def features(caption: str) -> list[int]:
    """Buckets of a caption's features, 0..NUM_BUCKETS-1; one for a caption without any word."""
    words = _WORD.findall(unaccented(caption))
    found = [*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))]
    for word in words:
        ended = f"<{word}>"
        for n in NGRAMS:
            found += [f"#{ended[i : i + n]}" for i in range(len(ended) - n + 1)]
    return [zlib.crc32(name.encode()) % NUM_BUCKETS for name in found or [""]]


class Bags:
    """Many captions' features in one array, to take some out at once."""

    def __init__(self, captions: Iterable[str]) -> None:
        rows = [features(caption) for caption in captions]
        self.starts: Int64[np.ndarray, " N+1"] = np.cumsum([0, *map(len, rows)])
        self.ids: Int32[np.ndarray, " F"] = np.fromiter(
            (bucket for row in rows for bucket in row), np.int32, int(self.starts[-1])
        )

    def __len__(self) -> int:
        return len(self.starts) - 1

    def take(
        self, rows: Sequence[int] | np.ndarray
    ) -> tuple[Int64[np.ndarray, " F"], Int64[np.ndarray, " B"]]:
        """Features of some captions, one after the other, and where each caption's begin."""
        parts = [self.ids[self.starts[row] : self.starts[row + 1]] for row in rows]
        starts = np.cumsum([0, *map(len, parts)])[:-1]
        return np.concatenate(parts).astype(np.int64), starts
