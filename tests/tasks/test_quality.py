"""The quality hint: what is said of a confidence, and that nothing is said without a table."""

from __future__ import annotations

import json
import os

import pytest

from mtgen.model.files import TRANSLATION_QUALITY
from mtgen.tasks.quality import expected_chrf, quality_hint

POINTS = [[0.2, 20.0], [0.6, 40.0], [0.8, 60.0]]


@pytest.fixture
def weights(tmp_path):
    (tmp_path / TRANSLATION_QUALITY).write_text(json.dumps({"points": POINTS}), "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("confidence", "expected", "words"),
    [
        (0.0, 20, "doubtful"), (0.2, 20, "doubtful"), (0.4, 30, "doubtful"), (0.55, 37.5, "rough"),
        (0.75, 55, "likely good"), (0.8, 60, "likely good"), (1.0, 60, "likely good"),
    ],
)  # fmt: skip
def test_between_the_measured_points_it_is_interpolated(weights, confidence, expected, words):
    assert expected_chrf(confidence, "en", "fr", weights) == pytest.approx(expected)
    assert quality_hint(confidence, "en", "fr", weights) == words


def test_without_a_confidence_or_a_table_nothing_is_said(weights, tmp_path):
    assert quality_hint(None, "en", "fr", weights) == ""
    assert quality_hint(0.5, "en", "en", weights) == ""
    assert expected_chrf(0.5, "en", "fr", tmp_path / "elsewhere") is None


@pytest.mark.parametrize("content", ["", "[1, 2]", '{"points": 3}', "{}", "[]", "null"])
def test_a_damaged_table_says_nothing(tmp_path, content):
    (tmp_path / TRANSLATION_QUALITY).write_text(content, "utf-8")
    assert quality_hint(0.5, "en", "fr", tmp_path) == ""


def test_a_bare_list_is_a_table_and_a_new_one_is_read_at_once(weights):
    assert expected_chrf(0.9, "en", "fr", weights) == 60
    path = weights / TRANSLATION_QUALITY
    path.write_text(json.dumps([[0.5, 10.0]]), "utf-8")
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1_000_000))
    assert expected_chrf(0.9, "en", "fr", weights) == 10
