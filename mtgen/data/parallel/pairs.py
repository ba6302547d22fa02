"""A sentence pair, and the way text is made comparable."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

LANGUAGES = ("fr", "de", "es")
"""English stands on the other side of every pair."""


class Pair(NamedTuple):
    """English and its translation."""

    lang: str
    """Language of `text`: fr, de or es."""
    en: str
    text: str


SPACES = re.compile(r"\s+")
INVISIBLE = re.compile(r"[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")


def tidy(text: str) -> str:
    """One line, single spaces, composed characters (NFC), nothing invisible."""
    return SPACES.sub(" ", INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()


NOT_ALNUM = re.compile(r"[\W_]+")


def normalise(text: str) -> str:
    """What two texts share if they differ only in case, accents' form, punctuation and spaces.

    Digits stay; accents stay, since they tell words apart in French, German and Spanish.
    """
    return NOT_ALNUM.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()


ABBREVIATIONS = frozenset(
    "mr mrs ms mk dr prof st vs etc e.g i.e no fig vol p pp cf ca inc ltd jr sr approx dept est "
    "z.b d.h u.a bzw usw evtl ggf nr bspw vgl str tel abb inkl max min mind "
    "m mme mlle p.ex ex n° ch chap art env sr sra srta ud uds p.ej pág págs núm ej".split()
)
BREAK = re.compile(r"(?<=[.!?…])([\"'»”“’)]*)\s+(?=[\"'«“„‘(¿¡]*[A-ZÀ-ÖØ-Þ0-9])")


def sentences(text: str) -> list[str]:
    """Splits at sentence ends, rather too seldom than too often."""
    parts: list[str] = []
    start = 0
    for match in BREAK.finditer(text):
        before = text[start : match.end(1)]
        word = before.rstrip(".!?…\"'»”’)").rsplit(None, 1)[-1:] or [""]
        bare = word[0].lstrip("(\"'«“„").casefold()
        if before.endswith(".") and (bare in ABBREVIATIONS or len(bare) == 1 or bare.isdigit()):
            continue
        parts.append(before.strip())
        start = match.end()
    parts.append(text[start:].strip())
    return [part for part in parts if part]


def split_pair(pair: Pair, *, max_words: int = 80) -> list[Pair]:
    """Sentence pairs where both sides have the same number of sentences, else the whole.

    Sentences are taken apart only if each English one is plausibly as long as its twin; what is
    longer than `max_words` afterwards is dropped.
    """
    left, right = sentences(pair.en), sentences(pair.text)
    if len(left) == len(right) > 1:
        ratios = [(len(b) + 8) / (len(a) + 8) for a, b in zip(left, right, strict=True)]
        if all(0.55 < ratio < 2.2 for ratio in ratios):
            return [
                Pair(pair.lang, a, b)
                for a, b in zip(left, right, strict=True)
                if len(a.split()) <= max_words
            ]
    return [pair] if len(pair.en.split()) <= max_words else []
