"""Share of translations that name a person in the gender that the source says."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Share of translations that name a person in the gender that the source says."
_INPUTS = """
Args:
    predictions: translations.
    references: for each JSON {"target": language, "entity": English noun, "gender": "male",
        "female" or "neutral"}.
    among: "all" counts a noun that fits both genders, and one that is not found, as a miss, as
        WinoMT does; "marked" leaves them unscored, and sources that say "they" as well: of the
        translations that chose a gender, how many chose the right one.
Returns:
    value: share in 0..1. per_sample: [1.0] or [0.0]; None for what is left unscored.
"""


class GenderAccuracy(evaluate.Metric):
    """As in WinoMT (arXiv:1906.00591, section 2), with the finder of `target_gender`."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(
        self, predictions: list[str], references: list[str], among: str = "all"
    ) -> dict[str, Any]:
        from evals.metrics.target_gender import find_gender

        hits: list[float | None] = []
        for text, given in zip(predictions, references, strict=True):
            asked = json.loads(given)
            found = find_gender(text, asked["target"], asked["entity"])
            is_marked = found in ("male", "female") and asked["gender"] != "neutral"
            is_scored = among == "all" or is_marked
            hits.append(float(found == asked["gender"]) if is_scored else None)
        return averaged(hits)
