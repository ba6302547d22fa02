"""Share of prompts whose answer passes every programmatic check."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import averaged, info
from evals.metrics.checks import constraints_met

_DESCRIPTION = "Share of prompts whose answer passes all checks that a program can make."
_INPUTS = """
Args:
    predictions: answers, strings.
    references: for each answer a JSON list of checks, such as
        [{"type": "words", "min": 1, "max": 1}, {"type": "contains", "any": ["green"]}].
    reading: "strict" takes an answer as it is, "loose" also without stars and without its first or
        last line; see `evals.metrics.checks`.
Returns:
    value: share in 0..1. per_sample: [1.0] or [0.0] for each answer.
"""


class InstructionFollowing(evaluate.Metric):
    """Prompt-level accuracy of IFEval (arXiv:2311.07911), over checks of our own."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(
        self, predictions: list[str], references: list[str], reading: str = "strict"
    ) -> dict[str, Any]:
        passed = [
            float(all(constraints_met(text, checks, reading)))
            for text, checks in zip(predictions, references, strict=True)
        ]
        return averaged(passed)
