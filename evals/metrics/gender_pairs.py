"""Pairs of sentences, one about a man and one about a woman: how they are scored."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from evals.metrics import MetricUse, Record
from evals.metrics.target_gender import find, find_gender, words_of


@dataclass(frozen=True, kw_only=True)
class PairUse(MetricUse):
    """A metric of pairs, which go by the `of` of their samples.

    A pair is unscored unless both sentences were translated; one of which the run has only half
    (`--limit`) is no pair.
    """

    def clusters(self, records: Sequence[Record]) -> dict[str, str]:
        male = [r for r in records if r["sample"].get("gender") == "male"]
        return {s["of"]: s.get("text") or s["of"] for r in male if (s := r["sample"]).get("of")}

    def inputs(self, records: Sequence[Record]) -> dict[str, dict[str, Any] | None]:
        pairs: dict[str, dict[str, Record]] = {}
        for record in records:
            sample = record["sample"]
            if sample.get("of") and self.options.get("target") in (None, sample["target"]):
                pairs.setdefault(sample["of"], {})[sample["gender"]] = record
        return {name: _pair(pair) for name, pair in pairs.items() if len(pair) == 2}


def _pair(pair: Mapping[str, Record]) -> dict[str, Any] | None:
    if any(record["output"] is None for record in pair.values()):
        return None
    samples = {gender: record["sample"] for gender, record in pair.items()}
    asked = {gender: sample["entity"] for gender, sample in samples.items()}
    asked["target"] = samples["male"]["target"]
    asked["expected"] = "male" if samples["male"]["stereotype"] == "pro" else "female"
    texts = {gender: record["output"] for gender, record in pair.items()}
    return {"predictions": json.dumps(texts), "references": json.dumps(asked)}


def is_right(texts: Mapping[str, str], asked: Mapping[str, str], gender: str) -> bool:
    """Whether the translation about that gender names the person in it."""
    return find_gender(texts[gender], asked["target"], asked[gender]) == gender


def both_right(texts: Mapping[str, str], asked: Mapping[str, str]) -> bool:
    """Whether both translations of a pair do."""
    return is_right(texts, asked, "male") and is_right(texts, asked, "female")


# --- gender taken out ----------------------------------------------------------------------------

SAME = {
    "fr": (
        "le la l'", "un une", "il elle lui", "ce cet cette c'", "mon ma", "ton ta", "son sa",
        "du de+la de+l'", "au à+la à+l'", "celui celle", "lui-même elle-même", "homme femme",
        "monsieur madame", "nouveau nouvel nouvelle", "vieux vieil vieille", "beau bel belle",
        "tout toute", "aucun aucune", "quel quelle", "qu' que", "s' si",
    ),
    "es": (
        "el la lo le", "un una uno", "él ella", "del de+la", "al a+la", "este esta", "ese esa",
        "aquel aquella", "algún alguna", "ningún ninguna", "señor señora", "hombre mujer",
        "buen buena bueno", "primer primera primero",
    ),
    "de": (
        "der die den dem des", "zum zur zu+der zu+dem", "vom von+der von+dem", "beim bei+der",
        "ein eine einen einem einer eines", "mann frau", "herr frau herrn",
        "er sie ihn ihm ihr ihre ihren ihrem ihrer ihres sein seine seinen seinem seiner seines",
        "dieser diese diesen diesem dieses", "unser unsere unseren unserem unserer unseres",
        "selbst selber", "welcher welche welchen welchem",
    ),
}  # fmt: skip
"""Words that say the same but for gender and, in German, case; `+` joins two words."""
ENDINGS = {
    "fr": (
        ("(?:eux|euse)$", "eus"), ("(?:if|ive)$", "if"), ("(?:er|ère)$", "er"),
        ("(?<=[nlt])([nlt])e$", ""), ("(?<=..)e$", ""),
    ),
    "es": (("(?<=[oeéi]r)a$", ""), ("(?:ón|ona)$", "on"), ("(?:és|esa)$", "es"),
           ("(?<=..)[oa]$", "")),
    "de": (("(?<=...)(?:e[nrsm]?|n)$", ""),),
}  # fmt: skip
"""What becomes of the endings of other words, so that adjectives and participles agree."""


PERSON = "<person>"


@cache
def _classes(lang: str) -> dict[str, str]:
    return {word: words.split()[0] for words in SAME[lang] for word in words.split()}


def without_gender(text: str, lang: str, entity: str) -> list[str]:
    """Words of a translation with the person's noun, articles, pronouns and endings levelled.

    Two translations with equal results differ in gender alone, as far as words tell. A few other
    differences are levelled as well, such as "le port" and "la porte".
    """
    words = words_of(text)
    for found in sorted(find(words, lang, entity), key=lambda found: -found.start):
        words[found.start : found.end] = [PERSON]
    classes, levelled = _classes(lang), []
    place = 0
    while place < len(words):
        two = "+".join(words[place : place + 2])
        word = words[place]
        if two in classes:
            levelled.append(classes[two])
            place += 2
            continue
        if word in classes:
            levelled.append(classes[word])
        else:
            levelled.append(word if word == PERSON else _stem(word, lang))
        place += 1
    return levelled


def _stem(word: str, lang: str) -> str:
    for ending, becomes in ENDINGS[lang]:
        if re.search(ending, word):
            return re.sub(ending, becomes, word)
    return word
