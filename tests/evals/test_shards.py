"""Runs in parts: shards, folders that several processes write, records of older versions."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from evals.reports.tables import read_run
from evals.runner.records import RECORDS, Record, RunFolder
from evals.runner.run import run_suite
from evals.runner.shards import Shard
from evals.suites import SUITES
from mtgen.errors import RecordsError, SettingError
from tests.conftest import ROOT

SMOKE = SUITES["smoke"]
HOW = {"seed": 1, "limit": 4, "settings": {"temperature": 1.0}}


def scores(folder) -> list:
    """All but those of time."""
    return [s for s in read_run(folder).scores if not s.name.startswith("latency")]


def records(folder) -> list[dict]:
    """In their order, without times."""
    timings = ("first_token_s", "tokens_per_s", "seconds_per_picture")
    return [
        {name: value for name, value in record.items() if name not in timings}
        for record in RunFolder(folder).records()
    ]


@pytest.fixture(scope="module")
def plain(tiny, tmp_path_factory):
    """A run by one process."""
    folder = tmp_path_factory.mktemp("plain")
    assert run_suite(SMOKE, tiny, folder, **HOW)
    return folder


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("3/2", "shard 3/2 is none: the first number is from 1 to the second"),
        ("0/2", "shard 0/2 is none"),
        ("a/b", "shard must be two whole numbers such as 2/3"),
        ("2", "not '2'"),
        ("-1/2", "not '-1/2'"),
    ],
)
def test_what_is_no_shard_is_refused(text, sentence):
    with pytest.raises(SettingError, match=sentence):
        Shard.parse(text)


def test_shards_share_everything_out_and_nothing_twice():
    parts = [Shard(index, 3).of(range(8)) for index in (1, 2, 3)]
    assert sorted(sum(parts, [])) == list(range(8))
    assert Shard().of(range(8)) == list(range(8))


@pytest.mark.slow
def test_shards_in_any_order_make_the_same_run(tiny, plain, tmp_path):
    for text in ("3/3", "1/3", "2/3"):
        assert run_suite(SMOKE, tiny, tmp_path, shard=Shard.parse(text), **HOW)
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [
        f"records-{index}-of-3.jsonl" for index in (1, 2, 3)
    ]
    assert records(tmp_path) == records(plain)
    assert scores(tmp_path) == scores(plain)


def test_a_run_goes_on_with_another_number_of_shards(tiny, plain, tmp_path):
    run_suite(SMOKE, tiny, tmp_path, shard=Shard(1, 2), **HOW)
    run_suite(SMOKE, tiny, tmp_path, shard=Shard(3, 3), watch=lambda done, total: done > 1, **HOW)
    assert run_suite(SMOKE, tiny, tmp_path, **HOW)
    assert records(tmp_path) == records(plain)
    lines = sum(path.read_bytes().count(b"\n") for path in tmp_path.glob("records*.jsonl"))
    assert lines == 8  # nothing was asked twice


def test_the_watch_of_a_shard_is_told_of_its_part(tiny, tmp_path):
    seen = []
    watch = lambda *counts: bool(seen.append(counts))  # noqa: E731
    run_suite(SMOKE, tiny, tmp_path, shard=Shard(2, 3), watch=watch, **HOW)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_two_runs_into_one_folder_at_once_are_refused(tiny, tmp_path):
    def watch(done: int, total: int) -> bool:
        with pytest.raises(RecordsError, match=r"another process is writing .*records\.jsonl"):
            run_suite(SMOKE, tiny, tmp_path, **HOW)
        run_suite(SMOKE, tiny, tmp_path, shard=Shard(2, 2), **HOW)  # writes another file
        return True

    assert not run_suite(SMOKE, tiny, tmp_path, watch=watch, **HOW)
    assert run_suite(SMOKE, tiny, tmp_path, **HOW)


def test_another_process_that_writes_is_noticed_and_its_death_too(tiny, tmp_path):
    script = (
        "import sys, time; from pathlib import Path; from evals.runner.records import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).writing():\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(RecordsError, match="another process is writing"):
        run_suite(SMOKE, tiny, tmp_path, **HOW)
    process.kill()
    process.wait()
    assert run_suite(SMOKE, tiny, tmp_path, **HOW)


def test_half_a_line_is_passed_over_by_readers_and_dropped_by_its_writer(tmp_path):
    for shard in (Shard(1, 2), Shard(2, 2)):
        RunFolder(tmp_path, shard).append(Record(id=str(shard), kind="text", sample={}))
    path = tmp_path / Shard(2, 2).filename
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"id": "half')
    assert [r["id"] for r in RunFolder(tmp_path).records()] == ["1/2", "2/2"]
    assert path.read_bytes() != whole  # another process may be writing it
    with RunFolder(tmp_path, Shard(2, 2)).writing():
        assert path.read_bytes() == whole


def test_records_of_an_older_version_are_read_and_the_run_goes_on(tiny, plain, tmp_path):
    (tmp_path / "run.json").write_bytes((plain / "run.json").read_bytes())
    with (tmp_path / RECORDS).open("w") as file:
        for record in RunFolder(plain).records()[:3]:
            del record["place"], record["transient"]
            file.write(json.dumps(record) + "\n")
    assert [r["id"] for r in records(tmp_path)] == [r["id"] for r in records(plain)[:3]]
    assert run_suite(SMOKE, tiny, tmp_path, shard=Shard(1, 2), **HOW)
    assert run_suite(SMOKE, tiny, tmp_path, shard=Shard(2, 2), **HOW)
    assert scores(tmp_path) == scores(plain)


@pytest.mark.slow
def test_the_shell_says_how_far_the_shards_are(shell, tmp_path):
    command = ("-m", "evals", "run", "--suite", "smoke", "--limit", 2, "--out", tmp_path)
    done = shell(*command, "--shard", "1/2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "shard 1/2 is done; 2 of 4 samples of the run are on disk\n"
    done = shell(*command, "--shard", "2/2", "--json")
    assert len(json.loads(done.stdout)["scores"]) == len(SMOKE.metrics), done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--shard", "3/2", "--out", "x"], "shard 3/2 is none"),
        (["--shard", "1/2"], "shard 1/2 needs --out"),
        (["--workers", "0"], "workers must be a whole number from 1"),
        (["--retries", "-1"], "retries must be a whole number from 0"),
        (["--timeout-s", "0"], "timeout_s must be"),
    ],
)
def test_mistakes_of_scale_are_one_sentence(shell, tmp_path, arguments, sentence):
    done = shell("-m", "evals", "run", "--suite", "smoke", *arguments, cwd=tmp_path,
                 env={"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_processes_that_accelerate_launches_share_a_run(tiny_trunk, plain, tmp_path):
    command = [
        sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu",
        "--num_processes", "2",
        "-m", "evals", "run", "--suite", "smoke", "--model", str(tiny_trunk), "--seed", "1",
        "--limit", "4", "--out", str(tmp_path), "--json",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert json.loads(line)["num_samples"] == 8
    assert sorted(path.name for path in tmp_path.glob("records*.jsonl")) == [
        "records-1-of-2.jsonl", "records-2-of-2.jsonl"
    ]  # fmt: skip
    assert read_run(tmp_path).is_complete
    assert [r["nll"] for r in records(tmp_path)] == [r["nll"] for r in records(plain)]
