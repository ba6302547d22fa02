"""`python -m mtgen bench`: our speed beside `transformers`' own, measured in one run.

Rounds are interleaved, so that a machine which slows down slows all contestants down, and
medians are reported. Every contestant runs the same weights, greedily, from the same prompt.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from tqdm import trange

from mtgen.engine.linear import Checkpoint
from mtgen.engine.runtime import LlamaRuntime, Runtime, release_free_memory, use_all_cores
from mtgen.errors import ConfigError
from mtgen.model.tokenizer import ChatTokenizer
from mtgen.model.trunk import find_trunk
from mtgen.requests import Message, check_number

PROMPT = "Explain in a few paragraphs how a lighthouse helps ships at night."

Run = Callable[[], tuple[float, float]]
"""Generates once; returns seconds to the first token and seconds for the rest."""


def ours(runtime: Runtime, prompt: torch.Tensor, num_tokens: int) -> Run:
    """Greedy decoding with our runtime, never stopping early."""

    def once() -> tuple[float, float]:
        started = time.perf_counter()
        cache = runtime.new_cache(len(prompt) + num_tokens)
        token = runtime.forward(prompt, cache)[-1].argmax()
        first = time.perf_counter()
        for _ in range(num_tokens - 1):
            token = runtime.forward(token[None], cache)[-1].argmax()
        return first - started, time.perf_counter() - first

    return once


def theirs(folder: Path, prompt: torch.Tensor, num_tokens: int) -> Run:
    """`transformers`' `generate` in float32 on the same, dequantised, weights."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.generation.streamers import BaseStreamer

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    state = Checkpoint(folder).state_dict()
    differ = model.load_state_dict(state, strict=False, assign=True)
    if differ.unexpected_keys or set(differ.missing_keys) - {"lm_head.weight"}:
        raise ConfigError(f"transformers reads other weights from {folder}: {differ}")
    model.tie_weights()
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its buffers were on meta
    model.eval()
    generate: Callable[..., Any] = getattr(model, "generate")  # noqa: B009 - mistyped upstream

    class Clock(BaseStreamer):
        """Notes the time of every token; the first call brings the prompt."""

        def __init__(self) -> None:
            self.times: list[float] = []

        def put(self, value: torch.Tensor) -> None:
            self.times.append(time.perf_counter())

        def end(self) -> None:
            pass

    def once() -> tuple[float, float]:
        clock = Clock()
        started = time.perf_counter()
        generate(
            prompt[None],
            attention_mask=torch.ones_like(prompt[None]),
            max_new_tokens=num_tokens,
            min_new_tokens=num_tokens,
            do_sample=False,
            pad_token_id=0,
            streamer=clock,
        )
        return clock.times[1] - started, clock.times[-1] - clock.times[1]

    return once


def bench(
    trunk: str | Path | None = None, *, rounds: int = 5, num_tokens: int = 64
) -> dict[str, Any]:
    """Measures all contestants.

    Args:
        trunk: As in `mtgen.load`.
        rounds: Interleaved rounds after one warm-up each, 1..100.
        num_tokens: New tokens a round, 2..1024.

    Returns:
        JSON-ready; per contestant the median tokens/s and seconds to the first token, its
        ratio to `transformers`, and our resident memory before anything else was loaded.
    """
    check_number("rounds", rounds, 1, 100, integer=True)
    check_number("tokens", num_tokens, 2, 1024, integer=True)
    use_all_cores()
    folder = find_trunk(trunk)
    started = time.perf_counter()
    packed = LlamaRuntime(folder, "packed")
    release_free_memory()
    load_s = time.perf_counter() - started
    ids = ChatTokenizer(folder).encode_chat([Message(role="user", content=PROMPT)])
    prompt = torch.tensor(ids)
    runs = {"mtgen packed": ours(packed, prompt, num_tokens)}
    runs["mtgen packed"]()
    resident_mb = psutil.Process().memory_info().rss / 1e6
    runs["mtgen float32"] = ours(LlamaRuntime(folder, "float32"), prompt, num_tokens)
    runs["transformers generate, float32"] = theirs(folder, prompt, num_tokens)

    times: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for index in trange(rounds + 1, desc="rounds", disable=None):
        for name, once in runs.items():
            measured = once()
            if index:  # round 0 warms up
                times[name].append(measured)

    speeds = {n: [(num_tokens - 1) / rest for _, rest in times[n]] for n in times}
    yardstick = speeds["transformers generate, float32"]
    contestants = [
        {
            "name": name,
            "tokens_per_s": statistics.median(speeds[name]),
            "first_token_s": statistics.median(first for first, _ in times[name]),
            "times_transformers": statistics.median(
                mine / other for mine, other in zip(speeds[name], yardstick, strict=True)
            ),
        }
        for name in runs
    ]
    return {
        "model": packed.config.name,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "num_prompt_tokens": len(prompt),
        "num_new_tokens": num_tokens,
        "load_s": load_s,
        "resident_mb": resident_mb,
        "contestants": contestants,
    }


def table(result: dict[str, Any]) -> str:
    """The result for people."""
    lines = [
        f"{result['model']}, {result['threads']} threads, prompt of "
        f"{result['num_prompt_tokens']} tokens, {result['num_new_tokens']} new, greedy; "
        f"medians of {result['rounds']} interleaved rounds",
        f"loaded in {result['load_s']:.1f} s, {result['resident_mb']:.0f} MB resident",
        "",
        f"{'':32}  tokens/s  first token  ratio",
    ]
    lines += [
        f"{row['name']:32}  {row['tokens_per_s']:8.1f}  {row['first_token_s']:9.3f} s  "
        f"{row['times_transformers']:4.1f}x"
        for row in result["contestants"]
    ]
    return "\n".join(lines)
