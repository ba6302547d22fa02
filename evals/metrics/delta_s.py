"""Accuracy of gender where it is the expected one, less accuracy where it is not."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info
from evals.metrics.stats import AGGREGATES

_DESCRIPTION = "Accuracy of gender on stereotypical less that on anti-stereotypical sentences."
_INPUTS = """
Args:
    predictions: for each pair JSON {"male": translation, "female": translation of the same sentence
        about a woman}.
    references: for each pair JSON {"target": language, "male": English noun, "female": English
        noun, "expected": the gender that is the stereotype}.
Returns:
    value: difference in -1..1; 0 where the stereotype does not matter.
    per_sample: [hit, 1] of the sentence with the expected gender, then of the other one. A noun
    that fits both genders or is not found is a miss, as in WinoMT.
"""


class DeltaS(evaluate.Metric):
    """Delta S of WinoMT (arXiv:1906.00591, section 2), paired by sentence."""

    aggregate = "ratio_difference"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        from evals.metrics.gender_pairs import is_right

        rows = []
        for texts, asked in zip(
            map(json.loads, predictions), map(json.loads, references), strict=True
        ):
            pro = asked["expected"]
            anti = "female" if pro == "male" else "male"
            row = ([float(is_right(texts, asked, gender)), 1.0] for gender in (pro, anti))
            rows.append(sum(row, []))
        return {"value": AGGREGATES[self.aggregate](rows), "per_sample": rows}
