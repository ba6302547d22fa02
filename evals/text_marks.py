"""Measures the marks in texts: `python -m evals.text_marks schemes --texts 200 --out runs/marks`.

schemes       texts of our own model, marked in each way; each is cut at several lengths, turned
              into text and back, and read with the key alone, with the model, and with the model
              that is told the prompt
human         false positives on texts of people, of the validation split of the training data
attacks       marked texts with words left out or replaced, written anew, or translated and back
translations  what the mark costs in chrF++ on validation sentences, and when it is found
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest, kstest
from tqdm import tqdm

from evals.metrics.stats import paired_difference
from evals.suites.base import frozen_file
from evals.translation_quality import sentences
from mtgen.cli import Parser, print_json, run
from mtgen.marks.gumbel import evidence, weighted_p_value
from mtgen.marks.keys import TEXT, TRANSLATION, MarkKey
from mtgen.marks.original import Choices, choices_p_value, merged, sentence_choices
from mtgen.marks.schemes import SCHEMES, GumbelScheme, Scheme, scheme
from mtgen.marks.text import ANY_PROMPT, tested_translation
from mtgen.marks.tilt import STRENGTH, Tilt, tilt_mark
from mtgen.model.beam import beam_search, read_batch
from mtgen.model.sampling import Unmarked, seeded
from mtgen.model.tokenizer import ChatTokenizer, translation_prompt
from mtgen.pipeline import Pipeline
from mtgen.requests import LANGUAGES, UNMARKED, Message

PROMPTS = "marks-prompts.txt"
LENGTHS = (25, 50, 100, 200)
LEVELS = (0.01, 1e-5)
BATCH = 50


def prompts(count: int) -> list[str]:
    """Different prompts, up to 200, of ten forms and twenty topics in turn."""
    return frozen_file(PROMPTS).read_text("utf-8").splitlines()[:count]


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


def read_text(pipeline: Pipeline, way: Scheme, text: str, prompt: str) -> dict[str, float]:
    """P-values of a text: by the key, and for our mark with the model, which knows the prompt."""
    ids = pipeline.tokenizer.encode(text)
    found = {"key": way.read(ids).p_value}
    if isinstance(way, GumbelScheme):
        places = way.mark.pairs(ids)
        scores = evidence(way.mark.numbers(ids, places))
        for name, before in (("model", ANY_PROMPT), ("prompt", prompt)):
            nats = pipeline.log_probabilities(ids, pipeline.asked(before)).double().numpy()
            found[name] = weighted_p_value(scores, np.exp(nats[places]), way.mark.num_keys)
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


def compared(
    pipeline: Pipeline, name: str, options: Any, plain: dict[float, np.ndarray]
) -> list[dict[str, Any]]:
    """Rates of one scheme at each temperature and length.

    Args:
        pipeline: Whose texts are marked.
        name: Of the scheme, or UNMARKED.
        options: Of the command line.
        plain: By temperature, nats a token of each text without a mark; gets those of UNMARKED.
    """
    way = None
    if name != UNMARKED:
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
        nats = np.array([-float(pipeline.log_likelihood(text).mean()) for text in said])
        row: dict[str, Any] = {"scheme": name, "temperature": temperature, "texts": len(said)}
        row["perplexity"] = math.exp(nats.mean())
        if way is None:
            plain[temperature] = nats
        elif temperature in plain:
            before = [[value] for value in plain[temperature][: len(nats)]]
            more, interval = paired_difference(before, [[value] for value in nats], "mean")
            row["perplexity_cost"] = [math.expm1(x) for x in (more, *(interval or ()))]
        rows.append(row)
        print_json(row)
        if way is None:
            continue
        for length in LENGTHS:
            cut = [pipeline.tokenizer.decode(ids[:length]) for ids in written]
            found = [read_text(pipeline, way, *one) for one in zip(cut, asked, strict=True)]
            for detector in found[0]:
                rows.append(
                    {"scheme": name, "temperature": temperature, "tokens": length,
                     "detector": detector, "different": len(set(cut)) / len(cut)}
                    | rates([one[detector] for one in found])
                )  # fmt: skip
                print_json(rows[-1])
    return rows


def human_texts(folder: Path, tokens: int, tokenizer: ChatTokenizer) -> Iterator[list[int]]:
    """Texts of people of so many tokens in four languages, of documents kept from training.

    Prose for calibration, and then sentences for validation; a text has one of both, and no
    sentence is in two texts.

    Raises:
        BadRequestError: the data has not been built there.
    """
    import pyarrow.parquet as pq

    streams = []
    for lang in LANGUAGES:
        path = folder / "text" / lang / "calibration.parquet"
        if path.is_file():
            streams.append(pq.read_table(path, columns=["text"])["text"].to_pylist())
    for lang in [lang for lang in LANGUAGES if lang != "en"]:
        pairs = sentences(folder, lang, 10**9)
        streams += [[pair[column] for pair in pairs] for column in (0, 1)]
    for stream in streams:
        ids: list[int] = []
        for text in stream:
            ids += tokenizer.encode(" " + text)
            while len(ids) >= tokens:
                yield ids[:tokens]
                ids = ids[tokens:]


def false_positives(pipeline: Pipeline, options: Any) -> list[dict[str, Any]]:
    """Rates of both marks on texts of people, by key, and whether p-values are uniform."""
    rows = []
    for length in LENGTHS:
        texts = list(human_texts(options.data, length, pipeline.tokenizer))
        count = min(options.texts, len(texts))
        texts = [texts[n * len(texts) // count] for n in range(count)]
        for number in range(options.keys):
            key = MarkKey(hashlib.sha256(f"key {number}".encode()).digest())
            for mark in (TEXT, TRANSLATION):
                if mark == TEXT:
                    found = [GumbelScheme(key.derived(TEXT)).read(ids).p_value for ids in texts]
                else:
                    found = [tested_translation(ids, key, None).p_whole for ids in texts]
                uniform = float(kstest(found, "uniform").pvalue)
                row = {"mark": mark, "key": key.fingerprint, "tokens": length, "ks_p": uniform}
                rows.append(row | rates(found))
                print_json(rows[-1])
    return rows


def without_words(text: str, rng: np.random.Generator, share: float = 0.3) -> str:
    """A text without that share of its words."""
    return " ".join(word for word in text.split() if rng.random() >= share)


def with_others(
    text: str, rng: np.random.Generator, words: Sequence[str], share: float = 0.2
) -> str:
    """A text with that share of its words replaced by words of other texts."""
    return " ".join(
        str(rng.choice(words)) if rng.random() < share else word for word in text.split()
    )


def rewritten(pipeline: Pipeline, text: str) -> str:
    """A text in other words, by our own model."""
    prompt = f"Rewrite this in other words:\n\n{text}"
    return pipeline.text(prompt, seed=1, max_new_tokens=260, mark=UNMARKED).text


def there_and_back(pipeline: Pipeline, text: str) -> str:
    """A text translated to French and back, by our own model."""
    away = pipeline.translate(text, source="en", target="fr", mark=UNMARKED).text
    return pipeline.translate(away, source="fr", target="en", mark=UNMARKED).text


@dataclass(frozen=True)
class Editor:
    """What edits are made with."""

    pipeline: Pipeline
    rng: np.random.Generator
    words: Sequence[str]
    """Put in place of others."""


EDITS: dict[str, Callable[[Editor, str], str]] = {
    "none": lambda by, text: text,
    "30% of words left out": lambda by, text: without_words(text, by.rng),
    "20% of words replaced": lambda by, text: with_others(text, by.rng, by.words),
    "both": lambda by, text: with_others(without_words(text, by.rng), by.rng, by.words),
    "lower case": lambda by, text: text.lower(),
    "rewritten by our model": lambda by, text: rewritten(by.pipeline, text),
    "translated to French and back by our model": lambda by, text: there_and_back(
        by.pipeline, text
    ),
}
SLOW_EDITS = tuple(EDITS)[-2:]
NUM_SLOW = 40
"""Texts that they are measured on, at most."""


def attacked(pipeline: Pipeline, options: Any) -> list[dict[str, Any]]:
    """Rates of our mark after each edit, at 200 tokens."""
    key = MarkKey(options.secret)
    way, rng = GumbelScheme(key.derived(TEXT)), np.random.default_rng(options.seed)
    rows = []
    for temperature in options.temperatures:
        asked = prompts(options.texts)
        written = texts(
            pipeline, asked, way, temperature=temperature, top_p=options.top_p,
            num_tokens=max(LENGTHS), seed=options.seed,
        )  # fmt: skip
        said = [pipeline.tokenizer.decode(ids) for ids in tqdm(written, total=len(asked))]
        editor = Editor(pipeline, rng, [word for text in said for word in text.split()])
        for name, edit in EDITS.items():
            count = min(len(said), NUM_SLOW) if name in SLOW_EDITS else len(said)
            changed = [edit(editor, text) for text in said[:count]]
            read = tqdm(zip(changed, asked, strict=False), total=count, desc=name)
            found = [read_text(pipeline, way, *one) for one in read]
            for detector in found[0]:
                row = {"attack": name, "temperature": temperature, "detector": detector}
                rows.append(row | rates([one[detector] for one in found]))
                print_json(rows[-1])
    return rows


def translated(pipeline: Pipeline, options: Any) -> list[dict[str, Any]]:
    """Cost in chrF++ and rates of the mark in translations, by its strength.

    Texts are made of whole sentences, of at least so many tokens; they are read with the key
    alone, and with their originals.
    """
    from sacrebleu.metrics.chrf import CHRF

    key, rows = MarkKey(options.secret), []
    mark = tilt_mark(key.derived(TRANSLATION))
    expert, tokenizer = pipeline.translation_expert(), pipeline.tokenizer
    for strength in options.strengths:
        bonus = Tilt(key.derived(TRANSLATION), strength) if strength else None
        scores, streams = [], []
        for lang in [lang for lang in LANGUAGES if lang != "en"]:
            pairs = sentences(options.data, lang, options.texts)
            for src, tgt, columns in (("en", lang, (0, 1)), (lang, "en", (1, 0))):
                made: dict[int, list[int]] = {}
                for start in tqdm(range(0, len(pairs), 32), desc=f"{strength:g}: {src}-{tgt}"):
                    sources = [tokenizer.encode(p[columns[0]]) for p in pairs[start : start + 32]]
                    for place, found in beam_search(
                        pipeline.runtime,
                        [translation_prompt(ids, src, tgt, tokenizer) for ids in sources],
                        eos_ids=tokenizer.eos_ids, bonus=bonus, expert=expert,
                        max_new_tokens=[2 * len(ids) + 12 for ids in sources],
                    ):  # fmt: skip
                        made[start + place] = list(found[0].ids)
                said = [tokenizer.decode(made[n]) for n in range(len(pairs))]
                wanted = [[pair[columns[1]] for pair in pairs]]
                scores.append(CHRF(word_order=2).corpus_score(said, wanted).score)
                read = tqdm(zip(pairs, said, strict=True), total=len(said), desc="reading")
                streams.append([
                    (text, sentence_choices(
                        pair[columns[0]], text, src, tgt, tokenizer, pipeline.runtime, expert
                    ))
                    for pair, text in read if text.strip()
                ])  # fmt: skip
        for length in LENGTHS:
            by_detector: dict[str, list[float]] = {"key": [], "original": []}
            for stream in streams:
                for part in grouped(stream, length, tokenizer):
                    ids = tokenizer.encode(" ".join(text for text, _ in part))
                    by_detector["key"].append(tested_translation(ids, key, None).p_whole)
                    choices = merged([choices for _, choices in part])
                    by_detector["original"].append(choices_p_value(choices, mark, num_random=999))
            for detector, p_values in by_detector.items():
                row = {
                    "strength": strength, "chrf": float(np.mean(scores)), "tokens": length,
                    "detector": detector,
                }  # fmt: skip
                rows.append(row | rates(p_values))
                print_json(rows[-1])
    return rows


def grouped(
    stream: Sequence[tuple[str, Choices]], length: int, tokenizer: ChatTokenizer
) -> Iterator[list[tuple[str, Choices]]]:
    """Sentences in order, together until they have so many tokens."""
    part: list[tuple[str, Choices]] = []
    count = 0
    for sentence in stream:
        part.append(sentence)
        count += len(tokenizer.encode(" " + sentence[0]))
        if count >= length:
            yield part
            part, count = [], 0


def schemes(pipeline: Pipeline, options: Any) -> list[dict[str, Any]]:
    """Rates of all schemes."""
    rows, plain = [], {}
    for name in options.schemes:
        rows += compared(pipeline, name, options, plain)
    return rows


MEASURES = {
    "schemes": schemes, "human": false_positives, "attacks": attacked, "translations": translated,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    """Command line."""
    import mtgen

    parser = Parser(
        prog="python -m evals.text_marks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("what", choices=MEASURES, help="what to measure")
    parser.add_argument("--schemes", nargs="+", default=[UNMARKED, *SCHEMES], help="names")
    parser.add_argument("--texts", type=int, default=200, help="of each setting")
    parser.add_argument("--temperatures", type=float, nargs="+", default=[0.8, 1.0], help="of them")
    parser.add_argument("--top-p", type=float, default=0.95, help="of sampling")
    parser.add_argument("--keys", type=int, default=2, help="human: keys to try")
    parser.add_argument(
        "--strengths", type=float, nargs="+", default=[0.0, STRENGTH], help="translations: nats"
    )
    parser.add_argument("--data", type=Path, default=Path("build/data"), help="built data")
    parser.add_argument("--seed", type=int, default=0, help="of the first text")
    parser.add_argument("--out", type=Path, help="folder that gets the rates as JSON")
    options = parser.parse_args(arguments)
    options.secret = b"a key for measurements, not safe"
    rows = MEASURES[options.what](mtgen.load(), options)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"text-marks-{options.what}.json"
        path.write_text(json.dumps(rows, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
