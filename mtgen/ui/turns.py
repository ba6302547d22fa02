"""What the tabs share: one running turn for each visitor, and complaints of one sentence."""

from __future__ import annotations

import threading
import traceback
from dataclasses import dataclass, field

import gradio as gr

from mtgen.errors import MtgenError

PARALLEL = 2
"""Turns computed at once, whatever the tab; the others queue and see their position."""


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
