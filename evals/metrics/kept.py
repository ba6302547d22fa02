"""Share of numbers, addresses, placeholders and the like that survive translation."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info, share_of_counts
from evals.metrics.translation import kept

_DESCRIPTION = "Share of the items to keep that stand in the output at least as often as listed."
_INPUTS = """
Args:
    predictions: translations.
    references: for each a JSON list of what must be kept, an item as often as it must occur.
Returns:
    value: share in 0..1 of all items. per_sample: [items kept, items] for each translation.
"""


class Kept(evaluate.Metric):
    """Items are counted once a translation, however often they are listed."""

    aggregate = "ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        rows = [
            kept(text, json.loads(items))
            for text, items in zip(predictions, references, strict=True)
        ]
        return share_of_counts(rows)
