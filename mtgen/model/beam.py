"""Beam search over a batch of prompts of unequal lengths."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mtgen.engine.cache import KVCache
from mtgen.engine.linear import Updates
from mtgen.engine.runtime import Runtime

IMPOSSIBLE = -1e9
"""Log-probability of what may not be taken."""

Bonus = Callable[[Int64[Tensor, "N T"], Int64[Tensor, "N C"]], Float[Tensor, "N C"]]
"""Of what N beams have written and of the tokens that may follow each: nats to add to these."""


@dataclass(frozen=True)
class Hypothesis:
    """One way to go on from a prompt."""

    ids: tuple[int, ...]
    """Without the token that ended it."""
    score: float
    """Log-probability, with the bonus if there is one, over `length ** length_penalty`; the end
    counts as a token."""
    log_prob: float
    """Of all its tokens together by the model, in nats, the end included."""
    ended: bool
    """False where it was cut at the limit."""


def padded(prompts: Sequence[Sequence[int]]) -> tuple[Int64[Tensor, "B T"], Int64[Tensor, " B"]]:
    """Prompts padded on the left, and by how much each."""
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    longest = int(lengths.max())
    ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[longest - len(prompt) :] = torch.tensor(prompt)
    return ids, longest - lengths


def read_batch(
    runtime: Runtime,
    prompts: Sequence[Sequence[int]],
    room: int,
    expert: Sequence[Updates] | None,
    copies: int = 1,
) -> tuple[KVCache, Float[Tensor, "N V"]]:
    """Reads prompts.

    Args:
        runtime: The trunk.
        prompts: Token ids, at least one each.
        room: Positions to keep free after them.
        expert: Low-rank updates of each layer.
        copies: Rows to go on with from each prompt.

    Returns:
        The cache, and the logits of what follows in each row.
    """
    ids, padding = padded(prompts)
    cache = runtime.new_cache(ids.shape[1] + room, padding, copies)
    logits = runtime.forward(ids, cache, expert=expert)[:, -1]
    if copies > 1:
        cache.select(torch.arange(len(prompts)).repeat_interleave(copies))
    return cache, logits.repeat_interleave(copies, 0)


@torch.inference_mode()
def beam_search(
    runtime: Runtime,
    prompts: Sequence[Sequence[int]],
    *,
    eos_ids: Collection[int],
    max_new_tokens: Sequence[int],
    num_beams: int = 4,
    margin: float = math.inf,
    suffix: int | None = None,
    length_penalty: float = 1.0,
    bonus: Bonus | None = None,
    expert: Sequence[Updates] | None = None,
    among: Int64[Tensor, " N"] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """The likeliest continuations, as `transformers` finds them with `early_stopping=True`.

    A prompt is done when as many hypotheses as beams have ended, or no beam is left to go on.

    Args:
        runtime: The trunk.
        prompts: Token ids.
        eos_ids: Tokens that end a hypothesis.
        max_new_tokens: Limit of each prompt.
        num_beams: Hypotheses kept at each step; 1 is greedy.
        margin: Beams this many nats behind the best of their prompt, which may have ended, are
            given up (relative threshold pruning, arXiv:1702.01806).
        suffix: Of beams that agree in so many last tokens, the best alone goes on (recombination,
            arXiv:1808.08482).
        length_penalty: Exponent of the length by which log-probabilities are divided.
        bonus: Preferences that are no part of the model, such as a mark's; none for an end.
        expert: Low-rank updates of each layer.
        among: Tokens that may be written, ends included; None is all.
        stop: Ends the search before the next step once it is set.

    Yields:
        The number of a prompt as soon as it is done, with its hypotheses, best first.

    Source: arXiv:1609.08144, section 7, with the plain length as in `transformers`.
    """
    ends_at = torch.tensor(sorted(eos_ids))
    num_candidates = (1 + len(ends_at)) * num_beams
    places = list(range(len(prompts)))
    limits = torch.tensor(max_new_tokens)
    scores = torch.zeros(len(prompts), num_beams)
    log_probs = torch.zeros(len(prompts), num_beams)
    best_ended = torch.full((len(prompts), 1), IMPOSSIBLE)
    written: Int64[Tensor, "B K T"] = torch.zeros(len(prompts), num_beams, 0, dtype=torch.int64)
    going = torch.zeros(len(prompts), num_beams, dtype=torch.bool)  # which beams are rows now
    going[:, 0] = True
    done: list[list[Hypothesis]] = [[] for _ in prompts]
    ids, padding = padded(prompts)
    cache = runtime.new_cache(ids.shape[1] + max(max_new_tokens), padding, num_beams)
    length = 0
    while True:
        length += 1
        found, candidates = runtime.likeliest(ids, cache, num_candidates, expert, among)
        sums = found + scores[going][:, None]
        if bonus is not None:
            sums += bonus(written[going], candidates) * ~torch.isin(candidates, ends_at)
        odds = found + log_probs[going][:, None]
        sums, odds, tokens = (
            torch.full((*going.shape, num_candidates), empty, dtype=x.dtype).index_put(
                going.nonzero(as_tuple=True), x
            )
            for x, empty in ((sums, IMPOSSIBLE), (odds, 0), (candidates, 0))
        )
        top, index = sums.flatten(1).topk(num_candidates)
        parents = index // num_candidates
        odds, tokens = (x.flatten(1).gather(1, index) for x in (odds, tokens))
        is_end = torch.isin(tokens, ends_at)
        over = (is_end | (length >= limits)[:, None]) & (top > IMPOSSIBLE)
        for row, rank in over[:, :num_beams].nonzero().tolist():
            ended, score = bool(is_end[row, rank]), float(top[row, rank])
            text = written[row, parents[row, rank]].tolist()
            done[places[row]].append(
                Hypothesis(
                    ids=tuple(text if ended else [*text, int(tokens[row, rank])]),
                    score=score / length**length_penalty, log_prob=float(odds[row, rank]),
                    ended=ended,
                )
            )  # fmt: skip
        scores, best = (top + over * IMPOSSIBLE).topk(num_beams)
        rows = torch.full(going.shape, -1)
        rows[going] = torch.arange(int(going.sum()))
        parents, tokens, log_probs = (x.gather(1, best) for x in (parents, tokens, odds))
        written = torch.cat(
            [written.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), tokens[:, :, None]],
            dim=2,
        )
        rows = rows.gather(1, parents)
        ended = top[:, :num_beams].masked_fill(~over[:, :num_beams], IMPOSSIBLE)
        best_ended = best_ended.maximum(ended.amax(1, keepdim=True))
        going = scores > best_ended.maximum(scores[:, :1]) - margin
        going &= scores > IMPOSSIBLE / 2
        if suffix is not None and length >= suffix:
            last = written[:, :, -suffix:]
            alike = (last[:, :, None] == last[:, None]).all(-1) & going[:, None]
            going &= ~alike.tril(-1).any(-1)
        kept = []
        for row, place in enumerate(places):
            known = done[place] = sorted(done[place], key=lambda h: -h.score)[:num_beams]
            is_done = len(known) == num_beams or length >= limits[row] or not going[row].any()
            if is_done:
                yield place, known
            else:
                kept.append(row)
        if not kept or (stop is not None and stop.is_set()):
            return
        places = [places[row] for row in kept]
        scores, log_probs, best_ended, limits, written, going, rows = (
            x[torch.tensor(kept)]
            for x in (scores, log_probs, best_ended, limits, written, going, rows)
        )
        cache.select(rows[going])
        ids = written[going][:, -1:]
