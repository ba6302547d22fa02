"""Beam search over a batch of prompts of unequal lengths."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mtgen.engine.linear import Updates
from mtgen.engine.runtime import KVCache, Runtime

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


def read_batch(
    runtime: Runtime,
    prompts: Sequence[Sequence[int]],
    room: int,
    expert: Sequence[Updates] | None,
) -> tuple[KVCache, Float[Tensor, "B V"]]:
    """Reads prompts, padded on the left.

    Args:
        runtime: The trunk.
        prompts: Token ids, at least one each.
        room: Positions to keep free after them.
        expert: Low-rank updates of each layer.

    Returns:
        The cache, and the logits of what follows each prompt.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    longest = int(lengths.max())
    ids = torch.zeros(len(prompts), longest, dtype=torch.int64)
    for row, prompt in zip(ids, prompts, strict=True):
        row[longest - len(prompt) :] = torch.tensor(prompt)
    cache = runtime.new_cache(longest + room, longest - lengths)
    return cache, runtime.forward(ids, cache, expert=expert)[:, -1]


@torch.inference_mode()
def beam_search(
    runtime: Runtime,
    prompts: Sequence[Sequence[int]],
    *,
    eos_ids: Collection[int],
    max_new_tokens: Sequence[int],
    num_beams: int = 4,
    length_penalty: float = 1.0,
    bonus: Bonus | None = None,
    expert: Sequence[Updates] | None = None,
    stop: threading.Event | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """The likeliest continuations, as `transformers` finds them with `early_stopping=True`.

    A prompt is done when as many hypotheses as beams have ended.

    Args:
        runtime: The trunk.
        prompts: Token ids.
        eos_ids: Tokens that end a hypothesis.
        max_new_tokens: Limit of each prompt.
        num_beams: Hypotheses kept at each step; 1 is greedy.
        length_penalty: Exponent of the length by which log-probabilities are divided.
        bonus: Preferences that are no part of the model, such as a mark's; none for an end.
        expert: Low-rank updates of each layer.
        stop: Ends the search before the next step once it is set.

    Yields:
        The number of a prompt as soon as it is done, with its hypotheses, best first.

    Source: arXiv:1609.08144, section 7, with the plain length as in `transformers`.
    """
    ends_at = torch.tensor(sorted(eos_ids))
    cache, logits = read_batch(runtime, prompts, max(max_new_tokens), expert)
    cache.repeat(num_beams)
    prompt_length = cache.length
    logits = logits.repeat_interleave(num_beams, 0)
    num_candidates = (1 + len(ends_at)) * num_beams
    places = list(range(len(prompts)))
    limits = torch.tensor(max_new_tokens)
    scores = torch.full((len(prompts), num_beams), IMPOSSIBLE)
    scores[:, 0] = 0
    log_probs = torch.zeros(len(prompts), num_beams)
    written: Int64[Tensor, "B K T"] = torch.zeros(len(prompts), num_beams, 0, dtype=torch.int64)
    done: list[list[Hypothesis]] = [[] for _ in prompts]
    length = 0
    while True:
        length += 1
        # the best of each beam first: a sum over all of them would take as long as half the trunk
        likely, tokens = logits.topk(num_candidates)
        likely -= logits.logsumexp(-1, keepdim=True)
        sums = likely + scores.view(-1, 1)
        if bonus is not None:
            sums += bonus(written.flatten(0, 1), tokens) * ~torch.isin(tokens, ends_at)
        top, index = sums.view(len(places), -1).topk(num_candidates)
        parents = index // num_candidates
        tokens = tokens.view(len(places), -1).gather(1, index)
        odds = likely.view(len(places), -1).gather(1, index) + log_probs.gather(1, parents)
        is_end = torch.isin(tokens, ends_at)
        over = is_end | (length >= limits)[:, None]
        for row, rank in over[:, :num_beams].nonzero().tolist():
            ids = written[row, parents[row, rank]].tolist()
            ended, score = bool(is_end[row, rank]), float(top[row, rank])
            done[places[row]].append(
                Hypothesis(
                    ids=tuple(ids if ended else [*ids, int(tokens[row, rank])]),
                    score=score / length**length_penalty, log_prob=float(odds[row, rank]),
                    ended=ended,
                )
            )  # fmt: skip
        scores, best = (top + over * IMPOSSIBLE).topk(num_beams)
        parents, tokens, log_probs = (x.gather(1, best) for x in (parents, tokens, odds))
        written = torch.cat(
            [written.gather(1, parents[:, :, None].expand(-1, -1, length - 1)), tokens[:, :, None]],
            dim=2,
        )
        going = []
        for row, place in enumerate(places):
            found = done[place] = sorted(done[place], key=lambda h: -h.score)[:num_beams]
            if len(found) == num_beams or length >= limits[row]:
                yield place, found
            else:
                going.append(row)
        if not going or (stop is not None and stop.is_set()):
            return
        rows = torch.tensor(packed(going))
        streams = (parents[rows] + rows[:, None] * num_beams).flatten()
        cache.select(streams, shared=prompt_length, group=num_beams)
        places = [places[row] for row in rows.tolist()]
        scores, log_probs, limits = scores[rows], log_probs[rows], limits[rows]
        written = written[rows]
        logits = runtime.forward(written[:, :, -1].reshape(-1, 1), cache, expert=expert)[:, -1]


def packed(rows: Sequence[int]) -> list[int]:
    """Rows that stay, in an order in which few of them move: the last ones fill the holes."""
    kept = set(rows)
    last = sorted(row for row in kept if row >= len(rows))
    return [row if row in kept else last.pop() for row in range(len(rows))]
