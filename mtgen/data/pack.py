"""Packs a built set for training: Arrow files of at most 60 MB that are memory-mapped as they are.

Pictures stay WebP (256 px, alpha), text becomes the trunk's tokens as uint16. Rows are shuffled
once, so that reading in order is sampling without replacement.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mtgen.data.build import MAKE_ROOM, code_hash
from mtgen.errors import BadRequestError, ConfigError
from mtgen.model.trunk import find_trunk, sha256_of, writing

MAX_FILE_BYTES = 60_000_000
MANIFEST = "pack.json"
TOKENS = pa.list_(pa.uint16())
PICTURE_COLUMNS = ("id", "image", "source", "kind", "concept", "names", "keywords", "group",
                   "person", "gender", "tone", "colour", "recolours", "weight")  # fmt: skip
CHUNK_ROWS = 1_000


def pack(kind: str, built: Path, folder: Path, *, seed: int = 0) -> dict[str, Any]:
    """Packs the training split of a built set.

    Args:
        kind: images, parallel or text.
        built: What `build --out` was given.
        folder: Receives `KIND-00000.arrow` and so on, and `pack.json`.
        seed: Of the order.

    Returns:
        The manifest: files with hashes and rows, and the tokenizer's hash.

    Raises:
        BadRequestError: the set has not been built there.
        CacheWriteError: the folder cannot be written.
    """
    paths = sorted(
        path
        for path in (built / kind).rglob("train*.parquet")
        if "held_out" not in path.relative_to(built / kind).parts
    )
    if not paths:
        raise BadRequestError(
            f"{built / kind} holds no training data; 'build {kind} --out {built}' makes it"
        )
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    order = np.random.default_rng(seed).permutation(table.num_rows)
    manifest: dict[str, Any] = {"set": kind, "seed": seed, "code_sha256": code_hash()}
    if kind == "images":
        table = table.select(PICTURE_COLUMNS).replace_schema_metadata(None)
    else:
        table, manifest["tokenizer_sha256"] = tokenised(table, kind)
    with writing(folder, MAKE_ROOM):
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{kind}-*.arrow"):
            old.unlink()
        files = write(table, order, folder, kind)
    manifest["rows"] = table.num_rows
    manifest["files"] = {
        path.name: {
            "sha256": sha256_of(path),
            "size_bytes": path.stat().st_size,
            "rows": rows,
        }
        for path, rows in files
    }
    notes = folder / MANIFEST
    known = json.loads(notes.read_text("utf-8")) if notes.is_file() else {}
    notes.write_text(json.dumps(known | {kind: manifest}, indent=1) + "\n", "utf-8")
    return manifest


def tokenised(table: pa.Table, kind: str) -> tuple[pa.Table, str]:
    """Text columns as tokens of the trunk, without special ones; and the tokenizer's hash."""
    from tokenizers import Tokenizer

    path = find_trunk() / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(path))
    if tokenizer.get_vocab_size() > 1 << 16:
        raise ConfigError(
            f"the trunk's tokenizer has {tokenizer.get_vocab_size():,} tokens; packed text holds "
            "16-bit ones, at most 65,536"
        )

    def tokens(column: str) -> pa.Array:
        parts = []
        for chunk in chunked(table[column].to_pylist(), 20_000):
            found = tokenizer.encode_batch(chunk, add_special_tokens=False)
            offsets = np.cumsum([0, *(len(entry.ids) for entry in found)], dtype=np.int32)
            values = np.fromiter(
                (token for entry in found for token in entry.ids), np.uint16, count=int(offsets[-1])
            )
            parts.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(values)))
        return pa.chunked_array(parts, TOKENS)

    if kind == "parallel":
        columns = {
            "tgt_lang": table["tgt_lang"],
            "en": tokens("en"),
            "translation": tokens("translation"),
            "gender": table["gender"],
        }
    else:
        columns = {"lang": table["lang"], "tokens": tokens("text")}
    columns |= {"source": table["source"], "weight": table["weight"]}
    return pa.table(columns), sha256_of(path)


def chunked(values: list, size: int) -> Iterator[list]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def write(table: pa.Table, order: np.ndarray, folder: Path, kind: str) -> list[tuple[Path, int]]:
    """Arrow IPC files in the order given; a new one begins before the limit is passed."""
    files: list[tuple[Path, int]] = []
    writer = sink = None
    used = rows = 0
    table = table.combine_chunks()
    for places in chunked(order.tolist(), CHUNK_ROWS):
        # a copy, since a slice would carry the whole buffers along
        batch = pa.concat_tables([table.take(pa.array(places))]).combine_chunks().to_batches()[0]
        size = batch.get_total_buffer_size() + 4096
        if writer is None or used + size > MAX_FILE_BYTES:
            if writer is not None and sink is not None:
                writer.close()
                sink.close()
                files[-1] = (files[-1][0], rows)
            path = folder / f"{kind}-{len(files):05}.arrow"
            sink = pa.OSFile(str(path), "wb")
            writer = pa.ipc.new_file(sink, table.schema)
            files.append((path, 0))
            used = rows = 0
        writer.write_batch(batch)
        used += size
        rows += batch.num_rows
    if writer is not None and sink is not None:
        writer.close()
        sink.close()
        files[-1] = (files[-1][0], rows)
    return files
