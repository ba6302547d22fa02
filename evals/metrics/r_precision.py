"""Share of pictures that are nearest to their own caption, among many captions."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import hits, info

_DESCRIPTION = "Share of pictures whose true caption is the nearest of all that are offered."
_INPUTS = """
Args:
    predictions: for each prompt a JSON list with one list for each of its pictures: how near the
        captions are, the true one first.
    n: captions offered, for the signature.
Returns:
    value: share in 0..1 over all pictures. per_sample: [hits, pictures] for each prompt.
"""


class RPrecision(evaluate.Metric):
    """R-precision (arXiv:1711.10485, section 5) with one relevant caption; chance is 1 / n."""

    aggregate = "ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string")

    def _compute(self, predictions: list[str], n: int = 100) -> dict[str, Any]:
        per_sample = [hits(json.loads(rows)) for rows in predictions]
        total = sum(count for _, count in per_sample)
        value = sum(passed for passed, _ in per_sample) / total if total else None
        return {"value": value, "per_sample": per_sample}
