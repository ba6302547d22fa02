"""Who computes when: requests share the cores, and streams that wait are computed together."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from mtgen.engine.cache import KVCache
from mtgen.engine.linear import Updates
from mtgen.engine.memory import release_free_memory
from mtgen.engine.native import Found, NativeExpert, NativeTrunk, Part, Rows, ShortList
from mtgen.errors import InterruptedWorkError

STEPS = "steps"
"""Work of the trunk: tokens of texts and translations."""
ROUNDS = "rounds"
"""Work of the image expert."""
PATIENCE_S = 0.003
"""How long a kind of work that has had more time waits for the other to come again."""
AWAY_S = 0.1
"""Whoever did not compute for so long has no claim on the time that passed."""
MOST_ROWS = 256
"""Positions that are computed at once."""
FEW_ROWS = 8
"""A request of no more positions does not wait for all of those that have more."""
AHEAD = 16
"""Tokens of a text that are computed before anybody reads them."""
IDLE_S = 2.0
"""After which the thread that computes ends."""
RELEASE_S = 5.0
"""Seconds of work after which memory that is free goes back to the system."""
WORTH_SHARING = 32
"""Rows that must be saved by computing what prompts begin with once, in a step of its own."""
FIRST = np.zeros(1, np.int32)
"""Of a single row, that one."""


class Turn:
    """One computation at a time, of which each kind of work gets as much time as the other.

    Within a kind it goes in order of arrival. Whoever pauses between two short computations is
    waited for, PATIENCE_S long, before a kind that has had more time begins a long one.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False
        self._queues = {kind: deque[int]() for kind in (STEPS, ROUNDS)}
        self._tickets = itertools.count()
        self._used = dict.fromkeys(self._queues, 0.0)
        self._ended = dict.fromkeys(self._queues, 0.0)

    @contextmanager
    def of(self, kind: str) -> Iterator[None]:
        """Waits for a turn of this kind of work, and holds it."""
        with self._changed:
            now, queue, ticket = time.monotonic(), self._queues[kind], next(self._tickets)
            if not queue and now - self._ended[kind] > AWAY_S:
                self._used[kind] = max(self._used.values())
            queue.append(ticket)
            try:
                while (wait_s := self._wait_s(kind, ticket)) != 0:
                    self._changed.wait(wait_s)
            except BaseException:
                queue.remove(ticket)
                self._changed.notify_all()
                raise
            queue.popleft()
            self._busy = True
        began = time.monotonic()
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._ended[kind] = time.monotonic()
                self._used[kind] += self._ended[kind] - began
                self._changed.notify_all()

    def _wait_s(self, kind: str, ticket: int) -> float | None:
        """Seconds to wait at most; None until something changes, 0 to go ahead."""
        if self._busy or self._queues[kind][0] != ticket:
            return None
        wait_s = 0.0
        for other, queue in self._queues.items():
            if other == kind or self._used[other] >= self._used[kind]:
                continue
            if queue:
                return None
            left = self._ended[other] + PATIENCE_S - time.monotonic()
            wait_s = max(wait_s, left)
        return wait_s


Choose = Callable[[Float[Tensor, " V"]], int | None]
"""Takes the next token from its logits; None ends the text."""


class Job:
    """Positions of one request that wait to be computed, and what is found there."""

    def __init__(
        self, rows: Rows, wanted: Int32[np.ndarray, " R"], k: int = 0,
        among: ShortList | None = None,
    ) -> None:  # fmt: skip
        """A job.

        Args:
            rows: What to compute.
            wanted: Which of the rows' logits are asked for.
            k: See `Part`.
            among: See `Part`.
        """
        self.rows, self.wanted, self.k, self.among = rows, wanted, k, among
        self.done = 0
        self.found: list[Found] = []
        self.error: BaseException | None = None
        self.is_ended = False
        self._over = threading.Lock()
        self._over.acquire()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to compute."""
        return self.error is not None or not len(self.rows)

    def part(self, count: int) -> Part:
        """Its next rows."""
        inside = (self.wanted >= self.done) & (self.wanted < self.done + count)
        wanted = self.wanted[inside] - self.done
        return Part(self.rows.first(count), wanted, self.k, self.among)

    def advance(self, count: int, found: Found) -> None:
        """Takes what was computed of its next rows."""
        self.found.append(found)
        self.done += count
        self.rows = self.rows.after(count)

    def end(self, error: BaseException | None = None) -> None:
        """Lets whoever waits go on, when it is over."""
        if not self.is_ended:
            self.is_ended, self.error = True, error
            self._tell()

    def _tell(self) -> None:
        self._over.release()

    def wait(self) -> list[Found]:
        """All that was asked for, in parts, once it is there."""
        self._over.acquire()
        if self.error is not None:
            raise self.error
        return self.found


class TextJob(Job):
    """A text: its prompt, then one token after another until `choose` ends it."""

    def __init__(
        self, ids: Int64[Tensor, "1 T"], cache: KVCache, choose: Choose, stop: threading.Event,
        resume: Callable[[TextJob], None],
    ) -> None:  # fmt: skip
        """A text that begins.

        Args:
            ids: Of the prompt, or what is left of it.
            cache: The stream, which has room for all that may come.
            choose: See above; called by the thread that computes.
            stop: Ends it before the next step once it is set.
            resume: Asks for this job to be computed again, after it has paused.
        """
        super().__init__(Rows.of(ids, cache, None), np.array([ids.shape[1] - 1], np.int32))
        self.cache, self.choose = cache, choose
        self.tokens: SimpleQueue[int | None] = SimpleQueue()
        """What was chosen and not read yet; None is the end."""
        self.is_paused = False
        self._is_closed = False
        self._stop = stop
        self._resume = resume

    @property
    def is_over(self) -> bool:
        return self._is_closed or self._stop.is_set() or super().is_over

    def advance(self, count: int, found: Found) -> None:
        self.done += count
        self.cache.length += count
        self.rows = self.rows.after(count)
        logits, _ = found
        if not len(logits):
            return
        token = self.choose(logits[0])
        if token is None or self.cache.length == self.cache.capacity:
            self.rows = self.rows.first(0)
        else:
            self.rows = Rows.of(torch.tensor([[token]]), self.cache, None)
            self.wanted, self.done = FIRST, 0
        if token is not None:
            self.tokens.put(token)
        self.is_paused = self.tokens.qsize() >= AHEAD

    def _tell(self) -> None:
        self.tokens.put(None)

    def __iter__(self) -> Generator[int, None, None]:
        """Tokens as they come; what is not read is computed a little ahead, and then waits."""
        try:
            while (token := self.tokens.get()) is not None:
                yield token
                if self.is_paused and self.tokens.qsize() < AHEAD:
                    self._resume(self)
            if self.error is not None:
                raise self.error
        finally:
            self._is_closed = True
            if self.is_paused:
                self._resume(self)


Given = TypeVar("Given")
Made = TypeVar("Made")
Ended = tuple[Job, BaseException | None]
"""A job that is over, and what went wrong."""


class Schedule:
    """Computes what requests ask of the trunk, all that wait at once (arXiv:2403.02310).

    One thread computes for all, so that the weights are read once; it ends when nobody asks for
    something any more. What a row gives depends on its own stream alone (kernels.c): nobody's
    result depends on who else is there.
    """

    def __init__(self, trunk: NativeTrunk, turn: Turn) -> None:
        self.trunk = trunk
        self._turn = turn
        self._jobs: list[Job] = []
        self._owed_s, self._last_batch = 0.0, 0.0
        self._released = time.monotonic()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._process = os.getpid()
        self._experts: list[tuple[Sequence[Updates], NativeExpert]] = []
        self._short_lists: list[tuple[Tensor, ShortList]] = []
        self._making = threading.Lock()

    def expert(self, updates: Sequence[Updates]) -> NativeExpert:
        """An expert in the kernels' form, made when it is first used."""
        return self._made(updates, self._experts, NativeExpert)

    def short_list(self, tokens: Int64[Tensor, " N"]) -> ShortList:
        """Some tokens in the kernels' form, made when they are first used."""
        return self._made(tokens, self._short_lists, ShortList)

    def _made(
        self, of: Given, kept: list[tuple[Given, Made]], make: Callable[[Given, NativeTrunk], Made]
    ) -> Made:
        with self._making:
            for known, found in kept:
                if known is of:
                    return found
            found = make(of, self.trunk)
            kept.append((of, found))
            return found

    def forward(
        self,
        ids: Int64[Tensor, "B T"],
        cache: KVCache,
        all_logits: bool,
        expert: Sequence[Updates] | None,
    ) -> Float[Tensor, "B R V"]:
        """See `mtgen.engine.runtime.Runtime.forward`."""
        batch, length = ids.shape
        rows, parts = self._computed(ids, cache, all_logits, 0, expert)
        found = torch.cat([logits for logits, _ in parts]) if len(parts) > 1 else parts[0][0]
        if not all_logits:
            return found[:, None]
        if len(found) == batch * length:
            return found.view(batch, length, -1)
        logits = found.new_zeros(batch, length, found.shape[1])  # padding has no logits
        stream, slot = torch.from_numpy(rows.table[:, [Rows.STREAM, Rows.SLOT]]).long().T
        logits[stream, slot - cache.length + length] = found
        return logits

    def likeliest(
        self,
        ids: Int64[Tensor, "B T"],
        cache: KVCache,
        k: int,
        expert: Sequence[Updates] | None,
        among: Int64[Tensor, " N"] | None,
    ) -> tuple[Float[Tensor, "B k"], Int64[Tensor, "B k"]]:
        """See `mtgen.engine.runtime.Runtime.likeliest`; k is `MOST_LIKELY` at most."""
        _, parts = self._computed(ids, cache, False, k, expert, among)
        return torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts if y is not None])

    def _computed(
        self, ids: Tensor, cache: KVCache, all_logits: bool, k: int,
        expert: Sequence[Updates] | None, among: Tensor | None = None,
    ) -> tuple[Rows, list[Found]]:  # fmt: skip
        """Computes positions; which these were, and what is found there."""
        length = ids.shape[1]
        merged = None if expert is None else self.expert(expert)
        if not cache.length and not all_logits:
            self._begin_alike(ids, cache, merged)
        rows = Rows.of(ids, cache, merged)
        if all_logits or length == 1:
            wanted = np.arange(len(rows), dtype=np.int32)
        else:
            last = rows.table[:, Rows.SLOT] == cache.length + length - 1
            wanted = np.flatnonzero(last).astype(np.int32)
        found = self._done(rows, wanted, k, None if among is None else self.short_list(among))
        cache.length += length
        return rows, found

    def _done(
        self, rows: Rows, wanted: Int32[np.ndarray, " R"], k: int, among: ShortList | None = None
    ) -> list[Found]:
        job = Job(rows, wanted, k, among)
        self._add(job)
        return job.wait()

    def _begin_alike(self, ids: Tensor, cache: KVCache, expert: NativeExpert | None) -> None:
        """Computes what all prompts of a batch begin with once, where that saves enough."""
        if cache.padding is None:
            return
        starts = zip(ids.tolist(), cache.padding.tolist(), strict=True)
        shared = os.path.commonprefix([row[first:-1] for row, first in starts])
        if len(shared) * (len(ids) - 1) < WORTH_SHARING:
            return
        known = KVCache(self.trunk.config, len(shared), cache.data.dtype)
        self._done(Rows.of(torch.tensor([shared]), known, expert), FIRST[:0], 0)
        known.length = len(shared)
        cache.begin_alike(known)

    def generate(
        self, ids: Int64[Tensor, " T"], cache: KVCache, choose: Choose, stop: threading.Event
    ) -> Generator[int, None, None]:
        """See `mtgen.engine.runtime.Runtime.generate`."""
        job = TextJob(ids[None], cache, choose, stop, self._resume)
        self._add(job)
        return job.__iter__()

    def _add(self, job: Job) -> None:
        with self._changed:
            if self._process != os.getpid():  # threads do not live on in a child process
                self._process, self._thread, self._jobs = os.getpid(), None, []
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True, name="trunk")
                self._thread.start()
            self._changed.notify()

    def _resume(self, job: TextJob) -> None:
        with self._changed:
            if job.is_paused:
                job.is_paused = False
                self._changed.notify()

    def _work(self) -> None:
        """Computes until there was nothing to do for a while; whoever waits never waits forever."""
        try:
            self._serve()
        except BaseException:  # of this thread, not of a computation: somebody ends it
            with self._changed:
                self._thread, jobs, self._jobs = None, self._jobs, []
            for job in jobs:
                job.end(InterruptedWorkError("the computation was interrupted; ask again"))
            raise

    @torch.inference_mode()
    def _serve(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: any(map(is_ready, self._jobs)), IDLE_S):
                    self._thread = None
                    return
                ready = list(filter(is_ready, self._jobs))
            over = [(job, None) for job in ready if job.is_over]  # stopped, or not read any more
            if going := [job for job in ready if not job.is_over]:
                parts, began = self._parts(going), time.monotonic()
                if began - self._released > RELEASE_S:
                    self._released = began
                    release_free_memory()
                over += self._compute(parts)
                self._account(parts, time.monotonic() - began)
            self._end(over)

    def _parts(self, jobs: list[Job]) -> list[tuple[Job, int]]:
        """How many rows of which jobs to compute now: short ones whole, long ones in parts."""
        light = [job for job in jobs if len(job.rows) <= FEW_ROWS]
        if not light or time.monotonic() - self._last_batch > AWAY_S:
            self._owed_s = 0.0
        elif self._owed_s > 0:
            jobs = light
        expert = next((job.rows.expert for job in jobs if job.rows.expert), None)
        jobs = [job for job in jobs if job.rows.expert in (None, expert)]
        room, parts = MOST_ROWS, []
        jobs.sort(key=lambda job: len(job.rows))
        for number, job in enumerate(jobs):
            count = min(len(job.rows), max(room // (len(jobs) - number), 1))
            room -= count
            parts.append((job, count))
        parts.sort(key=lambda part: part[0].rows.expert is None)
        return parts

    def _account(self, parts: Sequence[tuple[Job, int]], took_s: float) -> None:
        """Keeps count of the time that requests of few rows are owed.

        They would take all of it if they always went first, and wait for long where they always
        went along with a batch. So each batch owes them as much time as is their share.
        """
        num_light = sum(count <= FEW_ROWS for _, count in parts)
        if num_light < len(parts):
            self._last_batch = time.monotonic()
            self._owed_s += took_s * num_light / (len(parts) - num_light)
        else:
            self._owed_s = max(self._owed_s - took_s, 0.0)

    def _compute(self, parts: Sequence[tuple[Job, int]]) -> list[Ended]:
        """Computes parts of jobs; returns those that are over."""
        over: list[Ended] = []
        try:
            with self._turn.of(STEPS):
                found = self.trunk.forward([job.part(count) for job, count in parts])
            for (job, count), some in zip(parts, found, strict=True):
                try:
                    job.advance(count, some)
                except Exception as error:  # of one text's own choice
                    over.append((job, error))
                else:
                    if job.is_over:
                        over.append((job, None))
        except Exception as error:
            over = [(job, error) for job, _ in parts]
        return over

    def _end(self, over: Sequence[Ended]) -> None:
        if over:
            for job, error in over:
                job.end(error)
            with self._changed:
                self._jobs = [job for job in self._jobs if not job.is_ended]


def is_ready(job: Job) -> bool:
    """Whether something is to be done with a job now."""
    return job.is_over or not (isinstance(job, TextJob) and job.is_paused)
