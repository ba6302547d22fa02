"""A model's copy in a process of its own, and how many cores that takes."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch

from mtgen.engine.runtime import usable_cores


class Source(Protocol):
    """Says which model; goes to other processes, and is equal there to itself."""

    def __hash__(self) -> int: ...

    def load(self) -> Any:
        """The model."""
        ...


@cache
def copy_of(source: Source, num_threads: int) -> Any:
    """This process's copy, loaded when first asked for."""
    model = source.load()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or num_threads))
    return model


def on_copy(source: Source, num_threads: int, function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(model, *arguments)`, in the process that this is called in."""
    return function(copy_of(source, num_threads), *arguments)


def share_of_cores(num_copies: int) -> int:
    """Threads of each of several copies on this machine."""
    return max(1, usable_cores() // num_copies)
