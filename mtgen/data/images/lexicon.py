"""The nouns of the pictures in four languages: reads nouns.tsv.

One row is one concept: code points (lower-case hex joined by '-', a unique key), then the words in
English, French, German and Spanish. Words of one language are joined with ';', the everyday one
first. The fields of a word are joined with '|':

    en  singular|plural                     dog|dogs
    fr  singular|plural|gender              chien|chiens|m
    de  singular|plural|gender[|dative]     Löwe|Löwen|m|Löwen     dative singular of weak nouns
    es  singular|plural|gender              águila|águilas|fa      fa: feminine, but un/el

Rows stand in order of how common the concept is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from mtgen.errors import SettingError, UnknownNameError

LANGS = ("en", "fr", "de", "es")
NOUNS = Path(__file__).parent / "nouns.tsv"

_HEADER = ("codepoints", *LANGS)
_CODEPOINTS = re.compile(r"[0-9a-f]{2,6}(-[0-9a-f]{2,6})*")
_GENDERS = {"en": (), "fr": ("m", "f"), "de": ("m", "f", "n"), "es": ("m", "f", "fa")}
_FIELDS = {"en": (2,), "fr": (3,), "de": (3, 4), "es": (3,)}
_LAYOUT = {
    "en": "singular|plural",
    "fr": "singular|plural|m or f",
    "de": "singular|plural|m, f or n, then |dative singular for weak nouns",
    "es": "singular|plural|m, f or fa",
}


NOT_ONE_THING = frozenset(
    "1f352 1fa87 1fad8 1fad0 1f95c 1f9f1 1f953 1fae7 1f3ad 1f343 1f342 1f309 1f5fd 1f573 1f4a5 "
    "1fadf 1f4ac 1f4ad 1f687 1f5fc 1f3b3 1f30a 1f4ca 1f54e 1f6cd 1f301 1f306 1f307 1f303 1f30c "
    "1f3d9 1f3de 1f3d6 1f3dd 1f3d5 1f3d4 1f33f 1f331 1f33e 1f38b 1f463 1f43e 1f962".split()
)
"""Named, but not used in scenes: their pictures show several of it, fill the frame, or are unique,
so that a count or a place said of them would be wrong."""

NOT_ONE_COLOUR = frozenset({"1f308"})
"""No colour is said of it: a rainbow has all of them."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """One noun of one language."""

    singular: str
    plural: str
    gender: str | None = None
    """m, f or n; None in English."""
    dative: str | None = None
    """German dative singular where it differs from `singular`: einem Löwen."""
    takes_el: bool = False
    """Spanish feminine noun that takes un and el: un águila roja."""

    @property
    def dative_plural(self) -> str:
        """German: den Hunden, den Äpfeln, den Stücken Käse, but den Katzen and den Autos.

        The head, which takes the ending, is what differs between singular and plural, or else
        comes first.
        """
        parts, singles = self.plural.split(" "), self.singular.split(" ")
        pairs = zip(parts, singles, strict=False)
        head = next((i for i, (many, one) in enumerate(pairs) if many != one), 0)
        if parts[head].endswith(("e", "el", "er")) or parts[head][-1] not in "nsaeiouy":
            parts[head] += "n"
        return " ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Noun:
    """One concept with its words, the everyday one first, for each of LANGS."""

    codepoints: str
    words: dict[str, tuple[Word, ...]]

    @cached_property
    def is_one_thing(self) -> bool:
        """Fit for scenes: a picture shows one of it, cut out."""
        return self.codepoints not in NOT_ONE_THING

    @property
    def spellings(self) -> frozenset[tuple[str, str]]:
        """Every (language, singular or plural in lower case)."""
        return frozenset(
            (lang, form.casefold())
            for lang, words in self.words.items()
            for word in words
            for form in (word.singular, word.plural)
        )

    def is_confusable(self, other: Noun) -> bool:
        """Some language has one word for both."""
        return not self.spellings.isdisjoint(other.spellings)


class Lexicon:
    """Nouns by code points, commonest first."""

    def __init__(self, nouns: Iterable[Noun]) -> None:
        self.nouns = tuple(nouns)
        self._by_codepoints = {noun.codepoints: noun for noun in self.nouns}

    @classmethod
    def read(cls, path: Path = NOUNS) -> Lexicon:
        """Reads a file of the layout above.

        Raises:
            SettingError: the file cannot be read, or a row is not of that layout; names the line.
        """
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingError(f"the nouns cannot be read from {path.name}: {error}") from None
        if not lines or tuple(lines[0].split("\t")) != _HEADER:
            raise SettingError(
                f"{path.name} must start with the header {' '.join(_HEADER)!r} between tabs, "
                f"got {lines[0] if lines else ''!r}"
            )
        nouns: dict[str, Noun] = {}
        for number, line in enumerate(lines[1:], start=2):
            if not line.strip():
                continue
            noun = _parse_row(line, f"{path.name} line {number}")
            if noun.codepoints in nouns:
                raise SettingError(
                    f"{path.name} line {number}: {noun.codepoints} is there already; keep one row"
                )
            nouns[noun.codepoints] = noun
        return cls(nouns.values())

    def __getitem__(self, codepoints: str) -> Noun:
        """Raises:
        UnknownNameError: no such concept.
        """
        try:
            return self._by_codepoints[codepoints]
        except KeyError:
            near = difflib.get_close_matches(codepoints, self._by_codepoints, n=5)
            raise UnknownNameError("concept", codepoints, near) from None

    def __contains__(self, codepoints: str) -> bool:
        return codepoints in self._by_codepoints

    def __iter__(self) -> Iterator[Noun]:
        return iter(self.nouns)

    def __len__(self) -> int:
        return len(self.nouns)


def _parse_row(line: str, where: str) -> Noun:
    cells = line.split("\t")
    if len(cells) != len(_HEADER):
        raise SettingError(
            f"{where}: {len(_HEADER)} cells between tabs are needed ({', '.join(_HEADER)}), "
            f"got {len(cells)}"
        )
    codepoints = cells[0]
    if not _CODEPOINTS.fullmatch(codepoints):
        raise SettingError(
            f"{where}: code points must be lower-case hex joined by '-', got {codepoints!r}"
        )
    words = {
        lang: tuple(_parse_word(text, lang, where) for text in cell.split(";"))
        for lang, cell in zip(LANGS, cells[1:], strict=True)
    }
    return Noun(codepoints=codepoints, words=words)


def _parse_word(text: str, lang: str, where: str) -> Word:
    def refuse(problem: str) -> NoReturn:
        raise SettingError(
            f"{where}: {problem} in the {lang} word {text!r}; it must be {_LAYOUT[lang]}"
        )

    fields = text.split("|")
    if len(fields) not in _FIELDS[lang]:
        refuse(f"{len(fields)} fields")
    if any(field != " ".join(field.split()) or not field for field in fields):
        refuse("an empty field or stray space")
    gender = fields[2] if len(fields) > 2 else None
    if gender is not None and gender not in _GENDERS[lang]:
        refuse(f"the gender {gender!r}")
    return Word(
        singular=fields[0],
        plural=fields[1],
        gender=gender and gender[0],
        dative=fields[3] if len(fields) > 3 else None,
        takes_el=gender == "fa",
    )
