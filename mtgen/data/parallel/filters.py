"""What a sentence pair must be like to be trained on; each refusal has a name that is counted."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from mtgen.data.archives import members
from mtgen.data.parallel.pairs import Pair, normalise
from mtgen.model.language import identifier

REASONS = {
    "empty": "one side has no letter",
    "identifier": "the English side is a message's key, not its text",
    "untranslated": "both sides are the same",
    "length": "one side is over 2.2 times as long as the other, or over 600 characters",
    "letters": "less than half of a side is letters: tables, formulas",
    "digits": "the numbers differ",
    "placeholders": "placeholders such as {name} or %s differ",
    "markup": "tags differ, or remnants of markup are left",
    "language": "a side is in another language than it should be",
    "offensive": "a word of the offensive list occurs",
}
MAX_CHARACTERS = 600
PLACEHOLDER = re.compile(
    r"%(?:\([^)]*\))?[-+ #0]*\d*(?:\.\d+)?[hlL]*[diouxXeEfFgGcrsaA]\b|%\d+\$?[a-z]?|%[A-Z]\w*%?"
    r"|\$?\{\{?[^{}]*\}?\}|\$\w+"
)
TAG = re.compile(r"</?([A-Za-z][\w:-]*)[^<>]*>")
ENTITY = re.compile(r"&(?:[a-z]+|#\d+);")
REMNANT = re.compile(r"\\[a-zA-Z@]|\[\[|\]\]|'''|@@|\ufffd|\ufffc|[\x00-\x1f]|¶")
IDENTIFIER = re.compile(r"[\w-]*[A-Za-z][_.][A-Za-z][\w.-]*")
GROUPED = re.compile(r"(?<=\d)[.,\u00a0\u202f'’](?=\d)|(?<=\d) (?=\d{3}\b)")
NUMBER = re.compile(r"\d+")


def numbers(text: str) -> Counter[str]:
    """Runs of digits, however they are grouped: 1,000.5 and 1.000,5 are the same."""
    return Counter(NUMBER.findall(GROUPED.sub("", text)))


def refusal(pair: Pair) -> str | None:
    """Why a tidied pair is unfit, as a key of `REASONS`; None for a good one.

    Offensive words are looked for elsewhere (`OffensiveWords`), since their list is a package.
    """
    en, text = pair.en, pair.text
    letters_en, letters_text = (sum(map(str.isalpha, side)) for side in (en, text))
    if not letters_en or not letters_text:
        return "empty"
    if IDENTIFIER.fullmatch(en):
        return "identifier"
    if normalise(en) == normalise(text):
        return "untranslated"
    if max(len(en), len(text)) > MAX_CHARACTERS or not 0.45 < (len(text) + 8) / (len(en) + 8) < 2.2:
        return "length"
    if letters_en < 0.5 * visible(en) or letters_text < 0.5 * visible(text):
        return "letters"
    if Counter(PLACEHOLDER.findall(en)) != Counter(PLACEHOLDER.findall(text)):
        return "placeholders"
    tags = Counter(TAG.findall(en))
    if (
        tags != Counter(TAG.findall(text))
        or ENTITY.search(en + text)
        or REMNANT.search(en)
        or REMNANT.search(text)
    ):
        return "markup"
    if numbers(en) != numbers(text):
        return "digits"
    if not (is_language(en, "en") and is_language(text, pair.lang)):
        return "language"
    return None


def visible(text: str) -> int:
    """Characters that are not spaces, in a tidied text."""
    return len(text) - text.count(" ")


SURE = 0.9
"""Probability over which another language is believed."""

FEW_LETTERS = 14
"""Below this, names and borrowed words are too alike to judge."""

MANY_LETTERS = 40
"""From here on, all 97 languages are considered, not only ours."""


def is_language(text: str, lang: str) -> bool:
    """Whether a text may be in the language; the benefit of doubt goes to short ones."""
    letters = sum(map(str.isalpha, text))
    if letters < FEW_LETTERS:
        return True
    found, probability = identifier(ours_only=letters < MANY_LETTERS).classify(text)
    return found == lang or probability < SURE


OFFENSIVE_WORDS = "npm:naughty-words"
"""The package that lists them, in our four languages."""


class OffensiveWords:
    """Finds listed words; whole words and phrases only, in any case."""

    def __init__(self, by_language: dict[str, list[str]]) -> None:
        self.words = {
            lang: {normalise(entry) for entry in entries if " " not in normalise(entry)}
            for lang, entries in by_language.items()
        }
        self.phrases = {
            lang: [f" {normalise(entry)} " for entry in entries if " " in normalise(entry)]
            for lang, entries in by_language.items()
        }

    @classmethod
    def from_package(cls, archive: Path) -> OffensiveWords:
        """Reads the npm package `naughty-words`."""
        pattern = r"/(en|fr|de|es)\.json$"
        return cls(
            {name[-7:-5]: json.loads(content) for name, content in members(archive, pattern)}
        )

    def found_in(self, text: str, lang: str) -> bool:
        plain = normalise(text)
        if not self.words[lang].isdisjoint(plain.split()):
            return True
        spaced = f" {plain} "
        return any(phrase in spaced for phrase in self.phrases[lang])
