"""Cleans a parallel corpus of any size with mtgen's filters: corpus files, language, output folder.

On a cluster each node takes its part: clean_corpus.py 'part-*.tsv' fr OUT 3 64 is number 3 of 64.
"""

import sys
from pathlib import Path

import datasets

from mtgen.data.parallel.filters import refusal
from mtgen.data.parallel.pairs import Pair, tidy

files, lang, out, *part = sys.argv[1:]
number, parts = map(int, part or (0, 1))


def clean(row):
    pair = Pair(lang, tidy(row["en"] or ""), tidy(row["translation"] or ""))
    return {"en": pair.en, "translation": pair.text, "reason": refusal(pair) or ""}


columns = {"delimiter": "\t", "column_names": ["en", "translation"], "quoting": 3}
corpus = datasets.load_dataset("csv", data_files=files, split="train", **columns)
corpus = corpus.shard(parts, number).map(clean, num_proc=2)
kept = corpus.filter(lambda row: not row["reason"]).remove_columns("reason")
Path(out).mkdir(parents=True, exist_ok=True)
kept.to_parquet(f"{out}/{lang}-{number:05}-of-{parts:05}.parquet")
print(f"{len(kept):,} of {len(corpus):,} pairs kept")
