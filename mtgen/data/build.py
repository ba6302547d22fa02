"""The steps that every data set is built in: fetch, read each source, merge, document.

A source is read in a process of its own into a shard under `OUT/.work/`; a shard carries the hash
of everything that it was made from, so a build that was interrupted goes on where it stopped, and
the same inputs give the same files whatever the number of workers.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mtgen.data.packages import PackageError, PackageStore, Pin
from mtgen.data.sources import Source
from mtgen.errors import MtgenError, SettingError
from mtgen.model.trunk import sha256_of, writing

INCOMPLETE = 3
"""Exit code of a build that went through without some of its sources."""

MAKE_ROOM = "make room there or name another folder"
ROW_GROUP = 2_000


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """What the command line asks of a build."""

    out: Path
    only: list[str] = field(default_factory=list)
    licenses: str = "all"
    workers: int = 2
    max_download_mb: float | None = None
    seed: int = 0
    progress: bool = True
    tatoeba: Path | None = None
    """Folder of sentence pairs that the user brings."""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise SettingError(f"--workers is {self.workers}; it takes a whole number from 1 up")
        if self.max_download_mb is not None and self.max_download_mb < 0:
            raise SettingError(
                f"--max-download-mb is {self.max_download_mb}; it must not be below 0"
            )


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A source that a build had to do without."""

    name: str
    reason: str
    expected: int
    """Rows that it yielded when measured."""
    optional: bool = False
    """Nobody asked for it: a build without it is complete all the same."""

    def sentence(self) -> str:
        lost = f"; it would have added about {self.expected:,} rows" if self.expected else ""
        return f"{self.name} is missing{lost}: {self.reason}"


@dataclass(kw_only=True)
class SourceReport:
    """What became of one source."""

    name: str
    licence: str
    family: str
    credit: str
    weight: float
    packages: list[dict[str, Any]]
    counts: dict[str, Any]
    """Rows read, dropped by reason, kept; per language where the set has several."""
    samples: list[Any] = field(default_factory=list)


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Hash of the code and lists that a build depends on; a change makes shards anew."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".tsv", ".json", ".bin"}:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


LIBRARIES = ("lxml", "numpy", "pillow", "polib", "py3langid", "pyarrow", "rensa", "resvg_py")
"""Their versions are part of every shard's name: another one may read or draw differently."""


def fingerprint(kind: str, source: Source, pins: Iterable[Pin], stamp: Any) -> str:
    """Name of a shard's inputs: packages, our code, the libraries, and `stamp`."""
    versions = [importlib.metadata.version(name) for name in LIBRARIES]
    content = [kind, source.name, [pin.sha256 for pin in pins], stamp, code_hash(), versions]
    return hashlib.sha256(json.dumps(content, default=str).encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One source on its way into one shard; everything in it can be sent to another process."""

    kind: str
    source: str
    files: dict[str, Path]
    extra: dict[str, Any]
    """Further inputs; what its key `stamp` holds is part of the shard's name, paths are not."""
    shard: Path


Extract = Callable[[Job], dict[str, Any]]
"""Writes `job.shard` (Parquet) and returns the counts; a module-level function."""


def gather(
    kind: str,
    sources: Sequence[Source],
    extract: Extract,
    store: PackageStore,
    options: BuildOptions,
    extra_of: Callable[[Source], dict[str, Any] | PackageError],
) -> tuple[dict[str, Path], list[SourceReport], list[Missing]]:
    """Fetches and reads the sources.

    Args:
        kind: Name of the set: images, parallel, text.
        sources: In the order that decides which of two equal rows stays.
        extract: Reads one source, in another process.
        store: Gives the packages.
        options: Workers, budget, progress.
        extra_of: Further inputs of a source, as in `Job.extra`; an error if it cannot be had.

    Returns:
        Shards by source name in the order of `sources`; reports; sources that are missing.
    """
    missing: list[Missing] = []
    wanted = within_budget(sources, store, options, missing)
    specs = [spec for source in wanted for spec in source.packages]
    fetched = store.fetch(specs) if specs else {}
    work = options.out / ".work"
    work.mkdir(parents=True, exist_ok=True)
    jobs: list[Job] = []
    for source in wanted:
        failed = [got for spec in source.packages if isinstance(got := fetched[spec], PackageError)]
        if failed:
            missing.append(
                Missing(name=source.name, reason=str(failed[0]), expected=source.expected)
            )
            continue
        files = {spec: path for spec in source.packages if isinstance(path := fetched[spec], Path)}
        extra = extra_of(source)
        if isinstance(extra, PackageError):
            missing.append(Missing(name=source.name, reason=str(extra), expected=source.expected))
            continue
        pins = [store.used[spec] for spec in source.packages]
        key = fingerprint(kind, source, pins, extra.get("stamp"))
        shard = work / f"{kind}-{source.name}-{key}.parquet"
        jobs.append(Job(kind=kind, source=source.name, files=files, extra=extra, shard=shard))
    results = run_jobs(jobs, extract, options)
    shards: dict[str, Path] = {}
    reports: list[SourceReport] = []
    by_name = {job.source: job for job in jobs}
    for source in wanted:
        result = results.get(source.name)
        if isinstance(result, PackageError):
            missing.append(Missing(name=source.name, reason=str(result), expected=source.expected))
        elif result is not None:
            shards[source.name] = by_name[source.name].shard
            packages = [
                {"package": "apt descriptions", "version": str(stamp)[:12], "sha256": stamp,
                 "pinned": False}
                for stamp in [by_name[source.name].extra.get("stamp")]
                if source.needs_apt
            ]  # fmt: skip
            packages += [
                {"package": spec, "version": pin.version, "sha256": pin.sha256,
                 "pinned": pin == store.pins[spec]}
                for spec in source.packages
                if (pin := store.used[spec])
            ]  # fmt: skip
            reports.append(
                SourceReport(
                    name=source.name, licence=source.licence, family=source.family,
                    credit=source.credit, weight=source.weight, packages=packages, counts=result,
                )
            )  # fmt: skip
    if not shards:
        reasons = "; ".join(item.sentence() for item in missing) or "no source fits the choice"
        raise PackageError(f"nothing to build {kind} from: {reasons}")
    return shards, reports, missing


APT_LISTS_BYTES = 21_000_000
"""Indices of a Debian release with descriptions in four languages, as downloaded."""


def within_budget(
    sources: Sequence[Source],
    store: PackageStore,
    options: BuildOptions,
    missing: list[Missing],
) -> list[Source]:
    """Leaves out, in order, what would download more than `--max-download-mb`."""
    if options.max_download_mb is None:
        return list(sources)
    wanted = []
    for source in sources:
        size = store.missing_bytes(source.packages)
        if source.needs_apt and not store.apt.is_ready:
            size += APT_LISTS_BYTES
        if store.grant(size, options.max_download_mb):
            wanted.append(source)
            continue
        left = (store.left_bytes or 0) / 1e6
        reason = (
            f"{size / 1e6:.0f} MB of downloads, {left:.0f} MB are left of "
            f"--max-download-mb {options.max_download_mb:g}"
        )
        missing.append(Missing(name=source.name, reason=reason, expected=source.expected))
    return wanted


def fetch_needed(
    store: PackageStore, specs: Sequence[str], options: BuildOptions, what: str
) -> dict[str, Path]:
    """Packages without which nothing can be built.

    Raises:
        PackageError: one cannot be had, or not within `--max-download-mb`.
    """
    size = store.missing_bytes(specs)
    if not store.grant(size, options.max_download_mb):
        raise PackageError(
            f"{what} cannot be had, nothing is built: it takes {size / 1e6:.1f} MB of downloads, "
            f"--max-download-mb is {options.max_download_mb:g}"
        )
    found: dict[str, Path] = {}
    for spec, path in store.fetch(specs).items():
        if isinstance(path, PackageError):
            raise PackageError(f"{what} cannot be had, nothing is built: {path}")
        found[spec] = path
    return found


def run_jobs(
    jobs: Sequence[Job], extract: Extract, options: BuildOptions
) -> dict[str, dict[str, Any] | PackageError]:
    """Counts by source, or why it failed; shards that are there already are not made again."""
    from tqdm import tqdm

    results: dict[str, dict[str, Any] | PackageError] = {}
    todo = []
    for job in jobs:
        counts = read_note(job.shard)
        if counts is None:
            todo.append(job)
        else:
            results[job.source] = counts
    if not todo:
        return results
    # big ones first, so that none is left alone at the end
    todo.sort(key=lambda job: -sum(path.stat().st_size for path in job.files.values()))
    bar = tqdm(total=len(todo), desc="sources", unit="source", disable=not options.progress)
    context = multiprocessing.get_context("spawn")
    with bar:
        if options.workers == 1 or len(todo) == 1:
            for job in todo:
                results[job.source] = attempt(extract, job)
                bar.set_postfix_str(job.source)
                bar.update()
            return results
        workers = min(options.workers, len(todo))
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=ignore_interrupt)
        try:
            waiting: dict[Future, Job] = {pool.submit(attempt, extract, job): job for job in todo}
            while waiting:
                done, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    job = waiting.pop(future)
                    results[job.source] = future.result()
                    bar.set_postfix_str(job.source)
                    bar.update()
        except BrokenProcessPool:
            raise MtgenError(
                "a worker died, most likely for want of memory; try again with --workers 1, "
                "what is done is kept"
            ) from None
        except BaseException:
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    return results


def read_note(shard: Path) -> dict[str, Any] | None:
    """Counts of a shard that is there and whole."""
    try:
        counts = json.loads(shard.with_suffix(".json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return counts if shard.is_file() else None


def ignore_interrupt() -> None:
    """Ctrl-C is the parent's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def attempt(extract: Extract, job: Job) -> dict[str, Any] | PackageError:
    """Runs one job; the shard appears only when it is complete."""
    part = job.shard.with_suffix(f".{os.getpid()}.part")
    note = job.shard.with_suffix(f".{os.getpid()}.note")
    try:
        counts = extract(Job(**{**vars(job), "shard": part}))
        note.write_text(json.dumps(counts), "utf-8")
        note.replace(job.shard.with_suffix(".json"))
        part.replace(job.shard)  # last: a shard is whole once it is there
        return counts
    except PackageError as error:
        return error
    except (MtgenError, OSError, MemoryError):  # a full disk is nobody's fault but ours
        raise
    except Exception as error:  # a package whose inside has changed must not stop the others
        if os.environ.get("MTGEN_DEBUG"):
            raise
        return PackageError(f"it could not be read ({type(error).__name__}: {error})")
    finally:
        part.unlink(missing_ok=True)
        note.unlink(missing_ok=True)


def write_table(table: pa.Table, path: Path, *, row_group: int = ROW_GROUP) -> None:
    """Parquet with zstd, whole or not at all; the same rows give the same bytes.

    Raises:
        CacheWriteError: the folder cannot be written.
    """
    part = path.with_suffix(".part")
    with writing(path.parent, MAKE_ROOM):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table, part, compression="zstd", row_group_size=row_group)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def finish(
    kind: str,
    options: BuildOptions,
    reports: Sequence[SourceReport],
    missing: Sequence[Missing],
    outputs: Sequence[Path],
    stages: dict[str, Any],
    card: str,
    notice: str,
) -> dict[str, Any]:
    """Writes README.md, NOTICE and manifest.json beside the Parquet files.

    Returns:
        The manifest.
    """
    folder = options.out / kind
    (folder / "README.md").write_text(card, "utf-8")
    (folder / "NOTICE").write_text(notice, "utf-8")
    manifest = {
        "set": kind,
        "seed": options.seed,
        "licenses": options.licenses,
        "only": options.only,
        "code_sha256": code_hash(),
        "complete": all(item.optional for item in missing),
        "missing": [vars(item) for item in missing],
        "sources": [vars(report) for report in reports],
        "stages": stages,
        "files": {
            path.relative_to(folder).as_posix(): {
                "sha256": sha256_of(path),
                "size_bytes": path.stat().st_size,
                "rows": pq.read_metadata(path).num_rows,
            }
            for path in sorted(outputs)
        },
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    (folder / "manifest.json").write_text(text, "utf-8")
    return manifest


def clean_outputs(folder: Path, keep: Iterable[Path]) -> None:
    """Removes Parquet files of an earlier build that this one did not make."""
    kept = set(keep)
    for path in folder.rglob("*.parquet"):
        if path not in kept:
            path.unlink()


def clean_work(options: BuildOptions, kind: str, shards: dict[str, Path]) -> None:
    """Removes older shards of the sources that were built; those of others stay for later."""
    for name, shard in shards.items():
        for path in (options.out / ".work").glob(f"{kind}-{name}-*"):
            key = path.name.removeprefix(f"{kind}-{name}-").partition(".")[0]
            is_ours = len(key) == 20 and set(key) <= set("0123456789abcdef")
            if is_ours and not shard.name.startswith(f"{kind}-{name}-{key}."):
                path.unlink(missing_ok=True)
