"""Nouns, numbers and colours put together, in each of the four languages.

One class per language: the words that `grammar` builds captions from, and the rules for noun
phrases. These are the languages' school grammar. French colour adjectives follow the noun, and
orange and marron do not agree (Grevisse, Le bon usage, section 555); German adjectives decline by
Duden's patterns, strong without an article and mixed after ein, and nouns are in the dative after
von, über, unter and neben of place; Spanish colours follow the noun, and un and el stand before a
stressed a.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from mtgen.data.images.colours import COLOUR_NAMES
from mtgen.data.images.lexicon import Word

if TYPE_CHECKING:
    from mtgen.data.images.grammar import Thing

Case = Literal["nominative", "dative"]


class Language:
    """What every language provides."""

    lang: str
    and_: str
    numbers: tuple[str, ...]
    """2 to 6 in words."""
    lead_ins: tuple[str, ...]
    next_to: tuple[str, ...]
    is_of_repeated = False
    """"a picture of a dog and of a cat": the preposition stands before both."""
    relations: Mapping[str, tuple[str, ...]]
    """The plainest first; what follows is an indefinite noun phrase, in German in the dative."""
    places: Mapping[str, str]
    """The first thing's own place: "the dog on the left"."""
    is_: str
    backgrounds: tuple[str, ...]
    """The plainest first; with a slot for the colour."""

    def number(self, count: int, digits: bool) -> str:
        return str(count) if digits else self.numbers[count - 2]

    def join(self, link: str, phrase: str) -> str:
        """A preposition or lead-in before a phrase, with elision."""
        return f"{link} {phrase}"

    def phrase(self, thing: Thing, case: Case, digits: bool) -> str:
        """The thing with its number or indefinite article, and adjectives."""
        raise NotImplementedError

    def the(self, word: Word) -> str:
        """The noun with its definite article, nominative singular."""
        raise NotImplementedError

    def link_the(self, link: str, word: Word) -> str:
        """One of `relations` before the noun with its definite article, contracted."""
        return self.join(link, self.the(word))

    def background(self, frame: str, colour: str) -> str:
        """One of `backgrounds` with the colour in it, agreeing."""
        raise NotImplementedError


# --- English ----------------------------------------------------------------------------------

_A_BEFORE_VOWEL = ("uni", "use", "usu", "uku", "ute", "euro", "eu", "ewe", "one-", "once")
_AN_BEFORE_CONSONANT = ("hour", "heir", "honest", "honour", "honor", "x-ray")
_SPELLED_OUT_AN = "AEFHILMNORSX"  # letters whose names begin with a vowel: an MRI, but a UFO


def a_or_an(word: str) -> str:
    """The English indefinite article by the sound of what follows."""
    head = word.replace("-", " ").split()[0]
    low = word.casefold()
    if low.startswith(_AN_BEFORE_CONSONANT):
        return "an"
    if len(head) > 1 and head.isupper():
        return "an" if head[0] in _SPELLED_OUT_AN else "a"
    if low.startswith(_A_BEFORE_VOWEL) or low == "one" or low.startswith("one "):
        return "a"
    return "an" if low[0] in "aeiou" else "a"


class English(Language):
    lang = "en"
    and_ = "and"
    numbers = ("two", "three", "four", "five", "six")
    lead_ins = ("a picture of", "an image of", "a drawing of", "an illustration of")
    next_to = ("next to", "beside")
    relations = {
        "left_of": ("to the left of", "left of", "on the left of"),
        "right_of": ("to the right of", "right of", "on the right of"),
        "above": ("above", "over"),
        "below": ("below", "under", "beneath"),
    }
    places = {
        "left_of": "on the left",
        "right_of": "on the right",
        "above": "at the top",
        "below": "at the bottom",
    }
    is_ = "is"
    backgrounds = ("on {}", "against {}", "with {}")
    sizes = {"big": "big", "small": "small"}

    def phrase(self, thing: Thing, case: Case, digits: bool) -> str:
        word = thing.words["en"]
        noun = word.singular if thing.count == 1 else word.plural
        pair, of, whole = noun.partition(" of ")
        if of and pair in ("pair", "pairs"):  # a pair of white jeans, not a white pair of jeans
            parts = (thing.size, pair, "of", thing.colour, whole)
        else:
            parts = (thing.size, thing.colour, noun)
        rest = " ".join(part for part in parts if part)
        if thing.count > 1:
            return f"{self.number(thing.count, digits)} {rest}"
        if thing.is_counted:
            return f"{'1' if digits else 'one'} {rest}"
        return f"{a_or_an(rest)} {rest}"

    def background(self, frame: str, colour: str) -> str:
        return frame.format(f"{a_or_an(colour)} {colour} background")

    def the(self, word: Word) -> str:
        return f"the {word.singular}"


# --- French -----------------------------------------------------------------------------------

# Words that begin with an aspirated h (no elision), as far as things that can be drawn go.
_H_ASPIRE = frozenset(
    "hache haie hall halte hamac hamburger hamster hanche hand handball hanneton hareng haricot "
    "harnais harpe harpon haut hautbois hérisson hernie héron héros hêtre heurtoir hibou "
    "hobby hochet hockey homard hors hot hotte houe houle housse houx hublot huche huit hutte "
    "husky".split()
)


def elide(little: str, following: str) -> str:
    """French de, le, la before what follows: d'un lion, l'éléphant, but le hibou.

    Args:
        little: A word that ends in e or a and loses it: "de", "le", "la", "à gauche de".
        following: The words after it.
    """
    head = following.replace("-", " ").split()[0].casefold()
    first = unicodedata.normalize("NFD", head)[0]
    mute_h = first == "h" and head not in _H_ASPIRE
    if mute_h or (first in "aeiouœæ" and head not in ("onze", "ouistiti")):
        return f"{little[:-1]}'{following}"
    return f"{little} {following}"


class French(Language):
    lang = "fr"
    and_ = "et"
    numbers = ("deux", "trois", "quatre", "cinq", "six")
    lead_ins = ("une image de", "un dessin de", "une illustration de")
    next_to = ("à côté de",)
    is_of_repeated = True
    relations = {
        "left_of": ("à gauche de", "à la gauche de"),
        "right_of": ("à droite de", "à la droite de"),
        "above": ("au-dessus de",),
        "below": ("en dessous de", "au-dessous de", "sous"),
    }
    places = {"left_of": "à gauche", "right_of": "à droite", "above": "en haut", "below": "en bas"}
    is_ = "est"
    backgrounds = ("sur fond {}", "sur un fond {}", "avec un fond {}")
    sizes = {"big": ("grand", "grande"), "small": ("petit", "petite")}
    colours = {
        "red": ("rouge", "rouge"),
        "orange": ("orange", None),
        "yellow": ("jaune", "jaune"),
        "green": ("vert", "verte"),
        "blue": ("bleu", "bleue"),
        "purple": ("violet", "violette"),
        "pink": ("rose", "rose"),
        "brown": ("marron", None),
        "black": ("noir", "noire"),
        "white": ("blanc", "blanche"),
        "gray": ("gris", "grise"),
    }
    """Masculine and feminine singular; None: does not agree at all."""

    def adjective(self, forms: tuple[str, str | None], gender: str | None, count: int) -> str:
        masculine, feminine = forms
        if feminine is None:
            return masculine
        form = feminine if gender == "f" else masculine
        return form + "s" if count > 1 and not form.endswith("s") else form

    def phrase(self, thing: Thing, case: Case, digits: bool) -> str:
        word = thing.words["fr"]
        article = "une" if word.gender == "f" else "un"
        if thing.count > 1 or (thing.is_counted and digits):
            article = "1" if thing.count == 1 else self.number(thing.count, digits)
        parts = [article]
        if thing.size:
            parts.append(self.adjective(self.sizes[thing.size], word.gender, thing.count))
        parts.append(word.singular if thing.count == 1 else word.plural)
        if thing.colour:
            parts.append(self.adjective(self.colours[thing.colour], word.gender, thing.count))
        return " ".join(parts)

    def background(self, frame: str, colour: str) -> str:
        return frame.format(self.colours[colour][0])

    def join(self, link: str, phrase: str) -> str:
        return elide(link, phrase) if link.split()[-1] == "de" else f"{link} {phrase}"

    def the(self, word: Word) -> str:
        return elide("la" if word.gender == "f" else "le", word.singular)

    def link_the(self, link: str, word: Word) -> str:
        the = self.the(word)
        if link.endswith(" de") and the.startswith("le "):
            return f"{link[:-2]}du {the[3:]}"
        return f"{link} {the}"


# --- German -----------------------------------------------------------------------------------


class German(Language):
    lang = "de"
    and_ = "und"
    numbers = ("zwei", "drei", "vier", "fünf", "sechs")
    lead_ins = ("ein Bild von", "eine Zeichnung von", "eine Illustration von")
    next_to = ("neben",)
    relations = {
        "left_of": ("links von", "links neben"),
        "right_of": ("rechts von", "rechts neben"),
        "above": ("über", "oberhalb von"),
        "below": ("unter", "unterhalb von"),
    }
    places = {"left_of": "links", "right_of": "rechts", "above": "oben", "below": "unten"}
    is_ = "ist"
    backgrounds = ("auf {} Hintergrund", "vor {} Hintergrund", "mit {} Hintergrund")
    sizes = {"big": "groß", "small": "klein"}
    colours = {
        "red": "rot",
        "orange": "orangefarben",
        "yellow": "gelb",
        "green": "grün",
        "blue": "blau",
        "purple": "violett",
        "pink": "rosa",
        "brown": "braun",
        "black": "schwarz",
        "white": "weiß",
        "gray": "grau",
    }
    article_endings = {
        "nominative": {"m": "", "f": "e", "n": ""},
        "dative": {"m": "em", "f": "er", "n": "em"},
    }
    mixed_endings = {"m": "er", "f": "e", "n": "es"}
    """Nominative singular after ein; the dative is -en throughout."""
    articles = {
        "nominative": {"m": "der", "f": "die", "n": "das"},
        "dative": {"m": "dem", "f": "der", "n": "dem"},
    }

    def decline(self, adjective: str, ending: str) -> str:
        return adjective if adjective == "rosa" else adjective + ending

    def noun(self, word: Word, count: int, case: Case) -> str:
        if count == 1:
            return word.dative or word.singular if case == "dative" else word.singular
        return word.dative_plural if case == "dative" else word.plural

    def phrase(self, thing: Thing, case: Case, digits: bool) -> str:
        word = thing.words["de"]
        gender = word.gender or "n"
        adjectives = [self.sizes[thing.size]] if thing.size else []
        adjectives += [self.colours[thing.colour]] if thing.colour else []
        if thing.count > 1:
            head = self.number(thing.count, digits)
            ending = "en" if case == "dative" else "e"
        else:
            head = "ein" + self.article_endings[case][gender]
            head = "1" if thing.is_counted and digits else head
            ending = "en" if case == "dative" else self.mixed_endings[gender]
        declined = [self.decline(adjective, ending) for adjective in adjectives]
        return " ".join([head, *declined, self.noun(word, thing.count, case)])

    def background(self, frame: str, colour: str) -> str:
        return frame.format(self.decline(self.colours[colour], "em"))

    def the(self, word: Word) -> str:
        return f"{self.articles['nominative'][word.gender or 'n']} {word.singular}"

    def link_the(self, link: str, word: Word) -> str:
        article = self.articles["dative"][word.gender or "n"]
        noun = self.noun(word, 1, "dative")
        if link.endswith("von") and article == "dem":
            return f"{link[:-3]}vom {noun}"
        return f"{link} {article} {noun}"


# --- Spanish ----------------------------------------------------------------------------------


class Spanish(Language):
    lang = "es"
    and_ = "y"
    numbers = ("dos", "tres", "cuatro", "cinco", "seis")
    lead_ins = ("una imagen de", "un dibujo de", "una ilustración de")
    next_to = ("junto a", "al lado de")
    relations = {
        "left_of": ("a la izquierda de",),
        "right_of": ("a la derecha de",),
        "above": ("encima de", "por encima de"),
        "below": ("debajo de", "por debajo de"),
    }
    places = {
        "left_of": "a la izquierda",
        "right_of": "a la derecha",
        "above": "arriba",
        "below": "abajo",
    }
    is_ = "está"
    backgrounds = ("sobre fondo {}", "sobre un fondo {}", "con fondo {}")
    sizes = {"big": "grande", "small": "pequeño"}
    colours = {
        "red": "rojo",
        "orange": "naranja",
        "yellow": "amarillo",
        "green": "verde",
        "blue": "azul",
        "purple": "morado",
        "pink": "rosa",
        "brown": "marrón",
        "black": "negro",
        "white": "blanco",
        "gray": "gris",
    }

    def adjective(self, stem: str, gender: str | None, count: int) -> str:
        form = stem[:-1] + "a" if gender == "f" and stem.endswith("o") else stem
        if count == 1:
            return form
        if form.endswith("ón"):
            return form[:-2] + "ones"
        return form + ("s" if form[-1] in "aeo" else "es")

    def phrase(self, thing: Thing, case: Case, digits: bool) -> str:
        word = thing.words["es"]
        article = "una" if word.gender == "f" and not word.takes_el else "un"
        if thing.count > 1 or (thing.is_counted and digits):
            article = "1" if thing.count == 1 else self.number(thing.count, digits)
        parts = [article, word.singular if thing.count == 1 else word.plural]
        if thing.colour:
            parts.append(self.adjective(self.colours[thing.colour], word.gender, thing.count))
        if thing.size:
            parts.append(self.adjective(self.sizes[thing.size], word.gender, thing.count))
        return " ".join(parts)

    def background(self, frame: str, colour: str) -> str:
        return frame.format(self.colours[colour])

    def the(self, word: Word) -> str:
        return f"{'la' if word.gender == 'f' and not word.takes_el else 'el'} {word.singular}"

    def link_the(self, link: str, word: Word) -> str:
        the = self.the(word)
        if link.endswith(" de") and the.startswith("el "):
            return f"{link[:-2]}del {the[3:]}"
        return f"{link} {the}"


LANGUAGES: Mapping[str, Language] = {
    language.lang: language for language in (English(), French(), German(), Spanish())
}


def names_a_colour(words: Mapping[str, Sequence[Word]]) -> bool:
    """A noun already says a colour (black cat, orange), so none should be added to it."""
    known = {
        "en": set(COLOUR_NAMES),
        "fr": {form for forms in French.colours.values() for form in forms if form},
        "de": {*German.colours.values(), "orange"},
        "es": set(Spanish.colours.values()),
    }
    return any(
        part in known[lang]
        for lang, choices in words.items()
        for word in choices
        for part in word.singular.casefold().replace("-", " ").split()
    )
