"""`python -m mtgen bench --task translate`: translation beside `transformers`, in one run."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from tqdm import trange

from mtgen.engine.linear import Updates
from mtgen.model.tokenizer import translation_prompt
from mtgen.model.transformer import TrunkModel
from mtgen.requests import check_number

SENTENCE = "The children played in the garden until their mother called them home."
"""Twelve words."""
SOURCE, TARGET = "en", "de"
PARTS = (
    ("The old gardener", "My younger sister", "Our new neighbour", "The tired doctor",
     "A friendly waiter"),
    ("carried", "found", "repaired", "sold", "painted"),
    ("a small table", "two wooden chairs", "the blue bicycle", "an old clock"),
    ("in the kitchen", "near the station", "behind the house", "at the market",
     "under the bridge"),
    ("yesterday evening", "last summer"),
)  # fmt: skip
"""Whose combinations are 1,000 sentences of ten to twelve words."""


def sentences(count: int) -> list[str]:
    """Different sentences, up to 1,000."""
    return [" ".join(parts) + "." for parts in itertools.islice(itertools.product(*PARTS), count)]


def merged(folder: Path, expert: Sequence[Updates], out: Path) -> None:
    """Writes the trunk with an expert's updates added to its matrices, as `transformers` reads it.

    Args:
        folder: The trunk's checkpoint.
        expert: Low-rank updates of each layer.
        out: Gets the checkpoint, in bf16.
    """
    trunk = TrunkModel.from_dir(folder)
    for layer, updates in zip(trunk.layers, expert, strict=True):
        for name, update in updates.items():
            with torch.no_grad():
                getattr(layer, name).weight += update.up.float() @ update.down.float()
    trunk.save(out, trunk.state_dict())


def theirs(folder: Path, prompt: Sequence[int], eos_ids: Sequence[int], num_beams: int) -> Callable:
    """`transformers`' `generate` in float32 on a merged checkpoint."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    generate: Callable[..., Any] = getattr(model, "generate")  # noqa: B009 - mistyped upstream
    ids = torch.tensor([prompt])

    def once() -> int:
        out = generate(
            ids, attention_mask=torch.ones_like(ids), num_beams=num_beams, do_sample=False,
            max_new_tokens=64, eos_token_id=list(eos_ids), pad_token_id=0,
        )  # fmt: skip
        return out.shape[1] - len(prompt)

    return once


def bench_translation(
    trunk: str | Path | None = None,
    *,
    weights: str | Path | None = None,
    rounds: int = 5,
    num_sentences: int = 200,
) -> dict[str, Any]:
    """Measures a sentence with beams and greedily, many sentences at once, and memory.

    Args:
        trunk: As in `mtgen.load`.
        weights: Folder of the translation expert; None is this release's.
        rounds: Interleaved rounds after one warm-up, 1..100.
        num_sentences: Translated in batches, 1..1000.

    Returns:
        JSON-ready; medians in seconds, and ratios within the rounds.
    """
    import mtgen

    check_number("rounds", rounds, 1, 100, integer=True)
    check_number("sentences", num_sentences, 1, 1000, integer=True)
    pipeline = mtgen.load(trunk, weights=weights)
    before = psutil.Process().memory_info().rss
    expert = pipeline.translation_expert()
    expert_mb = (psutil.Process().memory_info().rss - before) / 1e6
    tokenizer = pipeline.tokenizer
    ids = tokenizer.encode(SENTENCE)
    prompt = translation_prompt(ids, SOURCE, TARGET, tokenizer)

    def ours(num_beams: int) -> Callable[[], int]:
        def once() -> int:
            result = pipeline.translate(SENTENCE, source=SOURCE, target=TARGET, num_beams=num_beams)
            return result.timings.num_new_tokens

        return once

    many = sentences(num_sentences)
    pipeline.translate("\n".join(many[:32]), source=SOURCE, target=TARGET)
    began = time.perf_counter()
    pipeline.translate("\n".join(many), source=SOURCE, target=TARGET)
    batched_s = time.perf_counter() - began
    resident_mb = psutil.Process().memory_info().rss / 1e6
    with tempfile.TemporaryDirectory() as folder:
        merged(pipeline.folder, expert, Path(folder))
        eos_ids = sorted(tokenizer.eos_ids)
        runs = {
            "mtgen, 4 beams": ours(4),
            "mtgen, greedy": ours(1),
            "transformers float32, 4 beams": theirs(Path(folder), prompt, eos_ids, 4),
            "transformers float32, greedy": theirs(Path(folder), prompt, eos_ids, 1),
        }
        times: dict[str, list[float]] = {name: [] for name in runs}
        tokens: dict[str, int] = {}
        for index in trange(rounds + 1, desc="rounds", disable=None):
            for name, once in runs.items():
                began = time.perf_counter()
                tokens[name] = once()
                if index:  # round 0 warms up
                    times[name].append(time.perf_counter() - began)
    rows = []
    for name in runs:
        other = times[name.replace("mtgen,", "transformers float32,")]
        rows.append(
            {
                "name": name,
                "seconds": statistics.median(times[name]),
                "num_new_tokens": tokens[name],
                "times_transformers": statistics.median(
                    theirs / mine for theirs, mine in zip(other, times[name], strict=True)
                ),
            }
        )
    return {
        "model": pipeline.translation_model,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "sentence": SENTENCE,
        "contestants": rows,
        "num_sentences": len(many),
        "sentences_per_s": len(many) / batched_s,
        "expert_mb": expert_mb,
        "resident_mb": resident_mb,
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    num_words = len(result["sentence"].split())
    lines = [
        f"{result['model']}, {result['threads']} threads, a sentence of {num_words} words; "
        f"medians of {result['rounds']} interleaved rounds",
        f"{result['num_sentences']} sentences in batches, 4 beams: "
        f"{result['sentences_per_s']:.1f} a second",
        f"expert {result['expert_mb']:.0f} MB, {result['resident_mb']:.0f} MB resident in all",
        "",
        f"{'':32}  seconds  tokens  ratio",
    ]
    lines += [
        f"{row['name']:32}  {row['seconds']:7.3f}  {row['num_new_tokens']:6}  "
        f"{row['times_transformers']:4.1f}x"
        for row in result["contestants"]
    ]
    return "\n".join(lines)
