"""Calibrates the page's quality hint: `python -m evals.translation_quality --data DIR`.

Translates sentences of the validation split, which nothing is trained or scored on, and fits the
chrF++ that a sentence of some confidence gets, as a curve that never falls (isotonic
regression). Half of the sentences fit the curve, the other half say how well it holds.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mtgen.cli import Parser, print_json, run
from mtgen.errors import BadRequestError
from mtgen.model.files import TRANSLATION_QUALITY, WEIGHTS
from mtgen.requests import LANGUAGES, check_number

WORDS = (3, 40)
"""Fewest and most English words of a sentence that is taken."""
POINTS = 12
"""Of the curve that is kept."""


def sentences(folder: Path, lang: str, count: int) -> list[tuple[str, str]]:
    """English sentences of the validation split with their translations, chosen by hash.

    Raises:
        BadRequestError: the data has not been built there.
    """
    import pyarrow.parquet as pq

    path = folder / "parallel" / f"en-{lang}" / "validation.parquet"
    if not path.is_file():
        raise BadRequestError(
            f"there is no {path}; 'python -m mtgen.data build parallel --out {folder}' makes it"
        )
    table = pq.read_table(path, columns=["en", "translation"]).to_pylist()
    pairs: set[tuple[str, str]] = {(row["en"], row["translation"]) for row in table}
    usable = [p for p in pairs if WORDS[0] <= len(p[0].split()) <= WORDS[1]]
    usable.sort(key=lambda pair: hashlib.sha256("|".join(pair).encode()).digest())
    return usable[:count]


def fitted(
    confidence: Float[np.ndarray, " N"], quality: Float[np.ndarray, " N"]
) -> list[tuple[float, float]]:
    """A rising curve from confidence to quality, as points to interpolate between."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(confidence)
    rising = isotonic_regression(quality[order]).x
    edges = np.linspace(0, len(order), POINTS + 1).astype(int)
    parts = [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]
    return [
        (round(float(confidence[order][p].mean()), 4), round(float(rising[p].mean()), 2))
        for p in parts
    ]


def calibrate(data: Path, weights: Path, count: int) -> dict[str, Any]:
    """Points of the curve, and how well it holds on the other half.

    Args:
        data: What `mtgen.data build parallel --out` was given.
        weights: Folder of the translation expert.
        count: Sentences of each direction.
    """
    from sacrebleu.metrics.chrf import CHRF
    from tqdm import tqdm

    import mtgen

    pipeline = mtgen.load(weights=weights)
    chrf = CHRF(word_order=2)
    rows: list[tuple[float, float]] = []
    for lang in tqdm([lang for lang in LANGUAGES if lang != "en"], desc="languages"):
        pairs = sentences(data, lang, count)
        back = [(other, english) for english, other in pairs]
        for source, target, columns in (("en", lang, pairs), (lang, "en", back)):
            text = "\n".join(sentence for sentence, _ in columns)
            known = pipeline.translate(text, source=source, target=target).sentences
            wanted: dict[str, str] = dict(columns)
            for found in known:
                if found.confidence is not None and found.source in wanted:
                    score = chrf.sentence_score(found.text, [wanted[found.source]]).score
                    rows.append((found.confidence, score))
    values = np.array(rows)
    points = fitted(values[::2, 0], values[::2, 1])
    return {"points": points, "sentences": len(rows)} | held_up(points, values[1::2])


def held_up(
    points: Sequence[tuple[float, float]], values: Float[np.ndarray, "N 2"]
) -> dict[str, float]:
    """How well a curve says the quality of sentences that it was not fitted to.

    Returns:
        rank correlation of confidence and quality; mean gap between said and found quality, in
        points of chrF++, over five groups by confidence.
    """
    from scipy.stats import spearmanr

    said = np.interp(values[:, 0], *np.array(points).T)
    groups = np.array_split(np.argsort(values[:, 0]), 5)
    gaps = [abs(float(said[g].mean() - values[g, 1].mean())) for g in groups if len(g)]
    rank = np.asarray(spearmanr(values[:, 0], values[:, 1]))[0]
    return {"rank_correlation": round(float(rank), 3), "gap": round(float(np.mean(gaps)), 2)}


def main(arguments: list[str]) -> None:
    parser = Parser(prog="python -m evals.translation_quality", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("build/data"), help="built data")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the expert")
    parser.add_argument("--count", type=int, default=150, help="sentences of each direction")
    parser.add_argument("--out", type=Path, help="default: beside the expert")
    options = parser.parse_args(arguments)
    check_number("count", options.count, 10, 10_000, integer=True)
    result = calibrate(options.data, options.weights, options.count)
    path = options.out or options.weights / TRANSLATION_QUALITY
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print_json(result)


if __name__ == "__main__":
    sys.exit(run(main))
