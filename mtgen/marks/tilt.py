"""The mark in translations: beams prefer tokens that a key likes, a little.

A translation is the likeliest that is found, so there is no chance that a key could decide.
Instead each token gets a number of the key, uniform in (0, 1), and beams are ranked by their
log-probability plus STRENGTH times those numbers. It costs a little quality and marks a little in
each sentence: what cannot be told from one is told from many. (Preferring some tokens is the idea
of arXiv:2301.10226; the numbers are those of `mtgen.marks.gumbel`.)
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mtgen.marks.gumbel import MIDDLES, GumbelMark, sum_p_value, uniforms

STRENGTH = 1.05
"""Nats between the token that the key likes best and the one it likes least."""
SLOPE = 0.4
"""Of the density 1 + SLOPE (2 u - 1) that the numbers of marked tokens have, about."""


def tilt_mark(secret: bytes) -> GumbelMark:
    """Numbers of a key for beams: one for each token."""
    return GumbelMark(secret, num_keys=1)


class Tilt:
    """A `mtgen.model.beam.Bonus` for what a key likes.

    Args:
        secret: Of the key.
        strength: In nats, see STRENGTH.
    """

    def __init__(self, secret: bytes, strength: float = STRENGTH) -> None:
        self.mark, self.strength = tilt_mark(secret), strength

    def __call__(
        self, written: Int64[Tensor, "N T"], tokens: Int64[Tensor, "N C"]
    ) -> Float[Tensor, "N C"]:
        width = self.mark.width
        if written.shape[1] < width:
            return torch.zeros(tokens.shape)
        seeds = np.array([self.mark.seeds(row) for row in written[:, -width:].tolist()])
        liked = uniforms(seeds, tokens.numpy()) - 0.5
        return torch.from_numpy(self.strength * liked).float()


def tilt_score(evidence: Float64[np.ndarray, "*N"]) -> Float64[np.ndarray, "*N"]:
    """Log-likelihood of marked over unmarked translations, of each token's `evidence`."""
    return np.log1p(SLOPE * (1 - 2 * np.exp(-evidence)))


def tilt_p_value(evidence: Float64[np.ndarray, " N"]) -> float:
    """How often an unmarked text looks as much like a marked translation."""
    kinds = np.zeros(len(evidence), dtype=np.int64)
    return sum_p_value(tilt_score(evidence), kinds, tilt_score(MIDDLES)[None])
