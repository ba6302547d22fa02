"""Phrases that people write so often that what a key makes of them says nothing.

P-values of one key are uniform over texts that have nothing in common. Texts of people do: of three
tokens in a row, some thousand are in every second text, and as a key gives each of these the same
number every time, it finds all texts a little too marked, or too little. So these do not count.

`python -m mtgen.marks.frequent build/data` counts them in the built training texts.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("frequent.bin")
"""Ids of three tokens after each other, little-endian, 16 bits each; the most frequent first."""
NUM_PHRASES = 3000
NUM_TEXTS = 20_000
"""Of each language."""
SEED = 0


@cache
def frequent_phrases() -> frozenset[tuple[int, ...]]:
    """All of them, as ids of the default trunk's tokenizer."""
    rows = np.frombuffer(FILE.read_bytes(), "<u2").reshape(-1, 3)
    return frozenset(map(tuple, rows.tolist()))


def count_phrases(folder: Path) -> list[tuple[int, ...]]:
    """The most frequent phrases of the training texts, most frequent first.

    Args:
        folder: Of built data, with `text/LANG/train.parquet`.

    Raises:
        OSError: it has none.
    """
    import pyarrow.parquet as pq

    import mtgen
    from mtgen.requests import LANGUAGES

    tokenizer, counts = mtgen.load().tokenizer, Counter()
    for lang in LANGUAGES:
        table = pq.read_table(folder / "text" / lang / "train.parquet", columns=["text"])
        texts = table["text"].to_pylist()
        random.Random(SEED).shuffle(texts)
        for text in texts[:NUM_TEXTS]:
            ids = tokenizer.encode(" " + text)
            counts.update(zip(ids, ids[1:], ids[2:], strict=False))
    return [phrase for phrase, _ in counts.most_common(NUM_PHRASES)]


if __name__ == "__main__":
    FILE.write_bytes(np.array(count_phrases(Path(sys.argv[1])), "<u2").tobytes())
