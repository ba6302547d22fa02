"""Counterfactual sentence pairs for occupations: each in a masculine and in a feminine version.

A translator that has seen "the nurse" mostly with "she" guesses the gender from the trade. Here
every occupation stands in every chosen template once for each gender, and the English side always
says which it is. Lists and templates are ours; no template joins two persons, as the WinoMT and
Winogender sentences do, so that those stay fit to measure with.
"""

from __future__ import annotations

import csv
import random
import re
from collections.abc import Iterator
from pathlib import Path

from mtgen.data.parallel.pairs import LANGUAGES, Pair

FOLDER = Path(__file__).parent
TEMPLATES_EACH = 20
"""Templates that an occupation is put into, of all that there are."""

ARTICLES = {
    ("en", "nom"): {"m": "the", "f": "the"},
    ("fr", "nom"): {"m": "le", "f": "la"},
    ("es", "nom"): {"m": "el", "f": "la"},
    ("de", "nom"): {"m": "der", "f": "die"},
    ("de", "acc"): {"m": "den", "f": "die"},
    ("de", "dat"): {"m": "dem", "f": "der"},
}
CONTRACTIONS = {
    "fr": {("à", "le"): "au", ("de", "le"): "du"},
    "es": {("a", "el"): "al", ("de", "el"): "del"},
    "de": {("von", "dem"): "vom"},
}
"""Preposition and article that melt into one word where they stand side by side."""

FRENCH_ELISION = re.compile("[aàâeéèêëiîïoôuùûyhœæ]", re.IGNORECASE)
"""Every h in the list is mute."""

SLOT = re.compile(r"(?:\b(à|a|de|que|von) )?\{(The|the|a|bare|acc|dat)\}", re.IGNORECASE)


def rows(name: str) -> list[dict[str, str]]:
    """A list of ours as records."""
    with (FOLDER / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def noun(occupation: dict[str, str], lang: str, gender: str, case: str = "nom") -> str:
    """Its bare form; German weak nouns are written `Pilot|Piloten`, the second for other cases."""
    form = occupation["en"] if lang == "en" else occupation[f"{lang}_{gender}"]
    nominative, _, oblique = form.partition("|")
    return oblique if oblique and case != "nom" else nominative


def fill(template: str, occupation: dict[str, str], lang: str, gender: str) -> str:
    """Puts an occupation into a template's slot, with its article, elision and contraction.

    Slots: `{The}` and `{the}` definite, `{a}` indefinite (English), `{bare}` without an article,
    `{acc}` and `{dat}` definite in these cases (German).
    """

    def put(match: re.Match[str]) -> str:
        before, slot = match[1], match[2]
        lead = f"{before} " if before else ""
        if slot == "bare":
            word = noun(occupation, lang, gender)
            if lang == "fr" and before in {"de", "que"} and FRENCH_ELISION.match(word):
                lead = before[:-1] + "'"
            return lead + word
        if slot == "a":
            word = noun(occupation, lang, gender)
            return lead + ("an " if word[0].lower() in "aeiou" else "a ") + word
        case = slot if slot in {"acc", "dat"} else "nom"
        word = noun(occupation, lang, gender, case)
        article = ARTICLES[lang, case][gender]
        if lang == "fr" and FRENCH_ELISION.match(word):
            return f"{lead}{'L' if slot == 'The' else 'l'}'{word}"
        if joined := CONTRACTIONS.get(lang, {}).get(((before or "").lower(), article)):
            return f"{joined.capitalize() if before[0].isupper() else joined} {word}"
        return f"{lead}{article.capitalize() if slot == 'The' else article} {word}"

    return SLOT.sub(put, template)


def gendered_counterfactuals(seed: int = 0) -> Iterator[tuple[Pair, str]]:
    """Pairs with their gender, m and f in turn, so that every prefix is balanced."""
    templates = rows("occupation_templates.tsv")
    for place, occupation in enumerate(rows("occupations.tsv")):
        chosen = random.Random(seed * 1_000_003 + place).sample(templates, TEMPLATES_EACH)
        for template in chosen:
            for lang in LANGUAGES:
                for gender in "mf":
                    en = fill(template[f"en_{gender}"], occupation, "en", gender)
                    text = fill(template[f"{lang}_{gender}"], occupation, lang, gender)
                    yield Pair(lang, en, text), gender
