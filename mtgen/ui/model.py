"""The model behind the page, loaded in the background so that the page is there at once."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from mtgen.model.files import WEIGHTS

if TYPE_CHECKING:
    from mtgen.pipeline import Pipeline

ASKED: ContextVar[Any] = ContextVar("asked", default=None)
"""The HTTP request of a route beside the page."""


def visitor() -> str:
    """Who asks: the address, as the proxy of a Space gives it, or that of the connection."""
    from gradio.context import LocalContext

    request = LocalContext.request.get(None) or ASKED.get()
    if request is None:
        return "nobody"
    if os.environ.get("SPACE_ID"):
        forwarded = str(request.headers.get("x-forwarded-for") or "")
        for address in reversed(forwarded.split(",")):  # the last ones are by the nearest proxies
            with contextlib.suppress(ValueError):
                if ipaddress.ip_address(address.strip()).is_global:
                    return address.strip()
    client = request.client
    return str(getattr(client, "host", client))


class SharedModel:
    """A pipeline that may still be on its way.

    What it gives refuses what the rules of use refuse (`mtgen.policy`). A failed load is tried
    again by the next request, at most one attempt at a time: a network that was down at the start
    does not leave the page dead.

    Args:
        load: Makes the pipeline.
        weights: Folder of its experts, which the page reads what they have learnt from.
    """

    def __init__(self, load: Callable[[], Pipeline], weights: Path = WEIGHTS) -> None:
        self._load, self.weights = load, weights
        self._lock = threading.Lock()
        self._future: Future[Pipeline] | None = None

    def start(self) -> Future[Pipeline]:
        """Begins to load, unless that was done before, and gives the future pipeline."""
        with self._lock:
            future = self._future
            if future is None or (future.done() and future.exception() is not None):
                future = self._future = Future()
                threading.Thread(target=self._run, args=(future,), daemon=True).start()
        return future

    def _run(self, future: Future[Pipeline]) -> None:
        try:
            from mtgen.policy.guard import Guarded

            future.set_result(cast("Pipeline", Guarded(self._load(), visitor)))
        except BaseException as error:  # belongs to whoever asks for the result
            future.set_exception(error)

    @property
    def ready(self) -> bool:
        """Whether the pipeline can be had without waiting."""
        future = self._future
        return future is not None and future.done() and future.exception() is None

    def get(self) -> Pipeline:
        """The pipeline; waits for it.

        Raises:
            MtgenError: as `mtgen.load`.
        """
        return self.start().result()

    def pipeline(self) -> Pipeline:
        """The pipeline itself, for what was admitted already; errors as `get`."""
        guarded = self.get()
        return getattr(guarded, "unguarded", guarded)

    @property
    def measured(self) -> SharedModel:
        """The same model as evals ask it, for what repeats a sample of theirs."""
        return MeasuredModel(self)


class MeasuredModel(SharedModel):
    """The shared model with the marks of evals: the key is published, and the day stands still."""

    def __init__(self, model: SharedModel) -> None:
        self._model, self.weights = model, model.weights

    @property
    def ready(self) -> bool:
        return self._model.ready

    def get(self) -> Pipeline:
        from evals.runner.shared import Measured

        guarded: Any = self._model.get()
        return guarded.around(Measured(self._model.pipeline()))
