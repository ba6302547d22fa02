"""Reads pictures of a run's records with the instruments: what metrics take as input."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from PIL import Image

from evals.judge.people import Person
from evals.judge.weights import fingerprint, load_detector, load_judge, load_people
from mtgen.errors import RecordsError

Record = Mapping[str, Any]


def paths_of(record: Record, lang: str | None = None) -> list[Path]:
    """Files of a record's pictures; of one language where that is given.

    Raises:
        RecordsError: the record was read without its folder.
    """
    if "folder" not in record:
        raise RecordsError(
            f"the record {record['id']} does not say in which folder its pictures are; "
            "read the run with evals.reports.tables.read_run"
        )
    kept = [image for image in record["images"] if lang in (None, image["lang"])]
    return [Path(record["folder"]) / image["file"] for image in kept]


def open_picture(path: Path) -> Image.Image:
    """A picture of a run.

    Raises:
        RecordsError: it is missing or damaged.
    """
    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except OSError as error:
        raise RecordsError(
            f"the picture {path} cannot be read ({error}); without it the run cannot be scored"
        ) from None


def similarities(record: Record, lang: str | None = None) -> list[list[float]]:
    """How near each picture is to each of its sample's captions, -1..1."""
    captions = _caption_vectors(tuple(record["sample"]["captions"]), fingerprint("judge"))
    return [(captions @ vector).tolist() for vector in vectors(record, lang)]


def vectors(record: Record, lang: str | None = None) -> list[Float[np.ndarray, " D"]]:
    """The judge's embedding of each picture, unit length."""
    known = fingerprint("judge")
    return [_picture_vector(path, path_changed(path), known) for path in paths_of(record, lang)]


def scaled(rows: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Embeddings as distances take them: of length root D, so each dimension varies by about 1."""
    return rows * rows.shape[-1] ** 0.5


def found_things(record: Record) -> list[list[dict[str, Any]]]:
    """What the detector finds in each picture."""
    known = fingerprint("detector")
    return [json.loads(_things(path, path_changed(path), known)) for path in paths_of(record)]


def people(record: Record) -> list[Person]:
    """Who is read off each picture."""
    known = fingerprint("people")
    return [_person(path, path_changed(path), known) for path in paths_of(record)]


def path_changed(path: Path) -> int:
    """When a file was written last, in ns; 0 where there is none."""
    return path.stat().st_mtime_ns if path.is_file() else 0


@lru_cache(maxsize=512)
def _caption_vectors(captions: tuple[str, ...], known: str) -> Float[np.ndarray, "N D"]:
    return load_judge().embed_captions(captions)


@lru_cache(maxsize=8192)
def _picture_vector(path: Path, changed_ns: int, known: str) -> Float[np.ndarray, " D"]:
    return load_judge().embed_pictures([open_picture(path)])[0]


@lru_cache(maxsize=8192)
def _things(path: Path, changed_ns: int, known: str) -> str:
    [found] = load_detector().detect([open_picture(path)])
    return json.dumps([dataclasses.asdict(thing) for thing in found])


@lru_cache(maxsize=8192)
def _person(path: Path, changed_ns: int, known: str) -> Person:
    [found] = load_people().read([open_picture(path)])
    return found
