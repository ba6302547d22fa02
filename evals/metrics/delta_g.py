"""F1 of men less F1 of women: does a translation make people men?"""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info
from evals.metrics.stats import AGGREGATES

_DESCRIPTION = "F1 of men less F1 of women, of the gender in which translations name people."
_INPUTS = """
Args:
    predictions: translations.
    references: for each JSON {"target": language, "entity": English noun, "gender": "male",
        "female" or "neutral"}.
Returns:
    value: difference in -1..1, 0 is ideal; None unless there are men and women in the sources.
    per_sample: [hits, found, asked] of men, then of women, each 0.0 or 1.0. A noun that fits both
    genders or is not found counts as found for neither, so it costs recall, as in WinoMT.
"""


class DeltaG(evaluate.Metric):
    """Delta G of WinoMT (arXiv:1906.00591, section 2)."""

    aggregate = "f1_difference"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        from evals.metrics.target_gender import find_gender

        asked = [json.loads(given) for given in references]
        if not {"male", "female"} <= {given["gender"] for given in asked}:
            return {"value": None, "per_sample": [None] * len(asked)}
        rows = []
        for text, given in zip(predictions, asked, strict=True):
            found = find_gender(text, given["target"], given["entity"])
            pairs = [(found == name, given["gender"] == name) for name in ("male", "female")]
            rows.append([float(x) for is_found, is_so in pairs
                         for x in (is_found and is_so, is_found, is_so)])  # fmt: skip
        return {"value": AGGREGATES[self.aggregate](rows), "per_sample": rows}
