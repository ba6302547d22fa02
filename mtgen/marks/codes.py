"""The mark in a picture's codes: the mark of text, on what a picture is drawn of.

A code is chosen as a token of text is (`mtgen.marks.gumbel`), its place in the picture and in the
place standing for the context; the seed picks one of two keys for each. It is read by encoding the
picture again. Not all codes come back: the first of a place comes back in about half of the
places, so scores allow for as many that say nothing.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from PIL import Image
from torch import Tensor

from mtgen.marks.gumbel import MIDDLES, GumbelMark, evidence, sum_p_value
from mtgen.model.autoencoder import CODEBOOK_SIZE

MEAN = 3.0
"""Mean evidence of a code that was marked and comes back, about; 1 where there is no mark."""
KEPT = (0.5, 0.2)
"""Share of first and second codes that come back from a picture, about."""


def code_mark(secret: bytes) -> GumbelMark:
    """Numbers of a key for codes, by place and rank."""
    return GumbelMark(secret)


def preferences(secret: bytes, num_places: int, num_codes: int) -> Float[Tensor, "P K S V"]:
    """Logarithms of a key's uniform numbers for all codes at all places.

    Args:
        secret: Of the key, derived for codes.
        num_places: Of a picture.
        num_codes: Of a place.
    """
    mark, all_codes = code_mark(secret), np.arange(CODEBOOK_SIZE)
    numbers = [
        [mark.uniforms((place, rank), all_codes) for rank in range(num_codes)]
        for place in range(num_places)
    ]
    return torch.from_numpy(np.log(numbers)).float()


def code_scores(
    evidence: Float64[np.ndarray, "*N"], kept: Float64[np.ndarray, "*N"]
) -> Float64[np.ndarray, "*N"]:
    """Log-likelihood of marked over unmarked codes, of which a share is `kept`."""
    return np.log(1 - kept + kept / MEAN * np.exp(evidence * (1 - 1 / MEAN)))


def codes_p_value(codes: Int64[np.ndarray, "P K"], secret: bytes) -> float:
    """How often the codes of a picture without this key's mark look as marked.

    Args:
        codes: Of a picture, places in raster order.
        secret: Of the key, derived for codes.
    """
    mark = code_mark(secret)
    numbers = [
        mark.uniforms((place, rank), np.array([code]))[:, 0]
        for place, row in enumerate(codes.tolist())
        for rank, code in enumerate(row)
    ]
    kinds = np.tile(np.arange(codes.shape[1]), len(codes))
    kept = np.array(KEPT)[np.minimum(kinds, len(KEPT) - 1)]
    found = code_scores(evidence(np.array(numbers)), kept)
    shares = np.array(KEPT)[np.minimum(np.arange(codes.shape[1]), len(KEPT) - 1)]
    return sum_p_value(found, kinds, code_scores(MIDDLES[None], shares[:, None]))


def pixels_of(image: Image.Image, side: int) -> Float[Tensor, "1 3 H W"]:
    """A picture as the autoencoder reads it, in -1..1."""
    image = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    array = np.asarray(image).copy()
    return torch.from_numpy(array).permute(2, 0, 1)[None].float() / 127.5 - 1
