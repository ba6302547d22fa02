"""Starts Gradio faster."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def without_stub_files() -> Iterator[None]:
    """While this lasts, importing Gradio does not rewrite its editor stubs.

    Gradio 6 parses the source of every component on import, to keep `.pyi` files beside them:
    half of its import time, for nothing that a page needs. It leaves out components that have
    no source file, so for this moment they have none. See docs/decisions/0004.
    """
    original = inspect.getfile

    def getfile(thing: Any) -> str:
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no source file while Gradio is imported")
        return original(thing)

    inspect.getfile = getfile
    try:
        yield
    finally:
        inspect.getfile = original
