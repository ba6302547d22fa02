"""What scenes stand on: plain named shades, soft gradients, and ground under sky.

A shade is one of SHADES, named by the colour that a caption may call it; it suits a sprite when
the sprite's edge stands out from it.
"""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageColor

from mtgen.data.images.colours import COLOUR_NAMES, to_oklab
from mtgen.data.images.grammar import pick

_PALETTE = {
    "white": "#ffffff #ffffff #fdfdfb #fafbfc #f7f7f7",
    "gray": "#c4c4c4 #a8adb0 #8c8f92 #d2d3d4 #6f7274",
    "black": "#0b0b0c #17181a #222326 #000000",
    "red": "#d92b2b #c62828 #e23b3b #e53935",
    "orange": "#f58a1f #fb9a2d #ef7d12 #ffab4d",
    "yellow": "#fdd835 #ffe45c #fbe27a #f9cf2e #fff07a",
    "green": "#4caf50 #8bc97a #2e8b45 #b5dfa4 #6abf4b #1f6b3a",
    "blue": "#4a90e2 #9cc9f2 #1e63c4 #bfdcf5 #5fb3ea #20408f",
    "purple": "#8e5bc0 #b493dc #6a3aa8 #a06cd5 #7b4397",
    "pink": "#f7a8c4 #f48fb1 #fbc4d6 #ee7fb0",
    "brown": "#7b5537 #8d6543 #6a452c #5d4037",
}
SHADES: tuple[tuple[str, tuple[int, int, int]], ...] = tuple(
    (name, ImageColor.getrgb(shade)[:3])
    for name, shades in _PALETTE.items()
    for shade in shades.split()
)  # type: ignore[assignment]
"""(name, sRGB 0..255)."""
_BY_NAME = {
    name: tuple(i for i, shade in enumerate(SHADES) if shade[0] == name) for name in COLOUR_NAMES
}

CLASH_DISTANCE = 0.12
"""OKLab distance under which an edge pixel cannot be told from the shade behind it."""
CLASH_SHARE = 0.35
"""A sprite clashes with a shade when this share of its edge cannot be told from it."""

KIND_SHARES = {"white": 0.40, "plain": 0.33, "gradient": 0.17, "ground": 0.10}
_SKIES = _BY_NAME["blue"] + _BY_NAME["white"] + _BY_NAME["gray"] + _BY_NAME["pink"]
_GROUNDS = _BY_NAME["green"] + _BY_NAME["brown"] + _BY_NAME["gray"] + _BY_NAME["white"]
TIDY_WHITE_SHARE = 0.55
_ANGLES = 8
_TRIES = 8

Kind = Literal["plain", "gradient", "ground"]


@dataclass(frozen=True, kw_only=True)
class Background:
    """How to paint what is behind the sprites."""

    kind: Kind
    shade: int
    """Index into SHADES: all of a plain one, where a gradient starts, the sky above a ground."""
    other: int
    """Index into SHADES: where a gradient ends, the ground; equals `shade` where plain."""
    angle: int = 0
    """Of a gradient, in steps of 45 degrees, 0..7."""
    horizon: float = 1.0
    """Of a ground: its upper edge, as a share of the height from the top."""

    @property
    def colour(self) -> str:
        """The name of `shade`."""
        return SHADES[self.shade][0]

    def paint(self, size_px: int) -> Image.Image:
        """A new RGB picture of size_px by size_px."""
        size = (size_px, size_px)
        canvas = Image.new("RGB", size, SHADES[self.shade][1])
        if self.kind == "gradient":
            end = Image.new("RGB", size, SHADES[self.other][1])
            canvas.paste(end, (0, 0), _ramp(self.angle, size_px))
        elif self.kind == "ground":
            box = (0, round(self.horizon * size_px), size_px, size_px)
            canvas.paste(SHADES[self.other][1], box)
        return canvas


def choose_background(
    rng: random.Random, clashes: Collection[int], taken: Collection[str], tidy: bool = False
) -> Background | None:
    """Draws a background on which every sprite stands out.

    Args:
        rng: Source of the draw.
        clashes: Shades (indices into SHADES) that some sprite's edge cannot be told from.
        taken: Colour names that some sprite has.
        tidy: Plain ones alone, each colour in its first shade.

    Returns:
        None where no shade would do.
    """
    fits = [i for i, shade in enumerate(SHADES) if i not in clashes and shade[0] not in taken]
    if not fits:
        return None
    if tidy:
        white, *others = (_BY_NAME[name][0] for name in ("white", *COLOUR_NAMES))
        others = [i for i in others if i in fits]
        shade = white if white in fits and rng.random() < TIDY_WHITE_SHARE else None
        if shade is None and others:
            shade = pick(rng, others)
        return None if shade is None else Background(kind="plain", shade=shade, other=shade)
    for _ in range(_TRIES):
        kind = _draw_kind(rng)
        if kind == "white" or kind == "plain":
            name = "white" if kind == "white" else pick(rng, COLOUR_NAMES)
            shade = other = pick(rng, _BY_NAME[name])
            drawn = Background(kind="plain", shade=shade, other=other)
        elif kind == "gradient":
            name = pick(rng, COLOUR_NAMES)
            shade = pick(rng, _BY_NAME[name])
            other = pick(rng, _BY_NAME[name if rng.random() < 0.7 else "white"])
            angle = int(rng.random() * _ANGLES)
            drawn = Background(kind="gradient", shade=shade, other=other, angle=angle)
        else:
            shade, other = pick(rng, _SKIES), pick(rng, _GROUNDS)
            if SHADES[shade][0] == SHADES[other][0]:
                continue
            horizon = 0.6 + 0.25 * rng.random()
            drawn = Background(kind="ground", shade=shade, other=other, horizon=horizon)
        between = _between(shade, other) if drawn.kind == "gradient" else ()
        if all(i in fits for i in (shade, other, *between)):
            return drawn
    shade = pick(rng, fits)
    return Background(kind="plain", shade=shade, other=shade)


def _draw_kind(rng: random.Random) -> str:
    left = rng.random()
    for kind, share in KIND_SHARES.items():
        left -= share
        if left < 0:
            return kind
    return "white"


@cache
def _ramp(angle: int, size_px: int) -> Image.Image:
    """An L picture that rises from 0 to 255 across the square, towards `angle` times 45 degrees.

    Computed in whole numbers, so that it is the same everywhere.
    """
    along = np.arange(size_px)
    step_x, step_y = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)][angle]
    height = along[None, :] * step_x + along[:, None] * step_y
    height = height - height.min()
    return Image.fromarray((height * 255 // height.max()).astype(np.uint8))


@cache
def _between(shade: int, other: int) -> tuple[int, ...]:
    """The shades nearest to what a gradient passes through: gray on the way to white from black."""
    start, end = (np.array(SHADES[i][1], float) for i in (shade, other))
    steps = np.array([start + (end - start) * part for part in (0.25, 0.5, 0.75)])
    lab = to_oklab(steps.round().astype(np.uint8))
    distance = np.linalg.norm(lab[:, None] - shades_lab()[None], axis=-1)
    return tuple(distance.argmin(axis=1).tolist())


@cache
def shades_lab() -> Float[np.ndarray, "N 3"]:
    """SHADES in OKLab."""
    return to_oklab(np.array([rgb for _, rgb in SHADES], np.uint8))


def clashing_shades(edge: UInt8[np.ndarray, "N 3"]) -> frozenset[int]:
    """Shades on which a sprite would be lost.

    Args:
        edge: sRGB of the sprite's outermost visible pixels; N of at least 1.

    Returns:
        Indices into SHADES.
    """
    lab = to_oklab(edge)
    distance = np.linalg.norm(lab[:, None] - shades_lab()[None], axis=-1)
    near = (distance < CLASH_DISTANCE).mean(axis=0)
    return frozenset(np.flatnonzero(near >= CLASH_SHARE).tolist())
