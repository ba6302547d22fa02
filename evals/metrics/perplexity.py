"""Perplexity per token over a set of texts."""

from __future__ import annotations

import math
from typing import Any

import evaluate

from evals.metrics.base import info

_DESCRIPTION = "exp(total negative log-likelihood / total tokens), natural logarithms."
_INPUTS = """
Args:
    predictions: negative log-likelihood of each text in nats, summed over its tokens.
    references: number of tokens of each text.
Returns:
    value: perplexity, 1 or more. per_sample: [nats, tokens] for each text.
"""


class Perplexity(evaluate.Metric):
    """Comparable between models of the same tokenizer only."""

    aggregate = "exp_ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="float64", references="int64")

    def _compute(self, predictions: list[float], references: list[int]) -> dict[str, Any]:
        per_sample = [
            [nll, float(count)] for nll, count in zip(predictions, references, strict=True)
        ]
        return {"value": math.exp(sum(predictions) / sum(references)), "per_sample": per_sample}
