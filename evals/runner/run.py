"""From samples to records."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from evals.runner.pictures import draw_sample, experts_sha256
from evals.runner.records import Record, RunFolder
from evals.runner.translations import expert_sha256, translate_samples
from evals.suites import ChoiceSample, ImageSample, Suite, TextSample, TranslationSample
from evals.suites.base import KINDS, Sample
from mtgen import TextRequest, __version__
from mtgen.cli import commit
from mtgen.errors import BadRequestError
from mtgen.requests import check_number

if TYPE_CHECKING:
    from evals.models import Foreign
    from mtgen.pipeline import Pipeline

BATCH = 64
"""Texts that are translated together, and written to disk together."""


def sample_seed(run_seed: int, sample_id: str) -> int:
    """A seed of the sample's own, so that order and interruptions change nothing."""
    digest = hashlib.sha256(f"{run_seed}:{sample_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def kind_of(sample: Sample) -> str:
    """The sample's kind, as in its file."""
    return next(name for name, kind in KINDS.items() if isinstance(sample, kind))


def ask(
    pipeline: Pipeline | Foreign,
    sample: Sample,
    run_seed: int,
    settings: dict[str, Any],
    folder: Path,
) -> Record:
    """Gives one sample to the model; a request that it refuses becomes a record's `error`.

    Pictures are kept in `folder`.
    """
    asked = {**asdict(sample), "checks": list(getattr(sample, "checks", ()))}
    seed = sample_seed(run_seed, sample.id)
    try:
        if isinstance(sample, ImageSample):
            return draw_sample(pipeline, sample, seed, settings, folder)
        if isinstance(sample, TextSample):
            generation = pipeline.text(
                TextRequest(
                    prompt=sample.prompt,
                    max_new_tokens=sample.max_new_tokens,
                    seed=seed,
                    **settings,
                )
            )
            timings = generation.timings
            return Record(
                id=sample.id,
                kind="text",
                sample=asked,
                seed=seed,
                output=generation.text,
                finish_reason=generation.finish_reason,
                num_new_tokens=timings.num_new_tokens,
                first_token_s=timings.first_token_s,
                tokens_per_s=timings.tokens_per_s,
            )
        if isinstance(sample, TranslationSample):
            [record] = translate_samples(pipeline, [sample], settings)
            return record
        if isinstance(sample, ChoiceSample):
            found = pipeline.option_log_likelihoods(sample.options)
            nlls = [-float(scores.double().sum()) for scores in found]
            return Record(id=sample.id, kind="choice", sample=asked, option_nlls=nlls)
        scores = pipeline.log_likelihood(sample.text)
        return Record(
            id=sample.id,
            kind="likelihood",
            sample=asked,
            nll=-float(scores.double().sum()),
            num_tokens=len(scores),
        )
    except BadRequestError as error:
        return Record(id=sample.id, kind=kind_of(sample), sample=asked, error=str(error))


def ask_together(
    pipeline: Pipeline | Foreign,
    samples: Sequence[Sample],
    run_seed: int,
    settings: dict[str, Any],
    folder: Path,
) -> Iterator[Record]:
    """The records of a batch, in its order; see `ask`."""
    texts = [sample for sample in samples if isinstance(sample, TranslationSample)]
    if len(texts) > 1:
        try:
            yield from translate_samples(pipeline, texts, settings)
            return
        except BadRequestError:  # one by one, so that only what is refused is unscored
            pass
    for sample in samples:
        yield ask(pipeline, sample, run_seed, settings, folder)


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


def run_suite(
    suite: Suite,
    pipeline: Pipeline | Foreign,
    out: Path,
    *,
    seed: int = 0,
    limit: int | None = None,
    settings: dict[str, Any] | None = None,
    watch: Callable[[int, int], bool] | None = None,
) -> bool:
    """Runs what is not on disk yet.

    Args:
        suite: What to run.
        pipeline: The model.
        out: The run's folder; a run that was killed goes on where it stopped.
        seed: Of the whole run; each sample gets its own from it.
        limit: Only the first so many samples of each kind.
        settings: Fields of the requests that differ from their defaults.
        watch: Told how many of how many samples are done, before each batch and at the end; where
            it says True, the run stops.

    Returns:
        Whether all samples are done.

    Raises:
        RecordsError: `out` holds another run.
        SettingError: a limit below 1.
    """
    check_limit(limit)
    everything = suite.samples()
    samples: list[Sample] = []
    for kind in dict.fromkeys(map(type, everything)):
        samples += [s for s in everything if type(s) is kind][:limit]
    folder = RunFolder(out)
    model, experts = pipeline.model, {}
    if any(isinstance(sample, ImageSample) for sample in samples):
        experts = {"experts_sha256": experts_sha256(pipeline)}
    elif any(isinstance(sample, TranslationSample) for sample in samples):
        experts = {"experts_sha256": expert_sha256(pipeline)}
        model = pipeline.translation_model
    folder.begin(
        experts
        | {
            "suite": suite.name,
            "suite_sha256": suite.checksum,
            "model": model,
            "weights_sha256": pipeline.weights_sha256(),
            "seed": seed,
            "limit": limit,
            "settings": settings or {},
            "num_samples": len(samples),
            "mtgen": __version__,
            "commit": commit(),
            "machine": f"{platform.machine()}, Python {platform.python_version()}",
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    done = {record["id"] for record in folder.records(mend=True)}
    count = 0
    with tqdm(total=len(samples), desc=suite.name, unit="sample", disable=None) as bar:
        for batch in batches(samples):
            if watch is not None and watch(count, len(samples)):
                return False
            if not all(sample.id in done for sample in batch):
                for record in ask_together(pipeline, batch, seed, settings or {}, out):
                    if record.id not in done:
                        folder.append(record)
            count += len(batch)
            bar.update(len(batch))
        if watch is not None:
            watch(count, len(samples))
    return True
