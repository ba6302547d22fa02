"""How good a translation is likely to be, from the model's own confidence in it.

The table that turns one into the other is measured on sentences whose translation is known.
Where it is missing nothing is said.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from functools import lru_cache
from pathlib import Path

from mtgen.model.files import WEIGHTS

TRANSLATION_QUALITY = "translation_quality.json"
"""A list of [confidence, expected chrF++], or an object with such a list for each pair of
languages, as `"en-fr"`; confidence rises."""
WORDS = ((50.0, "likely good"), (35.0, "rough"), (-1.0, "doubtful"))
"""What is said from an expected chrF++ on."""

Points = list[tuple[float, float]]


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

    Between the table's points it is interpolated; beyond them the outermost stand.
    """
    path = weights / TRANSLATION_QUALITY
    try:
        changed = path.stat().st_mtime_ns
    except OSError:
        return None
    points = read_table(path, changed).get(f"{src}-{tgt}")
    if points is None:
        points = read_table(path, changed).get("")
    if confidence is None or not points:
        return None
    above = bisect_left([x for x, _ in points], confidence)
    if above in (0, len(points)):
        return points[min(above, len(points) - 1)][1]
    (x0, y0), (x1, y1) = points[above - 1 : above + 1]
    return y0 + (y1 - y0) * (confidence - x0) / (x1 - x0)


@lru_cache(maxsize=8)
def read_table(path: Path, changed: int) -> dict[str, Points]:
    """Points by pair of languages, "" for all pairs; none where the file is not such a table.

    Args:
        path: Of the file.
        changed: When it was, so that a newer one is read again.
    """
    try:
        table = json.loads(path.read_text("utf-8"))
        lists = table if isinstance(table, dict) else {"": table}
        return {
            pair: sorted((float(x), float(y)) for x, y in points) for pair, points in lists.items()
        }
    except (OSError, ValueError, TypeError):
        return {}
