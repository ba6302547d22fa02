"""Are the marks found, how often where there are none, and what do they cost?

`python -m evals run --suite marks` runs them all, with the published key, so that runs can be
repeated. Tables over more texts, keys and temperatures: `python -m evals.text_marks` and
`python -m evals.picture_marks`.
"""

from __future__ import annotations

from collections.abc import Iterator

from evals.metrics import MetricUse
from evals.metrics.translation import LossUse
from evals.suites.base import (
    ImageSample,
    LikelihoodSample,
    MadeSuite,
    MarkedPictureSample,
    MarkedTextSample,
    MarkedTranslationSample,
    PeoplesTextSample,
    frozen_file,
    read_samples,
    read_table,
)
from evals.suites.translation import DIRECTIONS
from mtgen.requests import TRANSLATION_MARKS, UNMARKED

LICENCE = "Apache-2.0, written for this project"
OURS = "gumbel"
SCHEMES = (OURS, "kgw", "synthid")
"""Ours, and two as `transformers` ships them."""
NUM_PROMPTS = 50
TEMPERATURE = 0.8
LENGTHS = (25, 50, 100, 200)
"""Tokens."""
HUMAN_LENGTHS = (25, 50)
"""Tokens of passages of some 75 words."""
NUM_KEYS = 100
LONGEST = 240
"""Tokens of an answer, of which the first 200 are read."""
READERS = ("key", "model", "prompt")
"""The key alone; with the model's odds; with the odds that it had as it was asked."""
EDITS = (
    "none", "30% of words left out", "20% of words replaced", "both", "lower case",
    "rewritten by our model", "translated to French and back by our model",
)  # fmt: skip
"""Keys of `evals.text_marks.EDITS`."""
CHANGES = (
    "none", "JPEG 75", "JPEG 50", "JPEG 30", "WebP 50", "half size", "double size", "blur 1 px",
    "blur 2 px", "noise 8", "noise 16", "crop 10%", "crop 30%", "brightness 1.2", "contrast 0.8",
    "saturation 0.5", "screenshot", "crop 10%, then JPEG 50", "crop 10%, back to size",
    "to 200 px", "turned by 1 degree", "mirrored",
)  # fmt: skip
"""Keys of `evals.picture_marks.CHANGES`."""
LAYERS = ("either", "pixels", "codes")
SENTENCES = (2, 4, 8, 16)
"""Of texts that are translated; one sentence has some 12 tokens."""
TEXTS = 10
"""Of each of these lengths in each direction: together every everyday sentence once."""
FOUND = "share of texts"


def text_prompts(filename: str) -> list[str]:
    """The first prompts of the file."""
    return frozen_file(filename).read_text("utf-8").splitlines()[:NUM_PROMPTS]


def marked_texts(filename: str) -> list[MarkedTextSample]:
    """Each prompt without a mark and with each scheme."""
    return [
        MarkedTextSample(
            id=f"text-{number:02d}-{mark}", prompt=prompt, mark=mark, temperature=TEMPERATURE,
            max_new_tokens=LONGEST, lengths=() if mark == UNMARKED else LENGTHS, category=mark,
            of=f"text-{number:02d}-{UNMARKED}",
        )
        for number, prompt in enumerate(text_prompts(filename))
        for mark in (UNMARKED, *SCHEMES)
    ]  # fmt: skip


def edited_texts(filename: str) -> list[MarkedTextSample]:
    """Each prompt with our mark, read after each edit."""
    return [
        MarkedTextSample(
            id=f"edits-{number:02d}", prompt=prompt, mark=OURS, temperature=TEMPERATURE,
            max_new_tokens=max(LENGTHS), edits=EDITS,
        )
        for number, prompt in enumerate(text_prompts(filename))
    ]  # fmt: skip


def passages(filename: str) -> list[LikelihoodSample]:
    """Prose by people."""
    return [s for s in read_samples(frozen_file(filename)) if isinstance(s, LikelihoodSample)]


def peoples_texts(filename: str) -> list[PeoplesTextSample]:
    """Each passage for many keys."""
    return [
        PeoplesTextSample(
            id=f"people-{passage.id}", text=passage.text, num_keys=NUM_KEYS,
            lengths=HUMAN_LENGTHS, category=passage.category,
        )
        for passage in passages(filename)
    ]  # fmt: skip


def marked_translations(filename: str) -> list[MarkedTranslationSample]:
    """The everyday sentences in texts of several lengths, with and without the mark."""
    rows = read_table(filename)
    samples = []
    for source, target in DIRECTIONS:
        for start, count in _parts():
            part = rows[start : start + count]
            name = f"{source}-{target}-{start:03d}"
            samples += [
                MarkedTranslationSample(
                    id=f"{name}-{variant}", sentences=tuple(row[source] for row in part),
                    source=source, target=target, mark=mark, variant=variant,
                    references=tuple(
                        " ".join(row[column] for row in part) for column in (target, f"{target}_2")
                    ),
                    of=f"{name}-plain",
                    category=f"{count} sentences" if variant == "marked" else None,
                )
                for variant, mark in (("plain", UNMARKED), ("marked", TRANSLATION_MARKS[0]))
            ]  # fmt: skip
    return samples


def _parts() -> Iterator[tuple[int, int]]:
    """Where each text begins, and its sentences."""
    start = 0
    for _ in range(TEXTS):
        for count in SENTENCES:
            yield start, count
            start += count


def marked_pictures(filename: str) -> list[MarkedPictureSample]:
    """The first prompts of things, each drawn once."""
    samples = [s for s in read_samples(frozen_file(filename)) if isinstance(s, ImageSample)]
    return [
        MarkedPictureSample(
            id=f"picture-{number:02d}", prompt=sample.prompts["en"], changes=CHANGES
        )
        for number, sample in enumerate(samples[:NUM_PROMPTS])
    ]


def found(
    of: str, unit: str = FOUND, *, is_right: bool = True, **options: str | float
) -> MetricUse:
    """Share that a reading finds at 1% false positives, or at another `level`."""
    return MetricUse(
        metric="marks_found", unit=unit, higher_is_better=is_right, options=options | {"of": of}
    )


MARKS_TEXT = MadeSuite(
    name="marks-text",
    aspect="marks",
    task="text",
    description="50 texts with each of three watermarks, cut at four lengths, and their perplexity",
    filename="marks-prompts.txt",
    read=marked_texts,
    licence=LICENCE,
    minutes=15,
    metrics=(
        found("100 tokens, key", category=OURS),
        *(
            found(f"{length} tokens, {reader}", category=OURS)
            for reader in READERS
            for length in LENGTHS
            if (reader, length) != ("key", 100)
        ),
        *(
            found(f"{length} tokens, key", category=scheme)
            for scheme in SCHEMES[1:]
            for length in LENGTHS
        ),
        *(
            found(f"{length} tokens, prompt", category=OURS, level=1e-5) for length in LENGTHS
        ),
        *(
            MetricUse(metric="perplexity", unit="per token", higher_is_better=False,
                      options={"category": mark})
            for mark in (UNMARKED, *SCHEMES)
        ),
    ),
)  # fmt: skip
MARKS_EDITS = MadeSuite(
    name="marks-edits",
    aspect="marks after edits",
    task="text",
    description="50 texts of up to 200 tokens, read after each of seven edits",
    filename="marks-prompts.txt",
    read=edited_texts,
    licence=LICENCE,
    minutes=12,
    metrics=(
        *(found(f"{edit}, prompt") for edit in EDITS[1:]),
        *(found(f"{edit}, key") for edit in EDITS),
    ),
)
MARKS_PEOPLE = MadeSuite(
    name="marks-people",
    aspect="marks in people's texts",
    task="text",
    description="40 passages by people, read with 100 keys each: how many are called marked",
    filename="prose.jsonl",
    read=peoples_texts,
    licence=LICENCE,
    minutes=1,
    metrics=tuple(
        found(
            f"{mark}, {length} tokens", "share of readings", is_right=False,
            **({} if level == 0.01 else {"level": level}),
        )
        for level in (0.01, 0.1, 0.5)
        for mark in ("text", "translation")
        for length in HUMAN_LENGTHS
    ),
)  # fmt: skip
"""At other levels than 1% too: shares that equal their level are p-values that are uniform."""
MARKS_TRANSLATION = MadeSuite(
    name="marks-translation",
    aspect="marks in translations",
    task="translation",
    description="everyday sentences in texts of 2 to 16, with the mark and without",
    filename="everyday.tsv",
    read=marked_translations,
    licence=LICENCE,
    minutes=20,
    metrics=(
        *(
            found(f"{reader}", category=f"{count} sentences")
            for reader in ("original", "key")
            for count in SENTENCES
        ),
        LossUse(
            metric="chrf_pp_loss", unit="points of chrF++", higher_is_better=False, num_refs=2,
            options={"variant": "marked"},
        ),
    ),
)  # fmt: skip
MARKS_PICTURE = MadeSuite(
    name="marks-picture",
    aspect="marks in pictures",
    task="image",
    description="50 pictures, read after each of 22 changes by each of two layers",
    filename="image-concepts.jsonl",
    read=marked_pictures,
    licence=LICENCE,
    minutes=6,
    metrics=(
        *(
            found(f"{change}, {layer}", "share of pictures")
            for layer in LAYERS
            for change in CHANGES
        ),
        *(
            MetricUse(metric="payload_bits", unit="share of bits", higher_is_better=True,
                      options={"of": change})
            for change in CHANGES
        ),
    ),
)  # fmt: skip
MARKS = (MARKS_TEXT, MARKS_EDITS, MARKS_PEOPLE, MARKS_TRANSLATION, MARKS_PICTURE)
