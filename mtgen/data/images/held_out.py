"""Combinations that are never trained on, so that a score on them shows composition, not memory.

held_out.json lists, by code points and sorted:

    noun_colour_count   [noun, colour, count]: so many of that noun in that colour in one picture
    noun_relation_noun  [noun, relation, noun]: stated either way round, left_of or right_of
    concept_styles      [noun, style]: that noun as drawn in that style

They were drawn once over the commonest nouns and are frozen. `python -m
mtgen.data.images.held_out` draws the first two again and keeps concept_styles; with a folder of
built pictures after it, it draws concept_styles from those as well.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mtgen.data.images.colours import COLOUR_NAMES
from mtgen.data.images.grammar import MAX_COUNT, MIRRORED, RELATIONS, pick
from mtgen.data.images.languages import names_a_colour
from mtgen.data.images.lexicon import Lexicon, Noun
from mtgen.errors import SettingError, UnknownNameError

HELD_OUT = Path(__file__).parent / "held_out.json"
SEED = 20240607
NUM_NOUNS = 150
"""Combinations are drawn over this many nouns, the commonest."""
NUM_COMBINATIONS = 300
"""Of each kind."""

NUM_STYLED_NOUNS = 500
STYLED_SHARE = 0.4
"""Share of the nouns that are held out in one of their styles."""
MIN_STYLES = 7
TWIN_STYLES = frozenset({"fluent-emoji", "fluent-emoji-3d"})
"""The same drawings, rendered twice: held out together."""

T = TypeVar("T", bound=tuple)

_LENGTHS = {"noun_colour_count": 3, "noun_relation_noun": 3, "concept_styles": 2}


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """The lists, for look-up."""

    counts: frozenset[tuple[str, str, int]] = frozenset()
    """(code points, colour, count)."""
    relations: frozenset[tuple[str, str, str]] = frozenset()
    """(code points, relation, code points); holds both statements of each."""
    styles: frozenset[tuple[str, str]] = frozenset()
    """(code points, style)."""

    @classmethod
    def read(cls, path: Path = HELD_OUT) -> HeldOut:
        """Reads the lists.

        Raises:
            SettingError: the file cannot be read, or an entry is not of the layout above.
            UnknownNameError: a colour or relation that does not exist.
        """
        try:
            lists = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise SettingError(f"{path.name} cannot be read: {error}") from None
        if not isinstance(lists, dict) or set(lists) != set(_LENGTHS):
            raise SettingError(f"{path.name} must have the lists {', '.join(_LENGTHS)}")
        for name, length in _LENGTHS.items():
            for entry in lists[name]:
                if not isinstance(entry, list) or len(entry) != length:
                    raise SettingError(
                        f"each entry of {name} in {path.name} must have {length} parts, "
                        f"got {entry!r}"
                    )
        for _, colour, count in lists["noun_colour_count"]:
            if colour not in COLOUR_NAMES:
                raise UnknownNameError("colour", colour, COLOUR_NAMES)
            if count not in range(1, MAX_COUNT + 1):
                raise SettingError(f"a held-out count must be 1 to {MAX_COUNT}, got {count!r}")
        for _, relation, _ in lists["noun_relation_noun"]:
            if relation not in RELATIONS:
                raise UnknownNameError("relation", relation, RELATIONS)
        relations = {(a, relation, b) for a, relation, b in lists["noun_relation_noun"]}
        return cls(
            counts=frozenset((noun, colour, n) for noun, colour, n in lists["noun_colour_count"]),
            relations=frozenset(relations | {(b, MIRRORED[r], a) for a, r, b in relations}),
            styles=frozenset((noun, style) for noun, style in lists["concept_styles"]),
        )


def common_nouns(lexicon: Lexicon) -> list[Noun]:
    """The NUM_NOUNS commonest that are fit for scenes."""
    return [noun for noun in lexicon if noun.is_one_thing][:NUM_NOUNS]


def draw_concept_styles(
    pictures: Iterable[tuple[str, str]], lexicon: Lexicon, seed: int = SEED
) -> list[list[str]]:
    """Draws [noun, style] pairs, sorted; each noun stays in at least five other styles.

    Args:
        pictures: (code points, style) of everything that there is.
        lexicon: Pairs are drawn over its NUM_STYLED_NOUNS commonest nouns.
        seed: Of the draw.
    """
    styles: dict[str, set[str]] = {}
    for concept, style in pictures:
        styles.setdefault(concept, set()).add(style)
    rng = random.Random(seed)
    drawn: list[list[str]] = []
    for noun in lexicon.nouns[:NUM_STYLED_NOUNS]:
        known = sorted(styles.get(noun.codepoints, ()))
        if len(known) >= MIN_STYLES and rng.random() < STYLED_SHARE:
            style = pick(rng, known)
            twins = TWIN_STYLES if style in TWIN_STYLES else {style}
            drawn += [[noun.codepoints, twin] for twin in twins if twin in known]
    return sorted(drawn)


def draw_held_out(lexicon: Lexicon, seed: int = SEED) -> dict[str, list[list[str | int]]]:
    """Draws the first two lists of held_out.json, sorted; nouns of one word in no pair.

    Raises:
        SettingError: the lexicon has fewer than NUM_NOUNS nouns.
    """
    if len(lexicon) < NUM_NOUNS:
        raise SettingError(
            f"held-out combinations are drawn over {NUM_NOUNS} nouns, the lexicon has "
            f"{len(lexicon)}; add more"
        )
    nouns = common_nouns(lexicon)
    plain = [noun for noun in nouns if not names_a_colour(noun.words)]
    rng = random.Random(seed)

    def combination() -> tuple[str, str, int]:
        return pick(rng, plain).codepoints, pick(rng, COLOUR_NAMES), 1 + int(rng.random() * 6)

    def triple() -> tuple[str, str, str]:
        first, second = pick(rng, nouns), pick(rng, nouns)
        while first.is_confusable(second):
            second = pick(rng, nouns)
        return first.codepoints, pick(rng, RELATIONS), second.codepoints

    counts = _distinct(combination, lambda entry: entry)
    relations = _distinct(triple, lambda t: min(t, (t[2], MIRRORED[t[1]], t[0])))
    return {
        "noun_colour_count": [list(entry) for entry in sorted(counts)],
        "noun_relation_noun": [list(entry) for entry in sorted(relations)],
    }


def _distinct(draw: Callable[[], T], key: Callable[[T], T]) -> list[T]:
    """NUM_COMBINATIONS draws, no two of which say the same."""
    found: dict[T, T] = {}
    while len(found) < NUM_COMBINATIONS:
        entry = draw()
        found.setdefault(key(entry), entry)
    return list(found.values())


def write_held_out(
    lexicon: Lexicon, path: Path = HELD_OUT, pictures: Iterable[tuple[str, str]] | None = None
) -> None:
    """Draws the lists again; concept_styles stays as it is unless `pictures` are given.

    Raises:
        SettingError: too few nouns.
    """
    drawn: dict[str, list] = dict(draw_held_out(lexicon))
    old = json.loads(path.read_text("utf-8")) if path.exists() else {}
    drawn["concept_styles"] = (
        old.get("concept_styles", [])
        if pictures is None
        else draw_concept_styles(pictures, lexicon)
    )
    lines = [
        f"  {json.dumps(name)}: ["
        + ",".join(f"\n    {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
        + ("\n  ]" if entries else "]")
        for name, entries in drawn.items()
    ]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")


def read_pictures(folder: Path) -> list[tuple[str, str]]:
    """(code points, style) of the emoji in a folder of built pictures."""
    import pyarrow.parquet as pq

    found = []
    for path in sorted(folder.glob("*.parquet")):
        table = pq.read_table(path, columns=["concept", "source", "kind"])
        found += [(r["concept"], r["source"]) for r in table.to_pylist() if r["kind"] == "emoji"]
    return found


if __name__ == "__main__":
    write_held_out(
        Lexicon.read(), pictures=read_pictures(Path(sys.argv[1])) if sys.argv[1:] else None
    )
