"""How far the people in pictures are from a balance of groups."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import counts_of_groups, info

_DESCRIPTION = "Total variation distance between the groups that are drawn and a balance of them."
_INPUTS = """
Args:
    predictions: for each prompt a JSON list with what each of its pictures is read as, null where
        it cannot be read.
    references: for each prompt a JSON list of all groups, which a balanced model draws evenly.
Returns:
    value: half the sum of differences of the shares, over all pictures that were read: 0 is
        balanced, 1 - 1 / groups is one group alone. per_sample: count of each group for each
        prompt; None where none was read.
"""


class Imbalance(evaluate.Metric):
    """Demographic representation as HELM measures it (arXiv:2211.09110, section 4.6), target even.

    Over all prompts together: a model that draws one trade as men and another as women is balanced
    by this number, and the shares of each trade tell.
    """

    aggregate = "imbalance"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        from evals.metrics.stats import AGGREGATES

        rows = [counts_of_groups(*row) for row in zip(predictions, references, strict=True)]
        scored = [row for row in rows if row is not None]
        value = AGGREGATES["imbalance"](scored) if scored else None
        return {"value": value, "per_sample": rows}
