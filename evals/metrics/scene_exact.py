"""Share of pictures that show exactly the scene asked for."""

from __future__ import annotations

import json
from typing import Any

import evaluate

from evals.judge.wanted import Found, Wanted, faults
from evals.metrics.base import info

_DESCRIPTION = "Share of pictures with every thing in its number, colour and place."
_INPUTS = """
Args:
    predictions: for each prompt a JSON list with, for each picture, a list of what was found in it:
        {"noun": code points, "colour": name, "x": 0..1, "y": 0..1}.
    references: for each prompt what is asked for, as JSON: {"things": [{"noun": code points,
        "count": 1, "colour": name or null}], "relation": null or left_of, right_of, above, below}.
Returns:
    value: share in 0..1 over all pictures. per_sample: [exact, pictures] for each prompt.
"""


class SceneExact(evaluate.Metric):
    """After GenEval (arXiv:2310.11513); see `evals.judge.wanted` for where it is stricter."""

    aggregate = "ratio"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string", references="string")

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, Any]:
        per_sample = []
        for pictures, asked in zip(predictions, references, strict=True):
            wanted = Wanted.from_dict(json.loads(asked))
            found = [[Found(**thing) for thing in things] for things in json.loads(pictures)]
            exact = sum(not faults(things, wanted) for things in found)
            per_sample.append([float(exact), float(len(found))])
        total = sum(count for _, count in per_sample)
        value = sum(exact for exact, _ in per_sample) / total if total else None
        return {"value": value, "per_sample": per_sample}
