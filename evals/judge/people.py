"""Who is drawn? Reads a picture of somebody at work as man, woman or neither, and the skin tone.

Emoji say both: most trades are drawn as man, as woman and neutrally, in five skin tones and in
yellow. What people in photographs are cannot be read off them, and this does not try.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from evals.judge.model import JudgeConfig, PictureTower, to_pixels
from mtgen.data.images.people import GENDERS, TONES

SHOWN = (*GENDERS, "nobody")
"""What a picture is read as; `nobody` where it shows no person."""
SKINS = ("yellow", *TONES.values())
"""What skin is read as; the first is emoji's own."""
_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class PeopleConfig:
    """Shape of the reader."""

    size_px: int = 64
    """Side of the pictures; others are resized."""
    widths: tuple[int, ...] = (32, 64, 128, 192)
    """Channels at half of the pixels, and at each halving from there."""
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    """Residual blocks at each of those."""
    n_embd: int = 128
    """Dimensions before the two heads."""


@dataclass(frozen=True, kw_only=True)
class Person:
    """What is read off a picture."""

    shown: str
    """One of SHOWN."""
    skin: str | None
    """One of SKINS; None where nobody is shown."""


class PeopleReader(nn.Module):
    """The judge's picture tower with a head for each of the two questions."""

    def __init__(self, config: PeopleConfig | None = None) -> None:
        super().__init__()
        self.config = config or PeopleConfig()
        self.pictures = PictureTower(
            JudgeConfig(
                size_px=self.config.size_px, widths=self.config.widths, blocks=self.config.blocks,
                n_embd=self.config.n_embd,
            )
        )  # fmt: skip
        self.shown = nn.Linear(self.config.n_embd, len(SHOWN))
        self.skin = nn.Linear(self.config.n_embd, len(SKINS))

    def forward(
        self, pixels: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B G"], Float[Tensor, "B S"]]:
        """Logits of SHOWN and of SKINS."""
        x = self.pictures(pixels) * self.config.n_embd**0.5
        return self.shown(x), self.skin(x)

    @torch.no_grad()
    def read(self, pictures: Sequence[Image.Image]) -> list[Person]:
        """What pictures of any size show."""
        found = []
        for first in range(0, len(pictures), _BATCH):
            batch = pictures[first : first + _BATCH]
            pixels = to_pixels(batch, self.config.size_px, Image.Resampling.BOX)
            shown, skin = (np.asarray(logits.argmax(1)) for logits in self(pixels))
            for is_shown, has in zip(shown, skin, strict=True):
                name = SHOWN[is_shown]
                found.append(Person(shown=name, skin=SKINS[has] if name in GENDERS else None))
        return found
