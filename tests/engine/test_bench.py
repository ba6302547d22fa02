"""The table of `python -m mtgen bench`."""

from __future__ import annotations

import pytest

from mtgen.engine import bench
from mtgen.engine.bench import row, sentences, table


def test_more_tokens_and_fewer_seconds_are_better():
    faster = row(
        "text", "x", "tokens/s", {"mtgen": [200.0, 210.0, 190.0], "other": [100.0, 105.0, 95.0]}
    )
    assert faster.values == {"mtgen": 200, "other": 100}
    assert faster.ratios == {"other": 2}
    sooner = row("text", "x", "s", {"mtgen": [0.1, 0.2], "other": [0.2, 0.4]})
    assert sooner.ratios == {"other": 2}


def test_the_share_of_the_floor_is_bytes_over_bandwidth():
    assert row("text", "x", "tokens/s", {"mtgen": [100.0]}, floor=0.005).floor == 0.5


def test_a_thousand_sentences_are_different_and_of_ten_to_twelve_words():
    made = sentences(1000)
    assert len(set(made)) == 1000
    assert {len(text.split()) for text in made} <= {10, 11, 12}


def test_one_task_is_measured_and_told_on_a_tiny_trunk(tiny_trunk, monkeypatch):
    monkeypatch.setattr(bench, "PROMPT", "Hi.")
    monkeypatch.setattr(bench, "LONG_PROMPT", "Hello.")
    monkeypatch.setattr(bench.yardsticks, "is_installed", lambda package: False)
    result = bench.bench(tiny_trunk, tasks=["text"], rounds=1, num_tokens=4)
    whats = [row["what"] for row in result["rows"]]
    assert "8 streams together" in whats
    told = table(result)
    assert all(what in told for what in whats)
    assert "transformers" in told


def test_rounds_out_of_range_are_refused():
    with pytest.raises(bench.SettingError, match="rounds must be"):
        bench.bench(rounds=0)
