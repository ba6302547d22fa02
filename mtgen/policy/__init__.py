"""What the demo refuses: the rules of `policy.toml`, applied to prompts and outputs.

It is a filter of words, and a small one: it keeps a public page from the plainest misuse, and is no
judge of meaning. The app applies it; the library and the evals do not.
"""

from __future__ import annotations

import bisect
import functools
import os
import re
import tomllib
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtgen.errors import ConfigError

POLICY_ENV = "MTGEN_POLICY"
"""Path of a deployer's own rules; `off` refuses nothing."""
DEFAULT = Path(__file__).with_name("policy.toml")
TASKS = ("text", "image", "translate")
LOOK_ALIKES = str.maketrans("@4310$57!€", "aaeiosstie")
"""Digits and signs that stand for letters inside words."""
LONGEST_WORD = 40
"""Characters of a word whose look-alikes are read as letters."""
SPELT = re.compile(r"\b(?:[a-z][\s.\-_*]{1,3}){3,40}[a-z]\b")
"""Letters set apart, as in `b o m b`."""


def plain(text: str) -> str:
    """A text as rules see it: words of a-z and digits, one space apart.

    Compatibility forms are resolved (NFKC), case, accents and invisible characters go, look-alikes
    inside words become letters, and letters set apart become words.
    """
    text = unicodedata.normalize("NFKC", text).casefold()
    text = unicodedata.normalize("NFD", text)
    text = "".join(c for c in text if unicodedata.category(c) not in ("Mn", "Cf"))
    text = text.replace("ß", "ss")
    text = re.sub(r"\S+", lambda m: like_letters(m[0]), text)
    text = SPELT.sub(lambda m: joined(m[0]), text)
    return " ".join(re.findall(r"[^\W_]+", text))


def joined(letters: str) -> str:
    """Letters set apart as a word; where the first may be a word itself, without it too."""
    word = re.sub(r"[^a-z]", "", letters)
    return f"{word} {word[1:]}" if word[0] in "aiouy" else word


def like_letters(word: str) -> str:
    """A word whose digits and signs stand for letters; plain numbers and ordinals stay."""
    if len(word) > LONGEST_WORD or word.isalpha() or not any(map(str.isalpha, word)):
        return word
    if re.fullmatch(r"[\d.,:/$€!+-]*(?:st|nd|rd|th|er|e|eme|s|%|[a-z]{1,3})?[.,;:!?)]*", word):
        return word
    core = word.rstrip("!?.,;:)")
    return core.translate(LOOK_ALIKES) + word[len(core) :]


@functools.cache
def pattern_of(phrases: tuple[str, ...]) -> re.Pattern[str]:
    """Finds any of the phrases in a plain text; `*` is any ending of a word."""
    parts = [
        r"\s".join(re.escape(word).replace(r"\*", r"\w*") for word in phrase.split())
        for phrase in sorted(phrases, key=len, reverse=True)
    ]
    return re.compile(rf"\b(?:{'|'.join(parts)})\b")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One thing that is refused."""

    name: str
    says: str
    """To the visitor."""
    tasks: tuple[str, ...]
    words: tuple[str, ...] = ()
    all_of: tuple[tuple[str, ...], ...] = ()
    within: int = 10
    above: float | None = None
    exceptions: tuple[str, ...] = ()
    """Phrases that are taken out before."""
    unless: tuple[str, ...] = ()
    """Phrases with which the rule does not apply."""

    def __post_init__(self) -> None:
        if not set(self.tasks) <= set(TASKS):
            raise ConfigError(f"rule {self.name!r} names tasks beside {', '.join(TASKS)}")
        if not (self.words or self.all_of or self.above) or (self.words and self.all_of):
            raise ConfigError(f"rule {self.name!r} needs words, all_of or above")
        phrases = (*self.words, *sum(self.all_of, ()), *self.exceptions, *self.unless)
        for phrase in phrases:
            bare = " ".join(phrase.replace("*", "").split())
            if plain(bare) != bare:
                raise ConfigError(
                    f"rule {self.name!r}: {phrase!r} can never be found, since texts are compared "
                    f"as {plain(bare)!r}"
                )

    @property
    def patterns(self) -> list[re.Pattern[str]]:
        """Of the words, or of each list."""
        return [pattern_of(phrases) for phrases in (self.all_of or (self.words,)) if phrases]

    @property
    def refusal(self) -> str:
        """What a visitor is told."""
        return f"refused by this page's rule {self.name!r}: {self.says}"

    def applies(self, text: str, original: str) -> bool:
        """Whether a text is refused by this rule.

        Args:
            text: As `plain` gives it.
            original: As it was written, for the classifier.
        """
        if self.above is not None and not self.patterns:
            return abuse(original) >= self.above
        if self.unless and pattern_of(self.unless).search(text):
            return False
        if self.exceptions:
            text = pattern_of(self.exceptions).sub("·", text)
        spaces = [place for place, char in enumerate(text) if char == " "]
        places = [
            [bisect.bisect(spaces, match.start()) for match in one.finditer(text)]
            for one in self.patterns
        ]
        if len(places) == 1:
            if not places[0]:
                return False
            return self.above is None or abuse(original) >= self.above
        first, *rest = places
        return any(all(is_near(place, others, self.within) for others in rest) for place in first)


def is_near(place: int, others: Sequence[int], within: int) -> bool:
    """Whether one of rising numbers is no further away than that."""
    first = bisect.bisect_left(others, place - within)
    return first < len(others) and others[first] <= place + within


@dataclass(frozen=True)
class Policy:
    """All rules, in the order in which they are tried."""

    rules: tuple[Rule, ...]

    def broken(self, text: str, task: str) -> Rule | None:
        """The first rule of a task that a text breaks."""
        seen = plain(text)
        for rule in self.rules:
            if task in rule.tasks and rule.applies(seen, text):
                return rule
        return None


def read_policy(path: Path) -> Policy:
    """Reads a file of rules.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    try:
        rows: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))["rule"]
        rules = [
            Rule(
                name=row.pop("name"), says=row.pop("says"), tasks=tuple(row.pop("tasks")),
                words=tuple(row.pop("words", ())),
                all_of=tuple(tuple(list_) for list_ in row.pop("all_of", ())),
                exceptions=tuple(row.pop("not", ())), unless=tuple(row.pop("unless", ())), **row,
            )
            for row in map(dict, rows)
        ]  # fmt: skip
        for rule in rules:
            rule.applies("", "")  # what is wrong with it fails here, not at a visitor
    except (OSError, ValueError, KeyError, TypeError, AttributeError, re.error) as error:
        raise ConfigError(
            f"{path} holds no rules of use ({type(error).__name__}: {error}); "
            f"{DEFAULT.name} in mtgen/policy shows how they are written"
        ) from None
    return Policy(tuple(rules))


@functools.cache
def load_policy(chosen: str | None = None) -> Policy:
    """The deployer's rules, or ours.

    Args:
        chosen: Path of a file of rules, or `off`; None looks into POLICY_ENV.

    Raises:
        ConfigError: see `read_policy`.
    """
    chosen = os.environ.get(POLICY_ENV) if chosen is None else chosen
    if chosen == "off":
        return Policy(())
    return read_policy(Path(chosen) if chosen else DEFAULT)


@functools.cache
def classifier() -> Any:
    """The function of `alt-profanity-check`: texts to probabilities of abuse.

    A linear model over words, trained on 200,000 texts of two data sets of comments in English.
    """
    from profanity_check import predict_prob

    return predict_prob


def abuse(text: str) -> float:
    """How probably a text is abusive, 0..1, by the classifier; about right for English alone."""
    return float(classifier()([text])[0])
