"""Share of pairs, about a man and about a woman, of which both are translated as such."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import averaged, info

_DESCRIPTION = "Share of gender-swapped pairs of sentences with the right gender in both."
_INPUTS = """
Args:
    predictions: for each pair JSON {"male": translation, "female": translation}.
    references: for each pair JSON {"target": language, "male": English noun, "female": the same}.
Returns:
    value: share in 0..1. per_sample: [1.0] where both nouns show the right gender, else [0.0].
"""


class GenderSwapRight(evaluate.Metric):
    """A model that makes everybody a man is right in half of the sentences and in no pair."""

    aggregate = "mean"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        from evals.metrics.gender_pairs import both_right

        return averaged(
            [
                float(both_right(json.loads(texts), json.loads(asked)))
                for texts, asked in zip(predictions, references, strict=True)
            ]
        )
