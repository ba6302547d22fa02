"""Which sprites a scene shows, in which colours: drawn so that held-out combinations stay out.

All sprites of a scene come from one style where a style has enough of them.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import Literal

from mtgen.data.images.grammar import MAX_COUNT, RELATIONS, pick
from mtgen.data.images.held_out import HeldOut, common_nouns
from mtgen.data.images.languages import names_a_colour
from mtgen.data.images.lexicon import NOT_ONE_COLOUR, Lexicon, Noun
from mtgen.data.images.sprite_store import SpriteStore
from mtgen.errors import SettingError

CATEGORIES = ("single", "two", "counting", "colours", "position", "attribution")

COMMON_SHARE = 0.4
"""Draws from the commonest nouns only; the rest are from all."""
OWN_COLOUR_SHARE = 0.35
"""Where a colour is said: draws that leave the sprite as it is."""
ONE_SHARE = 0.7
"""Of the scenes about a colour: those with one object; the rest have 2 to 4."""
COUNT_ONE_SHARE = 0.08
"""Of the scenes about a number."""

_PAIRS = ("two", "position", "attribution")
_COLOURED = ("colours", "attribution")
_TRIES = 200


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One noun of a scene, and how it is drawn."""

    noun: Noun
    sprite: int
    """Index into the store."""
    paint: str | None
    """The colour it is given; None leaves it as it is."""
    colour: str | None
    """The colour it is seen in; None where no name fits."""
    is_colour_said: bool


@dataclass(frozen=True, kw_only=True)
class Draft:
    """What a scene shows, before anything has a place."""

    category: str
    slots: tuple[Slot, ...]
    """One, or two with a count of 1."""
    count: int
    """How many of each."""
    relation: str | None
    style: str | None
    """Of all slots; None where they differ."""


@dataclass(frozen=True)
class _Pool:
    """The sprites of one style (all styles: None) that a category can use."""

    style: str | None
    sprites: tuple[int, ...]
    common: tuple[int, ...]
    """Those of the commonest nouns."""


class Drafter:
    """Draws drafts; `SceneComposer` tells the arguments.

    Raises:
        SettingError: no sprite's concept is in the lexicon.
    """

    def __init__(
        self,
        store: SpriteStore,
        lexicon: Lexicon,
        held_out: HeldOut,
        exclude_held_out: bool | Literal["only"],
        common_share: float = COMMON_SHARE,
    ) -> None:
        self._sprites = store.sprites
        self._held_out = held_out
        self._mode = exclude_held_out
        self._common_share = common_share
        self._nouns = {
            index: lexicon[sprite.concept]
            for index, sprite in enumerate(store.sprites)
            if sprite.concept in lexicon
            and lexicon[sprite.concept].is_one_thing
            and not self._is_style_excluded(index)
        }
        if not self._nouns:
            raise SettingError(
                f"none of the {len(store)} sprites can be used: their concepts are not among the "
                f"lexicon's {len(lexicon)}, or are held out"
            )
        colourless = NOT_ONE_COLOUR | {
            noun.codepoints for noun in lexicon if names_a_colour(noun.words)
        }
        self._colours: dict[int, tuple[str, ...]] = {
            index: ((sprite.colour,) if sprite.colour else ()) + sprite.recolours
            for index, sprite in enumerate(store.sprites)
            if index in self._nouns and sprite.concept not in colourless
        }
        common = {noun.codepoints for noun in common_nouns(lexicon)}
        coloured = [index for index in self._nouns if self._colours.get(index)]
        self._pools = {
            category: self._group(
                coloured if category in _COLOURED else list(self._nouns),
                common,
                min_concepts=2 if category in _PAIRS else 1,
            )
            for category in CATEGORIES
        }
        self._in_concept: dict[str, list[int]] = {}
        for index, noun in self._nouns.items():
            self._in_concept.setdefault(noun.codepoints, []).append(index)
        self._targets = {
            category: self._held_out_drafts(category) if exclude_held_out == "only" else []
            for category in CATEGORIES
        }

    def can_draft(self, category: str) -> bool:
        """There are sprites for it, and in "only" mode something held out."""
        return bool(self._pools[category] and (self._mode != "only" or self._targets[category]))

    def draft(self, rng: random.Random, category: str) -> Draft:
        """Draws one; drawn again until nothing held out is in it.

        Raises:
            SettingError: the sprites at hand do not make one.
        """
        if self.can_draft(category):
            for _ in range(_TRIES):
                if self._mode == "only":
                    drawn = self._draw_held_out(rng, category)
                else:
                    drawn = self._draw(rng, category)
                if drawn is not None and not (self._mode is True and self._is_held_out(drawn)):
                    return drawn
        held = " that is held out" if self._mode == "only" else ""
        raise SettingError(
            f"the {len(self._sprites)} sprites at hand make no scene of category "
            f"{category!r}{held}; add sprites of other nouns and colours"
        )

    def _is_style_excluded(self, index: int) -> bool:
        sprite = self._sprites[index]
        return self._mode is True and (sprite.concept, sprite.style) in self._held_out.styles

    def _group(self, indices: list[int], common: set[str], min_concepts: int) -> list[_Pool]:
        """One pool for each style with enough concepts; one of everything where none has."""
        styles: dict[str, list[int]] = {}
        for index in indices:
            styles.setdefault(self._sprites[index].style, []).append(index)

        def pool(style: str | None, members: list[int]) -> _Pool:
            often = tuple(index for index in members if self._sprites[index].concept in common)
            return _Pool(style, tuple(members), often)

        def num_concepts(members: list[int]) -> int:
            return len({self._sprites[index].concept for index in members})

        pools = [pool(s, m) for s, m in styles.items() if num_concepts(m) >= min_concepts]
        if not pools and num_concepts(indices) >= min_concepts:
            return [pool(None, indices)]
        return pools

    def _draw_pool(self, rng: random.Random, category: str) -> _Pool:
        """Styles in proportion to their sprites."""
        pools = self._pools[category]
        left = rng.random() * sum(len(pool.sprites) for pool in pools)
        for pool in pools:
            left -= len(pool.sprites)
            if left < 0:
                return pool
        return pools[-1]

    def _draw_slot(self, rng: random.Random, pool: _Pool, is_coloured: bool) -> Slot:
        is_common = rng.random() < self._common_share and pool.common
        return self._slot(rng, pick(rng, pool.common if is_common else pool.sprites), is_coloured)

    def _slot(self, rng: random.Random, index: int, is_coloured: bool) -> Slot:
        """A sprite, in one of its colours where the colour is to be said."""
        own = self._sprites[index].colour
        if not is_coloured or (own and rng.random() < OWN_COLOUR_SHARE):
            return self._painted(index, own, is_coloured)
        return self._painted(index, pick(rng, self._colours[index]), True)

    def _painted(self, index: int, colour: str | None, is_said: bool) -> Slot:
        return Slot(
            noun=self._nouns[index],
            sprite=index,
            paint=None if colour == self._sprites[index].colour else colour,
            colour=colour,
            is_colour_said=is_said,
        )

    def _draw(self, rng: random.Random, category: str) -> Draft | None:
        """A draft with no regard to what is held out; None where the draw does not work out."""
        pool = self._draw_pool(rng, category)
        slot = self._draw_slot(rng, pool, category in _COLOURED)
        if category in _PAIRS:
            relation = pick(rng, RELATIONS) if category == "position" else None
            return self._paired(rng, category, pool, slot, relation)
        return self._of(category, (slot,), _draw_count(rng, category), None)

    def _paired(
        self, rng: random.Random, category: str, pool: _Pool, slot: Slot, relation: str | None
    ) -> Draft | None:
        """Draws a second noun: another word in every language, for colours another colour."""
        other = self._draw_slot(rng, pool, category in _COLOURED)
        if slot.noun.is_confusable(other.noun):
            return None
        if category == "attribution" and slot.colour == other.colour:
            return None
        return self._of(category, (slot, other), 1, relation)

    def _of(
        self, category: str, slots: tuple[Slot, ...], count: int, relation: str | None
    ) -> Draft:
        styles = {self._sprites[slot.sprite].style for slot in slots}
        style = styles.pop() if len(styles) == 1 else None
        return Draft(category=category, slots=slots, count=count, relation=relation, style=style)

    def _is_held_out(self, draft: Draft) -> bool:
        """Shows a held-out number in a colour, said or not, or states a held-out relation."""
        counts, relations = self._held_out.counts, self._held_out.relations
        nouns = [slot.noun.codepoints for slot in draft.slots]
        return any(
            (slot.noun.codepoints, slot.colour, draft.count) in counts for slot in draft.slots
        ) or (draft.relation is not None and (nouns[0], draft.relation, nouns[-1]) in relations)

    # --- only what is held out -----------------------------------------------------------------

    def _held_out_drafts(self, category: str) -> list[tuple[Slot, int, Slot | None, str | None]]:
        """Everything held out that a category can show: slot, count, second slot, relation.

        Without a second slot, pairs are given any.
        """
        is_said = category in _COLOURED
        found: list[tuple[Slot, int, Slot | None, str | None]] = []
        if category == "position":
            for first, relation, second in sorted(self._held_out.relations):
                for a, b in itertools.product(
                    self._in_concept.get(first, ()), self._in_concept.get(second, ())
                ):
                    if self._sprites[a].style == self._sprites[b].style:
                        slots = (self._painted(i, self._sprites[i].colour, False) for i in (a, b))
                        found.append((next(slots), 1, next(slots), relation))
        else:
            for concept, colour, count in sorted(self._held_out.counts):
                if count > 1 and category not in ("counting", "colours"):
                    continue
                for index in self._in_concept.get(concept, ()):
                    own = self._sprites[index].colour == colour
                    if own if not is_said else colour in self._colours.get(index, ()):
                        found.append((self._painted(index, colour, is_said), count, None, None))
        for concept, style in sorted(self._held_out.styles):
            for index in self._in_concept.get(concept, ()):
                if self._sprites[index].style == style:
                    colours = self._colours.get(index, ()) if is_said else (None,)
                    for colour in colours:
                        shown = colour if is_said else self._sprites[index].colour
                        found.append((self._painted(index, shown, is_said), 0, None, None))
        return found

    def _draw_held_out(self, rng: random.Random, category: str) -> Draft | None:
        slot, count, other, relation = pick(rng, self._targets[category])
        if other is not None:
            return self._of(category, (slot, other), 1, relation)
        if category not in _PAIRS:
            return self._of(category, (slot,), count or _draw_count(rng, category), None)
        style = self._sprites[slot.sprite].style
        pool = next((p for p in self._pools[category] if p.style in (style, None)), None)
        if pool is None:
            return None
        relation = pick(rng, RELATIONS) if category == "position" else None
        draft = self._paired(rng, category, pool, slot, relation)
        if draft is None or rng.random() < 0.5:
            return draft
        return self._of(category, draft.slots[::-1], 1, relation)


def _draw_count(rng: random.Random, category: str) -> int:
    """How many of the one noun."""
    if category == "counting":
        if rng.random() < COUNT_ONE_SHARE:
            return 1
        return 2 + int(rng.random() * (MAX_COUNT - 1))
    if category == "colours" and rng.random() >= ONE_SHARE:
        return 2 + int(rng.random() * 3)
    return 1
