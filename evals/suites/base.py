"""What a suite is: frozen samples with a checksum, and the scores computed from its records."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evals.metrics import MetricUse
from mtgen.errors import RecordsError

DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, kw_only=True)
class TextSample:
    """A prompt to answer, with what a program can check in the answer."""

    id: str
    prompt: str
    max_new_tokens: int
    checks: tuple[dict[str, Any], ...]
    """See `evals.metrics.instruction_following` for the types."""


@dataclass(frozen=True, kw_only=True)
class LikelihoodSample:
    """A text whose tokens the model is to predict."""

    id: str
    text: str


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """A prompt to draw several times, or one prompt in several languages."""

    id: str
    prompts: dict[str, str]
    """By language, English first; all mean the same."""
    num_images: int
    """Pictures of each prompt."""
    style: str | None = None
    """Key of `mtgen.data.images.sources.STYLES`, where the prompts name one."""
    category: str | None = None
    """Of a scene: one of `mtgen.data.images.scenes.CATEGORIES`."""
    captions: tuple[str, ...] = ()
    """For R-precision: what the pictures show, in English, then captions of other things."""
    wanted: dict[str, Any] | None = None
    """For scenes: what must be in the pictures, as `evals.judge.wanted.Wanted.as_dict`."""


Sample = TextSample | LikelihoodSample | ImageSample
KINDS = {"text": TextSample, "likelihood": LikelihoodSample, "image": ImageSample}


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Samples in a frozen JSONL file, and what is computed from the answers."""

    name: str
    aspect: str
    task: str
    description: str
    filename: str
    licence: str
    minutes: float
    """On two CPU cores, about."""
    metrics: tuple[MetricUse, ...]

    @property
    def checksum(self) -> str:
        """sha256 of the data file."""
        return hashlib.sha256((DATA / self.filename).read_bytes()).hexdigest()

    def check_ready(self) -> None:
        """Refuses a run that could not be scored.

        Raises:
            WeightsNotFoundError: an instrument that a metric needs has not been trained.
        """
        for use in self.metrics:
            use.check_ready()

    def samples(self) -> list[Sample]:
        """All samples in file order.

        Raises:
            RecordsError: the file is not the frozen one.
        """
        if f"{self.checksum}  {self.filename}" not in (DATA / "SHA256SUMS").read_text("utf-8"):
            raise RecordsError(
                f"{self.filename} is not the frozen file (sha256 {self.checksum[:12]}…); "
                "restore it, or add its new hash to SHA256SUMS and say so in CHANGELOG.md"
            )
        return list(read_samples(DATA / self.filename))


@cache
def read_samples(path: Path) -> tuple[Sample, ...]:
    samples = []
    for line in path.read_text("utf-8").splitlines():
        fields = json.loads(line)
        kind = KINDS[fields.pop("kind")]
        for name in ("checks", "captions"):
            if name in fields:
                fields[name] = tuple(fields[name])
        samples.append(kind(**fields))
    return tuple(samples)
