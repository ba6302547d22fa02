"""Records of a run on disk: `run.json` says what was asked, `records.jsonl` what came out."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mtgen.errors import CacheWriteError, RecordsError

MANIFEST = "run.json"
RECORDS = "records.jsonl"

IDENTITY = (
    "suite", "suite_sha256", "model", "weights_sha256", "experts_sha256", "seed", "limit",
    "settings",
)  # fmt: skip
"""What must be equal for a run to be resumed."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One sample, done."""

    id: str
    kind: str
    sample: dict[str, Any]
    """The sample as it was asked, so that scores need nothing but the records."""
    seed: int | None = None
    output: str | None = None
    finish_reason: str | None = None
    num_new_tokens: int | None = None
    first_token_s: float | None = None
    tokens_per_s: float | None = None
    nll: float | None = None
    """Negative log-likelihood in nats, summed over tokens."""
    num_tokens: int | None = None
    option_nlls: list[float] | None = None
    """Of each option, in nats, summed over its tokens."""
    images: list[dict[str, Any]] | None = None
    """Of each picture: `lang` of its prompt, `seed`, `file` within the run's folder."""
    seconds_per_picture: float | None = None
    error: str | None = None
    """Why there is no output; the sample then counts as unscored."""


class RunFolder:
    """A run's folder, appended to while it runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, manifest: dict[str, Any]) -> None:
        """Writes the manifest, or checks that the one there asks for the same run.

        Raises:
            RecordsError: the folder holds another run.
            CacheWriteError: it cannot be written.
        """
        path = self.folder / MANIFEST
        if path.exists():
            there = self.manifest()
            for key in IDENTITY:
                if there.get(key) != manifest.get(key):
                    raise RecordsError(
                        f"{self.folder} holds a run with {key}={there.get(key)!r}, not "
                        f"{manifest.get(key)!r}; choose another --out"
                    )
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            whole = path.with_suffix(".tmp")
            whole.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
            whole.replace(path)
        except OSError as error:
            raise CacheWriteError(f"cannot write to {self.folder}: {error.strerror}") from error

    def manifest(self) -> dict[str, Any]:
        """What the run was asked to do.

        Raises:
            RecordsError: there is no run, or its manifest is damaged.
        """
        path = self.folder / MANIFEST
        try:
            return json.loads(path.read_text("utf-8"))
        except FileNotFoundError:
            raise RecordsError(
                f"{self.folder} holds no run; make one with 'python -m evals run'"
            ) from None
        except (OSError, ValueError) as error:
            raise RecordsError(f"{path} cannot be read ({error})") from None

    def records(self, *, mend: bool = False) -> list[dict[str, Any]]:
        """All records, by sample id in the order they were written.

        Args:
            mend: Drop a last line that was cut off by a kill from the file, before it is appended
                to; readers leave the file alone, another process may be writing it.

        Raises:
            RecordsError: another line is damaged.
        """
        path = self.folder / RECORDS
        if not path.exists():
            return []
        raw = path.read_bytes()
        whole, newline, rest = raw.rpartition(b"\n")
        if rest and mend:
            with path.open("r+b") as file:
                file.truncate(len(whole) + len(newline))
        found: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                found[record["id"]] = record
            except (ValueError, KeyError, TypeError):
                raise RecordsError(
                    f"{path}, line {number} is not a record; delete that line"
                ) from None
        return list(found.values())

    def append(self, record: Record) -> None:
        """Adds a record and waits until it is on disk.

        Raises:
            CacheWriteError: disk full or not writable; the records so far are kept.
        """
        line = json.dumps(asdict(record), ensure_ascii=True) + "\n"
        path = self.folder / RECORDS
        try:
            with path.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CacheWriteError(
                f"cannot write to {path}: {error.strerror}; make room and run the same command "
                f"again with --out {self.folder}, it goes on where it stopped"
            ) from error
