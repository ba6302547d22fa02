"""Every suite by name; a new one is one file and its line here."""

from __future__ import annotations

from evals.suites.base import LikelihoodSample, Suite, TextSample
from evals.suites.smoke import SMOKE
from mtgen.errors import UnknownNameError

SUITES: dict[str, Suite] = {suite.name: suite for suite in (SMOKE,)}

__all__ = ["SUITES", "LikelihoodSample", "Suite", "TextSample", "find_suite"]


def find_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UnknownNameError: there is none; suggests the nearest.
    """
    if name not in SUITES:
        raise UnknownNameError("suite", name, SUITES)
    return SUITES[name]
