"""Whether a scene shows exactly what was asked for, judged on what the detector found.

After GenEval (arXiv:2310.11513), but stricter: every category asks for the exact number of each
thing, as "a dog" means one. Things that nobody asked for do not count against a picture.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtgen.data.images.scenes import Scene

RELATION_MARGIN = 0.1
"""A relation holds when the centres are further apart along its axis than this share of the side
(GenEval's threshold), and not further across it."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing that the detector found in a picture."""

    noun: str
    """Code points."""
    colour: str
    """One of COLOUR_NAMES."""
    x: float
    """Centre, as a share of the picture's side from the left."""
    y: float
    """Centre, from the top."""
    confidence: float = 1.0
    """How sure the detector is that there is something, 0..1."""


@dataclass(frozen=True, kw_only=True)
class WantedThing:
    """One noun of a prompt."""

    noun: str
    """Code points."""
    count: int = 1
    colour: str | None = None
    """Where the prompt says one."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a prompt asks for."""

    things: tuple[WantedThing, ...]
    """Different nouns."""
    relation: str | None = None
    """Where the first is, seen from the second: one of grammar.RELATIONS."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        things = [{"noun": t.noun, "count": t.count, "colour": t.colour} for t in self.things]
        return {"things": things, "relation": self.relation}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Wanted:
        """From what `as_dict` gave."""
        things = tuple(WantedThing(**thing) for thing in fields["things"])
        return cls(things=things, relation=fields["relation"])


def said_of(scene: Scene) -> Wanted:
    """What the captions of a composed scene say."""
    things: dict[str, WantedThing] = {}
    for item in scene.objects:
        before = things.get(item.concept)
        things[item.concept] = WantedThing(
            noun=item.concept,
            count=before.count + 1 if before else 1,
            colour=item.colour if item.is_colour_said else None,
        )
    relation = scene.relation[1] if scene.relation else None
    return Wanted(things=tuple(things.values()), relation=relation)


def faults(found: Sequence[Found], wanted: Wanted) -> list[str]:
    """What is wrong, of `count`, `colour`, `relation`; empty where the scene is exact."""
    wrong = []
    by_noun = {t.noun: [d for d in found if d.noun == t.noun] for t in wanted.things}
    if any(len(by_noun[thing.noun]) != thing.count for thing in wanted.things):
        wrong.append("count")
    coloured = [thing for thing in wanted.things if thing.colour]
    if any(d.colour != thing.colour for thing in coloured for d in by_noun[thing.noun]):
        wrong.append("colour")
    if wanted.relation and not wrong:
        first, second = (by_noun[thing.noun] for thing in wanted.things)
        pairs = itertools.product(first, second)
        if not all(relation_of(a, b) == wanted.relation for a, b in pairs):
            wrong.append("relation")
    return wrong


def relation_of(a: Found, b: Found) -> str | None:
    """Where `a` is, seen from `b`; None where neither axis says."""
    across, down = a.x - b.x, a.y - b.y
    if abs(across) > RELATION_MARGIN and abs(across) >= abs(down):
        return "left_of" if across < 0 else "right_of"
    if abs(down) > RELATION_MARGIN and abs(down) > abs(across):
        return "above" if down < 0 else "below"
    return None
