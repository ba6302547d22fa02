"""A real server with the real model, as a user starts it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A running `python app.py`."""

    def __init__(self, *arguments: str, log: Path, env: dict[str, str] | None = None) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/"
        self.log = log
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(self.port), *arguments],
            cwd=ROOT,
            env={**os.environ, **(env or {})},
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
        )

    def wait(self) -> float:
        """Seconds from the start until the page answers."""
        while True:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(self.url, timeout=5).read()
                return time.monotonic() - self.started
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() - self.started < 60, self.log.read_text()
            time.sleep(0.05)

    def stop(self) -> int:
        """Ctrl-C; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=20)


@pytest.fixture(scope="session")
def server(trunk_folder, tmp_path_factory) -> Iterator[Server]:
    running = Server(log=tmp_path_factory.mktemp("server") / "log.txt")
    running.wait()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def image_server(tiny_image_trunk, tiny_weights, tmp_path_factory) -> Iterator[Server]:
    """The page with the tiny image expert."""
    folder = tmp_path_factory.mktemp("image-server")
    models = "--trunk", str(tiny_image_trunk), "--weights", str(tiny_weights)
    env = {"GRADIO_TEMP_DIR": str(folder / "files"), "OMP_NUM_THREADS": "1"}
    running = Server(*models, log=folder / "log.txt", env=env)
    running.wait()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def translation_server(tiny_trunk, tiny_translation_weights, tmp_path_factory) -> Iterator[Server]:
    """The page with the tiny translation expert, which writes gibberish."""
    folder = tmp_path_factory.mktemp("translation-server")
    table = [[0.0, 20.0], [1.0, 80.0]]
    (tiny_translation_weights / "translation_quality.json").write_text(json.dumps(table), "utf-8")
    models = "--trunk", str(tiny_trunk), "--weights", str(tiny_translation_weights)
    env = {"GRADIO_TEMP_DIR": str(folder / "files"), "OMP_NUM_THREADS": "1"}
    running = Server(*models, log=folder / "log.txt", env=env)
    running.wait()
    yield running
    running.stop()
