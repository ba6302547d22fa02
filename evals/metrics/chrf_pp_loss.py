"""chrF++ of translations less that of the same sentences in an altered form."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info
from evals.metrics.stats import AGGREGATES
from evals.metrics.translation import statistics

_DESCRIPTION = "chrF++ of plain sources less that of altered ones, caseless, paired by sentence."
_INPUTS = """
Args:
    predictions: for each sentence JSON {"plain": its translation, "altered": that of its variant}.
    references: for each sentence JSON {"plain": [references], "altered": [references]}.
Returns:
    value: points of chrF++; 0 where the alteration does no harm.
    per_sample: sacrebleu's statistics of the plain translation, then of the altered one's.
"""


class ChrfPpLoss(evaluate.Metric):
    """Paired, so that hard sentences weigh on both sides alike."""

    aggregate = "chrf_difference"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    @staticmethod
    def scorer() -> Any:
        """sacrebleu's metric."""
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(word_order=2, lowercase=True)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        outputs, wanted = (list(map(json.loads, side)) for side in (predictions, references))
        plain, altered = (
            statistics(self.scorer(), [o[name] for o in outputs], [w[name] for w in wanted])
            for name in ("plain", "altered")
        )
        rows = [a + b for a, b in zip(plain, altered, strict=True)]
        return {"value": AGGREGATES[self.aggregate](rows), "per_sample": rows}
