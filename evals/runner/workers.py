"""`--workers N`: copies of the model in processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from evals.runner.ask import Asking, ask_together
from evals.runner.copies import Source, on_copy, share_of_cores
from evals.runner.engines import Batch, Engine
from evals.runner.records import Record
from mtgen.errors import WorkerError
from mtgen.requests import check_number

MAX_WORKERS = 256
NO_PROGRESS = (
    "a worker died, and once more before any sample was done: it was killed, or memory is too "
    "short for {count} copies of the model; run the same command with fewer --workers, it goes on "
    "where it stopped"
)


class Workers(Engine):
    """Processes that each load the model when they are first asked, on their share of the cores.

    The records come back to this process, which alone writes them. When a worker dies, the others
    are ended too, and new ones go on with what was not done.

    Args:
        source: Of the model.
        count: How many processes.

    Raises:
        SettingError: a count out of its range.
    """

    def __init__(self, source: Source, count: int) -> None:
        check_number("workers", count, 1, MAX_WORKERS, integer=True)
        self.source, self.count = source, count
        self.pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        spawn = multiprocessing.get_context("spawn")  # threads of torch do not survive a fork
        return ProcessPoolExecutor(self.count, mp_context=spawn, initializer=end_with_parent)

    def _submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        threads = share_of_cores(self.count)
        return self.pool.submit(on_copy, self.source, threads, function, *arguments)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._submit(function, *arguments).result()
        except BrokenProcessPool:
            raise WorkerError(NO_PROGRESS.format(count=self.count)) from None

    def answers(
        self, asking: Asking, batches: Sequence[Batch]
    ) -> Generator[list[Record], None, None]:
        waiting = dict(enumerate(batches))
        num_deaths = 0
        while waiting:
            futures = {}
            try:
                for number, batch in waiting.items():
                    futures[self._submit(ask_together, batch, asking)] = number
                for future in as_completed(futures):
                    if isinstance(future.exception(), BrokenProcessPool):
                        continue
                    records = future.result()
                    del waiting[futures[future]]
                    num_deaths = 0
                    yield records
            except BrokenProcessPool:  # while batches were still being handed over
                pass
            finally:
                for future in futures:
                    future.cancel()
            if waiting:
                num_deaths += 1
                if num_deaths > 1:
                    raise WorkerError(NO_PROGRESS.format(count=self.count))
                self.pool.shutdown()
                self.pool = self._new_pool()

    def __exit__(self, *exception: object) -> None:
        self.pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Makes a worker end when the process that started it does, killed or not, and at Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
