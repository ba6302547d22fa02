"""Scores one output where it stands, with the metrics of the evals, as one line in words."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mtgen.errors import BadRequestError, EmptyPromptError, PictureError
from mtgen.tasks.quality import expected_chrf, quality_hint
from mtgen.ui.image_form import settings_of_file
from mtgen.ui.model import SharedModel

ENDINGS = {1: "st", 2: "nd", 3: "rd"}
DIGITS = re.compile(r"\d+")
"""Languages write the rest of a number in different ways."""


def metric(name: str, **given: Any) -> float | None:
    """The value of a metric of one output."""
    from evals.metrics import load_metric

    return load_metric(name).compute(**given)["value"]


def text_line(model: SharedModel, text: str) -> str:
    """How much a text repeats itself, how varied it is, and how likely the model finds it.

    Raises:
        EmptyPromptError: there is no text.
    """
    if not text.strip():
        raise EmptyPromptError("there is no answer to score yet")
    parts = [f"{len(text.split())} words"]
    repeated = metric("repetition", predictions=[text], n=4)
    different = metric("distinct_n", predictions=[text], n=2)
    if repeated is not None:
        parts.append(f"{repeated:.0%} of them in a repeated run of four")
    if different is not None:
        parts.append(f"{different:.0%} of the pairs of words are different (distinct-2)")
    try:
        scores = model.pipeline().log_likelihood(text)
        nll = -float(scores.double().sum())
        value = metric("perplexity", predictions=[nll], references=[len(scores)])
        parts.append(f"perplexity {value:,.3g} by the model itself, lower is likelier")
    except BadRequestError as error:  # longer than the model reads
        parts.append(f"no perplexity: {error}")
    return " · ".join(parts)


def translation_line(
    text: str, translation: str, reference: str, source: str, target: str,
    confidence: float | None, weights: Path,
) -> str:  # fmt: skip
    """Scores against a reference; without one, what is expected of it and which numbers it kept.

    Raises:
        EmptyPromptError: there is no translation.
    """
    if not translation.strip():
        raise EmptyPromptError("there is no translation to score yet")
    if reference.strip():
        given = {
            "predictions": [translation.strip()], "references": [json.dumps([reference.strip()])]
        }  # fmt: skip
        chrf, bleu, ter = (metric(name, **given) for name in ("chrf_pp", "bleu", "ter"))
        return (
            f"against the reference: chrF++ {chrf:.1f} and BLEU {bleu:.1f} of 100, higher is "
            f"better · TER {ter:.0f} edits a hundred words, lower is better"
        )
    parts = []
    if hint := quality_hint(confidence, source, target, weights):
        expected = expected_chrf(confidence, source, target, weights)
        parts.append(f"{hint}: translations of this confidence reach a chrF++ of {expected:.0f}")
    if numbers := DIGITS.findall(text):
        share = metric("kept", predictions=[translation], references=[json.dumps(numbers)])
        num = len(set(numbers))
        parts.append(f"{round((share or 0) * num)} of {num} numbers kept")
    told = " · ".join(parts) or "no number in it, and nothing is known of its quality"
    return f"{told} · paste a reference for chrF++, BLEU and TER"


def picture_line(paths: Sequence[str]) -> str:
    """Where the judge of the evals puts a picture's own prompt among captions of other things.

    Raises:
        gr.Error: a picture is no longer there.
        PictureError: there is none, or it is a sheet of several.
        WeightsNotFoundError: the judge has not been trained.
    """
    from evals.judge.scoring import open_picture
    from evals.judge.weights import load_judge
    from evals.suites import SUITES

    if not paths:
        raise PictureError("there is no picture to score yet")
    settings = [settings_of_file(path) for path in paths]
    if any(one.is_sheet for one in settings):
        raise PictureError("a sheet of several pictures has no score; open one of them")
    judge, told = load_judge(), []
    others = SUITES["image-concepts"].samples()[0].captions[1:]  # type: ignore[union-attr]
    for path, one in zip(paths, settings, strict=True):
        captions = judge.embed_captions([one.request.prompt, *others])
        near = captions @ judge.embed_pictures([open_picture(Path(path))])[0]
        place = 1 + int((near[1:] >= near[0]).sum())
        told.append(
            f"prompt {ordinal(place)} of {len(near)} captions "
            f"(agreement {near[0]:.2f}, others {near[1:].mean():.2f} on average)"
        )
    return " · ".join(told) + " · the judge's scale is -1 to 1; 1st means it looks as asked"


def ordinal(number: int) -> str:
    """`1st`, `12th`, `23rd`."""
    ending = "th" if number % 100 in (11, 12, 13) else ENDINGS.get(number % 10, "th")
    return f"{number}{ending}"
