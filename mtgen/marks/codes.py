"""The mark in a picture's codes: where the networks leave a choice, a key makes it.

Drawn tokens leave the autoencoder's codes open: the tokenizer's decoder gives odds of the four
levels of each latent channel. A key takes one of the levels by these odds, as it takes the tokens
of a text (`mtgen.marks.gumbel`), where the mean of the levels would be drawn otherwise. Coded again
a picture gives most levels back, also after JPEG, resizing, or being drawn anew by the autoencoder.

A reader does not know the odds; what the tokenizer makes of the codes that are read is near. The
p-value is that of the likelihood ratio and is exact however good they are: without the key the
numbers have nothing to do with the picture.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from PIL import Image
from torch import Tensor

from mtgen.marks.gumbel import uniforms, weighted_p_value
from mtgen.model.autoencoder import LEVELS, Autoencoder, to_digits
from mtgen.model.picture_tokenizer import PictureTokenizer, to_places

TEMPERATURE = 0.8
"""Of the odds: at 1 pictures have more speckles where the networks are unsure; with less, fewer
choices are left to the key."""
READ_TEMPERATURE = 1.6
"""Of the odds that a reader finds, which are too sure: they are made of the very levels."""
SURE = 0.98
"""Levels that are likelier than that are left out: they tell nothing."""
MAX_ASPECT = 1.02
"""Longer side by shorter, beyond which a picture was cut: codes are found in whole ones alone."""


@dataclass(frozen=True)
class CodesReading:
    """The codes of a picture, and how likely each was."""

    levels: Int64[np.ndarray, "P D"]
    """Of each latent channel of each place, 0..3."""
    probabilities: Float64[np.ndarray, "P D"]
    """Of these levels."""


def numbers(secret: bytes, num_places: int, channels: int) -> Float64[np.ndarray, "P D 4"]:
    """A key's uniform numbers for the levels of all latent channels, in (0, 1).

    Args:
        secret: Of the key, derived for codes.
        num_places: P.
        channels: D.
    """
    seed = np.frombuffer(hashlib.blake2b(key=secret, digest_size=8).digest(), "<u8")
    count = num_places * channels * LEVELS
    return uniforms(seed, np.arange(count)).reshape(num_places, channels, LEVELS)


def chosen_levels(scores: Float[Tensor, "B P D 4"], secret: bytes) -> Float[Tensor, "B P D"]:
    """The levels that a key takes by the odds of `PictureTokenizer.scores`, -1.5..1.5."""
    odds = (scores.double() / TEMPERATURE).softmax(-1).clamp_min(1e-300)
    u = torch.from_numpy(numbers(secret, *scores.shape[1:3])).to(scores.device)
    return (u.log() / odds).argmax(-1).float() - (LEVELS - 1) / 2


@torch.inference_mode()
def read_codes(
    image: Image.Image,
    autoencoder: Autoencoder,
    tokenizer: PictureTokenizer,
    prompt: list[tuple[Tensor, Tensor]],
    prompt_mask: Tensor,
) -> CodesReading | None:
    """Codes a picture, whatever its size, at the size that pictures are drawn in.

    Args:
        image: Any.
        autoencoder: Of the model that may have drawn it.
        tokenizer: The same model's.
        prompt: What the tokenizer attends to: of an empty prompt, as the true one is not known.
        prompt_mask: Which of its tokens are real.

    Returns:
        None of pictures that are not square: they were cut, and their codes are lost.
    """
    if max(image.size) > MAX_ASPECT * min(image.size):
        return None
    shape = tokenizer.config
    side = shape.side * shape.patch * autoencoder.config.cell_px
    square = image.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(square)).permute(2, 0, 1)[None].float() / 127.5 - 1
    cells = autoencoder.encode(pixels.contiguous(memory_format=torch.channels_last))
    scores = tokenizer.scores(tokenizer.token_levels(cells), prompt, prompt_mask)[0].double()
    levels = to_digits(to_places(cells, shape)).flatten(-2)[0]
    odds = (scores / READ_TEMPERATURE).softmax(-1).gather(-1, levels[..., None])[..., 0]
    return CodesReading(levels.numpy(), odds.numpy())


def codes_p_value(reading: CodesReading, secret: bytes) -> float:
    """How often a picture without this key's mark has codes that look as marked."""
    open_ = reading.probabilities < SURE
    taken = np.take_along_axis(
        numbers(secret, *reading.levels.shape), reading.levels[..., None], axis=2
    )[..., 0]
    evidence = -np.log1p(-taken[open_])
    return weighted_p_value(evidence, reading.probabilities[open_], num_keys=1)
