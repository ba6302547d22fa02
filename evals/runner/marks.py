"""Marks what suites ask for, and reads it as `verify` does, with the published key."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from evals.picture_marks import ANY_SIZE, CHANGES
from evals.runner.pictures import FOLDER, save
from evals.runner.records import Record
from evals.suites.base import (
    MarkedPictureSample,
    MarkedTextSample,
    MarkedTranslationSample,
    MarkSample,
    PeoplesTextSample,
    kind_of,
)
from evals.suites.marks import MARKS_PEOPLE, passages
from evals.text_marks import EDITS, Editor, read_text
from mtgen.errors import BadRequestError
from mtgen.marks.keys import TEXT, TRANSLATION, MarkKey
from mtgen.marks.original import choices_p_value, merged, sentence_choices
from mtgen.marks.picture import payload, read_picture
from mtgen.marks.schemes import GumbelScheme, scheme
from mtgen.marks.text import tested_translation
from mtgen.marks.tilt import tilt_mark
from mtgen.requests import UNMARKED, ImageRequest, TextRequest

if TYPE_CHECKING:
    from evals.models.base import TimeLimit
    from mtgen.pipeline import Pipeline

TOP_P = 0.95
RANDOM_KEYS = 999
"""Beside which the key is ranked, enough at 1% false positives."""


def text_request(sample: dict[str, Any], seed: int) -> TextRequest:
    """What a model is asked for a `MarkedTextSample`, given as a dict."""
    return TextRequest(
        prompt=sample["prompt"], mark=sample["mark"], temperature=sample["temperature"],
        top_p=TOP_P, max_new_tokens=sample["max_new_tokens"], seed=seed,
    )  # fmt: skip


def read_marked_text(
    model: Pipeline, sample: MarkedTextSample, seed: int, limit: TimeLimit
) -> Record:
    """An answer with its likelihood by the model, and what is found in its beginnings or edits."""
    generation = model.text(text_request(asdict(sample), seed), stop=limit)
    limit.check(generation)
    ids = model.tokenizer.encode(generation.text)
    p_values = {}
    if sample.mark != UNMARKED:
        secret = model.keys.current.derived(TEXT)
        way = scheme(sample.mark, secret, model.runtime.config.vocab_size)
        editor = Editor(model, np.random.default_rng(seed), other_words())
        read = {
            f"{length} tokens": model.tokenizer.decode(ids[:length])
            for length in sample.lengths
            if length <= len(ids)
        }
        for name in sample.edits:
            with contextlib.suppress(BadRequestError):  # of texts that the model refuses to read
                read[name] = EDITS[name](editor, generation.text)
        for name, text in read.items():
            for reader, p in read_text(model, way, text, sample.prompt).items():
                p_values[f"{name}, {reader}"] = [p]
    nats = model.log_probabilities(ids) if ids else torch.zeros(0)
    return Record(
        id=sample.id, kind=kind_of(sample), sample=asdict(sample), seed=seed,
        output=generation.text, finish_reason=generation.finish_reason,
        num_new_tokens=generation.timings.num_new_tokens, nll=-float(nats.double().sum()),
        num_tokens=len(nats), p_values=p_values,
    )  # fmt: skip


def other_words() -> list[str]:
    """Words of people's prose."""
    known = passages(MARKS_PEOPLE.filename)
    return [word for one in known if one.category == "en" for word in one.text.split()]


def read_peoples_text(model: Pipeline, sample: PeoplesTextSample) -> Record:
    """What is found of many keys where there is nothing."""
    ids = model.tokenizer.encode(sample.text)
    keys = [
        MarkKey(hashlib.sha256(f"{sample.id} {number}".encode()).digest())
        for number in range(sample.num_keys)
    ]
    p_values = {}
    for length in sample.lengths:
        part = ids[:length]
        if len(part) < length:
            continue
        p_values[f"{TEXT}, {length} tokens"] = [
            GumbelScheme(key.derived(TEXT)).read(part).p_value for key in keys
        ]
        p_values[f"{TRANSLATION}, {length} tokens"] = [
            tested_translation(part, key, None).p_whole for key in keys
        ]
    return Record(
        id=sample.id, kind=kind_of(sample), sample=asdict(sample), output=sample.text,
        p_values=p_values,
    )  # fmt: skip


def read_marked_translation(
    model: Pipeline, sample: MarkedTranslationSample, limit: TimeLimit
) -> Record:
    """A translation, and what is found in it by the key alone and beside its original."""
    outputs = model.translate_all(
        list(sample.sentences), source=sample.source, target=sample.target, mark=sample.mark,
        stop=limit,
    )  # fmt: skip
    if limit.is_set():
        raise TimeoutError(limit.sentence)
    text, p_values = " ".join(outputs), {}
    if sample.mark != UNMARKED:
        key, expert = model.keys.current, model.translation_expert()
        parts = [
            sentence_choices(
                original, said, sample.source, sample.target, model.tokenizer, model.runtime, expert
            )
            for original, said in zip(sample.sentences, outputs, strict=True)
            if said.strip()
        ]
        mark = tilt_mark(key.derived(TRANSLATION))
        found = tested_translation(model.tokenizer.encode(text), key, None)
        p_values["key"] = [found.p_whole]
        if parts:
            beside = choices_p_value(merged(parts), mark, num_random=RANDOM_KEYS)
            p_values["original"] = [beside]
    return Record(
        id=sample.id, kind=kind_of(sample), sample=asdict(sample), output=text, p_values=p_values
    )


def read_marked_picture(
    model: Pipeline, sample: MarkedPictureSample, seed: int, folder: Path, limit: TimeLimit
) -> Record:
    """A picture as users get it, and what is found in it after each change."""
    generation = model.image(ImageRequest(prompt=sample.prompt, seed=seed), stop=limit)
    limit.check(generation)
    image, key = generation.images[0], model.keys.current
    name = f"{FOLDER}/{sample.id}-{seed}.png"
    save(image, folder / name)
    p_values: dict[str, list[float]] = {}
    bits: dict[str, list[int]] = {}
    for change in sample.changes:
        [test] = read_picture(
            CHANGES[change](image), model.keys, any_size=change in ANY_SIZE, codes=model.read_codes
        )
        p_values[f"{change}, either"] = [test.p_value]
        p_values[f"{change}, pixels"] = [test.p_pixels]
        p_values[f"{change}, codes"] = [1.0 if test.p_codes is None else test.p_codes]
        bits[change] = list(test.payload)
    return Record(
        id=sample.id, kind=kind_of(sample), sample=asdict(sample), seed=seed,
        images=[{"lang": "en", "seed": seed, "file": name}],
        seconds_per_picture=generation.timings.total_s, p_values=p_values, bits=bits,
        written_bits=list(payload(key, model.image_model, model.today())),
    )  # fmt: skip


def read_marks(
    model: Pipeline, sample: MarkSample, seed: int, folder: Path, limit: TimeLimit
) -> Record:
    """The record of a sample, whose settings are its own.

    Args:
        model: One with a single key.
        sample: What is asked.
        seed: Of its answer.
        folder: The run's, for pictures.
        limit: Of the answer; reading it is not ended.

    Raises:
        BadRequestError: the model refuses it.
        TimeoutError: the limit was reached before it was done.
        CacheWriteError: disk full or not writable.
    """
    if isinstance(sample, MarkedTextSample):
        return read_marked_text(model, sample, seed, limit)
    if isinstance(sample, PeoplesTextSample):
        return read_peoples_text(model, sample)
    if isinstance(sample, MarkedTranslationSample):
        return read_marked_translation(model, sample, limit)
    return read_marked_picture(model, sample, seed, folder, limit)
