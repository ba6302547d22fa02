"""Are the instruments any good? Scores on real pictures that they were not trained on."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from evals.judge.concepts import JudgedConcept, judged_concepts, question
from evals.judge.corpus import scene_composer
from evals.judge.detector import Detector
from evals.judge.model import Judge
from evals.judge.styles import JUDGED_STYLES, PROMPT_STYLES
from evals.judge.wanted import faults, said_of
from evals.metrics.stats import AGGREGATES, Score, bootstrap_ci
from mtgen.data.images.mixture import PictureMixture
from mtgen.data.images.scenes import CATEGORIES
from mtgen.data.packed import Packed

BAR = 0.95
"""What an instrument must reach before it may score a generator."""
SEED = "check"
NUM_SCENES = 200
"""Of each category."""
FIRST_SCENE = 2**46
"""Training counts its scenes from 0."""
SIZE_PX = 256
"""Of the pictures: as the generator draws them."""


def share(name: str, hits: Mapping[str, Sequence[float]], signature: str) -> Score:
    """Share of pictures that passed, with an interval over clusters.

    Args:
        name: Of the score.
        hits: 1 or 0 of each picture, by cluster.
        signature: What was measured.
    """
    rows = [[float(sum(passed)), float(len(passed))] for passed in hits.values() if len(passed)]
    interval = bootstrap_ci(rows, "ratio") if rows else None
    return Score(
        name=name,
        value=AGGREGATES["ratio"](rows) if rows else None,
        ci95=interval.ci95 if interval else None,
        n_scored=int(sum(n for _, n in rows)),
        n_unscored=0,
        unit="share of pictures",
        higher_is_better=True,
        signature=signature + (f"|ci:{interval.method}" if interval else ""),
    )


def r_precision(
    judge: Judge, pictures: Sequence[Image.Image], captions: Sequence[str]
) -> list[float]:
    """1 for each picture that is nearest to the first caption, else 0."""
    similar = judge.embed_pictures(pictures) @ judge.embed_captions(captions).T
    return (similar[:, 0] > similar[:, 1:].max(1)).astype(float).tolist()


def check_judge(judge: Judge, packed: Packed, limit: int | None = None) -> list[Score]:
    """R-precision among 100 captions, over all judged styles and for each.

    Args:
        judge: To be checked.
        packed: Real pictures.
        limit: Only the first so many concepts.
    """
    mixture = PictureMixture(packed, size_px=SIZE_PX, cache_mb=100)
    concepts = judged_concepts(packed, mixture.lexicon)
    rows_of = judged_rows(packed, mixture, concepts)
    overall: dict[str, list[float]] = {}
    by_style: dict[str, dict[str, list[float]]] = {style: {} for style in JUDGED_STYLES}
    for concept in concepts[:limit]:
        name = concept.noun.codepoints
        captions = question(concept, concepts, SEED)
        pictures = [Image.fromarray(real(mixture, row)) for row in rows_of[name]]
        overall[name] = r_precision(judge, pictures, captions)
        for row, hit in zip(rows_of[name], overall[name], strict=True):
            by_style[mixture.rows["source"][row]].setdefault(name, []).append(hit)
    signature = f"r_precision@{len(captions)}|seed:{SEED}|size_px:{SIZE_PX}|by:concept|v:1"
    return [
        share("r_precision", overall, signature),
        *(share(f"r_precision {style}", hits, signature) for style, hits in by_style.items()),
    ]


def judged_rows(
    packed: Packed, mixture: PictureMixture, concepts: Sequence[JudgedConcept]
) -> dict[str, list[int]]:
    """Rows of the judged styles by concept."""
    wanted = {concept.noun.codepoints for concept in concepts}
    found: dict[str, list[int]] = defaultdict(list)
    for row, kind in enumerate(packed.column("kind")):
        concept, style = mixture.rows["concept"][row], mixture.rows["source"][row]
        if kind == "emoji" and concept in wanted and style in JUDGED_STYLES:
            found[concept].append(row)
    return found


def real(mixture: PictureMixture, row: int) -> np.ndarray:
    """A real picture as the generator is trained on it, `SIZE_PX` a side; the same every time."""
    return mixture.picture(row, "en", 2**39 + row).pixels


def check_detector(detector: Detector, packed: Packed, limit: int | None = None) -> list[Score]:
    """Share of real scenes in the prompts' styles found exact, over all categories and for each.

    Args:
        detector: To be checked.
        packed: Real pictures.
        limit: Only the first so many scenes of each category.
    """
    mixture = PictureMixture(packed, size_px=SIZE_PX, cache_mb=16)
    nouns = frozenset(detector.config.nouns)
    composer = scene_composer(packed, mixture, SIZE_PX, PROMPT_STYLES, nouns)
    overall: dict[str, list[float]] = {}
    by_category: dict[str, dict[str, list[float]]] = {name: {} for name in CATEGORIES}
    wrong = Counter()
    for category, hits in by_category.items():
        for number in range(min(NUM_SCENES, limit or NUM_SCENES)):
            pixels, scene = composer.scene(FIRST_SCENE + number, category, caption_langs=())
            [found] = detector.detect([Image.fromarray(pixels)])
            missed = faults(found, said_of(scene))
            wrong.update(f"{category} {name}" for name in missed)
            hits[f"{number}"] = overall[f"{category} {number}"] = [float(not missed)]
    print("faults:", dict(wrong.most_common()) or "none", file=sys.stderr)
    signature = f"scene_exact|first:{FIRST_SCENE}|size_px:{SIZE_PX}|by:scene|v:2"
    return [
        share("scene_exact", overall, signature),
        *(share(f"scene_exact {name}", hits, signature) for name, hits in by_category.items()),
    ]
