"""Captions of scenes in English, French, German and Spanish.

A `Description` says what can be seen, free of language; `caption` says it in one. Without a random
source it takes the plainest wording; with one it picks among a few natural ones.

    >>> caption(Description(things=(apple, car), relation="left_of"), "fr")
    "une pomme à gauche d'une voiture"

How nouns, numbers and colours agree is in `languages`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from mtgen.data.images.colours import COLOUR_NAMES
from mtgen.data.images.languages import LANGUAGES, Case, Language
from mtgen.data.images.lexicon import LANGS, Word
from mtgen.errors import SettingError, UnknownNameError

RELATIONS = ("left_of", "right_of", "above", "below")
MIRRORED = {"left_of": "right_of", "right_of": "left_of", "above": "below", "below": "above"}
SIZES = ("big", "small")
MAX_COUNT = 6

PLAIN_SHARE = 0.6
"""Captions with the plainest wording; the rest begin "a picture of", or say it another way."""
DIGIT_SHARE = 0.2
"""Counts written as digits."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Thing:
    """What a noun phrase speaks of."""

    words: Mapping[str, Word]
    """The word to use, for each language of LANGS."""
    count: int = 1
    """1..MAX_COUNT."""
    is_counted: bool = False
    """The number matters: "one apple" rather than "an apple"."""
    colour: str | None = None
    """One of COLOUR_NAMES, where it shall be said."""
    size: str | None = None
    """One of SIZES, where it shall be said."""

    def __post_init__(self) -> None:
        if isinstance(self.count, bool) or self.count not in range(1, MAX_COUNT + 1):
            raise SettingError(f"count must be a whole number 1 to {MAX_COUNT}, got {self.count!r}")
        if self.colour is not None and self.colour not in COLOUR_NAMES:
            raise UnknownNameError("colour", self.colour, COLOUR_NAMES)
        if self.size is not None and self.size not in SIZES:
            raise UnknownNameError("size", self.size, SIZES)

    @property
    def is_bare(self) -> bool:
        """One thing, nothing said of it but its noun."""
        return self.count == 1 and not (self.is_counted or self.colour or self.size)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a caption says."""

    things: tuple[Thing, ...]
    """One, or two."""
    relation: str | None = None
    """One of RELATIONS: where the first thing is, seen from the second."""
    is_beside: bool = False
    """The two things stand side by side, so "next to" is true."""
    background: str | None = None
    """One of COLOUR_NAMES, where it shall be said."""
    style: Mapping[str, str] = field(default_factory=dict)
    """Words by language that end the caption after a comma: {"en": "flat style"}."""

    def __post_init__(self) -> None:
        if len(self.things) not in (1, 2):
            raise SettingError(f"a caption speaks of 1 or 2 things, got {len(self.things)}")
        if self.relation is not None and self.relation not in RELATIONS:
            raise UnknownNameError("relation", self.relation, RELATIONS)
        if self.relation is not None and len(self.things) != 2:
            raise SettingError(f"{self.relation} needs 2 things, got 1")
        if self.background is not None and self.background not in COLOUR_NAMES:
            raise UnknownNameError("colour", self.background, COLOUR_NAMES)


def pick(rng: random.Random, options: Sequence[T]) -> T:
    """One of the options; draws by random(), whose sequence Python promises to keep."""
    return options[int(rng.random() * len(options))]


def caption(description: Description, lang: str, rng: random.Random | None = None) -> str:
    """Says a description in one language, without capital letter and full stop.

    Args:
        description: What to say.
        lang: One of LANGS.
        rng: Picks the wording; None takes the plainest.

    Raises:
        UnknownNameError: no such language.
    """
    if lang not in LANGS:
        raise UnknownNameError("caption language", lang, LANGS)
    text = _say(LANGUAGES[lang], description, rng)
    words = description.style.get(lang)
    return f"{text}, {words}" if words else text


def _say(language: Language, description: Description, rng: random.Random | None) -> str:
    """A caption without its style words.

    Of the wordings that are not plain, half begin "a picture of"; the others put what is said in
    another way, where there is one: next to, the definite article.
    """
    is_plain = rng is None or rng.random() < PLAIN_SHARE
    has_lead_in = rng is not None and not is_plain and rng.random() < 0.5
    is_other = not is_plain and not has_lead_in
    comma = ""
    if is_other and description.relation and all(thing.is_bare for thing in description.things):
        text, comma = _say_definite(language, description, rng), ","
    else:
        text = _say_indefinite(language, description, rng, has_lead_in, is_other)
    if description.background:
        frame = _one(None if is_plain else rng, language.backgrounds)
        text += f"{comma} {language.background(frame, description.background)}"
    return text


def _say_indefinite(
    language: Language,
    description: Description,
    rng: random.Random | None,
    has_lead_in: bool,
    is_other: bool,
) -> str:
    """A dog to the left of a lion."""
    digits = rng is not None and rng.random() < DIGIT_SHARE
    first, *others = description.things
    case: Case = "dative" if has_lead_in else "nominative"
    text = language.phrase(first, case, digits)
    if others:
        if description.relation:
            ways = language.relations[description.relation]
            link, case = _one(rng if has_lead_in or is_other else None, ways), "dative"
        elif description.is_beside and is_other:
            link, case = _one(rng, language.next_to), "dative"
        else:
            link = language.and_
        phrase = language.phrase(others[0], case, digits)
        if has_lead_in and link == language.and_ and language.is_of_repeated:
            phrase = language.join("de", phrase)
        text += " " + language.join(link, phrase)
    if has_lead_in:
        text = language.join(_one(rng, language.lead_ins), text)
    return text


def _say_definite(language: Language, description: Description, rng: random.Random | None) -> str:
    """The dog is to the left of the lion; or: a dog and a lion, the dog on the left."""
    first, second = (thing.words[language.lang] for thing in description.things)
    relation = description.relation or RELATIONS[0]
    if rng is not None and rng.random() < 0.5:
        pair = _say_indefinite(language, Description(things=description.things), None, False, False)
        return f"{pair}, {language.the(first)} {language.places[relation]}"
    link = language.relations[relation][0]
    return f"{language.the(first)} {language.is_} {language.link_the(link, second)}"


def _one(rng: random.Random | None, options: Sequence[str]) -> str:
    return options[0] if rng is None else pick(rng, options)
