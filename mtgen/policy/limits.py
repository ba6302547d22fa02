"""How much a page gives: requests a minute for each visitor, and a day for all."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mtgen.errors import LimitError, SettingError

PER_MINUTE_ENV, PER_DAY_ENV = "MTGEN_PER_MINUTE", "MTGEN_PER_DAY"
"""Requests of one visitor in a minute, and of all visitors in 24 hours; 0 sets no limit."""
MINUTE_S, DAY_S = 60.0, 86_400.0
MAX_VISITORS = 10_000
"""Remembered at once; who was here longest ago is forgotten first."""


@dataclass(frozen=True, kw_only=True)
class LimitConfig:
    """Limits; 0 is none."""

    per_minute: int = 0
    per_day: int = 0

    @classmethod
    def of(cls, environ: Mapping[str, str] = os.environ) -> LimitConfig:
        """Limits from the environment.

        Raises:
            SettingError: not a whole number from 0.
        """
        return cls(per_minute=whole(environ, PER_MINUTE_ENV), per_day=whole(environ, PER_DAY_ENV))


def whole(environ: Mapping[str, str], name: str, default: int = 0) -> int:
    """A whole number from 0 in the environment.

    Raises:
        SettingError: it is something else.
    """
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not text.isdecimal():
        raise SettingError(f"{name} must be a whole number from 0, got {text!r}")
    return int(text)


class Limits:
    """Counts requests. Safe to use from several threads."""

    def __init__(self, config: LimitConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.config, self._clock = config, clock
        self._visits: dict[str, deque[float]] = {}
        self._today: deque[float] = deque()
        self._lock = threading.Lock()

    def admit(self, visitor: str) -> None:
        """Counts a request of a visitor.

        Raises:
            LimitError: it is one too many; the message says when to come back.
        """
        config, now = self.config, self._clock()
        with self._lock:
            if config.per_day:
                left = over(self._today, now, DAY_S, config.per_day)
                if left:
                    raise LimitError(
                        f"this page has given its {config.per_day:,} answers of today; it goes on "
                        f"in {in_time(left)}"
                    )
            if config.per_minute:
                visits = self._visits.pop(visitor, None) or deque()
                self._visits[visitor] = visits  # the last one in a dict came last
                left = over(visits, now, MINUTE_S, config.per_minute)
                if left:
                    raise LimitError(
                        f"{config.per_minute} requests a minute are given to each visitor; try "
                        f"again in {in_time(left)}"
                    )
                visits.append(now)
                if len(self._visits) > MAX_VISITORS:
                    del self._visits[next(iter(self._visits))]
            if config.per_day:
                self._today.append(now)


def over(times: deque[float], now: float, span_s: float, limit: int) -> float:
    """Seconds until there is room for one more within the span; 0 if there is room now."""
    while times and times[0] <= now - span_s:
        times.popleft()
    return times[-limit] + span_s - now if len(times) >= limit else 0.0


def in_time(seconds: float) -> str:
    """`40 s`, `5 min` or `3 h`."""
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
