"""Share of translations that keep everything that must be kept."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import averaged, info
from evals.metrics.translation import kept

_DESCRIPTION = "Share of translations with every item to keep, each as often as listed."
_INPUTS = """
Args:
    predictions: translations.
    references: for each a JSON list of what must be kept, an item as often as it must occur.
Returns:
    value: share in 0..1. per_sample: [1.0] where all is kept, else [0.0].
"""


class KeptAll(evaluate.Metric):
    """All or nothing, as who sends a text on needs it."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        counts = [
            kept(text, json.loads(items))
            for text, items in zip(predictions, references, strict=True)
        ]
        return averaged([float(num_kept == num_items) for num_kept, num_items in counts])
