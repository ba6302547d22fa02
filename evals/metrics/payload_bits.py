"""Share of a watermark's bits that are read right."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info, share_of_counts

_DESCRIPTION = "Bit accuracy: share of the payload's bits that are read as they were written."
_INPUTS = """
Args:
    predictions: for each picture a JSON list of the bits that were read; empty where none were.
    references: for each picture a JSON list of the bits that were written.
Returns:
    value: share in 0..1; half of them are right by chance. per_sample: [right, written].
"""


class PayloadBits(evaluate.Metric):
    """Bits that were not read count as wrong."""

    aggregate = "ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        rows = []
        for said, written in zip(predictions, references, strict=True):
            wanted = json.loads(written)
            right = sum(a == b for a, b in zip(json.loads(said), wanted, strict=False))
            rows.append((right, len(wanted)))
        return share_of_counts(rows)
