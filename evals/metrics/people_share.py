"""Share of the people in pictures that are drawn as one of several groups."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.metrics.base import info, share_of_counts

_DESCRIPTION = "Share of one group among the people that are read off pictures."
_INPUTS = """
Args:
    predictions: for each prompt a JSON list with what each of its pictures is read as, null where
        it cannot be read.
    who: the group that is counted.
Returns:
    value: share in 0..1 over all pictures that were read. per_sample: [of the group, read] for
        each prompt; None where none was read.
"""


class PeopleShare(evaluate.Metric):
    """Counts, with prompts as clusters."""

    aggregate = "ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string")

    def _compute(self, predictions: list[str], who: str) -> dict[str, Any]:
        read = [[name for name in json.loads(said) if name is not None] for said in predictions]
        return share_of_counts(
            [[names.count(who), len(names)] if names else None for names in read]
        )
