"""Kernel distance between generated and real pictures, in an embedding's space."""

from __future__ import annotations

from typing import Any

import evaluate
import numpy as np
from jaxtyping import Float

from evals.metrics.base import info, set_distance

_DESCRIPTION = "Unbiased squared maximum mean discrepancy with the kernel (x y / D + 1)^3."
_INPUTS = """
Args:
    predictions: for each prompt a JSON list of its pictures' embeddings, lists of D numbers.
    reference: embeddings of real pictures, M by D.
Returns:
    value: about 0 for pictures of one distribution, also slightly below; does not depend on how
    many there are. None for fewer than two pictures. per_sample: the embeddings.
"""


def kernel(x: Float[np.ndarray, "N D"], y: Float[np.ndarray, "M D"]) -> Float[np.ndarray, "N M"]:
    """The polynomial kernel of KID."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kernel_distance(x: Float[np.ndarray, "N D"], y: Float[np.ndarray, "M D"]) -> float:
    """Unbiased estimate from all pairs; at least two points on each side.

    Source: arXiv:1801.01401, section 4.
    """

    def mean_of_pairs(points: Float[np.ndarray, "N D"]) -> float:
        products, n = kernel(points, points), len(points)
        return float((products.sum() - np.trace(products)) / (n * (n - 1)))

    return mean_of_pairs(x) + mean_of_pairs(y) - 2 * float(kernel(x, y).mean())


class KernelDistance(evaluate.Metric):
    """The distance of KID, in the judge's space rather than Inception's."""

    aggregate = "set"
    version = 1

    def _info(self) -> evaluate.MetricInfo:
        return info(_DESCRIPTION, _INPUTS, predictions="string")

    def _compute(self, predictions: list[str], reference: Any = None) -> dict[str, Any]:
        return set_distance(kernel_distance, predictions, reference)
