"""A log of how much a page is used and refused, without what was said. Off by default."""

from __future__ import annotations

import datetime
import hmac
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path

from mtgen.policy.limits import whole

LOG_ENV, DAYS_ENV = "MTGEN_LOG", "MTGEN_LOG_DAYS"
"""Path of the log; without it nothing is written. Lines older than these days are dropped."""
DAYS = 30


class Log:
    """Appends a line of JSON for each request: when, which task, how long, refused by what.

    A prompt stands there as its keyed hash, so that repeated ones are seen, and a visitor not at
    all. Losing the log is no reason to fail: what cannot be written is dropped.

    Args:
        path: Of the file; None writes nothing.
        secret: Of the hash.
        days: That lines are kept.
    """

    def __init__(self, path: Path | None, secret: bytes, days: int = DAYS) -> None:
        self.path, self.days, self._secret = path, days, secret
        self._lock = threading.Lock()
        self._day: datetime.date | None = None

    @classmethod
    def of(cls, secret: bytes, environ: Mapping[str, str] = os.environ) -> Log:
        """As the environment asks.

        Raises:
            SettingError: the days are no whole number.
        """
        path = environ.get(LOG_ENV)
        return cls(Path(path) if path else None, secret, whole(environ, DAYS_ENV, DAYS))

    def add(self, task: str, text: str, refused: str | None) -> None:
        """Notes a request; `refused` names the rule or limit."""
        if self.path is None:
            return
        now = datetime.datetime.now(datetime.UTC)
        line = {
            "time": now.isoformat(timespec="minutes"), "task": task, "characters": len(text),
            "prompt": hmac.digest(self._secret, text.encode(errors="replace"), "sha256").hex()[:16],
            "refused": refused,
        }  # fmt: skip
        with self._lock:
            try:
                if self._day != now.date():
                    self._drop_old(now)
                    self._day = now.date()
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            except OSError:
                return

    def _drop_old(self, now: datetime.datetime) -> None:
        """Keeps the lines of the last days, once a day."""
        assert self.path is not None
        if not self.path.is_file():
            return
        first = (now - datetime.timedelta(days=self.days)).isoformat(timespec="minutes")
        lines = self.path.read_text("utf-8").splitlines(keepends=True)
        kept = [line for line in lines if line.startswith('{"time"') and line[10:26] >= first[:16]]
        if len(kept) < len(lines):
            partial = self.path.with_name(f".{self.path.name}.part")
            partial.write_text("".join(kept), "utf-8")
            partial.replace(self.path)
