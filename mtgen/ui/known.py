"""What the image expert has learnt, for the list "What can it draw?"."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import emoji

from mtgen.data.images.lexicon import LANGS, Lexicon
from mtgen.data.images.people import roles
from mtgen.model.language import unaccented

NEWEST = 17.0
"""Version of Unicode's emoji that the training pictures go up to."""
SKIN_TONES = set("\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff")


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


@cache
def known_things() -> tuple[Known, ...]:
    """Everything drawn for training: nouns, commonest first, people, then the other emoji."""
    things = [
        Known(
            emoji=emoji_of(noun.codepoints),
            words={lang: noun.words[lang][0].singular for lang in LANGS},
            forms=tuple(
                (unaccented(form), word.singular)
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
                forms=tuple((unaccented(word), word) for word in role.words.values()),
            )
        )
    return (*things, *other_emoji({shown(thing.emoji) for thing in things}))


def shown(emoji_text: str) -> str:
    """Without the selector of coloured shapes, which some lists write and others leave out."""
    return emoji_text.replace("\ufe0f", "")


def other_emoji(listed: set[str]) -> list[Known]:
    """The emoji that are not listed yet, by the names that Unicode's CLDR gives them."""
    emoji.config.load_language(list(LANGS))
    found = []
    for text, entry in emoji.EMOJI_DATA.items():
        one_of_many = entry["status"] > emoji.STATUS["fully_qualified"] or SKIN_TONES & set(text)
        if one_of_many or entry["E"] > NEWEST or shown(text) in listed:
            continue
        words = {lang: entry[lang].strip(":").replace("_", " ") for lang in LANGS}
        forms = tuple((unaccented(word), word) for word in words.values())
        found.append(Known(emoji=text, words=words, forms=forms))
    return found


def search(query: str) -> list[tuple[Known, str]]:
    """Things that have a word with the query in it, in any language, and that word.

    Whole words come first, then beginnings, then the rest; everything for an empty query.
    """
    wanted = unaccented(query).strip()
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
