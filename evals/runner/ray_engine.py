"""`--engine ray`: copies of the model as actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from evals.runner.ask import Asking, ask_together
from evals.runner.copies import Source, on_copy, share_of_cores
from evals.runner.engines import Batch, Engine
from evals.runner.records import Record
from evals.runner.workers import MAX_WORKERS, NO_PROGRESS
from mtgen.errors import ConfigError, WorkerError
from mtgen.requests import check_number

CLUSTER = "RAY_ADDRESS"


class Copy:
    """What runs in an actor."""

    def __init__(self, source: Source, num_threads: int) -> None:
        self.source, self.num_threads = source, num_threads

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return on_copy(self.source, self.num_threads, function, *arguments)


class RayActors(Engine):
    """Actors that each load the model when they are first asked.

    Without RAY_ADDRESS, Ray is started on this machine and ended with the run. On a cluster, every
    machine needs this code and, for suites of pictures, the run's folder. The records come back to
    this process, which alone writes them. In place of an actor that dies, and whose restarts Ray
    would count without looking at what got done, a new one takes its batch.

    Args:
        source: Of the model.
        count: How many actors.

    Raises:
        ConfigError: Ray is not installed, or does not start.
        SettingError: a count out of its range.
    """

    def __init__(self, source: Source, count: int) -> None:
        check_number("workers", count, 1, MAX_WORKERS, integer=True)
        try:
            self.ray = importlib.import_module("ray")
        except ImportError:
            raise ConfigError(
                "--engine ray needs Ray, which is not installed: pip install ray"
            ) from None
        self.source, self.count = source, count
        self.threads = share_of_cores(count)
        self.started = not self.ray.is_initialized()
        if self.started:
            self._start()
        self.actors = [self._new_actor() for _ in range(count)]

    def _start(self) -> None:
        local = {} if os.environ.get(CLUSTER) else {
            "num_cpus": self.count * self.threads, "include_dashboard": False,
        }  # fmt: skip
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            self.ray.init(log_to_driver=False, logging_level="ERROR", **local)
        except Exception as error:  # Ray raises plain ones
            raise ConfigError(f"Ray does not start: {error}") from None

    def _new_actor(self) -> Any:
        actor = self.ray.remote(num_cpus=self.threads, max_restarts=0)(Copy)
        return actor.remote(self.source, self.threads)

    def _get(self, reference: Any) -> Any:
        """A task's result, or what it raised."""
        try:
            return self.ray.get(reference)
        except self.ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._get(self.actors[0].call.remote(function, *arguments))
        except self.ray.exceptions.RayActorError:
            raise WorkerError(NO_PROGRESS.format(count=self.count)) from None

    def answers(
        self, asking: Asking, batches: Sequence[Batch]
    ) -> Generator[list[Record], None, None]:
        waiting, idle = deque(batches), list(self.actors)
        running: dict[Any, tuple[Any, Batch]] = {}
        num_deaths = 0
        while waiting or running:
            while waiting and idle:
                actor, batch = idle.pop(), waiting.popleft()
                running[actor.call.remote(ask_together, batch, asking)] = actor, batch
            [reference], _ = self.ray.wait(list(running), num_returns=1)
            actor, batch = running.pop(reference)
            try:
                records = self._get(reference)
            except self.ray.exceptions.RayActorError:
                num_deaths += 1
                if num_deaths > self.count:  # each may have been killed once
                    raise WorkerError(NO_PROGRESS.format(count=self.count)) from None
                waiting.appendleft(batch)
                self.actors[self.actors.index(actor)] = new = self._new_actor()
                idle.append(new)
                continue
            num_deaths = 0
            idle.append(actor)
            yield records

    def __exit__(self, *exception: object) -> None:
        for actor in self.actors:
            self.ray.kill(actor)
        if self.started:
            self.ray.shutdown()
