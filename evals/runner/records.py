"""Records of a run on disk: `run.json` says what was asked, `records*.jsonl` what came out.

Each process that takes part in a run appends to a file of its own; readers merge all of them by
sample, so a run goes on with any other number of processes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from evals.runner.shards import WHOLE, Shard
from mtgen.errors import CacheWriteError, RecordsError

MANIFEST = "run.json"
RECORDS = WHOLE.filename
EVERY_RECORDS = "records*.jsonl"
MANIFEST_S = 60
"""For another process of the run to write the manifest."""

IDENTITY = (
    "suite", "suite_sha256", "model", "weights_sha256", "experts_sha256", "seed", "limit",
    "drawn", "settings",
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
    p_values: dict[str, list[float]] | None = None
    """Of watermarks, by what was read and how: of each key, how often something unmarked looks at
    least as marked."""
    bits: dict[str, list[int]] | None = None
    """The payload that was read of a picture, by what was done to it; empty where none was."""
    written_bits: list[int] | None = None
    """The payload that was written."""
    error: str | None = None
    """Why there is no output; the sample then counts as unscored."""
    transient: bool = False
    """Whether the error is not the request's: time was over, a server failed, something crashed."""
    place: int | None = None
    """Number in the run, from 0; records are read in this order, whoever wrote them."""


class RunFolder:
    """A run's folder, appended to while it runs.

    Args:
        folder: May be shared by the processes of one run, on a file system with `flock`.
        shard: Whose records `append` takes.
    """

    def __init__(self, folder: Path, shard: Shard = WHOLE) -> None:
        self.folder = folder
        self.path = folder / shard.filename

    def begin(self, manifest: dict[str, Any]) -> None:
        """Writes the manifest, or checks that the one there asks for the same run.

        Raises:
            RecordsError: the folder holds another run.
            CacheWriteError: it cannot be written.
        """
        path = self.folder / MANIFEST
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock", timeout=MANIFEST_S):
                if not path.exists():
                    whole = path.with_suffix(".tmp")
                    whole.write_text(json.dumps(manifest, indent=2) + "\n", "utf-8")
                    whole.replace(path)
                    return
        except OSError as error:
            raise CacheWriteError(
                f"cannot write to {self.folder}: {error.strerror or error}"
            ) from error
        there = self.manifest()
        for key in IDENTITY:
            if there.get(key) != manifest.get(key):
                raise RecordsError(
                    f"{self.folder} holds a run with {key}={there.get(key)!r}, not "
                    f"{manifest.get(key)!r}; choose another --out"
                )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keeps every other process from this one's file, until it ends in whatever way.

        A last line that was cut off by a kill is dropped from the file.

        Raises:
            RecordsError: another process writes it.
            CacheWriteError: it cannot be written.
        """
        lock = FileLock(f"{self.path}.lock", blocking=False)
        try:
            lock.acquire()
        except Timeout:
            raise RecordsError(
                f"another process is writing {self.path}; wait for its end, or choose another "
                "--out or --shard"
            ) from None
        except OSError as error:
            raise CacheWriteError(f"cannot write to {self.folder}: {error.strerror}") from error
        try:
            if self.path.exists():
                raw = self.path.read_bytes()
                os.truncate(self.path, raw.rfind(b"\n") + 1)
            yield
        finally:
            lock.release()

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

    def records(self) -> list[dict[str, Any]]:
        """All records of all processes, in the order of the samples.

        Of several records of a sample one without a transient error counts, else the last. A line
        that is not whole, as its process was killed or is writing, is passed over.

        Raises:
            RecordsError: another line is damaged.
        """
        found: dict[str, dict[str, Any]] = {}
        for path in sorted(self.folder.glob(EVERY_RECORDS)):
            whole = path.read_bytes().rpartition(b"\n")[0]
            for number, line in enumerate(whole.splitlines(), 1):
                try:
                    record = json.loads(line)
                    before = found.get(record["id"])
                    if before is None or before.get("transient") or not record.get("transient"):
                        found[record["id"]] = record
                except (ValueError, KeyError, TypeError, AttributeError):
                    raise RecordsError(
                        f"{path}, line {number} is not a record; delete that line"
                    ) from None
        return sorted(found.values(), key=place_of)

    def append(self, record: Record) -> None:
        """Adds a record and waits until it is on disk.

        Raises:
            CacheWriteError: disk full or not writable; the records so far are kept.
        """
        line = json.dumps(asdict(record), ensure_ascii=True) + "\n"
        try:
            with self.path.open("ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise CacheWriteError(
                f"cannot write to {self.path}: {error.strerror}; make room and run the same "
                f"command again with --out {self.folder}, it goes on where it stopped"
            ) from error


def place_of(record: dict[str, Any]) -> int:
    """Number of a record in its run; of older versions none, they come first as they were."""
    place = record.get("place")
    return -1 if place is None else place
