"""Share of a glossary's terms that stand in the translation as the glossary says."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info, share_of_counts
from evals.metrics.translation import holds_term

_DESCRIPTION = "Share of terms that stand in the output as words of their own, in any case."
_INPUTS = """
Args:
    predictions: translations.
    references: for each a JSON list of the terms that must stand in it.
Returns:
    value: share in 0..1 of all terms. per_sample: [terms held, terms] for each translation.
"""


class TermsKept(evaluate.Metric):
    """A term inside a longer word does not count: a glossary asks for the word."""

    aggregate = "ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        rows = []
        for text, listed in zip(predictions, references, strict=True):
            terms = json.loads(listed)
            rows.append((sum(holds_term(text, term) for term in terms), len(terms)))
        return share_of_counts(rows)
