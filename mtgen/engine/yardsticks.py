"""What others make of the same weights, for `mtgen.engine.bench`: none of it is a dependency.

`pip install -r requirements-bench.txt` brings llama.cpp (compiled, a quarter of an hour) and
CTranslate2; what is not installed is left out of the table.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from mtgen.engine.linear import Checkpoint, Updates
from mtgen.errors import ConfigError
from mtgen.model.transformer import TrunkModel
from mtgen.model.trunk import SMOLLM2_135M, fetch

Run = Callable[[], tuple[float, float]]
"""Generates once; returns seconds to the first token and seconds for the rest."""


def is_installed(package: str) -> bool:
    """Whether a yardstick can be measured."""
    return importlib.util.find_spec(package) is not None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Sends what libraries in C print to nowhere."""
    kept = os.dup(2)
    with open(os.devnull, "w", encoding="utf-8") as nothing:
        os.dup2(nothing.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def llama_cpp(folder: Path, prompt: Sequence[int], num_tokens: int) -> Run:
    """llama.cpp on the pinned GGUF file, with as many threads as we have.

    Args:
        folder: Gets the file, if it is not there yet.
        prompt: Token ids.
        num_tokens: New tokens, greedy; an end does not end it.
    """
    from llama_cpp import Llama  # type: ignore[import-not-found]

    path, threads = fetch(SMOLLM2_135M, folder), torch.get_num_threads()
    with quiet():
        model = Llama(
            str(path), n_ctx=len(prompt) + num_tokens + 8, n_threads=threads,
            n_threads_batch=threads, verbose=False, logits_all=False,
        )  # fmt: skip

    def once() -> tuple[float, float]:
        with quiet():
            model.reset()
            started = time.perf_counter()
            tokens = model.generate(list(prompt), temp=0.0, top_k=1, repeat_penalty=1.0)
            next(tokens)
            first = time.perf_counter()
            for _ in range(num_tokens - 1):
                next(tokens)
            return first - started, time.perf_counter() - first

    return once


def transformers_float32(folder: Path, prompt: Sequence[int], num_tokens: int) -> Run:
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
    ids = torch.tensor([list(prompt)])

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
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens,
            min_new_tokens=num_tokens, do_sample=False, pad_token_id=0, streamer=clock,
        )  # fmt: skip
        return clock.times[1] - started, clock.times[-1] - clock.times[1]

    return once


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


def ctranslate2_int8(
    folder: Path, expert: Sequence[Updates], num_beams: int, batch: int
) -> Callable[[Sequence[Sequence[int]], Sequence[int], Sequence[int]], float]:
    """CTranslate2 in int8 on the trunk with the translation expert merged into it.

    Args:
        folder: The trunk's checkpoint.
        expert: Low-rank updates of each layer.
        num_beams: Of its beam search.
        batch: Prompts at once.

    Returns:
        A function that takes prompts, the most tokens of an answer to each, and the tokens that end
        it, and returns seconds.
    """
    import ctranslate2  # type: ignore[import-not-found]
    from ctranslate2.converters import TransformersConverter  # type: ignore[import-not-found]
    from tokenizers import Tokenizer

    with tempfile.TemporaryDirectory() as place:
        source, out = Path(place) / "merged", Path(place) / "converted"
        merged(folder, expert, source)
        with quiet():
            TransformersConverter(str(source)).convert(str(out), quantization="int8", force=True)
        kept = Path(tempfile.mkdtemp(prefix="mtgen-bench-"))
        shutil.copytree(out, kept, dirs_exist_ok=True)
    model = ctranslate2.Generator(
        str(kept), device="cpu", compute_type="int8", inter_threads=1,
        intra_threads=torch.get_num_threads(),
    )  # fmt: skip
    shutil.rmtree(kept)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def once(prompts: Sequence[Sequence[int]], limits: Sequence[int], ends: Sequence[int]) -> float:
        words = [[tokenizer.id_to_token(i) for i in prompt] for prompt in prompts]
        started = time.perf_counter()
        for first in range(0, len(words), batch):
            model.generate_batch(
                words[first : first + batch], beam_size=num_beams,
                max_length=max(limits[first : first + batch]), end_token=list(ends),
                include_prompt_in_result=False, sampling_topk=1,
            )  # fmt: skip
        return time.perf_counter() - started

    return once
