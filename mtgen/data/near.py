"""Near-duplicates: MinHash signatures (rensa), compared in bands, in a fixed order.

Source: Broder 1997, "On the resemblance and containment of documents"; banding as in Leskovec,
Rajaraman, Ullman, "Mining of Massive Datasets", chapter 3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NUM_PERM = 64
ROWS = 4
"""Signature values per band: 16 bands of 4 find a pair of similarity 0.85 with probability
1 - (1 - 0.85^4)^16 > 0.9999, one of 0.5 with 0.64; the first candidate
of each band is then compared in full."""

SEED = 1
SHINGLE = 5
CHUNK = 4_000
"""Texts whose shingles are in memory at a time."""


def shingles(text: str) -> list[str]:
    """Overlapping runs of five characters of a normalised text."""
    padded = f" {text} "
    return [padded[i : i + SHINGLE] for i in range(max(1, len(padded) - SHINGLE + 1))]


def signatures(texts: Sequence[str]) -> np.ndarray:
    """MinHash signatures, uint32 `N P`, of normalised texts."""
    from rensa import RMinHash  # pyright: ignore[reportAttributeAccessIssue]

    if not texts:
        return np.zeros((0, NUM_PERM), np.uint32)
    parts = []
    for start in range(0, len(texts), CHUNK):  # shingles of all texts at once would fill memory
        sets = [shingles(text) for text in texts[start : start + CHUNK]]
        matrix = RMinHash.digest_matrix_from_token_sets(sets, NUM_PERM, SEED)
        parts.append(np.asarray(matrix.to_rows(), np.uint32))
    return np.concatenate(parts)


def bands(signatures: np.ndarray) -> list[np.ndarray]:
    """One key per text and band: uint64 arrays of length N."""
    mixed = []
    for start in range(0, NUM_PERM, ROWS):
        key = np.zeros(len(signatures), np.uint64)
        for column in range(start, start + ROWS):
            key = key * np.uint64(0x9E3779B97F4A7C15) + signatures[:, column].astype(np.uint64)
            key ^= key >> np.uint64(29)
        mixed.append(key)
    return mixed


def repeats(signatures: np.ndarray, threshold: float) -> np.ndarray:
    """Marks, bool `N`, the texts that are near an earlier one.

    Args:
        signatures: uint32 `N P`.
        threshold: Least estimated Jaccard similarity of the shingles, in (0, 1].
    """
    marked = np.zeros(len(signatures), bool)
    for key in bands(signatures):
        _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
        earlier = first[inverse]
        later = np.flatnonzero((earlier != np.arange(len(key))) & ~marked)
        same = (signatures[later] == signatures[earlier[later]]).mean(axis=1)
        marked[later[same >= threshold]] = True
    return marked


def near_any(signatures: np.ndarray, others: np.ndarray, threshold: float) -> np.ndarray:
    """Marks, bool `N`, the texts that are near one of `others` (uint32 `M P`)."""
    marked = np.zeros(len(signatures), bool)
    if not len(others):
        return marked
    for key, other in zip(bands(signatures), bands(others), strict=True):
        order = np.argsort(other, kind="stable")
        place = np.searchsorted(other[order], key)
        place = np.minimum(place, len(order) - 1)
        hits = np.flatnonzero((other[order][place] == key) & ~marked)
        same = (signatures[hits] == others[order[place[hits]]]).mean(axis=1)
        marked[hits[same >= threshold]] = True
    return marked
