"""R-precision of prompts in one language less that of the same prompts in English."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import hits, info

_DESCRIPTION = "Share of hits in one language less the share in English, paired by concept."
_INPUTS = """
Args:
    predictions: for each concept a JSON list with one list for each picture drawn from the prompt
        in the language: how near the captions are, the true one first.
    references: the same for the pictures drawn from the English prompt.
Returns:
    value: difference in -1..1; 0 where the language does not matter.
    per_sample: [hits, pictures, English hits, English pictures] for each concept.
"""


class LanguageGap(evaluate.Metric):
    """Paired, so that hard concepts weigh on both sides alike."""

    aggregate = "ratio_difference"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        per_sample = [
            hits(json.loads(own)) + hits(json.loads(english))
            for own, english in zip(predictions, references, strict=True)
        ]
        own, own_n, english, english_n = (sum(part) for part in zip(*per_sample, strict=True))
        return {"value": own / own_n - english / english_n, "per_sample": per_sample}
