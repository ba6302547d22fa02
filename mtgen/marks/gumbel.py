"""The mark in texts: the random choice of each token made by a key, and the test that finds it.

Of tokens with probabilities p the one with the largest log(u) / p is taken, where u is uniform
and known to whoever holds the key. Seen without the key this is ordinary sampling (the Gumbel
trick; Aaronson, "My AI Safety Lecture for UT Effective Altruism", 2022). Two u a token, of which a
coin of the request picks one, give another text for another seed (dual key, arXiv:2605.12456).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64, UInt64
from scipy.special import gammaincc

from mtgen.marks.frequent import frequent_phrases

NUM_KEYS = 2
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIX = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mixed(x: np.ndarray) -> np.ndarray:
    """A 64-bit number scrambled (splitmix64; Steele, Lea and Flood, OOPSLA 2014)."""
    x = (x ^ (x >> np.uint64(30))) * MIX[0]
    x = (x ^ (x >> np.uint64(27))) * MIX[1]
    return x ^ (x >> np.uint64(31))


@dataclass(frozen=True)
class GumbelMark:
    """Uniform numbers of a key for the tokens that may follow a context."""

    secret: bytes
    width: int = 2
    """Tokens before, on which the numbers depend."""
    num_keys: int = NUM_KEYS

    def seeds(self, context: Sequence[int]) -> UInt64[np.ndarray, " S"]:
        """One number of each of the S keys for a context: the `width` tokens before."""
        name = b"".join(int(token).to_bytes(4, "little") for token in context)
        digest = hashlib.blake2b(name, key=self.secret, digest_size=8 * self.num_keys).digest()
        return np.frombuffer(digest, "<u8")

    def uniforms(
        self, context: Sequence[int], tokens: Int64[np.ndarray, " N"]
    ) -> Float64[np.ndarray, "S N"]:
        """Numbers in (0, 1), one of each of the S keys for each token.

        Args:
            context: The `width` tokens before.
            tokens: Ids that may follow.
        """
        return uniforms(self.seeds(context)[:, None], tokens)

    def choose(
        self, context: Sequence[int], tokens: Int64[np.ndarray, " N"],
        probabilities: Float64[np.ndarray, " N"], coin: int,
    ) -> int:  # fmt: skip
        """Place of the token that the mark takes.

        Args:
            context: The `width` tokens before.
            tokens: Ids that may follow, all with a probability above 0.
            probabilities: Theirs; they need not sum to 1.
            coin: Which key decides, 0..S-1.
        """
        return int(np.argmax(np.log(self.uniforms(context, tokens)[coin]) / probabilities))

    def pairs(self, ids: Sequence[int]) -> list[int]:
        """Places of the tokens that count: each context once, where it comes first.

        Frequent phrases do not count (`mtgen.marks.frequent`).
        """
        seen, places, frequent = set(), [], frequent_phrases()
        for place in range(self.width, len(ids)):
            context = tuple(ids[place - self.width : place])
            if context not in seen:
                seen.add(context)
                if (*context, ids[place]) not in frequent:
                    places.append(place)
        return places

    def numbers(self, ids: Sequence[int], places: Sequence[int]) -> Float64[np.ndarray, "N S"]:
        """The uniform numbers of the tokens that stand there."""
        seeds = [self.seeds(ids[place - self.width : place]) for place in places]
        tokens = np.array([ids[place] for place in places], dtype=np.int64)
        shape = len(places), self.num_keys
        return uniforms(np.array(seeds, dtype=np.uint64).reshape(shape), tokens[:, None])


def uniforms(seeds: UInt64[np.ndarray, "*N"], tokens: Int64[np.ndarray, "*M"]) -> np.ndarray:
    """Numbers in (0, 1) of seeds and tokens, which are broadcast together."""
    with np.errstate(over="ignore"):
        bits = mixed(seeds + (tokens.astype(np.uint64) + np.uint64(1)) * GOLDEN)
    return ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53


def evidence(numbers: Float64[np.ndarray, "N S"]) -> Float64[np.ndarray, " N"]:
    """Of each token: exponential with mean 1 where no mark is, larger where one is.

    The largest of S uniform numbers, to the power S, is uniform.
    """
    top = numbers.max(axis=1)
    return -np.log(-np.expm1(numbers.shape[1] * np.log(top)))


def p_value(evidence: Float64[np.ndarray, " N"]) -> float:
    """How often a text without the mark has at least as much evidence: exactly Gamma(N, 1)."""
    return float(gammaincc(len(evidence), evidence.sum())) if len(evidence) else 1.0


PART_MEAN = 2.0
"""Mean evidence of a token of marked text, as supposed where marked parts are looked for."""


def marked_parts(evidence: Float64[np.ndarray, " N"], level: float) -> list[tuple[int, int, float]]:
    """Where in a longer text the marked parts lie.

    The likelihood ratio of a run of tokens, if their evidence has mean PART_MEAN instead of 1, is a
    martingale over unmarked text; so that any run of N tokens reaches a ratio of r has a
    probability of at most N / r (Ville's inequality, once for each beginning).

    Args:
        evidence: Of the tokens that count.
        level: Parts with a larger p-value are left out.

    Returns:
        First token, end and p-value of each part, in the order of the text.
    """
    steps = evidence * (1 - 1 / PART_MEAN) - math.log(PART_MEAN)
    found: list[tuple[int, int, float]] = []
    spans = [(0, len(steps))]
    while spans:
        low, high = spans.pop()
        sums = np.r_[0, steps[low:high].cumsum()]
        gains = sums - np.minimum.accumulate(sums)
        end = int(gains.argmax())
        p = len(steps) * math.exp(-gains[end])
        if p > level or end == 0:
            continue
        start = int(sums[: end + 1].argmin())
        found.append((low + start, low + end, min(p, 1.0)))
        spans += [(low, low + start), (low + end, high)]
    return sorted(found)


DOUBT = 0.1
"""Share of tokens that count as unmarked in the likelihood ratio: edits, and other probabilities
than those of the sampler, which knew the prompt."""
CELLS = -np.log(np.r_[np.linspace(1, 0.02, 197), 0.02 * 2.0 ** -np.arange(0.25, 60, 0.25)])
"""Edges of cells of the unit exponential distribution, fine in its tail."""
MIDDLES = np.r_[(CELLS[1:] + CELLS[:-1]) / 2, CELLS[-1]]
MASSES = np.r_[-np.diff(np.exp(-CELLS)), np.exp(-CELLS[-1])]
"""Probabilities of the cells."""


def log_ratios(
    evidence: Float64[np.ndarray, "*N"], probabilities: Float64[np.ndarray, "*N"], num_keys: int
) -> Float64[np.ndarray, "*N"]:
    """Log-likelihood of marked over unmarked text, of each token.

    Args:
        evidence: Of `evidence`.
        probabilities: Of the tokens by the model, in (0, 1].
        num_keys: S. Where one of S numbers has the density u^(1/p - 1) / p, the largest, m, has
            S - 1 + 1/p over S times m^(1/p - 1) the density that it has without a mark.
    """
    log_top = np.log(-np.expm1(-evidence)) / num_keys
    inverse = 1 / probabilities.clip(1e-9, 1)
    ratio = np.log((num_keys - 1 + inverse) / num_keys) + (inverse - 1) * log_top
    return np.logaddexp(math.log(DOUBT), math.log1p(-DOUBT) + ratio)


STEPS_PER_NAT = 8
"""How finely probabilities are told apart where the model's opinion is asked."""


def weighted_p_value(
    evidence: Float64[np.ndarray, " N"], probabilities: Float64[np.ndarray, " N"],
    num_keys: int = NUM_KEYS,
) -> float:  # fmt: skip
    """The p-value of the likelihood ratio, which uses the model's probabilities of the tokens.

    Args:
        evidence: Of the tokens that count.
        probabilities: Of these tokens, in (0, 1].
        num_keys: S.
    """
    nats = -np.log(probabilities.clip(1e-9, 1))
    steps, kinds = np.unique(np.rint(nats * STEPS_PER_NAT), return_inverse=True)
    rounded = np.exp(-steps / STEPS_PER_NAT)
    found = log_ratios(evidence, rounded[kinds], num_keys)
    return sum_p_value(found, kinds, log_ratios(MIDDLES[None, :], rounded[:, None], num_keys))


def sum_p_value(
    found: Float64[np.ndarray, " N"], kinds: Int64[np.ndarray, " N"],
    cells: Float64[np.ndarray, "K C"],
) -> float:  # fmt: skip
    """How often a sum of scores of unmarked tokens is at least as large as the one found.

    What the sum is over unmarked tokens comes of a convolution of what each gives, on a grid: what
    lies between two of its points is shared out so that the mean stays.

    Args:
        found: Scores of the tokens.
        kinds: Which row of `cells` each is of.
        cells: Scores at MIDDLES, whose probabilities are MASSES.
    """
    if not len(found):
        return 1.0
    counts = np.bincount(kinds, minlength=len(cells))
    bins = 2 ** int(np.clip(np.log2(64 * len(found)), 15, 20))
    low = cells.min(axis=1)
    step = max(float(counts @ (cells.max(axis=1) - low)) / (bins // 2), 1e-9)
    spectrum = np.ones(bins // 2 + 1, dtype=np.complex128)
    for row, least, count in zip(cells, low, counts, strict=True):
        places = (row - least) / step
        below = np.floor(places).astype(int)
        above = places - below
        density = np.bincount(below, MASSES * (1 - above), bins)
        density += np.bincount(below + 1, MASSES * above, bins)
        spectrum *= np.fft.rfft(density[:bins]) ** count
    density = np.fft.irfft(spectrum, bins)
    place = math.floor(float(found.sum() - low[kinds].sum()) / step)
    return float(np.clip(density[max(place, 0) :].sum(), 1e-12, 1))
