"""What the `evaluate` modules of this folder share."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from jaxtyping import Float


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


def share_of_counts(rows: Sequence[Sequence[float] | None]) -> dict[str, Any]:
    """A module's result, of how many of a sample count and how many there are, or None."""
    scored = [row for row in rows if row is not None]
    total = sum(row[1] for row in scored)
    return {
        "value": sum(row[0] for row in scored) / total if total else None,
        "per_sample": [None if row is None else [float(part) for part in row] for row in rows],
    }


def counts_of_groups(read: str, groups: str) -> list[float] | None:
    """How many of a prompt's pictures show each group; None where none does.

    Args:
        read: JSON list with what each picture is read as, null where it cannot be read.
        groups: JSON list of their names.
    """
    names = json.loads(read)
    counts = [float(names.count(name)) for name in json.loads(groups)]
    return counts if any(counts) else None


def hits(rows: Sequence[Sequence[float]]) -> list[float]:
    """Pictures that chose their first caption, and pictures; a tie is no hit."""
    return [float(sum(row[0] > max(row[1:]) for row in rows)), float(len(rows))]


def set_distance(
    distance: Callable[[Float[np.ndarray, "N D"], Float[np.ndarray, "M D"]], float],
    predictions: Sequence[str],
    reference: Any,
) -> dict[str, Any]:
    """A module's result where all samples together have one distance from a reference.

    Args:
        distance: Of two sets of embeddings.
        predictions: For each prompt a JSON list of its pictures' embeddings.
        reference: Embeddings of real pictures, M by D.
    """
    per_sample = [json.loads(rows) for rows in predictions]
    x = np.array([row for rows in per_sample for row in rows], np.float64)
    y = np.asarray(reference, np.float64)
    return {"value": distance(x, y) if len(x) > 1 else None, "per_sample": per_sample}
