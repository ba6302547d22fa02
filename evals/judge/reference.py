"""Embeddings of real pictures, frozen, against which generated ones are measured.

Half are single things in the styles that prompts ask for, half are scenes of them, composed from
seeds far from those of the generator's training; laid out tidily, as `--preset small` learns them.
They are made with one judge and of use with it
alone; `python -m evals.judge reference` makes them again.
"""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from collections.abc import Collection
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from evals.judge.concepts import judged_concepts, told_nouns
from evals.judge.corpus import scene_composer
from evals.judge.model import Judge
from evals.judge.scoring import scaled
from evals.judge.styles import PROMPT_STYLES
from evals.judge.weights import NUM_HEX, WEIGHTS, check_there, fingerprint
from mtgen.data.images.held_out import common_nouns
from mtgen.data.images.mixture import PictureMixture
from mtgen.data.packed import Packed
from mtgen.errors import CacheWriteError, CorruptedFileError, WeightsNotFoundError

REFERENCE = "reference.safetensors"
NUM_PICTURES = 1000
FIRST_SCENE = 2**46 + 2**40
FIRST_SINGLE = 2**39 + 2**30
SIZE_PX = 256
_BATCH = 100


def make_reference(
    judge: Judge,
    packed: Packed,
    count: int = NUM_PICTURES,
    nouns: Collection[str] | None = None,
) -> np.ndarray:
    """Embeds real pictures: first the single things, then as many scenes.

    Args:
        judge: That embeds them.
        packed: Real pictures.
        count: Of them.
        nouns: Code points of single things; those of `told_nouns` unless given.

    Returns:
        Unit vectors, `count` by D.
    """
    mixture = PictureMixture(packed, size_px=SIZE_PX, cache_mb=50, tidy=True)
    nouns = told_nouns() if nouns is None else nouns
    concepts = judged_concepts(packed, mixture.lexicon, nouns)
    names = {concept.noun.codepoints for concept in concepts}
    rows: dict[str, dict[str, int]] = defaultdict(dict)
    for row, kind in enumerate(packed.column("kind")):
        concept, style = mixture.rows["concept"][row], mixture.rows["source"][row]
        if kind == "emoji" and concept in names and style in PROMPT_STYLES:
            rows[style][concept] = row
    common = frozenset(noun.codepoints for noun in common_nouns(mixture.lexicon))
    composer = scene_composer(packed, mixture, SIZE_PX, PROMPT_STYLES, common, tidy=True)
    rng = random.Random(FIRST_SINGLE)
    pictures, embedded = [], []
    for number in range(count):
        if number < count // 2:
            members = rows[PROMPT_STYLES[number % len(PROMPT_STYLES)]]
            row = members[rng.choice(sorted(members))]
            pixels = mixture.picture(row, "en", FIRST_SINGLE + number).pixels
        else:
            pixels, _ = composer.scene(FIRST_SCENE + number, caption_langs=())
        pictures.append(Image.fromarray(pixels))
        if len(pictures) == _BATCH or number == count - 1:
            embedded.append(judge.embed_pictures(pictures))
            pictures = []
    return np.concatenate(embedded)


def write_reference(vectors: np.ndarray, path: Path | None = None) -> Path:
    """Keeps embeddings with the judge's hash.

    Raises:
        CacheWriteError: disk full or not writable.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = path or WEIGHTS / REFERENCE
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({"vectors": vectors.astype(np.float16)}, partial, {"judge": fingerprint("judge")})
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        raise CacheWriteError(f"cannot write {path}: {error}") from None
    return path


def read_reference() -> Float[np.ndarray, "M D"]:
    """The frozen embeddings, scaled for distances.

    Raises:
        WeightsNotFoundError: there are none.
        CorruptedFileError: they are damaged, or another judge made them.
    """
    path = WEIGHTS / REFERENCE
    check_there("judge")
    if not path.is_file():
        raise WeightsNotFoundError(
            f"the real pictures' embeddings {path} are missing; "
            "'python -m evals.judge reference --pack DIR' makes them"
        )
    return _read(path, path.stat().st_mtime_ns, fingerprint("judge"))


@cache
def _read(path: Path, changed_ns: int, judge: str) -> Float[np.ndarray, "M D"]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            made_by = (file.metadata() or {}).get("judge")
            vectors = file.get_tensor("vectors").astype(np.float64)
    except (SafetensorError, OSError) as error:
        raise CorruptedFileError(f"{path} is damaged ({error}); make it again") from None
    if made_by != judge:
        raise CorruptedFileError(
            f"{path} was made with the judge {made_by}, and this one is {judge}; "
            "'python -m evals.judge reference --pack DIR' makes it again"
        )
    return scaled(vectors)


def reference_fingerprint() -> str:
    """First digits of the file's sha256; `none` where it is missing."""
    path = WEIGHTS / REFERENCE
    if not path.is_file():
        return "none"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:NUM_HEX]
