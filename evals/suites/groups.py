"""Suites that run one after the other under one name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evals.suites.base import OutsideSuite, Suite
from evals.suites.bias import SHIPPED as SHIPPED_BIAS
from evals.suites.bias_image import BIAS_IMAGE
from evals.suites.choice import SHIPPED as SHIPPED_CHOICES
from evals.suites.image import IMAGE
from evals.suites.marks import MARKS
from evals.suites.text import TEXT
from evals.suites.translation import TRANSLATION

STANDARD: Mapping[str, int | None] = {
    "smoke": None,
    "text-instructions": 50,
    "text-prose": None,
    "text-robust": None,
    "text-languages": None,
    "text-choice": None,
    "bias-pairs": None,
    "bias-continuations": 96,
    "bias-translation": 192,
    "bias-image": 10,
    "translation-everyday": 300,
    "translation-robustness": 250,
    "translation-keep": 100,
    "translation-questions": 120,
    "translation-glossary": 120,
    "image-concepts": 16,
    "image-scenes": 36,
    "image-languages": 6,
    "marks-text": 40,
    "marks-edits": 8,
    "marks-people": None,
    "marks-translation": 48,
    "marks-picture": 8,
}
"""Every aspect in about half an hour on two cores: how many samples of a suite, None for all.

A set's distance from real pictures is not in it: the Fréchet distance of few pictures is not that
of many (arXiv:1801.01401).
"""


def groups(suites: Mapping[str, Suite]) -> dict[str, tuple[Suite, ...]]:
    """All groups.

    Args:
        suites: Every suite by name.
    """
    return {
        "bias": (*SHIPPED_BIAS, BIAS_IMAGE),
        "choice": SHIPPED_CHOICES,
        "image": IMAGE,
        "marks": MARKS,
        "text": TEXT,
        "translation": TRANSLATION,
        "standard": tuple(replace(suites[name], drawn=n) for name, n in STANDARD.items()),
        "full": tuple(suite for suite in suites.values() if not isinstance(suite, OutsideSuite)),
    }


def minutes(suite: Suite) -> float:
    """On two CPU cores, about; less where not all samples are asked."""
    total = suite.num_samples()
    if suite.drawn is None or not total:
        return suite.minutes
    return suite.minutes * min(1.0, suite.drawn / total)
