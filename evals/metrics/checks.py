"""What a program can check in an answer: thirty types of constraints, each a function.

A check is a JSON object with a `type`, the name of a function here, and its options, such as
`{"type": "words", "min": 1, "max": 1}`. Checks forgive what no reader would mind, as quotes around
a single word; they do not forgive a preface, nor Markdown that was not asked for: that is what the
loose reading is for.

Source: the idea and the loose reading are IFEval's (arXiv:2311.07911); types, prompts and rules are
our own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from mtgen.model.language import guess_language

NUMBER_WORDS: Sequence[str] = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()
MARKS = {"bullet": r"[-*•–]", "number": r"\d+[.):]", "any": r"(?:[-*•–]|\d+[.):])"}
"""Of an item of a list, at the beginning of a line."""
QUOTES = "\"'“”‘’«»„"
"""As English, French, German and Spanish have them."""


# --- taking text apart ---------------------------------------------------------------------------


def split_words(text: str) -> list[str]:
    """Runs of letters and digits; apostrophes, hyphens and stops inside do not end them."""
    return re.findall(r"[^\W_]+(?:['’.-][^\W_]+)*", text)


def split_sentences(text: str) -> list[str]:
    """Pieces that end in a full stop, question or exclamation mark, or at the end of the text."""
    pieces = re.split(r"(?<=[.!?…])[\"'”’)]*\s+", text.strip())
    return [piece for piece in pieces if split_words(piece)]


def split_lines(text: str) -> list[str]:
    """Lines with something in them, without the spaces around."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def without_marks(text: str) -> str:
    """A text without what numbers or marks the items of its lists."""
    return re.sub(rf"^\s*{MARKS['any']}\s+", "", text, flags=re.MULTILINE)


def bare(text: str) -> str:
    """A short answer without what may be around it: spaces, quotes, a stop."""
    return " ".join(text.split()).strip(f"{QUOTES}().! ")


def find_numbers(text: str) -> list[float]:
    """Numbers in digits or, up to twenty, in English words."""
    found = [float(n.replace(",", "")) for n in re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)]
    said = [word.lower() for word in split_words(text)]
    return found + [NUMBER_WORDS.index(word) for word in said if word in NUMBER_WORDS]


def mentions(text: str, phrase: str) -> bool:
    """The phrase as whole words, in any case; a plural or other ending on it is fine."""
    return re.search(rf"(?<!\w){re.escape(phrase)}", text, re.IGNORECASE) is not None


def count_phrase(text: str, phrase: str) -> int:
    """How often the phrase stands in a text as words of its own, in any case."""
    return len(re.findall(rf"(?<!\w){re.escape(phrase)}(?!\w)", text, re.IGNORECASE))


# --- length --------------------------------------------------------------------------------------


def words(answer: str, min: int, max: int) -> bool:
    """From `min` to `max` words."""
    return min <= len(split_words(answer)) <= max


def sentences(answer: str, min: int, max: int) -> bool:
    """From `min` to `max` sentences."""
    return min <= len(split_sentences(answer)) <= max


def paragraphs(answer: str, n: int) -> bool:
    """`n` blocks of text with an empty line between."""
    return sum(bool(split_words(block)) for block in re.split(r"\n\s*\n", answer)) == n


def lines(answer: str, n: int) -> bool:
    """`n` lines, empty ones not counted."""
    return len(split_lines(answer)) == n


def list_items(answer: str, n: int, mark: str = "any") -> bool:
    """`n` items of a list.

    With the `mark` "bullet" or "number", lines that begin so; with "any", lines that begin with
    either and, where there are none, lines that are not empty.
    """
    rows = split_lines(answer)
    marked = [row for row in rows if re.match(rf"{MARKS[mark]}\s*\S", row)]
    return len(marked or (rows if mark == "any" else ())) == n


def characters(answer: str, min: int, max: int) -> bool:
    """From `min` to `max` characters, spaces between words included."""
    return min <= len(answer.strip()) <= max


# --- content -------------------------------------------------------------------------------------


def contains(answer: str, any: Sequence[str]) -> bool:
    """One of these words or phrases, or a longer word that begins so."""
    return bool([phrase for phrase in any if mentions(answer, phrase)])


def excludes(answer: str, any: Sequence[str]) -> bool:
    """None of these words or phrases, and no word that begins so."""
    return not contains(answer, any)


def times(answer: str, phrase: str, n: int) -> bool:
    """A word or phrase exactly `n` times, among others."""
    return count_phrase(answer, phrase) == n


def one_of(answer: str, options: Sequence[str]) -> bool:
    """One of these options, in any case, and nothing else."""
    return bare(answer).casefold() in [bare(option).casefold() for option in options]


def number(answer: str, value: float) -> bool:
    """A number, with two other words at most."""
    return value in find_numbers(answer) and len(split_words(answer)) <= 3


def exactly(answer: str, text: str) -> bool:
    """These words and nothing else, in the same case."""
    return bare(answer) == bare(text)


def repeats(answer: str, phrase: str, n: int) -> bool:
    """A phrase `n` times and nothing else, with commas, stops, lines or list marks between."""
    repeated = rf"[\W_]*(?:{re.escape(phrase)}(?!\w)[\W_]*){{{n}}}"
    return re.fullmatch(repeated, without_marks(answer), re.IGNORECASE) is not None


def ordered(answer: str, items: Sequence[str]) -> bool:
    """Each of these items once, in this order; other words may stand between."""
    some = "|".join(map(re.escape, sorted(items, key=len, reverse=True)))
    found = re.findall(rf"(?<!\w)(?:{some})(?!\w)", without_marks(answer), re.IGNORECASE)
    return [item.casefold() for item in found] == [item.casefold() for item in items]


# --- form ----------------------------------------------------------------------------------------


def starts_with(answer: str, text: str) -> bool:
    """These words first, in any case; a quotation mark may stand before them."""
    return answer.strip().lstrip("\"'“").lower().startswith(text.lower())


def ends_with(answer: str, text: str) -> bool:
    """These words last, in any case; where they have no stop of their own, one may follow."""
    quotes = "\"'”"
    stops = f".!{quotes}" if text[-1].isalnum() else quotes
    return answer.strip().rstrip(stops).lower().endswith(text.lower())


def is_json(answer: str, keys: Sequence[str], alone: bool = False) -> bool:
    """A JSON object with these keys; in a fenced block, where there is one.

    With `alone`, nothing may stand around the block.
    """
    fenced = re.search(r"```(?:json)?\s*(.*?)```", answer, re.DOTALL)
    if alone and fenced and fenced.group() != answer.strip():
        return False
    try:
        value = json.loads(fenced.group(1) if fenced else answer)
    except ValueError:
        return False
    return isinstance(value, dict) and set(keys) <= set(value)


def table(answer: str, columns: int, rows: int) -> bool:
    """A Markdown table with these numbers of columns and of rows below its header."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] if "|" in line else []
        for line in split_lines(answer)
    ]
    rules = [
        number for number, row in enumerate(cells)
        if row and all(re.fullmatch(r":?-+:?", cell) for cell in row)
    ]  # fmt: skip
    if len(rules) != 1 or rules[0] == 0:
        return False
    body = [row for row in cells[rules[0] + 1 :] if row]
    shape = [len(row) for row in (cells[rules[0] - 1], cells[rules[0]], *body)]
    return shape == [columns] * (rows + 2)


def code_block(answer: str, language: str) -> bool:
    """A fenced block of code that is not empty and names this language."""
    fenced = re.findall(r"(?ms)^```[ \t]*(\S*)[ \t]*\n(.*?)^```", answer.strip())
    return any(name.lower() == language.lower() and code.strip() for name, code in fenced)


def title(answer: str, opening: str, closing: str) -> bool:
    """A first line that begins and ends so, with a title between and more text below."""
    first, *rest = split_lines(answer) or [""]
    inner = first.removeprefix(opening).removesuffix(closing)
    is_marked = len(first) == len(inner) + len(opening) + len(closing)
    return is_marked and bool(split_words(inner)) and bool(rest)


def hashtags(answer: str, n: int) -> bool:
    """`n` hashtags, such as #spring."""
    return len(re.findall(r"(?<![\w#])#(?=\w*[^\W\d_])\w+", answer)) == n


def quoted(answer: str) -> bool:
    """All of the answer between double quotation marks."""
    stripped = answer.strip()
    inner = stripped[1:-1]
    return bool(split_words(inner)) and stripped[0] in '"“„«' and stripped[-1] in '"”“»'


def postscript(answer: str, marker: str) -> bool:
    """A text, and below it a line that begins with this marker, such as P.S., and goes on."""
    found = re.search(rf"^\s*{re.escape(marker)}(?!\w)", answer, re.IGNORECASE | re.MULTILINE)
    parts = (answer[: found.start()], answer[found.end() :]) if found else ("", "")
    return all(map(split_words, parts))


def placeholders(answer: str, min: int) -> bool:
    """At least `min` places to fill in, in square brackets, such as [name]; links are none."""
    return len(re.findall(r"\[[^\[\]\n]*[^\W\d_][^\[\]\n]*\](?!\()", answer)) >= min


# --- letters -------------------------------------------------------------------------------------


def upper_case(answer: str) -> bool:
    """No small letter, and at least one capital."""
    return answer.isupper()


def lower_case(answer: str) -> bool:
    """No capital, and at least one small letter."""
    return answer.islower()


def without(answer: str, characters: str) -> bool:
    """None of these characters, in either case."""
    return not set(characters.casefold()) & set(answer.casefold())


def letter_count(answer: str, letter: str, min: int, max: int) -> bool:
    """A letter or other character from `min` to `max` times, in either case."""
    return min <= answer.casefold().count(letter.casefold()) <= max


def acrostic(answer: str, word: str) -> bool:
    """As many lines as the word has letters, of which each begins with one, in order."""
    firsts = [next(filter(str.isalpha, line), "") for line in split_lines(answer)]
    return "".join(firsts).casefold() == word.casefold()


# --- language ------------------------------------------------------------------------------------


def language(answer: str, code: str) -> bool:
    """Likelier in this language than in the others of ours."""
    return guess_language(answer) == code


GROUPS: dict[str, dict[str, Callable[..., bool]]] = {
    "length": {
        "words": words, "sentences": sentences, "paragraphs": paragraphs, "lines": lines,
        "list_items": list_items, "characters": characters,
    },
    "content": {
        "contains": contains, "excludes": excludes, "times": times, "one_of": one_of,
        "number": number, "exactly": exactly, "repeats": repeats, "ordered": ordered,
    },
    "form": {
        "starts_with": starts_with, "ends_with": ends_with, "json": is_json, "table": table,
        "code_block": code_block, "title": title, "hashtags": hashtags, "quoted": quoted,
        "postscript": postscript, "placeholders": placeholders,
    },
    "letters": {
        "upper_case": upper_case, "lower_case": lower_case, "without": without,
        "letter_count": letter_count, "acrostic": acrostic,
    },
    "language": {"language": language},
}  # fmt: skip
"""Every type of check, by what it is about."""
CHECKS = {name: check for group in GROUPS.values() for name, check in group.items()}


def passes(text: str, check: dict[str, Any]) -> bool:
    """Whether an answer passes one check; an empty one passes none.

    Raises:
        ValueError: unknown type of check.
    """
    options = {name: value for name, value in check.items() if name != "type"}
    if check["type"] not in CHECKS:
        raise ValueError(f"unknown check {check['type']!r}")
    return bool(text.strip()) and CHECKS[check["type"]](text, **options)


def constraints_met(answer: str, checks: str, reading: str) -> list[bool]:
    """Whether an answer passes each check of a JSON list, in the "strict" or "loose" reading."""
    judge = passes_loosely if reading == "loose" else passes
    return [judge(answer, check) for check in json.loads(checks)]


def loose_readings(text: str) -> list[str]:
    """An answer as it is; without stars; and both without its first line, its last, or both.

    Source: IFEval's loose accuracy (arXiv:2311.07911, section 2.2).
    """
    rows = text.strip().splitlines()
    cuts = [text, *("\n".join(part) for part in (rows[1:], rows[:-1], rows[1:-1]))]
    return [reading for cut in cuts for reading in (cut, cut.replace("*", ""))]


def passes_loosely(text: str, check: dict[str, Any]) -> bool:
    """Whether one of the loose readings of an answer passes."""
    return any(passes(reading, check) for reading in loose_readings(text))
