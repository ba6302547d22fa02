"""What the `evaluate` modules of this folder share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import datasets
import evaluate


def info(description: str, inputs: str, **columns: str) -> evaluate.MetricInfo:
    """The description that `evaluate` asks of a module.

    Args:
        description: One sentence.
        inputs: What `compute` takes and returns.
        **columns: Type of each input as `datasets` names it, such as `predictions="string"`.
    """
    features = datasets.Features({name: datasets.Value(kind) for name, kind in columns.items()})
    return evaluate.MetricInfo(
        description=description, citation="", inputs_description=inputs, features=features
    )


def averaged(values: Sequence[float | None]) -> dict[str, Any]:
    """A module's result where each sample has one value, or None, and the mean is wanted."""
    scored = [value for value in values if value is not None]
    return {
        "value": sum(scored) / len(scored) if scored else None,
        "per_sample": [None if value is None else [value] for value in values],
    }
