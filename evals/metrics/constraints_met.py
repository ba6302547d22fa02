"""Share of constraints that answers meet, where a prompt may have several."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import info, share_of_counts
from evals.metrics.checks import constraints_met

_DESCRIPTION = "Share of all constraints of all prompts that the answers meet."
_INPUTS = """
Args:
    predictions: answers, strings.
    references: for each answer a JSON list of checks; see `evals.metrics.checks`.
    reading: "strict" or "loose", as of `instruction_following`.
Returns:
    value: share in 0..1 of all constraints. per_sample: [constraints met, constraints].
"""


class ConstraintsMet(evaluate.Metric):
    """Instruction-level accuracy of IFEval (arXiv:2311.07911), over checks of our own."""

    aggregate = "ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(
        self, predictions: list[str], references: list[str], reading: str = "strict"
    ) -> dict[str, Any]:
        met = [
            constraints_met(text, checks, reading)
            for text, checks in zip(predictions, references, strict=True)
        ]
        return share_of_counts([(sum(each), len(each)) for each in met])
