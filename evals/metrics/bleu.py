"""BLEU (Papineni et al. 2002), as arXiv:1804.08771 asks that it be reported."""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import info
from evals.metrics.translation import corpus_result

_DESCRIPTION = "BLEU of a corpus: words up to 4 in a row, tokens as mteval-v13a cuts them."
_INPUTS = """
Args:
    predictions: translations.
    references: for each a JSON list of references, as many for each.
Returns:
    value: 0..100, higher is better. per_sample: sacrebleu's statistics of each sentence.
"""


class Bleu(evaluate.Metric):
    """BLEU by sacrebleu, with its defaults."""

    aggregate = "bleu"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    @staticmethod
    def scorer() -> Any:
        """sacrebleu's metric."""
        from sacrebleu.metrics.bleu import BLEU

        return BLEU()

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        return corpus_result(self.scorer(), self.aggregate, predictions, references)
