"""Leaderboard, samples and plots: pure functions of records on disk."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from evals.metrics.stats import Score
from evals.reports import board as boards
from evals.reports.board import (
    aspects_of,
    points_of,
    read_board,
    read_scored,
    requests_of,
    sample_values,
    samples_of,
    scores_csv,
    use_of,
)
from evals.reports.plots import COLOURS, INK, Point, on_scale, plot_radar, plot_scores
from evals.runner.records import MANIFEST, Record, RunFolder
from evals.suites import SUITES
from mtgen.errors import UnknownNameError
from mtgen.requests import TextRequest

SUITE = SUITES["smoke"]
ANSWERS = {"list-3-fruits": "apple\npear\nplum", "list-5-animals": "a dog", "list-4-tools": None}


def make_run(folder, *, started="2026-01-02T03:04:05+00:00", model="m/packed", **manifest):
    """A run of three answers: right, wrong, refused; and two texts of known perplexity."""
    run = RunFolder(folder)
    known = {
        "suite": "smoke", "suite_sha256": SUITE.checksum, "model": model, "seed": 1, "limit": 3,
        "settings": {"temperature": 1.0}, "num_samples": 5, "mtgen": "0.1.0", "commit": "",
        "machine": "here", "started": started,
    }  # fmt: skip
    run.begin(known | manifest)
    samples = {sample.id: sample for sample in SUITE.samples()}
    for number, (name, output) in enumerate(ANSWERS.items()):
        sample = samples[name]
        asked = {"id": name, "prompt": sample.prompt, "max_new_tokens": sample.max_new_tokens}
        asked["checks"] = list(sample.checks)
        error = "refused" if output is None else None
        run.append(
            Record(id=name, kind="text", sample=asked, seed=number, output=output, error=error)
        )
    for name, nll in (("one", 20.0), ("two", 50.0)):
        asked = {"id": name, "text": name}
        run.append(Record(id=name, kind="likelihood", sample=asked, nll=nll, num_tokens=10))
    return folder


def score(value, unit="share", ci95=None, up=True, name="x") -> Score:
    return Score(
        name=name, value=value, ci95=ci95, n_scored=3, n_unscored=0, unit=unit,
        higher_is_better=up, signature="",
    )  # fmt: skip


def test_runs_stand_newest_first_and_damaged_ones_are_named_with_the_reason(tmp_path):
    make_run(tmp_path / "old")
    make_run(tmp_path / "group" / "new", started="2026-05-02T03:04:05+00:00")
    make_run(tmp_path / "torn", started="2025-01-01T00:00:00+00:00")
    with (tmp_path / "torn" / "records.jsonl").open("ab") as file:
        file.write(b"no record\n")
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / MANIFEST).write_text('{"suite": "smoke"}')
    board = read_board([tmp_path, tmp_path / "missing"])
    assert [entry.name for entry in board.entries] == ["group/new", "old"]
    assert board.entries[0].main.value == pytest.approx(1 / 2)
    assert board.entries[0].main.n_unscored == 1
    bare, torn = sorted(board.damaged)
    assert bare == "bare (its run.json does not say model, num_samples, started)"
    assert "line 6 is not a record" in torn
    assert json.dumps([entry.as_dict() for entry in board.entries])
    with pytest.raises(UnknownNameError, match="no run named 'odl'. Did you mean 'old'"):
        board.find("odl")


def test_runs_of_other_versions_are_shown_with_what_is_known(tmp_path):
    make_run(tmp_path / "changed", suite_sha256="0" * 64)
    make_run(tmp_path / "gone", suite="a-suite-of-old")
    folder = make_run(tmp_path / "bare")
    lines = (folder / "records.jsonl").read_text().splitlines()
    record = json.loads(lines[0])
    del record["sample"]
    (folder / "records.jsonl").write_text(json.dumps(record) + "\n")
    entries = {entry.name: entry for entry in read_board([tmp_path]).entries}
    assert entries["changed"].main is not None
    assert entries["changed"].note == "made with another version of the samples"
    assert entries["gone"].main is None
    assert "no such suite" in entries["gone"].note
    assert entries["bare"].main is None
    assert entries["bare"].note == "cannot be scored: KeyError: 'sample'"
    assert read_scored(folder).scores[0].error == "KeyError: 'sample'"


def test_a_run_is_scored_again_only_when_its_files_change(tmp_path):
    folder = make_run(tmp_path / "a")
    first = read_scored(folder)
    assert read_scored(folder) is first
    sample = {"id": "three", "text": "three"}
    more = Record(id="three", kind="likelihood", sample=sample, nll=1.0, num_tokens=1)
    RunFolder(folder).append(more)
    assert len(read_scored(folder).records) == 6


def test_reading_leaves_a_line_that_is_being_written_alone(tmp_path):
    folder = make_run(tmp_path / "a")
    path = folder / "records.jsonl"
    with path.open("ab") as file:
        file.write(b'{"id": "half')
    before = path.read_bytes()
    assert read_board([tmp_path]).entries[0].num_done == 5
    assert path.read_bytes() == before


def test_samples_come_worst_first_whichever_way_is_better(tmp_path):
    run = read_scored(make_run(tmp_path / "a"))
    passed = samples_of(run, use_of(run, "instruction_following"))
    assert [(s.id, s.value) for s in passed] == [
        ("list-5-animals", 0.0), ("list-3-fruits", 1.0), ("list-4-tools", None),
    ]  # fmt: skip
    assert passed[2].error == "refused"
    assert passed[0].expected == "list_items n=5"
    lower = use_of(run, "perplexity")
    assert sample_values(lower, run.records) == pytest.approx({"one": 7.389, "two": 148.41}, 1e-3)
    assert [s.id for s in samples_of(run, lower)] == ["two", "one"]
    assert [s.id for s in samples_of(run, lower, best_first=True)] == ["one", "two"]
    with pytest.raises(UnknownNameError, match="no score named 'perplex'"):
        use_of(run, "perplex")


def test_a_sample_can_be_asked_again_exactly(tmp_path):
    run = read_scored(make_run(tmp_path / "a"))
    [request] = requests_of(run, run.records[1])
    sample = run.records[1]["sample"]
    assert request == TextRequest(
        prompt=sample["prompt"], max_new_tokens=sample["max_new_tokens"], seed=1, temperature=1.0
    )
    assert requests_of(run, run.records[-1]) == []


def test_scores_go_to_csv_whole(tmp_path):
    run = read_scored(make_run(tmp_path / "a"))
    rows = list(csv.DictReader(io.StringIO(scores_csv(run))))
    assert [row["score"] for row in rows] == [s.name for s in run.scores]
    assert float(rows[0]["value"]) == run.scores[0].value
    assert (float(rows[1]["ci95_low"]), float(rows[1]["ci95_high"])) == run.scores[1].ci95
    assert rows[-1]["value"] == ""  # no answer was timed
    assert {row["model"] for row in rows} == {"m/packed"}


def test_aspects_are_the_newest_whole_runs_of_a_model(tmp_path):
    make_run(tmp_path / "half", num_samples=9, started="2026-09-01T00:00:00+00:00")
    make_run(tmp_path / "whole")
    make_run(tmp_path / "other", model="another")
    [point] = aspects_of(read_board([tmp_path]), "m/packed")
    assert (point.axis, point.value) == ("sanity (smoke)", 0.5)
    assert boards.models_of(read_board([tmp_path])) == ["m/packed", "another"]


def test_a_trunk_with_an_expert_has_the_aspects_of_both(tmp_path):
    make_run(tmp_path / "a", model="m/packed")
    make_run(tmp_path / "b", model="m/packed+translation-1a2b", started="2026-01-02T03:04:06+00:00")
    board = read_board([tmp_path])
    assert boards.models_of(board) == ["m/packed+translation-1a2b"]
    assert [p.axis for p in aspects_of(board, "m/packed+translation-1a2b")] == ["sanity (smoke)"]
    text, other = board.entries[1], replace(board.entries[1], suite="image-concepts")
    assert boards.is_of(text, "m/packed+no-expert")
    assert not boards.is_of(other, "m/packed+no-expert")
    assert boards.is_of(other, "m/packed+translation-1a2b")
    assert boards.trunk_of("https://a/v1#m+n") == "https://a/v1#m+n"


@pytest.mark.parametrize(
    ("given", "value", "ci95"),
    [
        (score(0.25, ci95=(0.2, 0.4)), 0.25, (0.2, 0.4)),
        (score(0.25, ci95=(0.2, 0.4), up=False), 0.75, (0.6, 0.8)),
        (score(40.0, "of 100", (30.0, 50.0)), 0.4, (0.3, 0.5)),
        (score(-3.0, "of 100"), 0.0, None),
    ],
)
def test_scales_go_from_worst_to_best(given, value, ci95):
    point = on_scale(given, "axis")
    assert point.value == pytest.approx(value)
    assert point.ci95 == (None if ci95 is None else pytest.approx(ci95))


@pytest.mark.parametrize(
    "given", [score(None), score(3.0, "s a picture"), score(0.5, "share of pairs, 0.5 is ideal")]
)
def test_what_has_no_best_end_is_left_out_of_a_radar(given):
    assert on_scale(given, "axis") is None


def test_plots_keep_text_as_text_and_take_the_colours_of_the_page():
    scores = [score(0.5, ci95=(0.3, 0.7), name="one & all"), score(7.0, "s a picture", name="time")]
    markup = plot_scores(scores)
    ET.fromstring(markup)  # well-formed
    assert markup == plot_scores(scores)
    assert ">one &amp; all</text>" in markup
    assert "currentColor" in markup
    assert INK not in markup
    assert f"var(--series-0, {COLOURS[0]})" in markup
    assert 'role="img" aria-label="Scores with 95% intervals: one &amp; all 0.5' in markup
    assert plot_scores([score(None)]) is None


def test_a_radar_draws_each_series_with_its_interval_and_needs_three_axes():
    points = [Point(axis=axis, value=0.5, ci95=(0.4, 0.6)) for axis in ("a", "b", "c")]
    markup = plot_radar([("first", points), ("second", points[:2])])
    ET.fromstring(markup)
    for number in (0, 1):
        assert markup.count(f"--series-{number},") >= 3  # band, line, markers
    for word in ("first", "second", ">a</text>", ">c</text>"):
        assert word in markup
    assert plot_radar([("first", points[:2])]) is None


def test_the_points_of_a_run_are_its_scores_on_a_scale(tmp_path):
    run = read_scored(make_run(tmp_path / "a"))
    assert [point.axis for point in points_of(run)][:1] == ["instruction_following"]
    assert all(0 <= point.value <= 1 for point in points_of(run))
