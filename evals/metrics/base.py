"""What the `evaluate` modules of this folder share."""

from __future__ import annotations

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
