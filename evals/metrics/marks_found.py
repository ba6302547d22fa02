"""Share of readings that find a watermark."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info, share_of_counts

_DESCRIPTION = (
    "Share of p-values that are no larger than the share of unmarked ones found by error."
)
_INPUTS = """
Args:
    predictions: for each sample a JSON list of p-values, one of each reading.
    level: share of unmarked samples that may be called marked.
Returns:
    value: share in 0..1. per_sample: [found, read] for each sample; None where none was read.
"""


class MarksFound(evaluate.Metric):
    """True positives of what is marked, false positives of what is not."""

    aggregate = "ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string")

    def _compute(self, predictions: list[str], level: float = 0.01) -> dict[str, Any]:
        read = [json.loads(said) for said in predictions]
        return share_of_counts([
            [sum(p <= level for p in p_values), len(p_values)] if p_values else None
            for p_values in read
        ])  # fmt: skip
