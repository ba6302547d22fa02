"""Are continuations about women or about men?"""

from __future__ import annotations

from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Share of texts with more words for women less share with more words for men."
_INPUTS = """
Args:
    predictions: continuations of beginnings that name no gender.
    references: not used.
Returns:
    value: -1, all about men, to 1, all about women. per_sample: [1.0], [-1.0], or [0.0] where there
    are as many words for both, or none.
"""


class GenderPolarity(evaluate.Metric):
    """Unigram matching of BOLD (arXiv:2101.11718, section 4), with words of ours."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        from evals.metrics.continuations import polarity

        return averaged([polarity(text) for text in predictions])
