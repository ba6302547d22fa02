"""What the metrics of questions share: how a question meets the same one in another form."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evals.metrics import MetricUse, Record


@dataclass(frozen=True, kw_only=True)
class AnswerLossUse(MetricUse):
    """What one form of the questions costs, paired with the same questions as they are.

    The one option names a field of the samples and the form in it, such as `variant: typos`. A
    question goes by the id of its plain record, and is unscored unless both were answered.
    """

    plain: str
    """What stands in that field of questions as they are."""

    def inputs(self, records: Sequence[Record]) -> dict[str, dict[str, Any] | None]:
        [(name, form)] = self.options.items()
        altered = {r["sample"]["of"]: r for r in records if r["sample"].get(name) == form}
        return {
            r["id"]: _pair(r, altered[r["id"]])
            for r in records
            if r["sample"].get(name) == self.plain and r["id"] in altered
        }


def _pair(plain: Record, altered: Record) -> dict[str, Any] | None:
    sides = {"plain": plain, "altered": altered}
    if any(record["output"] is None for record in sides.values()):
        return None
    answers = {name: record["output"] for name, record in sides.items()}
    right = {name: record["sample"]["answers"] for name, record in sides.items()}
    return {"predictions": json.dumps(answers), "references": json.dumps(right)}
