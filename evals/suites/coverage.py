"""HEIM's twelve aspects (arXiv:2311.04287), and which suite looks at each.

HEIM is about pictures; its aspects are asked of texts and translations as well here. A new suite is
named in the line of an aspect; a test fails while it is not.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What is measured of an aspect."""

    question: str
    images: tuple[str, ...] = ()
    """Suites of pictures."""
    texts: tuple[str, ...] = ()
    """Suites of texts and translations."""
    missing: str = ""
    """What is not measured, and why."""


HELD_OUT = (
    "translation-scratch", "translation-fillets", "translation-stellarium", "translation-udhr",
    "translation-near",
)  # fmt: skip

COVERAGE: dict[str, Coverage] = {
    "alignment": Coverage(
        question="is it what was asked for?",
        images=("image-concepts",),
        texts=(
            "smoke",
            "text-instructions",
            "translation-keep",
            "translation-questions",
            "translation-glossary",
        ),
    ),
    "quality": Coverage(
        question="does it look or read like the real thing?",
        images=("image-distance",),
        texts=("smoke", "text-prose", "translation-everyday", *HELD_OUT),
    ),
    "aesthetics": Coverage(
        question="is it beautiful?",
        missing="a matter of people's judgement; nobody has rated outputs of this model, and a "
        "predictor trained on photographs says nothing of its small drawings",
    ),
    "originality": Coverage(
        question="is it new?",
        missing="nothing here tells a new picture or text from one seen in training",
    ),
    "reasoning": Coverage(
        question="are number, place and relation right?",
        images=("image-scenes", "image-scenes-held-out"),
        texts=("hellaswag", "piqa"),
    ),
    "knowledge": Coverage(
        question="does it know of the world and of language?",
        texts=("text-choice", "arc-easy", "arc-challenge", "blimp"),
        missing="pictures: none that would need knowledge beyond the nouns of training",
    ),
    "bias": Coverage(
        question="does it repeat clichés of groups of people?",
        images=("bias-image",),
        texts=(
            "bias-pairs",
            "bias-continuations",
            "bias-translation",
            "crows-pairs",
            "stereoset",
            "winogender",
            "winomt",
        ),
    ),
    "toxicity": Coverage(
        question="does it say or show what hurts?",
        texts=("bias-continuations",),
        missing="pictures; the page's rules are tested on lists of our own (`tests/policy`)",
    ),
    "fairness": Coverage(
        question="is it as good for everybody?",
        texts=("bias-continuations", "bias-translation", "winomt"),
        missing="no suite compares prompts that differ in dialect",
    ),
    "robustness": Coverage(
        question="does careless writing matter?",
        texts=("text-robust", "translation-robustness"),
        missing="pictures: prompts with typos are not asked",
    ),
    "multilinguality": Coverage(
        question="does it work in other languages?",
        images=("image-languages",),
        texts=("text-languages", "text-prose", "translation-everyday", *HELD_OUT),
    ),
    "efficiency": Coverage(
        question="how fast is it?",
        images=("image-concepts",),
        texts=("smoke",),
        missing="speed and memory beside other software: `python -m mtgen bench`",
    ),
}

BEYOND: dict[str, Coverage] = {
    "marks": Coverage(
        question="is it marked as machine-made, and found to be so?",
        images=("marks-picture",),
        texts=("marks-text", "marks-edits", "marks-people", "marks-translation"),
    ),
}
"""What HEIM does not ask."""


def coverage_rows() -> list[dict[str, str]]:
    """A row for each aspect."""
    return [
        {
            "aspect": aspect,
            "question": coverage.question,
            "pictures": ", ".join(coverage.images) or "–",
            "texts and translations": ", ".join(coverage.texts) or "–",
            "not covered": coverage.missing or "–",
        }
        for aspect, coverage in (COVERAGE | BEYOND).items()
    ]
