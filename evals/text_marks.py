"""Compares ways to mark texts: `python -m evals.text_marks --texts 200 --out runs/marks`.

Texts of our own model, marked in each way; each is cut at several lengths, turned into text and
back, and read with the key alone and with the model's own probabilities.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from tqdm import tqdm

from mtgen.cli import Parser, print_json, run
from mtgen.marks.gumbel import evidence, weighted_p_value
from mtgen.marks.schemes import SCHEMES, GumbelScheme, Scheme, scheme
from mtgen.model.beam import read_batch
from mtgen.model.sampling import Unmarked, seeded
from mtgen.pipeline import Pipeline
from mtgen.requests import Message

FORMS = (
    "Write a short story about {}.", "Explain to a child what is special about {}.",
    "Write a letter to a friend about {}.", "Give me advice about {}.",
    "Describe a day that has to do with {}.", "Write a newspaper report about {}.",
    "What should everyone know about {}?", "Write a speech about {}.",
    "Write the beginning of a novel about {}.", "List and explain five ideas about {}.",
)  # fmt: skip
TOPICS = (
    "a lighthouse keeper", "growing tomatoes on a balcony", "an old railway bridge",
    "learning to swim as an adult", "the first snow of the year", "a lost dog in a big city",
    "baking bread at home", "a library that never closes", "moving to another country",
    "the night sky in summer", "repairing bicycles", "a village without cars",
    "a grandmother's kitchen", "the sound of the sea", "the end of a long journey",
    "a school choir", "walking in the mountains", "an honest thief", "saving energy at home",
    "a garden in winter",
)  # fmt: skip
LENGTHS = (25, 50, 100, 200)
LEVELS = (0.01, 1e-5)
BATCH = 50


def prompts(count: int) -> list[str]:
    """Different prompts, up to 200, each topic in turn."""
    made = [form.format(topic) for form in FORMS for topic in TOPICS]
    step = 37  # with 200 it has no divisor in common, so that forms and topics mix
    return [made[number * step % len(made)] for number in range(count)]


@torch.inference_mode()
def texts(
    pipeline: Pipeline, asked: Sequence[str], way: Scheme | None, *, temperature: float,
    top_p: float, num_tokens: int, seed: int,
) -> Iterator[list[int]]:  # fmt: skip
    """Answers of `num_tokens` tokens, in batches; the end of an answer is not allowed before."""
    tokenizer, runtime = pipeline.tokenizer, pipeline.runtime
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        ids = [tokenizer.encode_chat([Message(role="user", content=text)]) for text in part]
        writers = [way.writer() if way else Unmarked() for _ in part]
        generators = [seeded(seed + start + number) for number in range(len(part))]
        cache, logits = read_batch(runtime, ids, num_tokens, None)
        written: list[list[int]] = [[] for _ in part]
        for _ in range(num_tokens):
            logits[:, sorted(tokenizer.eos_ids)] = -torch.inf
            for row, writer in enumerate(writers):
                token = writer.next(logits[row], temperature, top_p, generators[row])
                written[row].append(token)
            last = torch.tensor([[row[-1]] for row in written])
            logits = runtime.forward(last, cache)[:, -1]
        yield from written


def read_text(pipeline: Pipeline, way: Scheme, text: str) -> dict[str, float]:
    """P-values of a text: by the key alone, and for our mark with the model as well."""
    ids = pipeline.tokenizer.encode(text)
    found = {"key": way.read(ids).p_value}
    if isinstance(way, GumbelScheme):
        odds = np.exp(pipeline.log_likelihood(text).numpy().astype(np.float64))
        places = way.mark.pairs(ids)
        scores = evidence(way.mark.numbers(ids, places))
        found["model"] = weighted_p_value(scores, odds[places], way.mark.num_keys)
    return found


def rates(p_values: Sequence[float]) -> dict[str, Any]:
    """Share below each level, with its 95% interval."""
    row: dict[str, Any] = {"texts": len(p_values)}
    for level in LEVELS:
        hits = sum(p <= level for p in p_values)
        interval = binomtest(hits, len(p_values)).proportion_ci(method="wilson")
        row[f"{level:g}"] = [hits / len(p_values), float(interval.low), float(interval.high)]
    row["median"] = float(np.median(p_values))
    return row


def compared(pipeline: Pipeline, name: str, options: Any) -> list[dict[str, Any]]:
    """Rates of one scheme at each temperature and length."""
    way = scheme(name, options.secret, pipeline.runtime.config.vocab_size)
    rows = []
    asked = prompts(options.texts)
    for temperature in options.temperatures:
        written = list(
            tqdm(
                texts(
                    pipeline, asked, way, temperature=temperature, top_p=options.top_p,
                    num_tokens=max(LENGTHS) + 8, seed=options.seed,
                ),
                total=len(asked), desc=f"{name}, temperature {temperature:g}", disable=None,
            )
        )  # fmt: skip
        said = [pipeline.tokenizer.decode(ids) for ids in written]
        nats = [-float(pipeline.log_likelihood(text).mean()) for text in said]
        for length in LENGTHS:
            cut = [pipeline.tokenizer.decode(ids[:length]) for ids in written]
            found = [read_text(pipeline, way, text) for text in cut]
            for detector in found[0]:
                rows.append(
                    {"scheme": name, "temperature": temperature, "tokens": length,
                     "detector": detector, "perplexity": math.exp(float(np.mean(nats))),
                     "different": len(set(cut)) / len(cut)}
                    | rates([one[detector] for one in found])
                )  # fmt: skip
    return rows


def main(arguments: list[str]) -> int:
    """Command line."""
    import mtgen

    parser = Parser(prog="python -m evals.text_marks", description=__doc__)
    parser.add_argument("--schemes", nargs="+", default=list(SCHEMES), help="names")
    parser.add_argument("--texts", type=int, default=200, help="of each scheme and temperature")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.8, 1.0], help="of them")
    parser.add_argument("--top-p", type=float, default=0.95, help="of sampling")
    parser.add_argument("--seed", type=int, default=0, help="of the first text")
    parser.add_argument("--out", type=Path, help="folder that gets the rates as JSON")
    options = parser.parse_args(arguments)
    options.secret = b"a key for measurements, not safe"
    pipeline = mtgen.load()
    rows = []
    for name in options.schemes:
        rows += compared(pipeline, name, options)
        for row in rows[-2 * len(LENGTHS) :]:
            print_json(row)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "text-marks.json").write_text(json.dumps(rows, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
