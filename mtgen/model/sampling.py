"""Picks the next token. All randomness comes from the generator that is passed in."""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from mtgen.engine import native
from mtgen.engine.linear import Updates
from mtgen.engine.runtime import Runtime
from mtgen.model.beam import Hypothesis, read_batch
from mtgen.requests import MAX_SEED

SHORTLIST = 256
"""Tokens sorted at first; the whole vocabulary is sorted only when these hold less than top_p."""


def draw_seed() -> int:
    """A fresh seed, 0..2**32-1."""
    return secrets.randbelow(MAX_SEED + 1)


def seeded(seed: int) -> torch.Generator:
    """A CPU generator, the same everywhere for the same seed."""
    return torch.Generator("cpu").manual_seed(seed)


def sample_token(
    logits: Float[Tensor, " V"], temperature: float, top_p: float, generator: torch.Generator
) -> int:
    """One token id.

    Args:
        logits: Of the next token, float32.
        temperature: 0 takes the likeliest; else logits are divided by it.
        top_p: The smallest set of likeliest tokens with at least this probability is sampled.
        generator: Source of all randomness.

    Source: nucleus sampling, arXiv:1904.09751.
    """
    if temperature == 0:
        return int(logits.argmax())
    probabilities, index = nucleus(logits, temperature, top_p)
    return int(index[torch.multinomial(probabilities, 1, generator=generator)])


def nucleus(
    logits: Float[Tensor, " V"], temperature: float, top_p: float
) -> tuple[Float64[Tensor, " N"], Int64[Tensor, " N"]]:
    """Probabilities of the tokens that may follow, which sum to `top_p` or more, and their ids.

    Args:
        logits: Of the next token, float32.
        temperature: Divides them; above 0.
        top_p: See `sample_token`.
    """
    if top_p < 1 and native.library() is not None:
        return native.nucleus(logits, temperature, top_p)
    # in float64, and shifted first: a tiny temperature must not overflow
    probabilities = ((logits.double() - logits.max()) / temperature).softmax(0)
    if top_p == 1:
        return probabilities, torch.arange(len(probabilities))
    top, index = probabilities.topk(min(SHORTLIST, len(probabilities)))
    total = top.cumsum(0)
    if total[-1] < top_p:
        top, index = probabilities.sort(descending=True)
        total = top.cumsum(0)
    kept = int((total < top_p).sum()) + 1
    return top[:kept], index[:kept]


@runtime_checkable
class Writer(Protocol):
    """Takes the tokens of one text, each by the logits and by what it took before."""

    num_marked: int
    """Tokens so far whose choice a key had a say in."""

    def next(
        self, logits: Float[Tensor, " V"], temperature: float, top_p: float,
        generator: torch.Generator,
    ) -> int:  # fmt: skip
        """The next token; arguments as of `sample_token`."""
        ...


class Unmarked:
    """A writer that samples and leaves no mark."""

    num_marked = 0

    def next(
        self, logits: Tensor, temperature: float, top_p: float, generator: torch.Generator
    ) -> int:
        return sample_token(logits, temperature, top_p, generator)


@torch.inference_mode()
def sample_batch(
    runtime: Runtime,
    prompts: Sequence[Sequence[int]],
    *,
    eos_ids: Collection[int],
    max_new_tokens: Sequence[int],
    num_samples: int,
    temperature: float,
    top_p: float,
    seed: int,
    writer: Callable[[], Writer] = Unmarked,
    expert: Sequence[Updates] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Continuations drawn at random, several of each prompt.

    Each has a source of randomness of its own, by the seed, the prompt and its number, so that
    it does not depend on what else is in the batch.

    Args:
        runtime: The trunk.
        prompts: Token ids.
        eos_ids: Tokens that end a continuation.
        max_new_tokens: Limit of each prompt.
        num_samples: Continuations of each prompt.
        temperature: See `sample_token`.
        top_p: See `sample_token`.
        seed: 0..2**32-1.
        writer: Makes what takes the tokens of one continuation.
        expert: Low-rank updates of each layer.
        stop: Ends the work before the next step once it is set.

    Yields:
        The number of a prompt, with its continuations as they were drawn; `log_prob` is that of
        the model itself, and `score` the same by token.
    """
    generators = []
    for prompt in prompts:
        name = hashlib.sha256(f"{seed}:{list(prompt)}".encode()).digest()
        first = int.from_bytes(name[:6], "big")
        generators += [seeded(first + number) for number in range(num_samples)]
    writers = [writer() for _ in generators]
    cache, logits = read_batch(runtime, prompts, max(max_new_tokens), expert, num_samples)
    streams = list(range(len(logits)))
    ids: list[list[int]] = [[] for _ in streams]
    log_probs = [0.0] * len(streams)
    done: list[list[Hypothesis | None]] = [[None] * num_samples for _ in prompts]
    while streams:
        going, tokens = [], []
        scores = logits.log_softmax(-1)
        for row, stream in enumerate(streams):
            token = writers[stream].next(logits[row], temperature, top_p, generators[stream])
            log_probs[stream] += float(scores[row, token])
            place, number = divmod(stream, num_samples)
            ended = token in eos_ids
            if not ended:
                ids[stream].append(token)
            if not ended and len(ids[stream]) < max_new_tokens[place]:
                going.append(row)
                tokens.append([token])
                continue
            count = len(ids[stream]) + ended
            done[place][number] = Hypothesis(
                tuple(ids[stream]), log_probs[stream] / count, log_probs[stream], ended
            )
            found = [h for h in done[place] if h is not None]
            if len(found) == num_samples:
                yield place, found
        if not going or (stop is not None and stop.is_set()):
            return
        cache.select(torch.tensor(going))
        streams = [streams[row] for row in going]
        logits = runtime.forward(torch.tensor(tokens), cache, expert=expert)[:, -1]
