"""How good a translation is likely to be, from the model's own confidence in it.

The table that turns one into the other is measured by `evals.translation_quality` on sentences
whose translation is known. Where it is missing nothing is said.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path

from mtgen.model.files import TRANSLATION_QUALITY, WEIGHTS

WORDS = ((50.0, "likely good"), (35.0, "rough"), (-1.0, "doubtful"))
"""What is said from an expected chrF++ on."""


def quality_hint(confidence: float | None, src: str, tgt: str, weights: Path = WEIGHTS) -> str:
    """`likely good`, `rough` or `doubtful`; nothing where it is not known.

    Args:
        confidence: Of a `TranslatedSentence` or a `TranslationGeneration`, 0..1.
        src: Source language.
        tgt: Target language.
        weights: Folder of the trained experts, where the table lies.
    """
    expected = expected_chrf(confidence, src, tgt, weights)
    if expected is None:
        return ""
    return next(words for least, words in WORDS if expected >= least)


def expected_chrf(
    confidence: float | None, src: str, tgt: str, weights: Path = WEIGHTS
) -> float | None:
    """The mean chrF++ of translations with this confidence, 0..100; None where unknown.

    Between the table's points it is interpolated; beyond them the outermost stand. The table is
    measured from and into English. By way of English the confidences of both steps are
    multiplied, so that the same table says less of such a translation.
    """
    if confidence is None or src == tgt:
        return None
    path = weights / TRANSLATION_QUALITY
    try:
        points = read_points(path, path.stat().st_mtime_ns)
    except OSError:
        return None
    if not points:
        return None
    above = bisect_left([x for x, _ in points], confidence)
    if above in (0, len(points)):
        return points[min(above, len(points) - 1)][1]
    (x0, y0), (x1, y1) = points[above - 1 : above + 1]
    return y0 + (y1 - y0) * (confidence - x0) / (x1 - x0)


@lru_cache(maxsize=8)
def read_points(path: Path, changed: int) -> list[tuple[float, float]]:
    """(confidence, expected chrF++), rising; none where the file is not such a table.

    Args:
        path: Of a list of them, or of an object that holds it as "points".
        changed: When the file was, so that a newer one is read again.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
        points = table["points"] if isinstance(table, dict) else table
        return sorted((float(x), float(y)) for x, y in points)
    except (OSError, ValueError, TypeError, KeyError):
        return []
