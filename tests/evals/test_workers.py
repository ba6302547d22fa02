"""Runs on several copies of the model: processes of this machine, and actors of Ray."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from dataclasses import dataclass

import psutil
import pytest

from evals.models import Foreign
from evals.models.source import ModelSource
from evals.runner.records import RunFolder
from evals.runner.run import model_facts, run_suite
from evals.runner.workers import Workers
from mtgen.errors import ConfigError, MtgenError, TrunkNotFoundError, UnknownNameError, WorkerError
from tests.conftest import ROOT
from tests.evals.test_shards import HOW, SMOKE, records, scores


class Deadly(Foreign):
    """Kills its process when it is asked."""

    def __init__(self) -> None:
        super().__init__("deadly", ("text", "likelihood"))

    def text(self, request, *, stop=None):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class DeadlySource:
    """Of that model."""

    def load(self) -> Deadly:
        return Deadly()


@pytest.fixture(scope="module")
def source(tiny_trunk):
    return ModelSource(name=str(tiny_trunk))


@pytest.fixture(scope="module")
def plain(source, tmp_path_factory):
    """A run by one process."""
    folder = tmp_path_factory.mktemp("plain")
    assert run_suite(SMOKE, source.load(), folder, **HOW)
    return folder


@pytest.fixture(scope="module")
def workers(source):
    """Two processes with the tiny trunk."""
    with Workers(source, 2) as engine:
        yield engine


def children() -> set[int]:
    """Processes of the pool that run the tiny trunk."""
    found = psutil.Process().children(recursive=True)
    return {child.pid for child in found if "spawn_main" in " ".join(child.cmdline())}


@pytest.mark.slow
def test_workers_make_the_same_run(workers, plain, tmp_path):
    assert run_suite(SMOKE, workers, tmp_path, **HOW)
    assert [path.name for path in tmp_path.glob("*.jsonl")] == ["records.jsonl"]
    assert records(tmp_path) == records(plain)
    assert scores(tmp_path) == scores(plain)


def test_workers_stop_when_the_watch_says_so_and_go_on_later(workers, plain, tmp_path):
    seen = []

    def watch(done: int, total: int) -> bool:
        seen.append((done, total))
        return done >= 2

    assert not run_suite(SMOKE, workers, tmp_path, watch=watch, **HOW)
    assert seen[-1] == (2, 8)
    assert len(RunFolder(tmp_path).records()) == 2
    assert run_suite(SMOKE, workers, tmp_path, **HOW)
    assert records(tmp_path) == records(plain)


def test_a_worker_that_is_killed_loses_nothing(workers, plain, tmp_path):
    killed = []

    def watch(done: int, total: int) -> bool:
        if done == 1 and not killed:
            killed.append(sorted(children())[0])
            os.kill(killed[0], signal.SIGKILL)
        return False

    assert run_suite(SMOKE, workers, tmp_path, watch=watch, **HOW)
    assert killed
    assert killed[0] not in children()
    assert records(tmp_path) == records(plain)


@pytest.mark.slow
def test_workers_that_always_die_end_the_run_with_one_sentence(tmp_path):
    with Workers(DeadlySource(), 1) as engine:
        with pytest.raises(WorkerError, match="once more before any sample was done.*fewer --work"):
            run_suite(SMOKE, engine, tmp_path, **HOW)
    assert RunFolder(tmp_path).records() == []


def test_errors_come_out_of_workers_as_they_are(tmp_path):
    with Workers(ModelSource(name=str(tmp_path / "nowhere")), 1) as engine:
        with pytest.raises(MtgenError) as raised:
            engine.call(model_facts, frozenset())
    assert isinstance(raised.value, TrunkNotFoundError | ConfigError)
    error = UnknownNameError("suite", "smok", ["smoke"])
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.slow
def test_workers_end_with_the_process_that_started_them(tiny_trunk, tmp_path):
    command = [
        sys.executable, "-m", "evals", "run", "--suite", "smoke", "--workers", "2", "--seed", "1",
        "--model", str(tiny_trunk), "--out", str(tmp_path),
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    path = tmp_path / "records.jsonl"
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(family, timeout=30)
    assert not alive
    assert 0 < len(RunFolder(tmp_path).records()) < 50


# --- Ray -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_actors_that_always_die_end_the_run_with_one_sentence(tmp_path):
    pytest.importorskip("ray")
    from evals.runner.ray_engine import RayActors

    with RayActors(DeadlySource(), 1) as engine:
        with pytest.raises(WorkerError, match="fewer --workers"):
            run_suite(SMOKE, engine, tmp_path, **HOW)


@pytest.fixture(scope="module")
def actors(source):
    """Two actors of a Ray that is started for them."""
    pytest.importorskip("ray")
    from evals.runner.ray_engine import RayActors

    with RayActors(source, 2) as engine:
        yield engine


@pytest.mark.slow
def test_actors_make_the_same_run_though_one_is_killed(actors, plain, tmp_path):
    import ray

    first = actors.actors[0]

    def watch(done: int, total: int) -> bool:
        if done == 1:
            ray.kill(first)
        return False

    assert run_suite(SMOKE, actors, tmp_path, watch=watch, **HOW)
    assert first not in actors.actors  # a new one took its batch
    assert records(tmp_path) == records(plain)
    assert scores(tmp_path) == scores(plain)


def test_actors_stop_when_the_watch_says_so_and_go_on_later(actors, plain, tmp_path):
    assert not run_suite(SMOKE, actors, tmp_path, watch=lambda done, _: done >= 2, **HOW)
    assert len(RunFolder(tmp_path).records()) == 2
    assert run_suite(SMOKE, actors, tmp_path, **HOW)
    assert records(tmp_path) == records(plain)


def test_errors_come_out_of_actors_as_they_are(actors, tmp_path):
    with pytest.raises(UnknownNameError, match="no suite named 'smok'"):
        actors.call(unknown_suite)


def unknown_suite(model):
    """Refuses, in an actor."""
    raise UnknownNameError("suite", "smok", ["smoke"])


def test_without_ray_one_sentence_says_what_to_install(source, monkeypatch):
    from evals.runner.ray_engine import RayActors

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match="needs Ray, which is not installed: pip install ray"):
        RayActors(source, 2)
