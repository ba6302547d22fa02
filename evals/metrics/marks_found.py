"""Share of readings that find a watermark."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info

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
        rows: list[list[float] | None] = []
        for said in predictions:
            p_values = json.loads(said)
            found = sum(p <= level for p in p_values)
            rows.append([float(found), float(len(p_values))] if p_values else None)
        scored = [row for row in rows if row is not None]
        total = sum(row[1] for row in scored)
        value = sum(row[0] for row in scored) / total if total else None
        return {"value": value, "per_sample": rows}
