"""The import rules of the house, and that importing mtgen costs nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT

HEAVY = {"torch", "gradio", "transformers", "diffusers", "evaluate", "numpy", "huggingface_hub"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names of everything that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", modules("mtgen"), ids=lambda p: str(p.relative_to(ROOT)))
def test_mtgen_imports_neither_the_app_nor_gradio_nor_the_evals(path):
    in_ui = (ROOT / "mtgen" / "ui") in path.parents
    assert "app" not in imported(path)
    if not in_ui:
        assert not imported(path) & {"gradio", "evals"}


@pytest.mark.parametrize("path", modules("evals"), ids=lambda p: str(p.relative_to(ROOT)))
def test_evals_import_neither_the_app_nor_gradio(path):
    assert not imported(path) & {"app", "gradio"}


def test_importing_mtgen_is_fast_and_loads_nothing_heavy():
    script = "import sys, mtgen; print(' '.join(sys.modules))"
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        )
        times.append(time.perf_counter() - started)
    assert not HEAVY & set(done.stdout.split())
    assert min(times) < 0.3  # the interpreter's own start included


@pytest.mark.slow
def test_importing_anything_of_ours_opens_no_connection_and_prints_nothing():
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in [*modules("mtgen"), *modules("evals")]
        if path.name != "__main__.py" and path.parent.name != "metrics"
    ]
    script = f"""
import importlib, socket, sys
def refuse(*arguments):
    raise AssertionError(f"a connection to {{arguments}} on import")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
for name in {names!r}:
    importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
