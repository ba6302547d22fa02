"""Keys and values that the trunk has computed for one request."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from mtgen.model.config import TrunkConfig


class KVCache:
    """Keys and values of a batch of streams; belongs to one request and dies with it.

    A row of the batch computes its next position in the stream of its own number, and remembers for
    each position before in which stream that was: so rows that go on from the same beginning share
    it, and nothing is copied when beams change places.
    """

    def __init__(
        self,
        config: TrunkConfig,
        capacity: int,
        dtype: torch.dtype,
        padding: Int64[Tensor, " B"] | None = None,
        copies: int = 1,
    ) -> None:
        """An empty cache.

        Args:
            config: Of the trunk.
            capacity: Positions of each stream.
            dtype: Of keys and values.
            padding: How many of the first positions of each stream mean nothing, so that streams
                of unequal lengths end together; None is one stream without any.
            copies: How many rows each stream may become.
        """
        batch = 1 if padding is None else len(padding)
        shape = (config.n_layer, 2, batch * copies, config.n_kv_head, capacity, config.head_dim)
        self.data: Float[Tensor, "L 2 S G P D"] = torch.empty(shape, dtype=dtype)
        self.padding = padding
        self.history: Int32[Tensor, "B P"] | None = None
        """Stream of each position; None as long as each row has its own."""
        self.capacity = capacity
        self.length = 0
        """Positions filled so far."""
        self.known = 0
        """How many positions of each stream, after its padding, `begin_alike` has filled."""

    @property
    def batch(self) -> int:
        """Rows that go on."""
        return 1 if self.padding is None else len(self.padding)

    def write(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Keys and values of the next positions of each row, `B G T D`."""
        end = self.length + keys.shape[2]
        self.data[layer, 0, : self.batch, :, self.length : end] = keys
        self.data[layer, 1, : self.batch, :, self.length : end] = values

    def read(self, layer: int, length: int) -> Float[Tensor, "2 B G T D"]:
        """Keys and values of the first positions of each row."""
        if self.history is None:
            return self.data[layer, :, : self.batch, :, :length]
        streams, places = self.history[:, :length].long(), torch.arange(length)
        return self.data[layer].transpose(2, 3)[:, streams, places].transpose(2, 3)

    def begin_alike(self, known: KVCache) -> None:
        """Fills in what all streams begin with.

        Args:
            known: Of one stream that is full, without padding.
        """
        assert self.padding is not None
        self.known = known.length
        for stream, first in enumerate(self.padding.tolist()):
            self.data[:, :, stream, :, first : first + self.known] = known.data[:, :, 0]

    def select(self, rows: Int64[Tensor, " N"]) -> None:
        """Goes on with these rows, in this order.

        Args:
            rows: Their numbers, no more than there are streams; one may be taken several times.
        """
        assert self.padding is not None
        if self.history is None:
            own = torch.arange(self.batch, dtype=torch.int32)[:, None]
            self.history = own.repeat(1, self.capacity)
        self.padding = self.padding[rows]
        self.history = self.history[rows]
        self.history[:, self.length :] = torch.arange(len(rows), dtype=torch.int32)[:, None]


MOST_KEPT = 32_000_000
"""Bytes of keys and values that are kept of texts that are over: 1,400 tokens."""
SHORTEST = 16
"""Fewer tokens in common are computed again sooner than they are looked up."""


class Prefixes:
    """Keys and values of the last texts, for those that begin alike: a conversation's next turn.

    Only for a runtime of which a row gives the same whatever it is computed with.
    """

    def __init__(self) -> None:
        self._kept: list[tuple[tuple[int, ...], Tensor]] = []
        self._lock = threading.Lock()

    def begin(self, ids: Sequence[int], cache: KVCache) -> int:
        """Fills an empty cache of one stream with what is known of a prompt.

        Args:
            ids: Of the prompt; the last one is never filled in, as its logits are needed.
            cache: Of one stream.

        Returns:
            Positions that were filled.
        """
        wanted = tuple(ids[:-1])
        with self._lock:
            found = [len(os.path.commonprefix([kept, wanted])) for kept, _ in self._kept]
            if not found or max(found) < SHORTEST:
                return 0
            best = found.index(max(found))
            self._kept.append(self._kept.pop(best))  # used last, dropped last
            data = self._kept[-1][1]
        cache.length = max(found)
        cache.data[..., : cache.length, :] = data[..., : cache.length, :]
        return cache.length

    def keep(self, ids: Sequence[int], cache: KVCache) -> None:
        """Keeps what was computed of a text.

        Args:
            ids: Of the prompt and what was written; the last was not computed perhaps.
            cache: Of one stream, which may go on being written behind these.
        """
        length = min(len(ids) - 1, cache.length)
        if length < SHORTEST:
            return
        data = cache.data[..., :length, :].clone()
        with self._lock:
            known = tuple(ids[:length])
            self._kept = [pair for pair in self._kept if pair[0] != known[: len(pair[0])]]
            self._kept.append((known, data))
            while len(self._kept) > 1 and sum(x.nbytes for _, x in self._kept) > MOST_KEPT:
                self._kept.pop(0)
