"""People: which pictures show the same trade or pastime as man, as woman and neutrally.

A caption that does not name a gender ("a doctor") draws man, woman and neutral evenly, and skin
tones evenly within them; one that does ("a female doctor") draws only those pictures.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mtgen.data.images.languages import a_or_an

PEOPLE = Path(__file__).with_name("people.tsv")
GENDERS = ("neutral", "man", "woman")
TONES = {
    "1f3fb": "light",
    "1f3fc": "medium-light",
    "1f3fd": "medium",
    "1f3fe": "medium-dark",
    "1f3ff": "dark",
}
"""Unicode's skin-tone modifiers, after the Fitzpatrick scale (UTS #51, 2.4)."""


@dataclass(frozen=True, kw_only=True)
class Role:
    """A trade or pastime with its words; all indefinite articles are singular nominative."""

    concept: str
    """Code points of the neutral picture."""
    concepts: dict[str, str]
    """Gender to code points."""
    words: dict[tuple[str, str], str]
    """(language, m or f) to the bare noun; English has only `m`, which stands for all."""

    def caption(self, lang: str, gender: str | None) -> str:
        """`a doctor`, `une médecin`, `eine Ärztin`; None says no gender where a language can.

        French, German and Spanish have no neutral noun: None takes the masculine, as speakers do
        for any person of the trade, and draws every gender all the same.
        """
        if lang == "en":
            word = self.words["en", "m"]
            if gender in {"man", "woman"}:
                return f"a {'male' if gender == 'man' else 'female'} {word}"
            return f"{a_or_an(word)} {word}"
        form = "f" if gender == "woman" else "m"
        article = {
            "fr": {"m": "un", "f": "une"},
            "de": {"m": "ein", "f": "eine"},
            "es": {"m": "un", "f": "una"},
        }[lang][form]
        return f"{article} {self.words[lang, form]}"


@cache
def roles() -> dict[str, Role]:
    """Roles by the code points of each of their pictures, neutral, man and woman."""
    found: dict[str, Role] = {}
    with PEOPLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            words = {("en", "m"): row["en"]}
            for lang in ("fr", "de", "es"):
                for form in "mf":
                    words[lang, form] = row[f"{lang}_{form}"]
            concepts = {"neutral": row["concept"], "man": row["man"], "woman": row["woman"]}
            role = Role(concept=row["concept"], concepts=concepts, words=words)
            for concept in concepts.values():
                found[concept] = role
    return found


def without_tone(codepoints: str) -> tuple[str, str | None]:
    """Code points without their skin tone, and the tone; several tones give `mixed`."""
    parts = codepoints.split("-")
    tones = [TONES[part] for part in parts if part in TONES]
    bare = "-".join(part for part in parts if part not in TONES)
    if not bare:  # a swatch: the tone itself
        return codepoints, None
    if not tones:
        return bare, None
    return bare, tones[0] if len(set(tones)) == 1 and len(tones) == 1 else "mixed"


def gender_of(concept: str) -> str | None:
    """man, woman or neutral for a picture of a role, else None."""
    role = roles().get(concept)
    if role is None:
        return None
    return next(gender for gender, code in role.concepts.items() if code == concept)
