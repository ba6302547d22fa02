"""Draws a sample's pictures and keeps them beside the records, so that they can be scored again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals.runner.records import Record
from evals.suites.base import ImageSample
from mtgen.errors import CacheWriteError, TrunkError
from mtgen.requests import MAX_IMAGES, MAX_SEED, ImageRequest

if TYPE_CHECKING:
    from PIL.Image import Image

    from evals.models import Foreign
    from evals.models.base import TimeLimit
    from mtgen.pipeline import Pipeline

FOLDER = "pictures"
MAX_PX = 256
"""Larger pictures are kept at this size, so that a file has 200 kB at most."""


def image_requests(
    prompts: Mapping[str, str], num_images: int, seed: int, settings: Mapping[str, Any]
) -> list[tuple[str, ImageRequest]]:
    """Requests for a sample's pictures with their language, as many as a request may ask for.

    Args:
        prompts: By language; the same seeds for each.
        num_images: Pictures of each prompt.
        seed: Of the first picture of each prompt; the next ones follow.
        settings: Fields of `ImageRequest` that differ from their defaults.

    Raises:
        BadRequestError: no such request can be made.
    """
    return [
        (lang, ImageRequest(
            prompt=prompt, seed=(seed + start) % (MAX_SEED + 1),
            num_images=min(MAX_IMAGES, num_images - start), **settings,
        ))
        for lang, prompt in prompts.items()
        for start in range(0, num_images, MAX_IMAGES)
    ]  # fmt: skip


def draw_sample(
    pipeline: Pipeline | Foreign,
    sample: ImageSample,
    seed: int,
    settings: dict[str, Any],
    folder: Path,
    limit: TimeLimit,
) -> Record:
    """All pictures of a sample; the same seeds for each language.

    Args:
        pipeline: The model.
        sample: What to draw.
        seed: Of the first picture of each prompt; the next ones follow.
        settings: Fields of `ImageRequest` that differ from their defaults.
        folder: The run's.
        limit: Of all of them together.

    Raises:
        BadRequestError: the model refuses a prompt.
        TimeoutError: the limit was reached before all were drawn.
        CacheWriteError: disk full or not writable.
    """
    kept, seconds = [], 0.0
    for lang, request in image_requests(sample.prompts, sample.num_images, seed, settings):
        generation = pipeline.image(request, stop=limit)
        limit.check(generation)
        seconds += generation.timings.total_s
        for picture, drawn in zip(generation.images, generation.seeds, strict=True):
            name = f"{FOLDER}/{sample.id}-{lang}-{drawn}.png"
            save(picture, folder / name)
            kept.append({"lang": lang, "seed": drawn, "file": name})
    return Record(
        id=sample.id,
        kind="image",
        sample=asdict(sample),
        seed=seed,
        images=kept,
        seconds_per_picture=seconds / len(kept),
    )


def save(picture: Image, path: Path) -> None:
    """Writes a PNG of at most MAX_PX a side.

    Raises:
        CacheWriteError: disk full or not writable.
    """
    picture = picture.convert("RGB")
    if max(picture.size) > MAX_PX:
        picture.thumbnail((MAX_PX, MAX_PX))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "PNG")
    except OSError as error:
        raise CacheWriteError(
            f"cannot write to {path}: {error.strerror}; make room and run the same command again, "
            "it goes on where it stopped"
        ) from error


def experts_sha256(pipeline: Pipeline | Foreign) -> str | None:
    """Hex digest of the image expert's files; None where the model has none of ours.

    Raises:
        TrunkError: the files are missing or damaged.
    """
    from evals.models import Foreign
    from mtgen.model.files import AUTOENCODER, IMAGE_EXPERT, PICTURE_TOKENIZER
    from mtgen.model.trunk import sha256_of_all

    if isinstance(pipeline, Foreign):
        return None
    weights = pipeline.weights
    names = (AUTOENCODER, PICTURE_TOKENIZER, IMAGE_EXPERT)
    paths = [weights / name for name in names]
    if not all(path.is_file() for path in paths):
        pipeline.painters()  # says what is missing
        raise TrunkError(f"{weights} does not hold {', '.join(names)}")
    return sha256_of_all(paths)
