"""Translates samples in batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from evals.runner.records import Record
from evals.suites.base import TranslationSample

if TYPE_CHECKING:
    from evals.models import Foreign
    from evals.models.base import TimeLimit
    from mtgen.pipeline import Pipeline


def translate_samples(
    pipeline: Pipeline | Foreign,
    samples: Sequence[TranslationSample],
    settings: dict[str, Any],
    limit: TimeLimit,
) -> list[Record]:
    """Records of samples of one direction; those that time was too short for have an error.

    Args:
        pipeline: The model.
        samples: At least one; source, target and glossary of the first are those of all.
        settings: Fields of `TranslationRequest` that differ from their defaults.
        limit: Of all of them together.

    Raises:
        BadRequestError: the model refuses one of them.
    """
    first = samples[0]
    if first.glossary:
        settings = settings | {"glossary": first.glossary}
    outputs = pipeline.translate_all(
        [sample.text for sample in samples], source=first.source, target=first.target, stop=limit,
        **settings,
    )  # fmt: skip
    records = []
    for sample, output in zip(samples, outputs, strict=True):
        record = Record(id=sample.id, kind="translation", sample=asdict(sample), output=output)
        if limit.is_set() and not output:
            record = replace(record, output=None, error=limit.sentence, transient=True)
        records.append(record)
    return records


def expert_sha256(pipeline: Pipeline | Foreign) -> str | None:
    """Hex digest of the translation expert, which is read; None where the model has none of ours.

    Raises:
        TrunkError: the expert's weights cannot be had.
    """
    from evals.models import Foreign
    from evals.runner.trunk_alone import TrunkAlone
    from mtgen.model.trunk import sha256_of_all

    if isinstance(pipeline, TrunkAlone | Foreign):
        return None
    pipeline.translation_expert()
    return sha256_of_all(pipeline.translation_files)
