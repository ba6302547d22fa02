"""Every suite by name; a new one is one file and its line here."""

from __future__ import annotations

from evals.suites.base import (
    ChoiceSample,
    ImageSample,
    LikelihoodSample,
    OutsideSuite,
    Suite,
    TextSample,
    TranslationSample,
)
from evals.suites.bias import BIAS
from evals.suites.bias_image import BIAS_IMAGE
from evals.suites.choice import CHOICE
from evals.suites.groups import groups
from evals.suites.image import IMAGE
from evals.suites.marks import MARKS
from evals.suites.smoke import SMOKE
from evals.suites.text import TEXT
from evals.suites.translation import TRANSLATION
from mtgen.errors import UnknownNameError

SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (SMOKE, *TEXT, *CHOICE, *BIAS, BIAS_IMAGE, *IMAGE, *TRANSLATION, *MARKS)
}
GROUPS: dict[str, tuple[Suite, ...]] = groups(SUITES)
"""Suites that run one after the other under one name."""

__all__ = [
    "GROUPS", "SUITES", "ChoiceSample", "ImageSample", "LikelihoodSample", "OutsideSuite", "Suite",
    "TextSample", "TranslationSample", "find_suite", "find_suites",
]  # fmt: skip


def find_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UnknownNameError: there is none; suggests the nearest.
    """
    if name not in SUITES:
        raise UnknownNameError("suite", name, [*SUITES, *GROUPS])
    return SUITES[name]


def find_suites(name: str) -> tuple[Suite, ...]:
    """The suites of a group, or the one suite of that name.

    Raises:
        UnknownNameError: there is neither; suggests the nearest.
    """
    return GROUPS[name] if name in GROUPS else (find_suite(name),)
