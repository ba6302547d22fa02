"""Reads packed sets: memory-mapped, nothing is unpacked or copied before it is used."""

from __future__ import annotations

import json
from bisect import bisect_right
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from mtgen.data.pack import MANIFEST
from mtgen.errors import BadRequestError, CorruptedFileError


class Packed:
    """Rows of one packed set, by number.

    Args:
        folder: What `--pack` was given.
        kind: images, parallel or text.

    Raises:
        BadRequestError: the set has not been packed there.
        CorruptedFileError: a file is missing or has another size than the manifest says.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        notes = folder / MANIFEST
        known = json.loads(notes.read_text("utf-8")) if notes.is_file() else {}
        if kind not in known:
            raise BadRequestError(
                f"{folder} holds no packed {kind}; "
                f"'python -m mtgen.data build {kind} --out DIR --pack {folder}' makes it"
            )
        self.manifest: dict[str, Any] = known[kind]
        self.batches: list[pa.RecordBatch] = []
        for name, entry in self.manifest["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry["size_bytes"]:
                raise CorruptedFileError(
                    f"{path} is missing or cut off; it should have {entry['size_bytes']:,} bytes"
                )
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            self.batches += [reader.get_batch(n) for n in range(reader.num_record_batches)]
        self.starts = np.cumsum([0, *(batch.num_rows for batch in self.batches)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def place(self, row: int) -> tuple[pa.RecordBatch, int]:
        """The batch that holds a row, and its number there."""
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        number = bisect_right(self.starts, row) - 1
        return self.batches[number], row - int(self.starts[number])

    def column(self, name: str) -> list[Any]:
        """All values of a small column as Python objects."""
        return [value for batch in self.batches for value in batch[name].to_pylist()]

    def numpy(self, name: str) -> np.ndarray:
        """All values of a numeric column."""
        return np.concatenate([batch[name].to_numpy() for batch in self.batches])

    def webp(self, row: int) -> memoryview:
        """The encoded picture of a row, where it lies in the mapped file."""
        batch, place = self.place(row)
        return memoryview(batch["image"].field("bytes")[place].as_buffer())


class PackedTokens:
    """One column of token lists; item `i` is a uint16 view into the mapped file."""

    def __init__(self, packed: Packed, column: str) -> None:
        self.packed = packed
        self.views = []
        for batch in packed.batches:
            array = batch[column]
            self.views.append((array.offsets.to_numpy(), array.values.to_numpy()))
        self.lengths = np.concatenate([np.diff(offsets) for offsets, _ in self.views])
        """Tokens of each row, int32."""

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, row: int) -> np.ndarray:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        number = bisect_right(self.packed.starts, row) - 1
        offsets, values = self.views[number]
        place = row - int(self.packed.starts[number])
        return values[offsets[place] : offsets[place + 1]]
