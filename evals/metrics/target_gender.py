"""In which gender does a translation name a person? French, German and Spanish.

The noun is looked up in `occupation_nouns.tsv`, which lists how an English noun may be translated,
the likeliest first. Of each translation it says what shows the gender:

    Arzt/Ärztin      two forms; the noun itself shows it. `-in` is the ending of the second one, and
                     several second forms have commas between
    architecte       one form for both; the determiner before it shows it
    /Putzfrau        only for women (`barman/`: only for men)
    personne=        only one grammatical gender, whoever is meant; it never shows it
    ~Angestellte     a German adjective used as a noun; its ending and the determiner show it

This does without an aligner and a tagger of each language, which WinoMT (arXiv:1906.00591) uses.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

NOUNS = Path(__file__).with_name("occupation_nouns.tsv")
LANGUAGES = ("fr", "de", "es")

Gender = Literal["male", "female", "neutral"]

WORD = re.compile(
    r"[^\W\d_]+'"  # l', qu'
    r"|[^\W\d_]+(?:-[^\W\d_]+)*"
    r"|(?<=[^\W\d_])[*·•:_/(](?=[^\W\d_])"  # what joins both forms: Lehrer*in, enfermero/a
)
BOTH_FORMS = set("*·•:_/(")
SHORTEST_OF_COMPOUND = 4
"""Letters of a German noun that may be the end of a compound."""
LONGEST_GAP = 2
"""Adjectives between a determiner and its noun."""


def _table(male: str, female: str, either: str = "") -> dict[str, Gender]:
    """Gender of each word of three lists."""
    lists: dict[Gender, str] = {"male": male, "female": female, "neutral": either}
    return {word: gender for gender, words in lists.items() for word in words.split()}


DETERMINERS: dict[str, dict[str, Gender]] = {
    "fr": _table(
        "le un au du ce quel aucun certain homme monsieur",
        "la une cette ma ta sa quelle aucune certaine femme madame",
        "l' cet mon ton son notre votre leur chaque d'",  # mon, son: before a vowel for women too
    ),
    "es": _table(
        "el un al del este ese aquel nuestro vuestro algún ningún hombre señor",
        "la una esta esa aquella nuestra vuestra alguna ninguna mujer señora",
        "su mi tu cada",
    ),
    "de": _table(
        "den dem des vom zum beim im am männliche männlichen männlicher "
        + " ".join(
            f"{stem}{ending}"
            for stem in ("ein", "kein", "mein", "dein", "sein", "ihr", "unser")
            for ending in ("", "en", "em", "es")
        )
        + " diesen diesem dieses jeden jedem jedes jenen jenem welchen welchem",
        "die zur weibliche weiblichen diese jede jene welche "
        + " ".join(
            f"{stem}{ending}"
            for stem in ("ein", "kein", "mein", "dein", "sein", "ihr", "unser")
            for ending in ("e", "er")
        ),
        "der dieser jeder jener welcher",  # of men in the nominative, of women in other cases
    ),
}
ADJECTIVES: dict[str, dict[str, Gender]] = {
    "fr": _table(
        "nouveau nouvel vieux vieil bon gros ancien premier dernier petit grand seul",
        "nouvelle vieille bonne grosse ancienne première dernière petite grande seule",
        "jeune autre même pauvre brave célèbre propre",
    ),
    "es": _table(
        "nuevo viejo buen bueno mismo otro primer último antiguo pequeño",
        "nueva vieja buena misma otra primera última antigua pequeña",
        "joven gran mejor pobre amable",
    ),
    "de": {},  # known by their endings
}
"""What may stand between a determiner and its noun."""
WITH_DATIVE = set("mit von bei zu nach aus seit gegenüber dank wegen trotz während hinter".split())


@dataclass(frozen=True)
class Noun:
    """One way to translate a noun."""

    forms: dict[tuple[str, ...], Gender | None]
    """Words in a row, lower case; None where what stands around them shows the gender."""
    is_adjective: bool = False


def words_of(text: str) -> list[str]:
    """Words in lower case; what is elided before an apostrophe is a word of its own."""
    return WORD.findall(text.replace("’", "'").lower())


def feminine(male: str, ending: str) -> str:
    """The second form of a noun: maestro, -a gives maestra; Zeuge, -in gives Zeugin."""
    if not ending.startswith("-"):
        return ending
    return re.sub("[oe]$", "", male) + ending[1:]


def parse(listed: str, lang: str) -> Noun:
    """One translation, as the table lists it."""
    if listed.startswith("~"):
        stem = listed[1:]
        return Noun({_key(stem + ending): None for ending in ("", "n", "r")}, is_adjective=True)
    if listed.endswith("="):
        return Noun({_key(listed[:-1]): "neutral"})
    if "/" not in listed:
        endings = ("", "s") if lang == "de" else ("",)
        return Noun({_key(listed + ending): None for ending in endings})
    male, females = listed.split("/")
    forms: dict[tuple[str, ...], Gender | None] = {
        _key(feminine(male, form)): "female" for form in females.split(",") if form
    }
    if male:
        # Cases of German; the last is of those that end in -e, as der Beamte, ein Beamter.
        for ending in ("", "s", "es", "n", "en", "r") if lang == "de" else ("",):
            forms.setdefault(_key(male + ending), "male")
    return Noun(forms)


def _key(form: str) -> tuple[str, ...]:
    return tuple(words_of(form))


@cache
def lexicon() -> dict[str, dict[str, tuple[Noun, ...]]]:
    """Translations of each English noun, by language."""
    with NOUNS.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {
        row["en"].lower(): {
            lang: tuple(parse(listed.strip(), lang) for listed in row[lang].split(";"))
            for lang in LANGUAGES
        }
        for row in rows
    }


@dataclass(frozen=True)
class Found:
    """A noun in a translation."""

    start: int
    """Number of its first word."""
    end: int
    """After its last."""
    gender: Gender
    has_determiner: bool


def find(words: list[str], lang: str, entity: str) -> list[Found]:
    """Where a translation names a person.

    Args:
        words: As `words_of` gives them.
        lang: One of LANGUAGES.
        entity: The English noun, in lower case; one that is not listed is found nowhere.

    Returns:
        All places of the likeliest of the listed translations that occurs; in German, one that is
        the end of a compound comes after all that stand alone.
    """
    for is_compound in (False, True) if lang == "de" else (False,):
        for noun in lexicon().get(entity.lower(), {}).get(lang, ()):
            if found := list(_places(words, lang, noun, is_compound)):
                # "rédacteur en chef" names no chief where "le chef" stands as well
                return [place for place in found if place.has_determiner] or found
    return []


def _places(words: list[str], lang: str, noun: Noun, is_compound: bool) -> Iterator[Found]:
    for form, shown in noun.forms.items():
        for start in range(len(words) - len(form) + 1):
            end = start + len(form)
            if is_compound:
                if not _ends_compound(words[start], " ".join(form), lang):
                    continue
            elif tuple(words[start:end]) != form:
                continue
            determiner = _determiner(words, start, lang)
            gender = _gender(words, start, end, shown, determiner, lang, noun.is_adjective)
            yield Found(start, end, gender, determiner is not None)


def _ends_compound(word: str, form: str, lang: str) -> bool:
    """Whether a word is a longer one of the same end, and no noun of another meaning."""
    if len(form) < SHORTEST_OF_COMPOUND or len(word) < len(form) + 2 or not word.endswith(form):
        return False
    return word not in _all_words(lang)


@cache
def _all_words(lang: str) -> frozenset[str]:
    """Every listed form."""
    nouns = (noun for by_lang in lexicon().values() for noun in by_lang[lang])
    return frozenset(" ".join(form) for noun in nouns for form in noun.forms)


def _determiner(words: list[str], start: int, lang: str) -> tuple[int, Gender] | None:
    """Place and gender of what stands before a noun, adjectives aside; None for nothing."""
    shown: tuple[int, Gender] | None = None
    for place in range(start - 1, max(-1, start - 2 - LONGEST_GAP), -1):
        word = words[place]
        if word in DETERMINERS[lang]:
            gender = DETERMINERS[lang][word]
            return shown if gender == "neutral" and shown else (place, gender)
        if word in ADJECTIVES[lang]:
            if ADJECTIVES[lang][word] != "neutral":
                shown = shown or (place, ADJECTIVES[lang][word])
        elif lang != "de" or not re.search("e[nrsm]?$", word):
            break
    return shown


def _gender(
    words: list[str], start: int, end: int, shown: Gender | None,
    determiner: tuple[int, Gender] | None, lang: str, is_adjective: bool,
) -> Gender:  # fmt: skip
    """Gender of a noun from its form, then from what stands before it."""
    if end < len(words) and words[end] in BOTH_FORMS:
        return "neutral"
    place, before = determiner or (start, "neutral")
    if lang == "de":
        if shown is not None:
            return shown
        return _german(words, start, end, place, before, is_adjective)
    if shown == "male" and before == "female":  # la chef, la juez
        return "female"
    return shown or before


def _german(
    words: list[str], start: int, end: int, place: int, before: Gender, is_adjective: bool
) -> Gender:
    """Gender of a German noun with one form, from its determiner's case and its own ending."""
    inflected = words[place + 1 : end if is_adjective else start]
    if place == start:  # no determiner: Angestellter is a man, Angestellte may be several
        return "male" if is_adjective and words[start].endswith("r") else "neutral"
    if words[place] in ("die", "diese", "welche") and inflected and inflected[-1].endswith("n"):
        return "neutral"  # several
    if before != "neutral":
        return before
    if inflected:  # der neue Angestellte, der neuen Angestellten
        return "female" if inflected[-1].endswith("n") else "male"
    return "female" if place and words[place - 1] in WITH_DATIVE else "male"


def find_gender(translation: str, lang: str, entity: str) -> Gender | None:
    """In which gender a translation names a person.

    Args:
        translation: A sentence.
        lang: One of LANGUAGES.
        entity: The English noun, such as "nurse".

    Returns:
        "male" or "female"; "neutral" where the noun is there and fits both (l'architecte, die
        Lehrkraft, Lehrer*in), or stands there in both genders; None where it is not found.
    """
    genders: set[Gender] = {place.gender for place in find(words_of(translation), lang, entity)}
    if len(genders) > 1:
        return "neutral"
    return genders.pop() if genders else None
