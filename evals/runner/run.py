"""From a suite to a folder of records."""

from __future__ import annotations

import itertools
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from evals.runner.ask import Asking
from evals.runner.engines import Engine, InProcess
from evals.runner.pictures import experts_sha256
from evals.runner.records import Record, RunFolder
from evals.runner.shards import WHOLE, Shard
from evals.runner.translations import expert_sha256
from evals.suites import ImageSample, Suite, TranslationSample
from evals.suites.base import Sample
from mtgen import __version__
from mtgen.cli import commit
from mtgen.errors import WorkerError
from mtgen.requests import check_number

if TYPE_CHECKING:
    from evals.models import Foreign
    from mtgen.pipeline import Pipeline

BATCH = 64
"""Texts that are translated together, and written to disk together."""
MAX_FAILED = 20
"""Batches that fail one after the other before the run ends."""


def batches(samples: Sequence[Sample]) -> Iterator[list[Sample]]:
    """What is asked together: texts to translate alike; all else goes by itself.

    The batches are of all samples, done or not, and one that is not wholly on disk is asked again
    as a whole: so a run that was killed ends as one that was not.
    """
    groups: dict[tuple[object, ...], list[Sample]] = {}
    for sample in samples:
        is_text = isinstance(sample, TranslationSample)
        key = (sample.source, sample.target, sample.glossary) if is_text else (sample.id,)
        groups.setdefault(key, []).append(sample)
    for group in groups.values():
        for start in range(0, len(group), BATCH):
            yield group[start : start + BATCH]


def check_limit(limit: int | None) -> None:
    """Refuses a number of samples that is none.

    Raises:
        SettingError: a limit below 1.
    """
    if limit is not None:
        check_number("limit", limit, 1, 10**9, integer=True)


def model_facts(model: Pipeline | Foreign, kinds: frozenset[type[Sample]]) -> dict[str, Any]:
    """What a manifest says of a model that is asked samples of such kinds."""
    facts: dict[str, Any] = {"model": model.model, "weights_sha256": model.weights_sha256()}
    if ImageSample in kinds:
        facts["experts_sha256"] = experts_sha256(model)
    elif TranslationSample in kinds:
        facts["experts_sha256"] = expert_sha256(model)
        facts["model"] = model.translation_model  # has the expert's name once that is read
    return facts


def first_of_each_kind(suite: Suite, limit: int | None) -> list[Sample]:
    """The samples that a suite asks, by kind, at most so many of each."""
    everything = suite.chosen()
    samples: list[Sample] = []
    for kind in dict.fromkeys(map(type, everything)):
        samples += [s for s in everything if type(s) is kind][:limit]
    return samples


def run_suite(
    suite: Suite,
    model: Pipeline | Foreign | Engine,
    out: Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    settings: dict[str, Any] | None = None,
    watch: Callable[[int, int], bool] | None = None,
    shard: Shard = WHOLE,
    timeout_s: float | None = None,
    retries: int = 1,
    retry_errors: bool = False,
) -> bool:
    """Runs what is not on disk yet.

    Whatever the engine, the shards and the interruptions, the records are the same but for their
    timings: batches are of all samples, and each sample has a seed of its own.

    Args:
        suite: What to run.
        model: What is asked, or an engine with copies of it.
        out: The run's folder; a run that was killed goes on where it stopped.
        seed: Of the whole run; each sample gets its own from it.
        limit: Only the first so many samples of each kind.
        settings: Fields of the requests that differ from their defaults.
        watch: Told how many of how many samples are done, at the beginning and after each batch;
            where it says True, the run stops.
        shard: The part of the run that is this process's; `watch` is told of that part.
        timeout_s: See `Asking`.
        retries: See `Asking`.
        retry_errors: Ask again what has a transient error on disk.

    Returns:
        Whether all samples of the shard are done.

    Raises:
        RecordsError: `out` holds another run, or another process writes the same file in it.
        SettingError: a limit below 1, or a time-out or retries out of their range.
        WorkerError: processes die, or samples fail, one after the other.
        CacheWriteError: disk full or not writable; the records so far are kept.
    """
    check_limit(limit)
    asking = Asking(
        folder=out, seed=seed, settings=settings or {}, timeout_s=timeout_s, retries=retries
    )
    engine = model if isinstance(model, Engine) else InProcess(model)
    samples = first_of_each_kind(suite, limit)
    everything = list(batches(samples))
    places = {s.id: place for place, s in enumerate(itertools.chain.from_iterable(everything))}
    folder = RunFolder(out, shard)
    folder.begin(
        engine.call(model_facts, frozenset(map(type, samples)))
        | {
            "suite": suite.name,
            "suite_sha256": suite.checksum,
            "seed": seed,
            "limit": limit,
            "drawn": suite.drawn,
            "settings": settings or {},
            "num_samples": len(samples),
            "mtgen": __version__,
            "commit": commit(),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    with folder.writing():
        on_disk = folder.records()
        done = {r["id"] for r in on_disk if not (retry_errors and r.get("transient"))}
        mine = shard.of(everything)
        missing = [batch for batch in mine if not all(sample.id in done for sample in batch)]
        total = sum(map(len, mine))
        count, num_failed = total - sum(map(len, missing)), 0
        if watch is not None and watch(count, total):
            return count == total
        with (
            tqdm(total=total, initial=count, desc=suite.name, unit="sample", disable=None) as bar,
            closing(engine.answers(asking, missing)) as answers,
        ):
            for records in answers:
                for record in records:
                    if record.id not in done:
                        folder.append(replace(record, place=places[record.id]))
                count += len(records)
                bar.update(len(records))
                if watch is not None and watch(count, total):
                    break
                num_failed = num_failed + 1 if all(r.transient for r in records) else 0
                if num_failed == MAX_FAILED:
                    raise WorkerError(failed_on_end(records[-1]))
    return count == total


def failed_on_end(record: Record) -> str:
    """Why a run that fails everywhere ends."""
    return (
        f"{MAX_FAILED} samples failed one after the other, the last with: {record.error}; mend "
        "that and run the same command with --retry-errors"
    )
