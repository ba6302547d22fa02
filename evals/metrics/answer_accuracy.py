"""Share of questions whose answer says what is right."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import averaged, info
from evals.metrics.translation import is_said

_DESCRIPTION = "Share of questions whose answer holds one of the right words as a word of its own."
_INPUTS = """
Args:
    predictions: answers, strings.
    references: for each a JSON list of words, numbers or names, each of which is right.
Returns:
    value: share in 0..1. per_sample: [1.0] or [0.0] for each answer.
"""


class AnswerAccuracy(evaluate.Metric):
    """Case does not count, nor what stands around the word: answers are cut short by the suites."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        return averaged(
            [is_right(text, right) for text, right in zip(predictions, references, strict=True)]
        )


def is_right(text: str, right: str) -> float:
    """1.0 where one of the words of a JSON list stands in a text."""
    return float(any(is_said(word, text) for word in json.loads(right)))
