"""Picks the next token. All randomness comes from the generator that is passed in."""

from __future__ import annotations

import secrets

import torch
from jaxtyping import Float
from torch import Tensor

from mtgen.requests import MAX_SEED

SHORTLIST = 256
"""Tokens sorted at first; the whole vocabulary is sorted only when these hold less than top_p."""


def draw_seed() -> int:
    """A fresh seed, 0..2**32-1."""
    return secrets.randbelow(MAX_SEED + 1)


def seeded(seed: int) -> torch.Generator:
    """A CPU generator, the same everywhere for the same seed."""
    return torch.Generator("cpu").manual_seed(seed)


def sample_token(
    logits: Float[Tensor, " V"], temperature: float, top_p: float, generator: torch.Generator
) -> int:
    """One token id.

    Args:
        logits: Of the next token, float32.
        temperature: 0 takes the likeliest; else logits are divided by it.
        top_p: The smallest set of likeliest tokens with at least this probability is sampled.
        generator: Source of all randomness.

    Source: nucleus sampling, arXiv:1904.09751.
    """
    if temperature == 0:
        return int(logits.argmax())
    # in float64, and shifted first: a tiny temperature must not overflow
    probabilities = ((logits.double() - logits.max()) / temperature).softmax(0)
    if top_p == 1:
        return int(torch.multinomial(probabilities, 1, generator=generator))
    top, index = probabilities.topk(min(SHORTLIST, len(probabilities)))
    total = top.cumsum(0)
    if total[-1] < top_p:
        top, index = probabilities.sort(descending=True)
        total = top.cumsum(0)
    kept = int((total < top_p).sum()) + 1
    return int(index[torch.multinomial(top[:kept], 1, generator=generator)])
