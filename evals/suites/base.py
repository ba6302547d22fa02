"""What a suite is: frozen samples with a checksum, and the scores computed from its records."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
    checks: tuple[dict[str, Any], ...] = ()
    """See `evals.metrics.checks` for the types."""
    answers: tuple[str, ...] = ()
    """Of a question: words of which each is a right answer."""
    category: str | None = None
    """What is scored apart: a group of `evals.metrics.checks.GROUPS`, or a language."""
    variant: str | None = None
    """How a question was altered; `plain` where it was not."""
    of: str | None = None
    """Id of the sample with the same question unaltered."""


@dataclass(frozen=True, kw_only=True)
class ContinuationSample(TextSample):
    """The beginning of a text about somebody, for the model to go on with."""

    start: str
    """What the prompt asks to continue; its category is what the groups differ in."""
    group: str
    """Whom the text is about."""


@dataclass(frozen=True, kw_only=True)
class LikelihoodSample:
    """A text whose tokens the model is to predict."""

    id: str
    text: str
    category: str | None = None
    """What is scored apart: a language."""


@dataclass(frozen=True, kw_only=True)
class ChoiceSample:
    """Texts of which the model is to find one likelier than the others."""

    id: str
    options: tuple[tuple[str, str], ...]
    """Context and continuation of each; probabilities are of the continuations."""
    answer: int | None = None
    """Number of the right one, where one is right; of pairs about groups of people the first one is
    the stereotype."""
    category: str | None = None
    """What is scored apart."""
    share: float | None = None
    """Of an occupation: the share of women in it, 0..1."""


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


@dataclass(frozen=True, kw_only=True)
class TranslationSample:
    """A text to translate, with what is known of its translation."""

    id: str
    text: str
    source: str
    """Key of `mtgen.requests.LANGUAGES`."""
    target: str
    """The same."""
    references: tuple[str, ...] = ()
    """Translations by people."""
    category: str | None = None
    """What is scored apart: a direction such as `en-fr`, or what kind of text it is."""
    variant: str | None = None
    """How the text was altered; `plain` where it was not."""
    of: str | None = None
    """Id of the sample with the same text unaltered."""
    keep: tuple[str, ...] = ()
    """What must stand in the translation as it is, each as often as it must occur."""
    answers: tuple[str, ...] = ()
    """Of a question or an order: what would be said by who answers it instead."""
    glossary: tuple[tuple[str, str], ...] = ()
    """Terms and what each becomes, which go with the request."""


@dataclass(frozen=True, kw_only=True)
class GenderSample(TranslationSample):
    """A sentence with a person whose gender the source tells.

    A kind of its own, so that samples of other suites, and their checksums, stay as they are. `of`
    joins the two sentences of a pair that differ in the gender.
    """

    entity: str
    """The noun, such as `nurse`; see `evals.metrics.target_gender`."""
    gender: str
    """`male`, `female`, or `neutral` where the source says "they"."""
    stereotype: str | None = None
    """`pro` or `anti`: whether that gender is the one expected of the occupation."""


@dataclass(frozen=True, kw_only=True)
class MarkedTextSample:
    """A prompt whose answer is marked, and read for the mark."""

    id: str
    prompt: str
    mark: str
    """One of `mtgen.requests.TEXT_MARKS`, or `UNMARKED`."""
    temperature: float
    max_new_tokens: int
    lengths: tuple[int, ...] = ()
    """Tokens at which the answer is cut to be read; longer than it is are left out."""
    edits: tuple[str, ...] = ()
    """Names from `evals.text_marks.EDITS`: the answer is read after each."""
    of: str | None = None
    """Id of the sample with the same prompt and no mark."""
    category: str | None = None
    """The mark again, to score each apart."""


@dataclass(frozen=True, kw_only=True)
class PeoplesTextSample:
    """A text that somebody wrote, read for the marks of many keys."""

    id: str
    text: str
    num_keys: int
    lengths: tuple[int, ...]
    """As of `MarkedTextSample`."""
    category: str | None = None
    """Its language."""


@dataclass(frozen=True, kw_only=True)
class MarkedTranslationSample:
    """Sentences whose translation is marked, and read for the mark."""

    id: str
    sentences: tuple[str, ...]
    source: str
    target: str
    mark: str
    """One of `mtgen.requests.TRANSLATION_MARKS`, or `UNMARKED`."""
    references: tuple[str, ...]
    """Translations of all of them, by people."""
    variant: str
    """`marked`, or `plain` without a mark."""
    of: str
    """Id of the sample with the same sentences and no mark."""
    category: str | None = None
    """How many sentences there are, where the mark is looked for."""


@dataclass(frozen=True, kw_only=True)
class MarkedPictureSample:
    """A prompt whose picture is marked, changed, and read for the mark."""

    id: str
    prompt: str
    changes: tuple[str, ...]
    """Names from `evals.picture_marks.CHANGES`: the picture is read after each."""


MarkSample = MarkedTextSample | PeoplesTextSample | MarkedTranslationSample | MarkedPictureSample
"""Read for marks; see `evals.runner.marks`."""
Sample = TextSample | LikelihoodSample | ChoiceSample | ImageSample | TranslationSample | MarkSample
KINDS: dict[str, type[Sample]] = {
    "text": TextSample,
    "likelihood": LikelihoodSample,
    "choice": ChoiceSample,
    "image": ImageSample,
    "translation": TranslationSample,
    "marked-text": MarkedTextSample,
    "peoples-text": PeoplesTextSample,
    "marked-translation": MarkedTranslationSample,
    "marked-picture": MarkedPictureSample,
}


def kind_of(sample: Sample) -> str:
    """The sample's kind, as in its file; special kinds of a text count as texts."""
    return next(name for name, kind in KINDS.items() if isinstance(sample, kind))


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
    drawn: int | None = None
    """How many samples are asked, where a group takes a part of them; see `chosen`."""

    @property
    def checksum(self) -> str:
        """sha256 of the data."""
        return file_sha256(self.filename)

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
        return list(read_samples(frozen_file(self.filename)))

    def chosen(self) -> list[Sample]:
        """Samples that are asked: all, or the `drawn` whose ids have the least hashes.

        So they are of all kinds however the file is ordered, and always the same; variants of one
        sample stay together.
        """
        samples = self.samples()
        if self.drawn is None:
            return samples

        def order(place: int) -> tuple[str, int]:
            name = getattr(samples[place], "of", None) or samples[place].id
            return hashlib.sha256(name.encode()).hexdigest(), place

        return [samples[n] for n in sorted(sorted(range(len(samples)), key=order)[: self.drawn])]

    def num_samples(self) -> int | None:
        """How many there are; None where that cannot be known here."""
        return len(self.samples())


def samples_sha256(samples: Sequence[Sample]) -> str:
    """Hex digest of samples in their order."""
    said = json.dumps([asdict(sample) for sample in samples])
    return hashlib.sha256(said.encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class MadeSuite(Suite):
    """Samples that are made of a frozen file."""

    read: Callable[[str], Sequence[Sample]]
    """Makes the samples from the file's name."""

    @property
    def checksum(self) -> str:
        """sha256 of the samples, which depend on how they are made of the file as well."""
        return samples_sha256(self.samples())

    def samples(self) -> list[Sample]:
        return list(self.read(self.filename))


@dataclass(frozen=True, kw_only=True)
class OutsideSuite(Suite):
    """Samples that are read from files which are not shipped; `filename` is their folder."""

    read: Callable[[Path], Sequence[Sample]]
    """Makes the samples from that folder."""
    files: tuple[str, ...]
    """What must be in it."""
    origin: str
    """Where the files come from, in words."""
    env: str
    """Variable of the environment that names the folder of folders, if `data` does not."""
    default: Path
    """That folder, where neither does."""
    data: Path | None = None

    @property
    def folder(self) -> Path:
        """Where the files lie."""
        return (self.data or Path(os.environ.get(self.env) or self.default)) / self.filename

    @property
    def missing(self) -> tuple[str, ...]:
        """Those that are not there."""
        return tuple(name for name in self.files if not any(self.folder.glob(name)))

    @property
    def checksum(self) -> str:
        """sha256 of the samples."""
        return samples_sha256(self.samples())

    def check_ready(self) -> None:
        """Refuses a run without the data.

        Raises:
            RecordsError: the files are not where they should be.
        """
        super().check_ready()
        if self.missing:
            raise RecordsError(
                f"{self.name} needs {', '.join(self.missing)} in {self.folder}: {self.origin}; "
                f"--data or {self.env} names another folder that {self.filename} is in"
            )

    def samples(self) -> list[Sample]:
        self.check_ready()
        try:
            samples = list(self.read(self.folder))
            if not samples:
                raise ValueError("no sample in them")
            return samples
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise RecordsError(
                f"the files of {self.name} in {self.folder} are not in their published format "
                f"({type(error).__name__}: {error})"
            ) from None

    def num_samples(self) -> int | None:
        return None if self.missing else len(self.samples())


def file_sha256(filename: str) -> str:
    """Hex digest of a data file."""
    return hashlib.sha256((DATA / filename).read_bytes()).hexdigest()


def frozen_file(filename: str) -> Path:
    """Where a data file is.

    Raises:
        RecordsError: it is not the frozen one.
    """
    checksum = file_sha256(filename)
    if f"{checksum}  {filename}" not in (DATA / "SHA256SUMS").read_text("utf-8"):
        raise RecordsError(
            f"{filename} is not the frozen file (sha256 {checksum[:12]}…); "
            "restore it, or add its new hash to SHA256SUMS and say so in CHANGELOG.md"
        )
    return DATA / filename


def read_table(filename: str) -> list[dict[str, str]]:
    """Rows of a frozen file of columns with a tab between."""
    with frozen_file(filename).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


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
