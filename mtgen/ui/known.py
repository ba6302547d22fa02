"""What the image expert has learnt, for the list "What can it draw?"."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

from mtgen.data.images.lexicon import LANGS, Lexicon
from mtgen.data.images.people import roles

NUM_KNOWN = 1_900
"""Things, about, that the pictures it was trained on show; those with words of ours are listed."""


@dataclass(frozen=True, kw_only=True)
class Known:
    """One thing with its words."""

    emoji: str
    words: dict[str, str]
    """The everyday word of each language."""
    forms: tuple[tuple[str, str], ...]
    """(form to search for, its singular): other words and plurals too."""

    @property
    def label(self) -> str:
        """`🐕 dog · chien · Hund · perro`."""
        return f"{self.emoji} " + " · ".join(self.words[lang] for lang in LANGS)


def emoji_of(codepoints: str) -> str:
    """The characters that hexadecimal code points stand for, as a picture rather than a sign."""
    text = "".join(chr(int(part, 16)) for part in codepoints.split("-"))
    return text + "\ufe0f" if len(text) == 1 and text < "\U0001f000" else text


def folded(text: str) -> str:
    """For comparing: without case and accents; `Äpfel` is `apfel`."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return "".join(char for char in plain if not unicodedata.combining(char)).strip()


@cache
def known_things() -> tuple[Known, ...]:
    """Everything with words in four languages: nouns, commonest first, then people."""
    things = [
        Known(
            emoji=emoji_of(noun.codepoints),
            words={lang: noun.words[lang][0].singular for lang in LANGS},
            forms=tuple(
                (folded(form), word.singular)
                for lang in LANGS
                for word in noun.words[lang]
                for form in (word.singular, word.plural)
            ),
        )
        for noun in Lexicon.read()
    ]
    for role in {role.concept: role for role in roles().values()}.values():
        things.append(
            Known(
                emoji=emoji_of(role.concept),
                words={lang: role.words[lang, "m"] for lang in LANGS},
                forms=tuple((folded(word), word) for word in role.words.values()),
            )
        )
    return tuple(things)


def search(query: str) -> list[tuple[Known, str]]:
    """Things that have a word with the query in it, in any language, and that word.

    Whole words come first, then beginnings, then the rest; everything for an empty query.
    """
    wanted = folded(query)
    if not wanted:
        return [(thing, thing.words["en"]) for thing in known_things()]
    found: list[tuple[int, Known, str]] = []
    for thing in known_things():
        hits = [
            (0 if form == wanted else 1 if form.startswith(wanted) else 2, word)
            for form, word in thing.forms
            if wanted in form
        ]
        if hits:
            rank, word = min(hits, key=lambda hit: hit[0])
            found.append((rank, thing, word))
    found.sort(key=lambda item: item[0])
    return [(thing, word) for _, thing, word in found]
