"""Names of colours: which one a sprite has, and sprites made over in another.

A pixel is named by its lightness L, chroma C and hue h in OKLCH (Bjorn Ottosson, "A perceptual
color space for image processing", 2020, https://bottosson.github.io/posts/oklab/). Each name owns
a region of that space, drawn around the CSS named colours and the palettes of the large emoji
sets; between the regions lie colours on which people disagree (beige, teal, maroon, olive, coral).
These have no name here: a wrong name costs more than none.

Recolouring is a table from colour to colour, so only pixels of the dominant hue move: a leaf stays
green on an apple turned blue. Pillow applies the table in whole numbers, the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image, ImageFilter

from mtgen.errors import SettingError, UnknownNameError

COLOUR_NAMES = (
    "red",
    "orange",
    "yellow",
    "green",
    "blue",
    "purple",
    "pink",
    "brown",
    "black",
    "white",
    "gray",
)
ACHROMATIC = ("black", "white", "gray")
VISIBLE_ALPHA = 128
"""From this alpha on, 0..255, a pixel counts as visible."""
NAMED_SHARE = 0.5
"""A sprite has a colour when at least this share of its visible area has it."""
KEPT_CONTRAST = 0.3
"""A recoloured sprite must keep this share of its contrast to be offered."""

_NAMELESS = len(COLOUR_NAMES)
_WORK_PX = 128  # pictures are named at this size: enough for shares, and four times faster
_OUTLINE_PX = 5  # at _WORK_PX; dark strokes narrower than this are drawing, not colour
_GRID = 17  # points per axis of a recolouring table
_MAX_TABLES = 4096  # kept, of 15 kB each; emoji sets share few paints

_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_LMS_INVERSE, _LAB_INVERSE = np.linalg.inv(_LMS), np.linalg.inv(_LAB)

# (name, hue from, hue to in degrees, L from, L to, C from, C to); the first that holds names it.
_REGIONS = (
    ("black", 0, 360, 0.00, 0.22, 0.00, 0.070),
    ("black", 0, 360, 0.00, 0.39, 0.00, 0.028),
    ("black", 200, 290, 0.00, 0.36, 0.00, 0.040),
    ("white", 0, 360, 0.912, 1.01, 0.00, 0.026),
    ("gray", 0, 360, 0.45, 0.885, 0.00, 0.020),
    ("gray", 195, 270, 0.45, 0.885, 0.00, 0.032),
    ("pink", 335, 360, 0.63, 0.95, 0.050, 0.40),
    ("pink", 0, 12, 0.63, 0.95, 0.045, 0.40),
    ("pink", 12, 24, 0.73, 0.95, 0.045, 0.40),
    ("red", 14, 36, 0.42, 0.68, 0.165, 0.40),
    ("red", 14, 34, 0.38, 0.62, 0.135, 0.40),
    ("brown", 28, 42, 0.30, 0.64, 0.030, 0.128),
    ("brown", 42, 82, 0.30, 0.63, 0.030, 0.160),
    ("orange", 40, 76, 0.700, 0.90, 0.125, 0.40),
    ("orange", 40, 76, 0.655, 0.70, 0.165, 0.40),
    ("yellow", 82, 114, 0.79, 1.00, 0.100, 0.40),
    ("green", 117, 170, 0.30, 0.93, 0.055, 0.40),
    ("blue", 208, 277, 0.27, 0.80, 0.065, 0.40),
    ("blue", 208, 277, 0.80, 0.93, 0.042, 0.40),
    ("blue", 277, 283, 0.27, 0.55, 0.100, 0.40),
    ("purple", 289, 322, 0.28, 0.84, 0.060, 0.40),
    ("purple", 322, 332, 0.28, 0.62, 0.080, 0.40),
)

# What a recoloured sprite aims at: hue in degrees, chroma, and the range its lightness is kept in.
_TARGETS = {
    "red": (26.0, 0.210, 0.53, 0.61),
    "orange": (58.0, 0.170, 0.71, 0.77),
    "yellow": (97.0, 0.170, 0.86, 0.91),
    "green": (144.0, 0.165, 0.52, 0.72),
    "blue": (256.0, 0.165, 0.46, 0.66),
    "purple": (304.0, 0.165, 0.44, 0.58),
    "pink": (355.0, 0.125, 0.74, 0.82),
    "brown": (52.0, 0.085, 0.40, 0.52),
    "black": (260.0, 0.006, 0.22, 0.27),
    "white": (90.0, 0.004, 0.965, 0.98),
    "gray": (250.0, 0.006, 0.58, 0.74),
}


def to_oklab(rgb: UInt8[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """sRGB, 0..255, to OKLab: L in 0..1, a and b within about -0.4..0.4."""
    unit = rgb.astype(np.float64) / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _LMS.T) @ _LAB.T


def _to_linear(lab: Float[np.ndarray, "... 3"]) -> Float[np.ndarray, "... 3"]:
    """OKLab to linear RGB, 0..1 where sRGB can show the colour."""
    return ((lab @ _LAB_INVERSE.T) ** 3) @ _LMS_INVERSE.T


def from_oklab(lab: Float[np.ndarray, "... 3"]) -> UInt8[np.ndarray, "... 3"]:
    """OKLab to sRGB, 0..255; chroma gives way, not hue, where sRGB cannot show the colour."""
    low, high = np.zeros(lab.shape[:-1]), np.ones(lab.shape[:-1])
    scaled = np.empty_like(lab)
    scaled[..., 0] = np.clip(lab[..., 0], 0, 1)
    for step in range(7):
        middle = high if step == 0 else (low + high) / 2  # whatever is showable is left alone
        scaled[..., 1:] = lab[..., 1:] * middle[..., None]
        linear = _to_linear(scaled)
        shown = ((linear > -1e-3) & (linear < 1.001)).all(-1)
        low, high = np.where(shown, middle, low), np.where(shown, high, middle)
    scaled[..., 1:] = lab[..., 1:] * low[..., None]
    linear = np.clip(_to_linear(scaled), 0, 1)
    unit = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(unit * 255).astype(np.uint8)


def _polar(lab: Float[np.ndarray, "... 3"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """L, C, and h in degrees, 0..360."""
    hue = np.degrees(np.arctan2(lab[..., 2], lab[..., 1])) % 360
    return lab[..., 0], np.hypot(lab[..., 1], lab[..., 2]), hue


@cache
def _tables() -> tuple[UInt8[np.ndarray, " 32768"], Bool[np.ndarray, " 32768"]]:
    """For each colour of 5 bits per channel: index into COLOUR_NAMES or _NAMELESS; is it dark."""
    level = (np.arange(32) * 255 / 31).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(level, level, level, indexing="ij"), -1).reshape(-1, 3)
    lightness, chroma, hue = _polar(to_oklab(grid))
    table = np.full(len(grid), _NAMELESS, np.uint8)
    for name, h0, h1, l0, l1, c0, c1 in reversed(_REGIONS):
        inside = (hue >= h0) & (hue <= h1) & (lightness >= l0) & (lightness < l1)
        table[inside & (chroma >= c0) & (chroma < c1)] = COLOUR_NAMES.index(name)
    return table, lightness < 0.42


def _cells(rgb: UInt8[np.ndarray, "... 3"]) -> Int[np.ndarray, " ..."]:
    """Where in `_tables` the colours stand."""
    five = (rgb.astype(np.intp) * 62 + 255) // 510  # rounds to nearest
    return (five[..., 0] << 10) | (five[..., 1] << 5) | five[..., 2]


def colour_name(red: int, green: int, blue: int) -> str | None:
    """Name of one sRGB colour, 0..255 each; None where people disagree."""
    index = _tables()[0][_cells(np.array([red, green, blue], np.uint8))]
    return None if index == _NAMELESS else COLOUR_NAMES[int(index)]


def _grown(mask: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """The mask spread over squares of _OUTLINE_PX."""
    reach = _OUTLINE_PX // 2
    for axis in (0, 1):
        spread = mask.copy()
        for step in range(1, reach + 1):
            ahead, behind = [slice(None)] * 2, [slice(None)] * 2
            ahead[axis], behind[axis] = slice(step, None), slice(None, -step)
            spread[tuple(ahead)] |= mask[tuple(behind)]
            spread[tuple(behind)] |= mask[tuple(ahead)]
        mask = spread
    return mask


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A sprite as its colour is judged: small, without thin dark outlines."""

    small: UInt8[np.ndarray, "H W 4"]
    pixels: UInt8[np.ndarray, "N 3"]
    """The visible pixels that are not outline."""
    names: UInt8[np.ndarray, " N"]

    @property
    def dominant(self) -> int:
        """Index into COLOUR_NAMES; the first where no pixel has a name."""
        return int(np.bincount(self.names, minlength=_NAMELESS + 1)[:_NAMELESS].argmax())

    @property
    def share(self) -> float:
        """The dominant name's share of the visible area, 0..1."""
        return int((self.names == self.dominant).sum()) / len(self.names)

    @property
    def is_named(self) -> bool:
        return self.share >= NAMED_SHARE


def _see(rgba: UInt8[np.ndarray, "H W 4"]) -> _Seen:
    """Shrinks a sprite and takes its outline away: what an opening of the dark pixels removes.

    A sprite of nothing but outline keeps it.

    Raises:
        SettingError: not (H, W, 4) of uint8, or no pixel is visible.
    """
    if rgba.dtype != np.uint8 or rgba.ndim != 3 or rgba.shape[2] != 4:
        raise SettingError(
            f"a sprite must be whole numbers 0..255 of shape (H, W, 4), got {rgba.dtype} "
            f"of shape {rgba.shape}"
        )
    picture = Image.fromarray(rgba)
    picture.thumbnail((_WORK_PX, _WORK_PX), Image.Resampling.BOX)
    small = np.asarray(picture)
    visible = small[..., 3] >= VISIBLE_ALPHA
    if not visible.any():
        raise SettingError("the sprite has no visible pixel; give one that shows something")
    cells = _cells(small[..., :3])
    dark = visible & _tables()[1][cells]
    thick = _grown(~_grown(~dark))  # an opening; beyond the edge nothing is dark
    kept = visible & ~(dark & ~thick)
    if kept.sum() < 0.1 * visible.sum():
        kept = visible
    return _Seen(small=small, pixels=small[..., :3][kept], names=_tables()[0][cells[kept]])


def dominant_colour(rgba: UInt8[np.ndarray, "H W 4"]) -> tuple[str, float]:
    """The named colour that most of a sprite has.

    Args:
        rgba: A sprite with straight alpha; thin dark outlines are left out of the count.

    Returns:
        The name, and its share of the visible area in 0..1. Nameless colours (beige, teal, ...)
        count as area but not as a name, so a share can be small, or 0.

    Raises:
        SettingError: not (H, W, 4) of uint8, or no pixel is visible.
    """
    seen = _see(rgba)
    return COLOUR_NAMES[seen.dominant], seen.share


@dataclass(frozen=True)
class Anchor:
    """The middle of a sprite's dominant colour, which recolouring starts from; rounded."""

    has_hue: bool
    """False for black, white and gray."""
    lightness: float
    """OKLCH L, 0..1."""
    chroma: float
    """OKLCH C."""
    hue: int
    """OKLCH h, degrees."""


def anchor_colour(rgba: UInt8[np.ndarray, "H W 4"]) -> Anchor:
    """What `recolouring` needs to know of a sprite.

    Raises:
        SettingError: as in `dominant_colour`.
    """
    return _anchor(_see(rgba))


def _anchor(seen: _Seen) -> Anchor:
    chosen = seen.pixels[seen.names == seen.dominant]
    middle = np.median(to_oklab(chosen if len(chosen) else seen.pixels), axis=0)
    lightness, chroma, hue = (float(part) for part in _polar(middle))
    return Anchor(
        has_hue=COLOUR_NAMES[seen.dominant] not in ACHROMATIC,
        lightness=round(lightness, 2),
        chroma=max(round(chroma, 2), 0.01),
        hue=round(hue / 3) * 3,
    )


@dataclass(frozen=True)
class _Grid:
    """The colours that a recolouring table has entries for, red running fastest, as Pillow's."""

    rgb: UInt8[np.ndarray, "N 3"]
    lab: Float[np.ndarray, "N 3"]
    lightness: Float[np.ndarray, " N"]
    chroma: Float[np.ndarray, " N"]
    hue: Float[np.ndarray, " N"]


@cache
def _grid() -> _Grid:
    level = np.linspace(0, 255, _GRID).round().astype(np.uint8)
    blue, green, red = np.meshgrid(level, level, level, indexing="ij")
    rgb = np.stack([red, green, blue], -1).reshape(-1, 3)
    lab = to_oklab(rgb)
    return _Grid(rgb, lab, *_polar(lab))


def _fade(values: np.ndarray, start: float, end: float) -> np.ndarray:
    """1 up to `start`, 0 from `end`, smooth between."""
    part = np.clip((values - start) / (end - start), 0, 1)
    return 1 - part * part * (3 - 2 * part)


@lru_cache(maxsize=_MAX_TABLES)
def _table(anchor: Anchor, name: str) -> UInt8[np.ndarray, "N 3"]:
    """What each colour of the grid becomes."""
    grid = _grid()
    target_hue, target_chroma, low, high = _TARGETS[name]
    away = grid.lightness - anchor.lightness
    if anchor.has_hue:
        turn = (grid.hue - anchor.hue + 180) % 360 - 180
        weight = _fade(np.abs(turn), 32, 58) * (1 - _fade(grid.chroma, 0.015, 0.05))
    else:
        turn = np.zeros_like(away)
        # Grays between the body and its dark lines go along when both turn black.
        apart = away if name == "black" else np.abs(away)
        weight = _fade(grid.chroma, 0.045, 0.09) * _fade(apart, 0.22, 0.42)
    if name == "white":
        weight = weight * _fade(np.abs(away), 0.30, 0.45)  # a dark outline stays dark
    moved = np.flatnonzero(weight > 0)
    away, weight = away[moved], weight[moved, None]

    aim = min(max(anchor.lightness, low), high)
    steepest = 0.35 if name in ("white", "black") else 1.6
    below = min(steepest, aim / max(anchor.lightness, 0.01))
    above = min(steepest, (1 - aim) / max(1 - anchor.lightness, 0.01))
    lightness = aim + np.where(away < 0, below, above) * away
    chroma = np.full_like(away, target_chroma)
    if anchor.has_hue:
        chroma *= np.clip(grid.chroma[moved] / anchor.chroma, 0, 1.25) ** 0.8
    hue = np.radians(target_hue + np.clip(turn[moved], -30, 30) * 0.35)
    aimed = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], -1)
    table = grid.rgb.copy()
    table[moved] = from_oklab(grid.lab[moved] + weight * (aimed - grid.lab[moved]))
    return table


def recolouring(anchor: Anchor, name: str) -> ImageFilter.Color3DLUT:
    """The table that gives a sprite's dominant hue the named colour; for `Image.filter`.

    Lightness is moved so that the dominant lightness lands in the target's range, and differences
    from it (the shading) stay; so do differences in chroma. Other hues, and for sprites without a
    hue other lightnesses, stay as they are.

    Raises:
        UnknownNameError: not one of COLOUR_NAMES.
    """
    if name not in COLOUR_NAMES:
        raise UnknownNameError("colour", name, COLOUR_NAMES)
    flat: Any = _table(anchor, name).reshape(-1).astype(np.float32) / np.float32(255)
    return ImageFilter.Color3DLUT(_GRID, flat)


def recolour(rgba: UInt8[np.ndarray, "H W 4"], name: str) -> UInt8[np.ndarray, "H W 4"]:
    """A sprite with its dominant hue turned into the named colour; alpha and shading stay.

    Raises:
        UnknownNameError: not one of COLOUR_NAMES.
        SettingError: as in `dominant_colour`.
    """
    return np.asarray(Image.fromarray(rgba).filter(recolouring(anchor_colour(rgba), name)))


def recolours(rgba: UInt8[np.ndarray, "H W 4"]) -> tuple[str, ...]:
    """Names that the recoloured sprite then really has, in the order of COLOUR_NAMES.

    Really: `dominant_colour` of the result is that name, with a share of at least NAMED_SHARE, and
    the drawing can still be read: at least KEPT_CONTRAST of the contrast between neighbouring
    pixels is left (black hands on a clock turned black are lost). A sprite's own colour is not
    listed.

    Raises:
        SettingError: as in `dominant_colour`.
    """
    seen = _see(rgba)
    anchor, contrast = _anchor(seen), _contrast(seen.small)
    found = []
    for index, name in enumerate(COLOUR_NAMES):
        if index == seen.dominant and seen.is_named:
            continue
        changed = np.asarray(Image.fromarray(seen.small).filter(recolouring(anchor, name)))
        after = _see(changed)
        readable = _contrast(changed) >= KEPT_CONTRAST * contrast
        if after.dominant == index and after.is_named and readable:
            found.append(name)
    return tuple(found)


def _contrast(rgba: UInt8[np.ndarray, "H W 4"]) -> float:
    """Mean step of luma between visible neighbours, 0..255; what outlines and details make."""
    luma = rgba[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    seen = rgba[..., 3] >= VISIBLE_ALPHA
    across = np.abs(np.diff(luma, axis=1))[seen[:, 1:] & seen[:, :-1]]
    down = np.abs(np.diff(luma, axis=0))[seen[1:] & seen[:-1]]
    steps = np.concatenate([across, down])
    return float(steps.mean()) if len(steps) else 0.0
