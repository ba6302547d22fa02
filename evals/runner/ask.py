"""From a batch of samples to its records; nothing that goes wrong with one ends the run."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.models.base import Foreign, TimeLimit
from evals.runner.pictures import draw_sample
from evals.runner.records import Record
from evals.runner.translations import translate_samples
from evals.suites import ChoiceSample, ImageSample, TextSample, TranslationSample
from evals.suites.base import MarkSample, Sample, kind_of
from mtgen import TextRequest
from mtgen.errors import (
    BadRequestError,
    CacheWriteError,
    ConfigError,
    CorruptedFileError,
    KeyFileError,
    RecordsError,
    WeightsNotFoundError,
)
from mtgen.requests import check_number

if TYPE_CHECKING:
    from mtgen.pipeline import Pipeline

FIRST_PAUSE_S = 1.0
"""Before a sample is asked again; doubles each time."""
ENDING = (
    CacheWriteError, ConfigError, CorruptedFileError, KeyFileError, MemoryError, RecordsError,
    WeightsNotFoundError,
)  # fmt: skip
"""Errors that every other sample would meet too; they end the run."""


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How samples are asked."""

    folder: Path
    """Where pictures are kept."""
    seed: int = 0
    """Of the run."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Fields of the requests that differ from their defaults."""
    timeout_s: float | None = None
    """For each sample; a batch has as much for each of its samples, together. Choices and
    likelihoods are one pass of the model and take no part, nor do pipelines of `diffusers`."""
    retries: int = 1
    """How often a sample is asked again that failed for no fault of its own."""

    def __post_init__(self) -> None:
        check_number("retries", self.retries, 0, 100, integer=True)
        if self.timeout_s is not None:
            check_number("timeout_s", self.timeout_s, 0.001, 10**6)


def sample_seed(run_seed: int, sample_id: str) -> int:
    """A seed of the sample's own, so that order and interruptions change nothing."""
    digest = hashlib.sha256(f"{run_seed}:{sample_id}".encode()).digest()
    return int.from_bytes(digest[:4], "big")


def answer(model: Pipeline | Foreign, sample: Sample, asking: Asking, limit: TimeLimit) -> Record:
    """Gives one sample to the model.

    Raises:
        BadRequestError: it refuses the request.
        TimeoutError: the limit was reached before it was done.
    """
    asked = {**asdict(sample), "checks": list(getattr(sample, "checks", ()))}
    seed = sample_seed(asking.seed, sample.id)
    if isinstance(sample, MarkSample):
        from evals.runner.marks import read_marks

        if isinstance(model, Foreign):
            raise BadRequestError(f"{model.model} does not mark what it makes")
        return read_marks(model, sample, seed, asking.folder, limit)
    if isinstance(sample, ImageSample):
        return draw_sample(model, sample, seed, asking.settings, asking.folder, limit)
    if isinstance(sample, TextSample):
        generation = model.text(
            TextRequest(
                prompt=sample.prompt,
                max_new_tokens=sample.max_new_tokens,
                seed=seed,
                **asking.settings,
            ),
            stop=limit,
        )
        limit.check(generation)
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
        [record] = translate_samples(model, [sample], asking.settings, limit)
        return record
    if isinstance(sample, ChoiceSample):
        found = model.option_log_likelihoods(sample.options)
        nlls = [-float(scores.double().sum()) for scores in found]
        return Record(id=sample.id, kind="choice", sample=asked, option_nlls=nlls)
    scores = model.log_likelihood(sample.text)
    return Record(
        id=sample.id,
        kind="likelihood",
        sample=asked,
        nll=-float(scores.double().sum()),
        num_tokens=len(scores),
    )


def ask(model: Pipeline | Foreign, sample: Sample, asking: Asking) -> Record:
    """The record of a sample; what goes wrong becomes its `error`, if need be after retries.

    Raises:
        MtgenError: one of ENDING, and MemoryError.
    """
    transient = True
    for attempt in range(asking.retries + 1):
        try:
            with TimeLimit(asking.timeout_s) as limit:
                return answer(model, sample, asking, limit)
        except BadRequestError as error:
            said, transient = str(error), False
            break
        except ENDING:
            raise
        except TimeoutError as error:
            said = str(error)
            break
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        if attempt < asking.retries:
            time.sleep(FIRST_PAUSE_S * 2**attempt)
    asked = {**asdict(sample), "checks": list(getattr(sample, "checks", ()))}
    return Record(id=sample.id, kind=kind_of(sample), sample=asked, error=said, transient=transient)


def ask_together(
    model: Pipeline | Foreign, samples: Sequence[Sample], asking: Asking
) -> list[Record]:
    """The records of a batch, in its order; see `ask`."""
    texts = [sample for sample in samples if isinstance(sample, TranslationSample)]
    for _ in range(asking.retries + 1 if len(texts) > 1 else 0):
        try:
            with TimeLimit(asking.timeout_s, len(texts)) as limit:
                return translate_samples(model, texts, asking.settings, limit)
        except (BadRequestError, TimeoutError):
            break
        except ENDING:
            raise
        except Exception:
            continue
    # one by one, so that only what is refused, or fails again, is unscored
    return [ask(model, sample, asking) for sample in samples]
