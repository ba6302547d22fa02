"""Where the copies of a model live that a suite is run on; here is the one in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from evals.runner.ask import Asking, ask_together
from evals.runner.records import Record
from evals.suites.base import Sample

Batch = Sequence[Sample]


class Engine:
    """Asks copies of one model; a context that ends with them."""

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What `function(model, *arguments)` returns on any copy."""
        raise NotImplementedError

    def answers(
        self, asking: Asking, batches: Sequence[Batch]
    ) -> Generator[list[Record], None, None]:
        """The records of each batch, whichever is done first; closing it leaves the rest.

        Raises:
            WorkerError: copies die and nothing gets done.
        """
        raise NotImplementedError

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends the copies."""


class InProcess(Engine):
    """The one copy that is there."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(self.model, *arguments)

    def answers(
        self, asking: Asking, batches: Sequence[Batch]
    ) -> Generator[list[Record], None, None]:
        for batch in batches:
            yield ask_together(self.model, batch, asking)
