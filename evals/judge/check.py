"""Are the instruments any good? Scores on real pictures that they were not trained on."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from PIL import Image

from evals.judge.concepts import (
    NUM_CAPTIONS,
    JudgedConcept,
    judged_concepts,
    question,
    told_nouns,
)
from evals.judge.corpus import scene_composer
from evals.judge.detector import Detector
from evals.judge.model import Judge
from evals.judge.styles import PROMPT_STYLES, SELECTION_STYLE
from evals.judge.wanted import faults, said_of
from evals.metrics.stats import AGGREGATES, Score, bootstrap_ci
from mtgen.data.images.lexicon import Noun
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
NUM_QUESTIONS = 3
"""To the judge about a picture, before a noun is taken; other wrong answers in each."""


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
        standard_error=interval.standard_error if interval else None,
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


def check_judge(
    judge: Judge, packed: Packed, limit: int | None = None, nouns: Collection[str] | None = None
) -> list[Score]:
    """R-precision among 100 captions over the prompts' styles, for each, and over all nouns.

    Args:
        judge: To be checked.
        packed: Real pictures.
        limit: Only the first so many concepts.
        nouns: Code points that are judged; those of `told_nouns` unless given.
    """
    mixture = PictureMixture(packed, size_px=SIZE_PX, cache_mb=100, tidy=True)
    everything = judged_concepts(packed, mixture.lexicon)
    rows_of = rows_by_concept(packed, mixture, PROMPT_STYLES)

    def hits_of(concepts: Sequence[JudgedConcept]) -> dict[str, dict[str, list[float]]]:
        by_style: dict[str, dict[str, list[float]]] = {style: {} for style in PROMPT_STYLES}
        for concept in concepts[:limit]:
            name = concept.noun.codepoints
            if not (rows := rows_of[name]):
                continue
            pictures = [Image.fromarray(real(mixture, row)) for row in rows]
            hits = r_precision(judge, pictures, question(concept, concepts, SEED))
            for row, hit in zip(rows, hits, strict=True):
                by_style[mixture.rows["source"][row]].setdefault(name, []).append(hit)
        return by_style

    def overall(by_style: Mapping[str, Mapping[str, list[float]]]) -> dict[str, list[float]]:
        together: dict[str, list[float]] = defaultdict(list)
        for hits in by_style.values():
            for name, of_style in hits.items():
                together[name] += of_style
        return together

    nouns = told_nouns() if nouns is None else nouns
    told = hits_of(judged_concepts(packed, mixture.lexicon, nouns))
    signature = f"r_precision@{NUM_CAPTIONS}|seed:{SEED}|size_px:{SIZE_PX}|by:concept|v:2"
    return [
        share("r_precision", overall(told), signature),
        *(share(f"r_precision {style}", hits, signature) for style, hits in told.items()),
        share("r_precision of all nouns", overall(hits_of(everything)), signature),
    ]


def select_nouns(
    judge: Judge, packed: Packed, style: str = SELECTION_STYLE
) -> tuple[list[Noun], int]:
    """The nouns whose picture in one style the judge tells in each of NUM_QUESTIONS questions.

    Args:
        judge: To be asked.
        packed: Real pictures.
        style: That is looked at; `check_judge` looks at others.

    Returns:
        The nouns, in the lexicon's order, and of how many there was a picture.
    """
    mixture = PictureMixture(packed, size_px=SIZE_PX, cache_mb=100, tidy=True)
    concepts = judged_concepts(packed, mixture.lexicon)
    rows_of = rows_by_concept(packed, mixture, (style,))
    told, asked = [], 0
    for concept in concepts:
        if not (rows := rows_of[concept.noun.codepoints]):
            continue
        asked += 1
        pictures = [Image.fromarray(real(mixture, row)) for row in rows]
        captions = question(concept, concepts, "select 0")
        for number in range(1, NUM_QUESTIONS):  # the true one is the same in each
            captions += question(concept, concepts, f"select {number}")[1:]
        if all(r_precision(judge, pictures, captions)):
            told.append(concept.noun)
    return told, asked


def rows_by_concept(
    packed: Packed, mixture: PictureMixture, styles: Collection[str]
) -> dict[str, list[int]]:
    """Rows of emoji of some styles, by their code points."""
    found: dict[str, list[int]] = defaultdict(list)
    for row, kind in enumerate(packed.column("kind")):
        if kind == "emoji" and mixture.rows["source"][row] in styles:
            found[mixture.rows["concept"][row]].append(row)
    return found


def real(mixture: PictureMixture, row: int) -> np.ndarray:
    """A real picture as the mixture lays it out, `SIZE_PX` a side; the same every time."""
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
