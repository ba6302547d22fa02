"""What the tabs share: one running turn for each visitor, and complaints of one sentence."""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from mtgen.errors import MtgenError

PARALLEL = 8
"""Turns computed at once, whatever the tab; the others queue and see their position."""

AS_MEASURED = " · marked with the published key, as in the evals"
"""Said of what repeats a sample of a run."""


@dataclass
class Turn:
    """One output in the making, waiting in the queue or being computed."""

    stop: threading.Event = field(default_factory=threading.Event)
    discarded: bool = False
    """The page was cleared meanwhile: what was made so far is not wanted."""


class Turns:
    """Who waits for what, so that Stop reaches the computation itself.

    Gradio's own `cancels` only stops listening; the call would run on.
    """

    def __init__(self, busy: str) -> None:
        self.busy = busy
        """What a visitor is told whose last turn is not over."""
        self._turns: dict[str | None, Turn] = {}
        self._lock = threading.Lock()

    def begin(self, session: str | None) -> None:
        """Registers a session's turn.

        Raises:
            gr.Error: the session's last turn is not over.
        """
        with self._lock:
            if session in self._turns:
                raise complaint(self.busy)
            self._turns[session] = Turn()

    def current(self, session: str | None) -> Turn | None:
        """The turn that `begin` registered, until its end."""
        return self._turns.get(session)

    def stop(self, session: str | None, *, discard: bool = False) -> None:
        """Ends a session's turn, waiting or running, within one token or round."""
        turn = self.current(session)
        if turn:
            turn.discarded |= discard
            turn.stop.set()

    def end(self, session: str | None) -> None:
        """Stops and forgets a session's turn."""
        with self._lock:
            turn = self._turns.pop(session, None)
        if turn:
            turn.stop.set()


@dataclass
class Job(Turn):
    """A turn that carries what it is to compute, because a newer one may take its place."""

    work: Any = None
    claimed: bool = False
    """Somebody computes it."""


class Newest:
    """One job for each visitor, in which a newer one takes the place of the one before.

    For what is computed while somebody types: nothing is refused and nothing waits behind a text
    that is out of date. Whoever computes asks for jobs until there is none left: a newer one is
    found by the computation that it has ended, or by its own.
    """

    def __init__(self) -> None:
        self._jobs: dict[str | None, Job] = {}
        self._lock = threading.Lock()

    def begin(self, session: str | None, work: Any) -> None:
        """Ends a session's job and registers another."""
        with self._lock:
            self._drop(session)
            self._jobs[session] = Job(work=work)

    def running(self, session: str | None) -> Any | None:
        """What a session's job is to compute; None where it has none, or that was stopped."""
        job = self._jobs.get(session)
        return None if job is None or job.stop.is_set() else job.work

    def claim(self, session: str | None) -> Job | None:
        """The session's job, unless somebody computes it."""
        with self._lock:
            job = self._jobs.get(session)
            if job is None or job.claimed:
                return None
            job.claimed = True
            return job

    def end(self, session: str | None, job: Job) -> None:
        """Forgets a job that is over, unless a newer one has taken its place."""
        job.stop.set()
        with self._lock:
            if self._jobs.get(session) is job:
                del self._jobs[session]

    def stop(self, session: str | None) -> None:
        """Ends a session's job within one token; what it has computed is wanted."""
        job = self._jobs.get(session)
        if job:
            job.stop.set()

    def drop(self, session: str | None) -> None:
        """Ends and forgets a session's job with all that it has computed."""
        with self._lock:
            self._drop(session)

    def _drop(self, session: str | None) -> None:
        job = self._jobs.pop(session, None)
        if job:
            job.discarded = True
            job.stop.set()


def listen(trigger: Any, fn: Any, inputs: Any, outputs: Any, **more: Any) -> Any:
    """Lets a component's event call a function that takes no time and is no endpoint."""
    return trigger(
        fn, inputs, outputs, concurrency_limit=None, show_progress="hidden",
        api_visibility="private", **more,
    )  # fmt: skip


def complaint(reason: object) -> gr.Error:
    """One sentence for the page and for API clients; nothing goes to the log."""
    return gr.Error(str(reason), print_exception=False)


def explained(error: Exception) -> gr.Error:
    """Whatever went wrong, in one sentence; what nobody foresaw goes to the log too."""
    if isinstance(error, MtgenError):
        return complaint(error)
    traceback.print_exception(error)
    return complaint(f"the server failed with {type(error).__name__}; its log says more")


def whole(value: float | None, name: str) -> int | None:
    """Gradio's number boxes give floats; 3.0 means 3, and 3.5 is the user's mistake."""
    if value is None:
        return None
    if float(value).is_integer():
        return int(value)
    raise complaint(f"{name} must be a whole number, got {value:g}")
