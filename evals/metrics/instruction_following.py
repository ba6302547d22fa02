"""Share of prompts whose answer passes every programmatic check."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import evaluate

from evals.metrics.base import averaged, info
from mtgen.model.language import guess_language

_DESCRIPTION = "Share of prompts whose answer passes all checks that a program can make."
_INPUTS = """
Args:
    predictions: answers, strings.
    references: for each answer a JSON list of checks, such as
        [{"type": "words", "min": 1, "max": 1}, {"type": "contains", "any": ["green"]}].
Returns:
    value: share in 0..1. per_sample: [1.0] or [0.0] for each answer.
"""

NUMBER_WORDS: Sequence[str] = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen twenty"
).split()


def words(text: str) -> list[str]:
    """Runs of letters, digits, apostrophes and hyphens."""
    return re.findall(r"[^\W_]+(?:['’.-][^\W_]+)*", text)


def sentences(text: str) -> list[str]:
    """Pieces that end in a full stop, question or exclamation mark, or at the end of the text."""
    pieces = re.split(r"(?<=[.!?…])[\"'”’)]*\s+", text.strip())
    return [piece for piece in pieces if words(piece)]


def list_items(text: str) -> int:
    """Numbered or bulleted lines; where there are none, lines that are not empty."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    marked = [line for line in lines if re.match(r"(?:[-*•–]|\d+[.):])\s*\S", line)]
    return len(marked or lines)


def numbers(text: str) -> list[float]:
    """Numbers in digits or, up to twenty, in English words."""
    found = [float(n.replace(",", "")) for n in re.findall(r"-?\d[\d,]*(?:\.\d+)?", text)]
    return found + [NUMBER_WORDS.index(w.lower()) for w in words(text) if w.lower() in NUMBER_WORDS]


def mentions(text: str, phrase: str) -> bool:
    """The phrase as whole words, in any case; a plural or other ending on it is fine."""
    return re.search(rf"(?<!\w){re.escape(phrase)}", text, re.IGNORECASE) is not None


def is_json_with(text: str, keys: list[str]) -> bool:
    """A JSON object with these keys, alone or in a fenced block."""
    fenced = re.search(r"```(?:json)?\s*(.*?)```", text, re.DOTALL)
    try:
        value = json.loads(fenced.group(1) if fenced else text)
    except ValueError:
        return False
    return isinstance(value, dict) and set(keys) <= set(value)


def passes(text: str, check: dict[str, Any]) -> bool:
    """Whether an answer passes one check.

    Raises:
        ValueError: unknown type of check.
    """
    stripped = text.strip()
    if not stripped:
        return False
    match check["type"]:
        case "list_items":
            return list_items(text) == check["n"]
        case "sentences":
            return check["min"] <= len(sentences(text)) <= check["max"]
        case "words":
            return check["min"] <= len(words(text)) <= check["max"]
        case "contains":
            return any(mentions(text, phrase) for phrase in check["any"])
        case "excludes":
            return not any(mentions(text, phrase) for phrase in check["any"])
        case "number":
            return check["value"] in numbers(text) and len(words(text)) <= 3
        case "starts_with":
            return stripped.lstrip("\"'“").lower().startswith(check["text"].lower())
        case "ends_with":
            return stripped.rstrip("\"'”").endswith(check["text"])
        case "upper_case":
            return text.isupper()
        case "lower_case":
            return text.islower()
        case "language":
            return guess_language(text) == check["code"]
        case "json":
            return is_json_with(text, check["keys"])
    raise ValueError(f"unknown check {check['type']!r}")


class InstructionFollowing(evaluate.Metric):
    """See the module."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        passed = [
            float(all(passes(text, check) for check in json.loads(checks)))
            for text, checks in zip(predictions, references, strict=True)
        ]
        return averaged(passed)
