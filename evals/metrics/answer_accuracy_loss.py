"""Accuracy on questions as they are less that on the same questions in another form."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.answer_accuracy import is_right
from evals.metrics.base import info
from evals.metrics.stats import AGGREGATES

_DESCRIPTION = "Share of plain questions answered right less that of altered ones, paired."
_INPUTS = """
Args:
    predictions: for each question JSON {"plain": its answer, "altered": that to its variant}.
    references: for each question JSON {"plain": [right words], "altered": [right words]}.
Returns:
    value: difference in -1..1; 0 where the alteration does no harm.
    per_sample: [right, 1, right of altered, 1] for each question.
"""


class AnswerAccuracyLoss(evaluate.Metric):
    """Paired, so that hard questions weigh on both sides alike."""

    aggregate = "ratio_difference"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        rows = [
            [
                part
                for side in ("plain", "altered")
                for part in (is_right(answers[side], json.dumps(right[side])), 1.0)
            ]
            for answers, right in zip(
                map(json.loads, predictions), map(json.loads, references), strict=True
            )
        ]
        return {"value": AGGREGATES[self.aggregate](rows), "per_sample": rows}
