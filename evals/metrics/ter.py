"""Translation edit rate (Snover et al. 2006)."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import info
from evals.metrics.translation import corpus_result

_DESCRIPTION = "TER of a corpus: edits a hundred words of reference; moving a phrase is one."
_INPUTS = """
Args:
    predictions: translations.
    references: for each a JSON list of references, as many for each.
Returns:
    value: 0 or more, lower is better. per_sample: sacrebleu's statistics of each sentence.
"""


class Ter(evaluate.Metric):
    """TER by sacrebleu, with its defaults: it does not see the case of letters."""

    aggregate = "ter"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    @staticmethod
    def scorer() -> Any:
        """sacrebleu's metric."""
        from sacrebleu.metrics.ter import TER

        return TER()

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        return corpus_result(self.scorer(), self.aggregate, predictions, references)
