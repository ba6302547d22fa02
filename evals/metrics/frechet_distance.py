"""Frechet distance between generated and real pictures, in an embedding's space."""

from __future__ import annotations

from typing import Any

import evaluate
import numpy as np
from jaxtyping import Float

from evals.metrics.base import info, set_distance

_DESCRIPTION = "Squared Frechet distance between two normal distributions fitted to embeddings."
_INPUTS = """
Args:
    predictions: for each prompt a JSON list of its pictures' embeddings, lists of D numbers.
    reference: embeddings of real pictures, M by D.
Returns:
    value: 0 or more; grows when there are fewer pictures, so compare equal numbers only.
    None for fewer than two pictures. per_sample: the embeddings.
"""


def frechet(x: Float[np.ndarray, "N D"], y: Float[np.ndarray, "M D"]) -> float:
    """Squared distance of the normal distributions with the means and covariances of two sets.

    Source: Dowson and Landau 1982; arXiv:1706.08500, equation 6.
    """
    apart = x.mean(0) - y.mean(0)
    a, b = (np.atleast_2d(np.cov(points, rowvar=False)) for points in (x, y))
    values, vectors = np.linalg.eigh(a)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    # the square root of A B has the trace of that of the symmetric root(A) B root(A)
    both = np.sqrt(np.clip(np.linalg.eigvalsh(root @ b @ root), 0, None)).sum()
    return float(max(0.0, apart @ apart + np.trace(a) + np.trace(b) - 2 * both))


class FrechetDistance(evaluate.Metric):
    """The distance of FID, in the judge's space rather than Inception's."""

    aggregate = "set"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string")

    def _compute(self, predictions: list[str], reference: Any = None) -> dict[str, Any]:
        return set_distance(frechet, predictions, reference)
