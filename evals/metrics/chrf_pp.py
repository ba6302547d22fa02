"""chrF++ of a corpus (Popovic 2017), as arXiv:1804.08771 asks that scores be reported."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import info
from evals.metrics.translation import corpus_result

_DESCRIPTION = "chrF++ of a corpus: character n-grams up to 6, words up to 2, recall weighs double."
_INPUTS = """
Args:
    predictions: translations.
    references: for each a JSON list of references, as many for each.
Returns:
    value: 0..100, higher is better. per_sample: sacrebleu's statistics of each sentence.
"""


class ChrfPp(evaluate.Metric):
    """chrF++ by sacrebleu; of several references each sentence takes the nearest."""

    aggregate = "chrf"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    @staticmethod
    def scorer() -> Any:
        """sacrebleu's metric."""
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(word_order=2)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        return corpus_result(self.scorer(), self.aggregate, predictions, references)
