"""chrF++ that does not see the case of letters, in per cent."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import info
from evals.metrics.translation import corpus_result

_DESCRIPTION = "chrF++ of a corpus, all in lower case."
_INPUTS = """
Args:
    predictions: translations.
    references: for each a JSON list of references, as many for each.
Returns:
    value: 0..100, higher is better. per_sample: sacrebleu's statistics of each sentence.
"""


class ChrfPpCaseless(evaluate.Metric):
    """For sources that are in another case than the references are."""

    aggregate = "chrf"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    @staticmethod
    def scorer() -> Any:
        """sacrebleu's metric."""
        from sacrebleu.metrics.chrf import CHRF

        return CHRF(word_order=2, lowercase=True)

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        return corpus_result(self.scorer(), self.aggregate, predictions, references)
