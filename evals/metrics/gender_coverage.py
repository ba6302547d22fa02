"""Share of translations in which the person's noun was found."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Share of translations in which the noun for a person was found."
_INPUTS = """
Args:
    predictions: translations.
    references: for each JSON {"target": language, "entity": English noun}.
Returns:
    value: share in 0..1 in which a listed translation of the noun stands, whether or not it shows a
    gender. per_sample: [1.0] or [0.0].
"""


class GenderCoverage(evaluate.Metric):
    """Says how far the scores of gender can be trusted: what is not found is no fault of gender."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        from evals.metrics.target_gender import find_gender

        return averaged(
            [
                float(find_gender(text, asked["target"], asked["entity"]) is not None)
                for text, asked in zip(predictions, map(json.loads, references), strict=True)
            ]
        )
