"""Sprites: compressed in memory, decoded when needed, shrunk copies kept within a bound.

A sprite is cut to what can be seen of it and kept at full, half, quarter and eighth size, with
colours multiplied by alpha, which is what resizing needs. What is used least recently is forgotten
first. Recolouring comes after resizing, where there is least to do.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageFilter

from mtgen.data.images.backgrounds import clashing_shades
from mtgen.data.images.colours import (
    NAMED_SHARE,
    VISIBLE_ALPHA,
    Anchor,
    anchor_colour,
    dominant_colour,
    recolouring,
    recolours,
)
from mtgen.errors import SettingError, UnknownNameError

_FAINT_ALPHA = 24  # soft shadows down to here are kept when a sprite is cut out
_LEVELS = 4
_EDGE_PX = 96  # edges are looked at in this size
_EDGE_PIXELS = 96
_NOT_FAINT = [255 if alpha >= _FAINT_ALPHA else 0 for alpha in range(256)]


@dataclass(frozen=True, kw_only=True)
class Sprite:
    """One picture of one concept, with what is known of its colours."""

    concept: str
    """Code points, as in the lexicon."""
    style: str
    colour: str | None
    """Its dominant colour; None where no name has half of it."""
    recolours: tuple[str, ...]
    """Colours that it can be given."""
    webp: bytes | memoryview
    """RGBA, any size; 256 by 256 is meant."""

    @classmethod
    def from_webp(cls, concept: str, style: str, webp: bytes) -> Sprite:
        """Finds out the colours; about 30 ms.

        Raises:
            SettingError: the picture cannot be decoded or shows nothing.
        """
        rgba = np.asarray(_decode(webp, f"{concept} in {style}"))
        colour, share = dominant_colour(rgba)
        return cls(
            concept=concept,
            style=style,
            colour=colour if share >= NAMED_SHARE else None,
            recolours=recolours(rgba),
            webp=webp,
        )


@dataclass(frozen=True, kw_only=True)
class Look:
    """What placing a sprite needs to know."""

    width: int
    """Of the cut-out at full size, px."""
    height: int
    clashes: frozenset[int]
    """Shades (indices into backgrounds.SHADES) that its edge cannot be told from."""

    def level_for(self, long_px: int) -> int:
        """The smallest copy that is at least so long: 0 for full size, 1 for half, ..."""
        level = 0
        while level < _LEVELS - 1 and long_px <= max(self.width, self.height) >> (level + 1):
            level += 1
        return level


class SpriteStore:
    """Sprites by index, concept and style; decodes on demand.

    Args:
        sprites: At least one.
        cache_mb: Bound of the decoded copies, in MB of 10^6 bytes.

    Raises:
        SettingError: no sprites, or a bound below 1.
    """

    def __init__(self, sprites: Iterable[Sprite], *, cache_mb: float = 512) -> None:
        self.sprites = tuple(sprites)
        if not self.sprites:
            raise SettingError("a sprite store needs at least one sprite, got none")
        if not cache_mb >= 1:
            raise SettingError(f"cache_mb must be at least 1, got {cache_mb!r}")
        self.by_concept = _grouped((sprite.concept, i) for i, sprite in enumerate(self.sprites))
        self.by_style = _grouped((sprite.style, i) for i, sprite in enumerate(self.sprites))
        self._bound_bytes = int(cache_mb * 1e6)
        self._cached: OrderedDict[tuple[int, int], Image.Image] = OrderedDict()
        self._cached_bytes = 0
        self._looks: dict[tuple[int, str | None], Look] = {}
        self._edges: dict[int, UInt8[np.ndarray, "N 4"]] = {}
        self._anchors: dict[int, Anchor] = {}

    def __len__(self) -> int:
        return len(self.sprites)

    @property
    def cached_mb(self) -> float:
        """What the decoded copies take up now."""
        return self._cached_bytes / 1e6

    def in_style(self, style: str) -> tuple[int, ...]:
        """Indices of a style's sprites.

        Raises:
            UnknownNameError: no sprite has it.
        """
        if style not in self.by_style:
            raise UnknownNameError("style", style, self.by_style)
        return self.by_style[style]

    def look(self, index: int, colour: str | None = None) -> Look:
        """Size and edge of a sprite, recoloured where a colour is given; remembered for good.

        Raises:
            SettingError: the sprite cannot be decoded or shows nothing.
        """
        look = self._looks.get((index, colour))
        if look is None:
            if (index, None) not in self._looks:
                self._load(index, 1)  # most sprites are asked for at half size next
            look = self._looks[index, None]
            if colour is not None:
                edge = Image.fromarray(self._edges[index][None])
                edge = edge.filter(self._recolouring(index, colour))
                clashes = clashing_shades(np.asarray(edge)[0, :, :3])
                look = Look(width=look.width, height=look.height, clashes=clashes)
                self._looks[index, colour] = look
        return look

    def resized(self, index: int, colour: str | None, width: int, height: int) -> Image.Image:
        """The cut-out sprite at a size in px, RGBA; recoloured where a colour is given."""
        level = self.look(index).level_for(max(width, height))
        source = self._cached.get((index, level))
        if source is None:
            source = self._load(index, level)
        else:
            self._cached.move_to_end((index, level))
        picture = source.resize((width, height), Image.Resampling.BILINEAR).convert("RGBA")
        return picture if colour is None else picture.filter(self._recolouring(index, colour))

    def _recolouring(self, index: int, colour: str) -> ImageFilter.Color3DLUT:
        anchor = self._anchors.get(index)
        if anchor is None:
            anchor = self._anchors[index] = anchor_colour(np.asarray(self._decode(index)))
        return recolouring(anchor, colour)

    def _decode(self, index: int) -> Image.Image:
        sprite = self.sprites[index]
        return _decode(sprite.webp, f"{sprite.concept} in {sprite.style}")

    def _load(self, index: int, level: int) -> Image.Image:
        """Decodes a sprite; keeps the copy asked for and the smaller ones."""
        picture = self._decode(index)
        box = picture.getchannel("A").point(_NOT_FAINT).getbbox()
        if box is None:
            sprite = self.sprites[index]
            raise SettingError(
                f"the sprite {sprite.concept} in {sprite.style} has no visible pixel; leave it out"
            )
        picture = picture.crop(box)
        if (index, None) not in self._looks:
            edge = self._edges[index] = _edge_pixels(picture)
            self._looks[index, None] = Look(
                width=picture.width, height=picture.height, clashes=clashing_shades(edge[:, :3])
            )
        copy = picture.convert("RGBa")
        asked = copy
        for step in range(_LEVELS):
            if step:
                copy = copy.reduce(2)
            if step == level:
                asked = copy
            if step >= level:
                self._keep((index, step), copy)
        return asked

    def _keep(self, key: tuple[int, int], copy: Image.Image) -> None:
        if key in self._cached:
            return
        self._cached[key] = copy
        self._cached_bytes += copy.width * copy.height * 4
        while self._cached_bytes > self._bound_bytes and len(self._cached) > 1:
            _, old = self._cached.popitem(last=False)
            self._cached_bytes -= old.width * old.height * 4


def visible_box(picture: Image.Image) -> tuple[int, int, int, int] | None:
    """The box (x0, y0, x1, y1) around an RGBA picture's visible pixels, x1 and y1 just outside."""
    shown = np.asarray(picture.getchannel("A")) >= VISIBLE_ALPHA
    rows, columns = np.flatnonzero(shown.any(axis=1)), np.flatnonzero(shown.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _grouped(pairs: Iterable[tuple[str, int]]) -> dict[str, tuple[int, ...]]:
    groups: dict[str, list[int]] = {}
    for key, index in pairs:
        groups.setdefault(key, []).append(index)
    return {key: tuple(indices) for key, indices in groups.items()}


def _decode(webp: bytes | memoryview, name: str) -> Image.Image:
    try:
        with Image.open(io.BytesIO(webp), formats=("WEBP",)) as picture:
            return picture.convert("RGBA")
    except OSError as error:
        raise SettingError(f"the sprite {name} cannot be decoded: {error}") from None


def _edge_pixels(picture: Image.Image) -> UInt8[np.ndarray, "N 4"]:
    """At most about _EDGE_PIXELS of the outermost visible pixels; at least one pixel."""
    small = picture.copy()
    small.thumbnail((_EDGE_PX, _EDGE_PX), Image.Resampling.BOX)
    rgba = np.asarray(small)
    seen = np.pad(rgba[..., 3] >= VISIBLE_ALPHA, 1)
    inside = seen[1:-1, :-2] & seen[1:-1, 2:] & seen[:-2, 1:-1] & seen[2:, 1:-1]
    edge = rgba[seen[1:-1, 1:-1] & ~inside]
    if not len(edge):  # nothing but faint pixels
        edge = rgba.reshape(-1, 4)
    return edge[:: -(-len(edge) // _EDGE_PIXELS)].copy()
