"""Sentences that must never be trained on, as hashes, so that they stay out of every build.

`held_out.bin` holds sorted 8-byte hashes of all held-out sentences, both sides, normalised. It
stays with the code: a build that cannot fetch a held-out set still keeps clear of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from mtgen.data.parallel.pairs import normalise, sentences, tidy
from mtgen.errors import BadRequestError

PATH = Path(__file__).with_name("held_out.bin")
SIZE = 8


def sentence_hash(text: str, *, ready: bool = False) -> bytes:
    """Eight bytes that two sentences share if they are equal after `normalise`.

    Args:
        text: A sentence.
        ready: It is normalised already.
    """
    plain = text if ready else normalise(text)
    return hashlib.blake2b(plain.encode(), digest_size=SIZE).digest()


def read_hashes(path: Path = PATH) -> set[bytes]:
    """Hashes of everything that is held out."""
    content = path.read_bytes()
    return {content[place : place + SIZE] for place in range(0, len(content), SIZE)}


MIN_WORDS = 4
"""Words of a sentence inside a longer held-out text from which it is held out by itself."""


def held_out_units(text: str) -> set[bytes]:
    """Hashes of a text and of each of its sentences that has some length."""
    parts = [part for part in sentences(tidy(text)) if len(part.split()) >= MIN_WORDS]
    return {sentence_hash(part) for part in (text, *parts) if normalise(part)}


def write_hashes(texts: Iterable[str], path: Path = PATH) -> int:
    """Adds texts and their sentences for good; what is held out once is never let in again.

    Returns:
        How many are held out now.
    """
    known = read_hashes(path) if path.is_file() else set()
    for text in texts:
        known |= held_out_units(text)
    path.write_bytes(b"".join(sorted(known)))
    return len(known)


def read_sentences(path: Path) -> list[str]:
    """Sentences of a Parquet file of pairs, or of a text file with one to a line.

    Raises:
        BadRequestError: no such file, or another format.
    """
    if not path.is_file():
        raise BadRequestError(f"there is no file {path}")
    if path.suffix == ".txt":
        return path.read_text("utf-8").splitlines()
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        table = pq.read_table(path, columns=["en", "translation"])
        return [*table["en"].to_pylist(), *table["translation"].to_pylist()]
    raise BadRequestError(f"{path.name} is neither .parquet nor .txt")
