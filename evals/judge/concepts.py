"""What counts as the same concept, which concepts are judged, and which captions are wrong answers.

Pictures of one *group* are never taken for wrong answers to each other's captions:

* People: man, woman and neutral, in all skin tones, are one group; a caption may say the gender.
* Clock faces: the 24 differ in their hands only, which no 64 pixels show.
* Concepts that share a name in one of the four languages.

*Judged* are the nouns of the lexicon: things that people ask for, with a proper name in four
languages. Faces and gestures, flags, letters and signs, moon phases and clocks stay out: their
names describe a meaning ("face with steam from nose"), or tell apart what pictures hardly do. A
noun is judged when at least MIN_TRAINING_STYLES styles of the judge's own side draw it, and the
judge told its picture in one more style (`evals.judge.check.select_nouns`): some things look alike
in every drawing, and a judge that is wrong about real pictures says nothing of generated ones.

Wrong answers for one judged noun are other judged nouns that are not *related*: neither is among
the other's CLDR keywords (a duck is a bird, a rose is a flower) or names.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.judge.styles import JUDGED_STYLES, MIN_TRAINING_STYLES, TRAINING_STYLES
from mtgen.data.images.grammar import Description, Thing, caption
from mtgen.data.images.lexicon import LANGS, Lexicon, Noun
from mtgen.data.packed import Packed
from mtgen.errors import SettingError

CLOCKS = re.compile(r"1f5(5[0-9a-f]|6[0-7])")
NUM_CAPTIONS = 100
"""Of one question to the judge: the true one and 99 wrong ones."""
TOLD = Path(__file__).parent / "told_nouns.tsv"
"""Written by `python -m evals.judge select`."""


@dataclass(frozen=True, kw_only=True)
class JudgedConcept:
    """A noun that pictures are scored on."""

    noun: Noun
    related: frozenset[str]
    """Code points of judged nouns that are no wrong answers."""

    def caption(self, lang: str = "en") -> str:
        """`an apple`, in the plainest wording."""
        words = {name: options[0] for name, options in self.noun.words.items()}
        return caption(Description(things=(Thing(words=words),)), lang)


def groups(rows: Mapping[str, Sequence]) -> dict[str, str]:
    """Concept to group.

    Args:
        rows: The columns `concept`, `person` and `names` of packed pictures.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    concepts: dict[str, None] = {}
    for concept, person, names in zip(rows["concept"], rows["person"], rows["names"], strict=True):
        if concept in concepts:
            continue
        concepts[concept] = None
        if person:
            parent[root(f"person {concept}")] = root(f"person {person}")
            parent[root(concept)] = root(f"person {person}")
        elif CLOCKS.fullmatch(concept):
            parent[root(concept)] = root("clock face")
        for lang in LANGS:
            for name in names[lang] or ():
                parent[root(concept)] = root(f"{lang} {name.casefold()}")
    return {concept: root(concept) for concept in concepts}


def judged_concepts(
    packed: Packed, lexicon: Lexicon | None = None, among: Collection[str] | None = None
) -> list[JudgedConcept]:
    """The nouns that are judged, in the lexicon's order.

    Args:
        packed: Pictures.
        lexicon: Read unless given.
        among: Code points; all that enough styles draw unless given.

    Raises:
        SettingError: the pictures hold fewer than NUM_CAPTIONS of them.
    """
    lexicon = lexicon or Lexicon.read()
    styles: dict[str, set[str]] = defaultdict(set)
    said: dict[str, set[str]] = defaultdict(set)
    columns = [packed.column(name) for name in ("concept", "source", "keywords", "names")]
    for concept, source, keywords, names in zip(*columns, strict=True):
        if concept in lexicon:
            styles[concept].add(source)
            for words in (keywords, names):
                said[concept].update(word.casefold() for word in (words or {}).get("en") or ())
    nouns = [
        noun
        for noun in lexicon
        if len(styles[noun.codepoints].intersection(TRAINING_STYLES)) >= MIN_TRAINING_STYLES
        and styles[noun.codepoints].intersection(JUDGED_STYLES)
        and (among is None or noun.codepoints in among)
    ]
    if len(nouns) < NUM_CAPTIONS:
        raise SettingError(
            f"the judge needs {NUM_CAPTIONS} nouns that at least {MIN_TRAINING_STYLES} of its own "
            f"styles draw, and the packed pictures hold {len(nouns)}; build all emoji sets"
        )
    names = {noun.codepoints: _english(noun) for noun in nouns}

    def is_related(a: Noun, b: Noun) -> bool:
        return (
            a.is_confusable(b)
            or not names[a.codepoints].isdisjoint(said[b.codepoints])
            or not names[b.codepoints].isdisjoint(said[a.codepoints])
        )

    return [
        JudgedConcept(
            noun=noun,
            related=frozenset(
                other.codepoints for other in nouns if other is not noun and is_related(noun, other)
            ),
        )
        for noun in nouns
    ]


def told_nouns() -> frozenset[str]:
    """Code points of the nouns that the shipped judge can tell."""
    lines = TOLD.read_text("utf-8").splitlines()
    return frozenset(line.split("\t")[0] for line in lines)


def _english(noun: Noun) -> frozenset[str]:
    """Names with and without their measure: "slice of cake" and "cake"."""
    words = [form for word in noun.words["en"] for form in (word.singular, word.plural)]
    bare = [word.rpartition(" of ")[2] for word in words]
    return frozenset(word.casefold() for word in [*words, *bare])


def question(
    concept: JudgedConcept, others: Iterable[JudgedConcept], seed: str, lang: str = "en"
) -> list[str]:
    """NUM_CAPTIONS captions of different concepts, the true one first.

    Args:
        concept: What the picture shows.
        others: All judged concepts.
        seed: Of the draw; equal seeds draw the same wrong answers.
        lang: Of the captions.

    Raises:
        SettingError: too few concepts are unrelated.
    """
    name = concept.noun.codepoints
    wrong = [o for o in others if o.noun.codepoints != name and name not in o.related]
    if len(wrong) < NUM_CAPTIONS - 1:
        raise SettingError(
            f"{NUM_CAPTIONS - 1} wrong answers are needed for {name}, {len(wrong)} are unrelated"
        )
    drawn = random.Random(f"{seed} {name}").sample(wrong, NUM_CAPTIONS - 1)
    return [concept.caption(lang), *(other.caption(lang) for other in drawn)]
