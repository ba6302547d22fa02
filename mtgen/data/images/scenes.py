"""Captioned scenes made on the fly from a seed, with exact ground truth.

Categories are those of GenEval (arXiv:2310.11513): one object, two, counting, a colour, a position,
and a colour for each of two. A scene is drafted (which sprites, in which colours), laid out,
painted, checked against what its captions will say, and then described in four languages; a draft
that fails is drawn again from the same random source. Equal seeds give equal bytes on every
machine: draws use random.Random.random() alone, and Pillow resizes in whole numbers.

    composer = SceneComposer(SpriteStore(sprites), Lexicon.read())
    picture, scene = composer.scene(seed=7, category="position")
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mtgen.data.images.backgrounds import Background, choose_background
from mtgen.data.images.drafts import CATEGORIES, COMMON_SHARE, Draft, Drafter, Slot
from mtgen.data.images.grammar import Description, Thing, caption, pick
from mtgen.data.images.held_out import HeldOut
from mtgen.data.images.layouts import (
    Spot,
    alone,
    between,
    crowd,
    pair,
    tidy_crowd,
    tidy_pair,
)
from mtgen.data.images.lexicon import LANGS, Lexicon, Word
from mtgen.data.images.sprite_store import Sprite, SpriteStore, visible_box
from mtgen.errors import SettingError, UnknownNameError

__all__ = ["CATEGORIES", "Scene", "SceneComposer", "SceneObject", "Sprite", "SpriteStore"]

CATEGORY_WEIGHTS = {
    "single": 0.20,
    "two": 0.20,
    "counting": 0.20,
    "colours": 0.15,
    "position": 0.15,
    "attribution": 0.10,
}
MAX_SEED = 2**48

RELATION_MARGIN = 0.25
"""A relation holds when the box centres are further apart than this share of the side."""
RELATION_SLANT = 0.5
"""... and at most this much as far apart across as along."""
SIZE_RATIO = 3.0
"""Big and small are said only of boxes whose areas differ by at least this factor."""

FIRST_WORD_SHARE = 0.7
BACKGROUND_SAID_SHARE = {"white": 0.12}
OTHER_BACKGROUND_SAID_SHARE = 0.35
STYLE_SAID_SHARE = 0.5
SIZES_SAID_SHARE = 0.15
TIDY_COMMON_SHARE = 0.7
_ATTEMPTS = 60
_STREAMS = 16  # random sources of one scene: 0 to 6 for its picture, from 8 on for its captions


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One thing in a scene."""

    concept: str
    """Code points."""
    words: dict[str, str]
    """The noun that the captions use for it, singular, by language."""
    sprite: int
    """Index into the store."""
    style: str
    colour: str | None
    """What it is seen in, said or not; None where no name fits."""
    is_colour_said: bool
    size: str | None
    """big or small, where said."""
    is_flipped: bool
    box: tuple[int, int, int, int]
    """x0, y0, x1, y1 in px, tight around its visible pixels; x1 and y1 are just outside."""


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a picture shows, and its captions."""

    seed: int
    category: str
    objects: tuple[SceneObject, ...]
    """In the order of the captions."""
    relation: tuple[int, str, int] | None
    """(subject, relation, object): indices into `objects`, and one of grammar.RELATIONS."""
    background: str
    """Colour name: all of a plain background, else of the gradient's start or the sky."""
    background_kind: str
    """plain, gradient or ground."""
    is_background_said: bool
    style: str | None
    """Of all its sprites; None where they differ."""
    captions: dict[str, str]
    """By language."""

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return dataclasses.asdict(self)


class SceneComposer:
    """Makes scenes.

    Args:
        store: The sprites; those whose concept is not in the lexicon are not used.
        lexicon: The nouns.
        size_px: Side of the square pictures, 32 to 1024.
        exclude_held_out: True: scenes never show what is held out. "only": scenes show nothing
            else, for evaluation. False: no difference is made.
        held_out: The lists; held_out.json unless given.
        weights: Share of each category where none is asked for; CATEGORY_WEIGHTS unless given.
        style_words: Words for a style by language, {"noto": {"en": "flat style"}}, that end about
            half of the captions of scenes in it.
        is_flipping: Half of the sprites are mirrored where no relation is stated.
        unflippable: Concepts that are never mirrored (clocks, letters).
        tidy: A few sizes and places on a grid of 8 a side, plain backgrounds, nothing mirrored,
            mostly common nouns: what a generator of codes learns in the least time.

    Raises:
        SettingError: a number out of its range, or no sprite that could be used.
        UnknownNameError: a weight for a category that does not exist.
    """

    def __init__(
        self,
        store: SpriteStore,
        lexicon: Lexicon,
        *,
        size_px: int = 256,
        exclude_held_out: bool | Literal["only"] = True,
        held_out: HeldOut | None = None,
        weights: Mapping[str, float] | None = None,
        style_words: Mapping[str, Mapping[str, str]] | None = None,
        is_flipping: bool = True,
        unflippable: Collection[str] = (),
        tidy: bool = False,
    ) -> None:
        if isinstance(size_px, bool) or not isinstance(size_px, int) or not 32 <= size_px <= 1024:
            raise SettingError(f"size_px must be a whole number 32 to 1024, got {size_px!r}")
        if exclude_held_out not in (True, False, "only"):
            raise SettingError(
                f"exclude_held_out must be True, False or 'only', got {exclude_held_out!r}"
            )
        if held_out is None:
            held_out = HeldOut.read() if exclude_held_out else HeldOut()
        self._store = store
        self._size_px = size_px
        common_share = TIDY_COMMON_SHARE if tidy else COMMON_SHARE
        self._drafter = Drafter(store, lexicon, held_out, exclude_held_out, common_share)
        self._tidy = tidy
        self._held_out = held_out if exclude_held_out is True else HeldOut()
        self._weights = _checked_weights(CATEGORY_WEIGHTS if weights is None else weights)
        self._style_words = style_words or {}
        self._is_flipping = is_flipping and not tidy
        self._unflippable = frozenset(unflippable)

    def scene(
        self, seed: int, category: str | None = None, caption_langs: Sequence[str] = LANGS
    ) -> tuple[UInt8[np.ndarray, "H W 3"], Scene]:
        """Makes the scene of a seed.

        Args:
            seed: 0 to 2^48.
            category: One of CATEGORIES; None draws one.
            caption_langs: The languages to caption in; what a caption says does not depend on it.

        Returns:
            The picture in sRGB, 0..255, and its ground truth.

        Raises:
            UnknownNameError: no such category or language.
            SettingError: the seed is out of range, or the sprites at hand do not make one.
        """
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
            raise SettingError(f"seed must be a whole number 0 to 2^48, got {seed!r}")
        for lang in caption_langs:
            if lang not in LANGS:
                raise UnknownNameError("caption language", lang, LANGS)
        if category is not None and category not in CATEGORIES:
            raise UnknownNameError("category", category, CATEGORIES)
        stream = 1 + CATEGORIES.index(category) if category else 0
        rng = random.Random(seed * _STREAMS + stream)
        for _ in range(_ATTEMPTS):
            draft = self._drafter.draft(rng, category or self._draw_category(rng))
            made = self._make(rng, draft, seed, caption_langs)
            if made is not None:
                return made
        raise SettingError(
            f"no scene {f'of category {category!r} ' if category else ''}came out in {_ATTEMPTS} "
            f"attempts from {len(self._store)} sprites; add sprites of other nouns and colours"
        )

    def _draw_category(self, rng: random.Random) -> str:
        weights = {c: w for c, w in self._weights.items() if self._drafter.can_draft(c)}
        left = rng.random() * sum(weights.values())
        for category, weight in weights.items():
            left -= weight
            if left < 0:
                return category
        raise SettingError(
            "the sprites at hand make none of the categories that have weight: "
            + ", ".join(name for name, weight in self._weights.items() if weight)
        )

    def _make(
        self, rng: random.Random, draft: Draft, seed: int, langs: Sequence[str]
    ) -> tuple[UInt8[np.ndarray, "H W 3"], Scene] | None:
        """Lays out, paints and describes a draft; None where what it would say is not so."""
        looks = [self._store.look(slot.sprite, slot.paint) for slot in draft.slots]
        background = choose_background(
            rng,
            clashes=frozenset().union(*(look.clashes for look in looks)),
            taken={slot.colour for slot in draft.slots if slot.colour},
            tidy=self._tidy,
        )
        if background is None:
            return None
        sizes = self._draw_sizes(rng, draft)
        lay_out = _lay_out_tidily if self._tidy else _lay_out
        spots = lay_out(rng, draft, [look.width / look.height for look in looks], sizes)
        each = [slot for slot in draft.slots for _ in range(draft.count)]
        flips = [self._draw_flip(rng, draft, slot) for slot in draft.slots]
        canvas = background.paint(self._size_px)
        boxes = [
            self._paste(canvas, slot, spot, flip)
            for slot, spot, flip in zip(each, spots, flips * draft.count, strict=True)
        ]
        if not self._is_true(draft, sizes, boxes):
            return None
        said = self._draw_said(rng, draft, background)
        words = _draw_words(seed, draft)
        objects = tuple(
            SceneObject(
                concept=slot.noun.codepoints,
                words={lang: word.singular for lang, word in words[i // draft.count].items()},
                sprite=slot.sprite,
                style=self._store.sprites[slot.sprite].style,
                colour=slot.colour,
                is_colour_said=slot.is_colour_said,
                size=sizes[i // draft.count],
                is_flipped=flips[i // draft.count],
                box=boxes[i],
            )
            for i, slot in enumerate(each)
        )
        description = Description(
            things=tuple(
                Thing(
                    words=words[i],
                    count=draft.count,
                    is_counted=draft.category == "counting",
                    colour=slot.colour if slot.is_colour_said else None,
                    size=sizes[i],
                )
                for i, slot in enumerate(draft.slots)
            ),
            relation=draft.relation,
            is_beside=len(draft.slots) == 2 and _are_beside(boxes),
            background=background.colour if said[0] else None,
            style=said[1],
        )
        scene = Scene(
            seed=seed,
            category=draft.category,
            objects=objects,
            relation=(0, draft.relation, 1) if draft.relation else None,
            background=background.colour,
            background_kind=background.kind,
            is_background_said=said[0],
            style=draft.style,
            captions={lang: caption(description, lang, _wording(seed, lang)) for lang in langs},
        )
        return np.array(canvas), scene

    @staticmethod
    def _draw_sizes(rng: random.Random, draft: Draft) -> list[str | None]:
        if draft.category == "two" and rng.random() < SIZES_SAID_SHARE:
            return ["big", "small"] if rng.random() < 0.5 else ["small", "big"]
        return [None] * len(draft.slots)

    def _draw_flip(self, rng: random.Random, draft: Draft, slot: Slot) -> bool:
        wanted = rng.random() < 0.5
        free = self._is_flipping and not draft.relation
        return wanted and free and slot.noun.codepoints not in self._unflippable

    def _draw_said(
        self, rng: random.Random, draft: Draft, background: Background
    ) -> tuple[bool, Mapping[str, str]]:
        """Whether the captions name the background, and their words for the style."""
        share = BACKGROUND_SAID_SHARE.get(background.colour, OTHER_BACKGROUND_SAID_SHARE)
        is_background_said = rng.random() < share and background.kind == "plain"
        is_style_said = rng.random() < STYLE_SAID_SHARE and draft.style is not None
        words = self._style_words.get(draft.style or "", {}) if is_style_said else {}
        return is_background_said, words

    def _paste(
        self, canvas: Image.Image, slot: Slot, spot: Spot, flip: bool
    ) -> tuple[int, int, int, int]:
        """Puts a sprite onto the canvas; returns the box of what is visible of it, px."""
        size = self._size_px
        width, height = max(1, int(spot.w * size)), max(1, int(spot.h * size))
        sprite = self._store.resized(slot.sprite, slot.paint, width, height)
        if flip:
            sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        x, y = int(spot.x * size), int(spot.y * size)
        canvas.paste(sprite, (x, y), sprite)
        x0, y0, x1, y1 = visible_box(sprite) or (0, 0, width, height)
        return x + x0, y + y0, x + x1, y + y1

    def _is_true(
        self, draft: Draft, sizes: Sequence[str | None], boxes: Sequence[tuple[int, int, int, int]]
    ) -> bool:
        """What the captions will say holds for the boxes, and nothing held out is shown."""
        if len(draft.slots) == 1:
            return True
        seen = seen_relation(boxes[0], boxes[1], self._size_px)
        if draft.relation and seen != draft.relation:
            return False
        first, second = (slot.noun.codepoints for slot in draft.slots)
        if seen and (first, seen, second) in self._held_out.relations:
            return False
        areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in boxes]
        if sizes[0] == "big":
            return areas[0] >= SIZE_RATIO * areas[1]
        return sizes[0] is None or areas[1] >= SIZE_RATIO * areas[0]


def seen_relation(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int], size_px: int
) -> str | None:
    """Where the first box is, seen from the second; None where that is not clear.

    Clear: the centres are more than RELATION_MARGIN of the side apart along one axis, and at most
    RELATION_SLANT of that across it.
    """
    across = (first[0] + first[2] - second[0] - second[2]) / 2 / size_px
    down = (first[1] + first[3] - second[1] - second[3]) / 2 / size_px
    if abs(across) > RELATION_MARGIN and abs(down) <= RELATION_SLANT * abs(across):
        return "left_of" if across < 0 else "right_of"
    if abs(down) > RELATION_MARGIN and abs(across) <= RELATION_SLANT * abs(down):
        return "above" if down < 0 else "below"
    return None


def _are_beside(boxes: Sequence[tuple[int, int, int, int]]) -> bool:
    """The two overlap in height by most of the lower one, and not in width."""
    (ax0, ay0, ax1, ay1), (bx0, by0, bx1, by1) = boxes
    shared = min(ay1, by1) - max(ay0, by0)
    return (ax1 <= bx0 or bx1 <= ax0) and shared > 0.6 * min(ay1 - ay0, by1 - by0)


def _lay_out(
    rng: random.Random, draft: Draft, aspects: Sequence[float], said_sizes: Sequence[str | None]
) -> list[Spot]:
    """One spot for each thing, in the order of the captions."""
    if len(draft.slots) == 1:
        if draft.count == 1 and draft.category != "counting":
            return alone(rng, aspects[0])
        return crowd(rng, aspects[0], draft.count)
    if draft.relation:
        is_first = draft.relation in ("left_of", "above")
        axis: Literal["x", "y"] = "x" if draft.relation in ("left_of", "right_of") else "y"
        sizes = [between(rng, 0.27, 0.43), between(rng, 0.27, 0.43)]
        apart, offset = RELATION_MARGIN + 0.03, 0.11
    else:
        is_first = rng.random() < 0.5
        way = rng.random()  # mostly side by side, now and then stacked or slanted
        axis = "y" if 0.62 <= way < 0.8 else "x"
        sizes = [between(rng, 0.28, 0.47), between(rng, 0.28, 0.47)]
        apart, offset = 0.0, 0.12 if way < 0.8 else 0.36
        if said_sizes[0]:
            sizes = [between(rng, 0.46, 0.58), between(rng, 0.19, 0.25)]
            sizes = sizes if said_sizes[0] == "big" else sizes[::-1]
    order = slice(None) if is_first else slice(None, None, -1)
    placed = pair(rng, aspects[order], sizes[order], axis=axis, min_apart=apart, max_offset=offset)
    return placed[order]


def _lay_out_tidily(
    rng: random.Random, draft: Draft, aspects: Sequence[float], said_sizes: Sequence[str | None]
) -> list[Spot]:
    """The same on a grid."""
    if len(draft.slots) == 1:
        return tidy_crowd(rng, aspects[0], draft.count)
    is_first = draft.relation in ("left_of", "above") if draft.relation else rng.random() < 0.5
    is_across = draft.relation in ("left_of", "right_of") if draft.relation else rng.random() < 0.8
    sides = [2 if size == "small" else 4 for size in said_sizes]
    order = slice(None) if is_first else slice(None, None, -1)
    return tidy_pair(rng, aspects[order], sides[order], "x" if is_across else "y")[order]


def _wording(seed: int, lang: str) -> random.Random:
    """The random source of one language's words, so that captions do not depend on each other."""
    return random.Random(seed * _STREAMS + 9 + LANGS.index(lang))


def _draw_words(seed: int, draft: Draft) -> list[dict[str, Word]]:
    """The noun to use for each slot, by language: mostly the everyday one."""
    rng = random.Random(seed * _STREAMS + 8)
    return [
        {
            lang: words[0]
            if rng.random() < FIRST_WORD_SHARE or len(words) == 1
            else pick(rng, words[1:])
            for lang, words in slot.noun.words.items()
        }
        for slot in draft.slots
    ]


def _checked_weights(weights: Mapping[str, float]) -> dict[str, float]:
    for name, weight in weights.items():
        if name not in CATEGORIES:
            raise UnknownNameError("category", name, CATEGORIES)
        if not weight >= 0:
            raise SettingError(f"the weight of {name} must be 0 or more, got {weight!r}")
    if not sum(weights.values()) > 0:
        raise SettingError("the weights of the categories are all 0; give one some weight")
    return dict(weights)
