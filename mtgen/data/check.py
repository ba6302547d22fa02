"""Proves on built data that it is whole, and that nothing held out is in training.

Written apart from the builders, straight on the Parquet files, so that a mistake there shows here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mtgen.data.images.held_out import HeldOut
from mtgen.data.parallel.held_out import held_out_units, read_hashes, sentence_hash
from mtgen.data.parallel.pairs import sentences
from mtgen.errors import BadRequestError, CorruptedFileError, MtgenError
from mtgen.model.trunk import sha256_of


class LeakError(MtgenError):
    """Something held out is in a training split."""


def check(out: Path) -> dict[str, Any]:
    """Checks every set under a build's output folder.

    Returns:
        What was checked, by set.

    Raises:
        BadRequestError: no built set there.
        CorruptedFileError: a file differs from the manifest's hash.
        LeakError: a training row holds something held out; names it.
    """
    found: dict[str, str] = {}
    for kind, prove in (("images", images), ("parallel", parallel), ("text", text)):
        folder = out / kind
        if (folder / "manifest.json").is_file():
            files = whole(folder)
            found[kind] = f"{files} files as in the manifest; {prove(folder)}"
    if {"parallel", "text"} <= set(found):
        found["parallel with text"] = across(out)
    if not found:
        raise BadRequestError(f"{out} holds no built set; 'build SET --out {out}' makes one")
    return {"out": str(out), "sets": found}


LONG = 60
"""Characters from which a sentence that is in two places was hardly written twice."""

MAX_SHARED = 0.05
"""Share of calibration's long sentences that may be in training: stock phrases of manuals."""


def across(out: Path) -> str:
    """Calibration documents are not in the parallel training text; stock phrases may be."""
    trained: set[bytes] = set()
    for path in sorted((out / "parallel").glob("en-*/train.parquet")):
        table = pq.read_table(path, columns=["en", "translation"])
        for column in table.to_pydict().values():
            trained |= {sentence_hash(value) for value in column if len(value) >= LONG}
    total = shared = 0
    for path in sorted((out / "text").glob("*/calibration.parquet")):
        for text in pq.read_table(path, columns=["text"])["text"].to_pylist():
            for sentence in sentences(text):
                if len(sentence) >= LONG:
                    total += 1
                    shared += sentence_hash(sentence) in trained
    if shared > MAX_SHARED * total:
        raise LeakError(
            f"{shared:,} of {total:,} long sentences of calibration are in the parallel training "
            f"text, over {MAX_SHARED:.0%}"
        )
    return f"{shared:,} of {total:,} long sentences of calibration are in parallel training"


def whole(folder: Path) -> int:
    """Compares all files with the manifest's hashes."""
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file() or sha256_of(path) != entry["sha256"]:
            raise CorruptedFileError(f"{path} is missing or differs from the manifest's hash")
    return len(manifest["files"])


def parallel(folder: Path) -> str:
    """No training or validation sentence equals a held-out one, on either side."""
    hashes = read_hashes()
    held = 0
    for path in sorted((folder / "held_out").rglob("*.parquet")):
        for column in pq.read_table(path, columns=["en", "translation"]).to_pydict().values():
            held += len(column)
            for value in column:
                hashes |= held_out_units(value)
    rows = 0
    for path in sorted(folder.glob("en-*/*.parquet")):
        table = pq.read_table(path, columns=["en", "translation"])
        rows += table.num_rows
        for row in table.to_pylist():
            for value in row.values():
                if sentence_hash(value) in hashes:
                    raise LeakError(f"{path} holds a held-out sentence: {value!r}")
    return f"none of {rows:,} pairs equals one of {len(hashes):,} held-out sentences on a side"


def images(folder: Path) -> str:
    """No training picture shows a concept in a style that is held out, or equals such a picture."""
    styles = HeldOut.read().styles
    kept_away = {
        digest
        for digest in pq.read_table(folder / "held_out.parquet", columns=["pixels_sha256"])[
            "pixels_sha256"
        ].to_pylist()
    }
    rows = 0
    for path in sorted(folder.glob("train-*.parquet")):
        table = pq.read_table(path, columns=["id", "concept", "source", "pixels_sha256"])
        rows += table.num_rows
        for row in table.to_pylist():
            if (row["concept"], row["source"]) in styles or row["pixels_sha256"] in kept_away:
                raise LeakError(f"{path} holds the held-out picture {row['id']}")
    return f"none of {rows:,} pictures is one of {len(styles):,} held-out concepts in their style"


def text(folder: Path) -> str:
    """No document has passages both in training and in calibration."""
    documents: dict[str, set[tuple[str, str]]] = {"train": set(), "calibration": set()}
    rows = 0
    for path in sorted(folder.glob("*/*.parquet")):
        table = pq.read_table(path, columns=["source", "document"])
        rows += table.num_rows
        documents[path.stem] |= {(row["source"], row["document"]) for row in table.to_pylist()}
    if both := documents["train"] & documents["calibration"]:
        raise LeakError(f"a document is in training and in calibration: {sorted(both)[0]}")
    return f"no document of {rows:,} passages is both in training and in calibration"
