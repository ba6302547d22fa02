"""Share of questions whose right answer is the likeliest."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Share of questions whose right option is the likeliest one."
_INPUTS = """
Args:
    predictions: of each question a JSON list: the negative log-likelihood of each option in nats.
    references: of each question a JSON object: `options`, each a context and a continuation, and
        `answer`, the number of the right one.
    per: "option" compares log-likelihoods as they are, "character" divides them by the length of
        the continuation, so that long answers are not at a disadvantage.
Returns:
    value: share in 0..1. per_sample: [1] or [0] of each question; a tie is no hit.
"""


class Accuracy(evaluate.Metric):
    """`acc` and `acc_norm` of lm-evaluation-harness."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(
        self, predictions: list[str], references: list[str], per: str = "option"
    ) -> dict[str, Any]:
        return averaged(
            [
                hit(json.loads(nlls), json.loads(asked), per)
                for nlls, asked in zip(predictions, references, strict=True)
            ]
        )


def hit(nlls: list[float], asked: dict[str, Any], per: str) -> float | None:
    """1 where the right option is likelier than every other, None where none is right."""
    if asked["answer"] is None:
        return None
    lengths = [
        max(1, len(continuation.strip())) if per == "character" else 1
        for _, continuation in asked["options"]
    ]
    costs = [nll / length for nll, length in zip(nlls, lengths, strict=True)]
    right = costs.pop(asked["answer"])
    return float(all(right < other for other in costs))
