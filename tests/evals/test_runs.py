"""Runs: a record for each sample at once, kill and resume, reports, comparisons."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import pytest
import torch

from evals.reports.page import run_page
from evals.reports.tables import compare, read_run, run_markdown
from evals.runner.records import RECORDS, Record, RunFolder
from evals.runner.run import run_suite
from evals.runner.shared import Measured, Stopped
from evals.suites import SUITES, find_suite
from mtgen.errors import RecordsError, UnknownNameError
from tests.conftest import ROOT

SMOKE = SUITES["smoke"]


def without_timings(folder) -> list[dict]:
    records = RunFolder(folder).records()
    timings = ("first_token_s", "tokens_per_s")
    return [{k: v for k, v in r.items() if k not in timings} for r in records]


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """A whole small run of the tiny model."""
    folder = tmp_path_factory.mktemp("run") / "a"
    run_suite(SMOKE, tiny, folder, seed=1, limit=6, settings={"temperature": 1.0})
    return folder


def test_every_sample_has_a_record_and_every_metric_a_score(run):
    result = read_run(run)
    assert result.is_complete
    assert len(result.records) == 12
    assert [score.name for score in result.scores] == [use.name for use in SMOKE.metrics]
    for score in result.scores:
        assert score.n_scored + score.n_unscored == 6


def test_a_killed_run_resumes_to_the_same_result(tiny_trunk, tmp_path):
    def command(name: str) -> list[str]:
        return [
            sys.executable, "-m", "evals", "run", "--suite", "smoke", "--seed", "1",
            "--model", str(tiny_trunk), "--out", str(tmp_path / name), "--json",
        ]  # fmt: skip

    whole = subprocess.run(command("whole"), cwd=ROOT, capture_output=True, text=True, check=True)
    process = subprocess.Popen(command("killed"), cwd=ROOT, stdout=subprocess.DEVNULL)
    records = tmp_path / "killed" / RECORDS
    while not records.exists() or records.read_bytes().count(b"\n") < 5:
        assert process.poll() is None
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = records.read_bytes().count(b"\n")
    assert 5 <= done < 50
    with records.open("ab") as file:  # as if the kill had come in the middle of a line
        file.write(b'{"id": "half a rec')
    resumed = subprocess.run(
        command("killed"), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert without_timings(tmp_path / "killed") == without_timings(tmp_path / "whole")
    scores = [
        [s for s in json.loads(out.stdout)["scores"] if not s["name"].startswith("latency")]
        for out in (whole, resumed)
    ]
    assert scores[0] == scores[1]


def test_a_finished_run_does_nothing_again(tiny, run):
    before = (run / RECORDS).read_bytes()
    run_suite(SMOKE, tiny, run, seed=1, limit=6, settings={"temperature": 1.0})
    assert (run / RECORDS).read_bytes() == before


def test_a_folder_with_another_run_is_refused(tiny, run):
    with pytest.raises(RecordsError, match=r"holds a run with seed=1, not 2; choose another --out"):
        run_suite(SMOKE, tiny, run, seed=2, limit=6, settings={"temperature": 1.0})


def test_other_weights_of_the_same_name_are_another_run(run, tmp_path):
    import mtgen
    from tests.conftest import save_tiny

    name = read_run(run).manifest["model"].removesuffix("/packed")
    save_tiny(tmp_path / name, rms_norm_eps=1e-5, intermediate_size=128)
    other = mtgen.load(tmp_path / name, progress=False)
    with pytest.raises(RecordsError, match="weights_sha256"):
        run_suite(SMOKE, other, run, seed=1, limit=6, settings={"temperature": 1.0})


def test_a_damaged_record_is_named_by_its_line(tmp_path):
    folder = RunFolder(tmp_path)
    folder.append(Record(id="1", kind="text", sample={}))
    with (tmp_path / RECORDS).open("ab") as file:
        file.write(b"not json\n")
    folder.append(Record(id="2", kind="text", sample={}))
    with pytest.raises(RecordsError, match="line 2 is not a record"):
        folder.records()


def test_a_sample_that_the_model_refuses_is_unscored_and_the_run_goes_on(tmp_path, run):
    import mtgen
    from tests.conftest import save_tiny

    save_tiny(tmp_path / "model", max_position_embeddings=100)  # too short for what is asked
    short = mtgen.load(tmp_path / "model", progress=False)
    run_suite(SMOKE, short, tmp_path / "run", limit=6)
    result = read_run(tmp_path / "run")
    assert result.is_complete
    refused = [r for r in result.records if r["error"]]
    assert refused
    following = result.scores[0]
    assert following.n_unscored == sum(r["kind"] == "text" for r in refused)
    assert "not answered: " in run_page(result)


def test_the_page_is_self_contained_and_the_same_for_the_same_records(run):
    page = run_page(read_run(run))
    assert page == run_page(read_run(run))
    assert not re.findall(r"<(?:script|link|img)\b|@import", page)
    for address in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
        assert address.startswith("#")
    assert page.count("<svg") == 3
    assert "instruction_following" in page
    assert "95% interval" in page


def test_answers_cannot_break_the_page(run):
    result = read_run(run)
    result.records[0]["output"] = "<script>alert(1)</script>"
    assert "<script>" not in run_page(result)


def test_the_markdown_says_what_was_run(run):
    text = run_markdown(read_run(run))
    assert "seed 1" in text
    assert text.count("\n| ") == len(SMOKE.metrics) + 2


def test_a_partial_run_says_so(run, tmp_path):
    (tmp_path / "run.json").write_text((run / "run.json").read_text("utf-8"))
    first = (run / RECORDS).read_bytes().splitlines(keepends=True)[0]
    (tmp_path / RECORDS).write_bytes(first)
    assert "Partial: 1 of 12 samples" in run_markdown(read_run(tmp_path))


def test_a_run_compared_with_itself_shows_no_difference(run):
    result = read_run(run)
    for difference in compare(result, result):
        assert difference.difference in (0, None)
        assert difference.verdict == "no clear difference"


def with_likelier_texts(run, times: int):
    """A run with as many copies of its records, and one whose texts are likelier."""
    a, b = read_run(run), read_run(run)
    for result in (a, b):
        result.records[:] = [
            {**record, "id": f"{record['id']}-{copy}",
             "sample": record["sample"] | {"text": f"{record['id']}, {copy}"}}
            for copy in range(times)
            for record in result.records
        ]  # fmt: skip
    for record in b.records:
        if record["nll"]:
            record["nll"] *= 0.9
    return a, b


def test_a_better_run_is_called_better(run):
    a, b = with_likelier_texts(run, 2)
    [perplexity] = [d for d in compare(a, b) if d.name == "perplexity"]
    assert perplexity.difference
    assert perplexity.difference < 0
    assert perplexity.n == 10
    assert perplexity.p_value == pytest.approx(2 / 2**10)  # all ten the same way
    assert perplexity.p_adjusted == pytest.approx(6 * 2 / 2**10)
    assert perplexity.verdict == "better"
    assert (perplexity.mde or 0) > 0
    kept = perplexity.as_dict()
    assert {"a", "b", "difference", "ci95", "n", "verdict", "mde", "p_adjusted"} <= kept.keys()


def test_what_is_clear_alone_is_not_when_six_scores_are_looked_at(run):
    a, b = with_likelier_texts(run, 1)
    [perplexity] = [d for d in compare(a, b) if d.name == "perplexity"]
    assert perplexity.ci95
    assert perplexity.ci95[1] < 0
    assert perplexity.n == 5
    assert perplexity.p_value == pytest.approx(2 / 2**5)
    assert perplexity.p_adjusted == pytest.approx(6 * 2 / 2**5)
    assert perplexity.verdict == "no clear difference"


def test_a_run_says_what_it_could_tell_apart(run):
    result = read_run(run)
    scores = {score.name: score for score in result.scores}
    perplexity = scores["perplexity"]
    assert perplexity.mde == pytest.approx(2.8016 * 2**0.5 * perplexity.standard_error, rel=1e-4)
    assert perplexity.as_dict()["mde"] == perplexity.mde
    assert "| can tell" in run_markdown(result)
    assert "80% power" in run_page(result)


def test_runs_of_different_suites_cannot_be_compared(run):
    a, b = read_run(run), read_run(run)
    b.manifest["suite_sha256"] = "another"
    with pytest.raises(RecordsError, match="differ in suite_sha256"):
        compare(a, b)


def test_changed_suite_data_is_noticed(monkeypatch, tmp_path):
    from evals.suites import base

    for name in ("smoke.jsonl", "SHA256SUMS"):
        (tmp_path / name).write_bytes((base.DATA / name).read_bytes())
    (tmp_path / "smoke.jsonl").open("a").write("\n")
    monkeypatch.setattr(base, "DATA", tmp_path)
    with pytest.raises(RecordsError, match="is not the frozen file"):
        SMOKE.samples()


def test_an_unknown_suite_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match="no suite named 'smok'. Did you mean 'smoke'"):
        find_suite("smok")


def test_samples_are_unique_and_use_known_checks():
    from evals.metrics.checks import passes

    samples = SMOKE.samples()
    assert len({s.id for s in samples}) == len(samples)
    for sample in samples:
        for check in getattr(sample, "checks", ()):
            assert passes("word", check) in (True, False)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "--suite", "smok"], 2, "Did you mean 'smoke'?"),
        (["run", "--suite", "smoke", "--limit", "0"], 2, "limit must be a whole number from 1"),
        (["run", "--suite", "smoke", "--model", "nobody/nothing"], 1, "cannot be had from the Hub"),
        (["report", "/nowhere"], 1, "holds no run"),
        (["compare", "/nowhere", "/nowhere"], 1, "holds no run"),
        (["run", "--suit", "smoke"], 2, "--suite"),
    ],
)
def test_mistakes_are_one_sentence(shell, arguments, code, sentence):
    done = shell("-m", "evals", *arguments)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_list_run_report_and_compare_work_from_the_shell(shell, tiny_trunk, tmp_path):
    listed = json.loads(shell("-m", "evals", "list", "--json").stdout)
    assert listed["suites"][0]["suite"] == "smoke"
    common = ("--model", tiny_trunk, "--limit", 3, "--json")
    for name, seed in (("a", 1), ("b", 2)):
        done = shell(
            "-m",
            "evals",
            "run",
            "--suite",
            "smoke",
            "--out",
            tmp_path / name,
            "--seed",
            seed,
            *common,
        )
        assert len(json.loads(done.stdout)["scores"]) == len(SMOKE.metrics), done.stderr
    files = json.loads(shell("-m", "evals", "report", tmp_path / "a", "--json").stdout)["files"]
    assert [os.path.basename(file) for file in files] == [
        "report.html", "report.md", "scores.json", "samples.parquet"
    ]  # fmt: skip
    done = shell("-m", "evals", "compare", tmp_path / "a", tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert "B - A" in done.stdout


@pytest.mark.slow
def test_a_full_disk_keeps_the_records_so_far(tiny_trunk, tmp_path):
    import resource

    def small_files_only() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))

    command = [
        sys.executable,
        "-m",
        "evals",
        "run",
        "--suite",
        "smoke",
        "--out",
        str(tmp_path / "r"),
    ]
    command += ["--model", str(tiny_trunk)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, preexec_fn=small_files_only
    )
    assert done.returncode == 1
    assert "it goes on where it stopped" in done.stderr
    assert "Traceback" not in done.stderr
    assert RunFolder(tmp_path / "r").records()
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert len(RunFolder(tmp_path / "r").records()) == 50


def test_a_run_that_is_watched_stops_when_told_and_goes_on_later(tiny, tmp_path):
    seen = []

    def watch(done: int, total: int) -> bool:
        seen.append((done, total))
        return done >= 3

    assert not run_suite(SMOKE, tiny, tmp_path, limit=4, watch=watch)
    assert seen[-1] == (3, 8)
    assert len(RunFolder(tmp_path).records()) == 3
    assert run_suite(SMOKE, tiny, tmp_path, limit=4)
    assert len(RunFolder(tmp_path).records()) == 8


@pytest.mark.slow
def test_a_sample_that_is_given_up_halfway_gets_no_record(tiny, tmp_path):
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    with pytest.raises(Stopped):
        run_suite(SMOKE, Measured(tiny, stop), tmp_path)
    records = RunFolder(tmp_path).records()
    assert len(records) < 50
    assert all(record["finish_reason"] != "cancelled" and not record["error"] for record in records)
    assert run_suite(SMOKE, Measured(tiny), tmp_path)
    assert len(RunFolder(tmp_path).records()) == 50


@pytest.mark.slow
def test_the_smoke_suite_on_the_real_model_takes_less_than_two_minutes(real, tmp_path):
    started = time.monotonic()
    run_suite(SMOKE, real, tmp_path)
    fast = torch.backends.cpu.get_cpu_capability() == "AVX512"
    assert time.monotonic() - started < (120 if fast else 200)
    scores = {score.name: score for score in read_run(tmp_path).scores}
    assert scores["instruction_following"].value > 0.3
    assert 20 < scores["perplexity"].value < 60
    assert scores["repetition_4"].value < 0.3
    assert all(score.n_scored >= 8 for score in scores.values())
