"""Runs a Llama-family trunk: token ids in, logits out, with a key/value cache.

`Runtime` is all that the rest of mtgen knows of it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mtgen.engine import native
from mtgen.engine.cache import KVCache, Prefixes
from mtgen.engine.linear import (
    PARTS,
    ROTATED,
    Checkpoint,
    Int8Head,
    Linear,
    QuantisedMatrix,
    Updates,
    pack,
)
from mtgen.engine.schedule import STEPS, Choose, Schedule, Turn
from mtgen.errors import ConfigError, SettingError
from mtgen.model.config import TrunkConfig

PREFILL_CHUNK = 256
"""Prompt tokens that torch reads in one step."""
MANY_STREAMS = 24
"""From so many on, torch's attention of one position each is spelled out."""


@runtime_checkable
class Runtime(Protocol):
    """What a way of running the trunk must offer."""

    config: TrunkConfig
    precision: str

    def new_cache(
        self, capacity: int, padding: Int64[Tensor, " B"] | None = None, copies: int = 1
    ) -> KVCache:
        """An empty cache of one stream, or of a padded batch; see `KVCache`."""
        ...

    def forward(
        self,
        ids: Int64[Tensor, "*B T"],
        cache: KVCache,
        *,
        all_logits: bool = False,
        expert: Sequence[Updates] | None = None,
    ) -> Float[Tensor, "*B R V"]:
        """Appends `ids` to the streams.

        Args:
            ids: Token ids, at least one, of one stream or of each of a batch; their keys and
                values are added to `cache`.
            cache: The streams so far.
            all_logits: Return logits after every id, not only after the last.
            expert: Low-rank updates of each layer.

        Returns:
            float32 logits; R is T with `all_logits`, else 1.
        """
        ...

    def likeliest(
        self,
        ids: Int64[Tensor, "B T"],
        cache: KVCache,
        k: int,
        expert: Sequence[Updates] | None = None,
        among: Int64[Tensor, " N"] | None = None,
    ) -> tuple[Float[Tensor, "B k"], Int64[Tensor, "B k"]]:
        """Appends `ids`, and gives the k likeliest tokens after the last of each row.

        Args:
            ids: As in `forward`.
            cache: As in `forward`.
            k: How many, no more than there are tokens.
            expert: As in `forward`.
            among: Tokens that may follow, ascending; a list that is used again, as it is kept in
                a form to compute with. None is all.

        Returns:
            Their log-probabilities, and their ids; the likeliest first.
        """
        ...

    def begin(self, ids: Sequence[int], capacity: int) -> tuple[KVCache, int]:
        """A cache for a text, and how many positions of its prompt `ids` are in there already."""
        ...

    def keep(self, ids: Sequence[int], cache: KVCache) -> None:
        """Remembers a text for those that begin like it; see `Prefixes.keep`."""
        ...

    def generate(
        self, ids: Int64[Tensor, " T"], cache: KVCache, choose: Choose, stop: threading.Event
    ) -> Generator[int, None, None]:
        """Appends a prompt, or what is left of it, and then one token after another.

        Args:
            ids: Of the prompt, at least one.
            cache: One stream; the text ends where it is full.
            choose: Takes each token from its logits, and ends the text with None; called by another
                thread perhaps, and for some tokens more than are read.
            stop: Ends the text before the next step once it is set.

        Yields:
            The tokens that were chosen.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Weights of one layer, Q with K and V, and gate with up, fused into one product each."""

    attn_norm: Tensor
    qkv: Linear
    out: Linear
    ffn_norm: Tensor
    gate_up: Linear
    down: Linear


def pairs_from_halves(n_rows: int, head_dim: int) -> Int64[Tensor, " N"]:
    """Row order that puts the two partners of each rotation side by side.

    `transformers` keeps the partners half a head apart; side by side they are one complex
    number, and the rotation one product (RoFormer, arXiv:2104.09864, equation 34).
    """
    return torch.arange(n_rows).view(-1, 2, head_dim // 2).transpose(1, 2).flatten()


class LlamaRuntime:
    """The trunk on a CPU: with our own kernels where they run, else in plain PyTorch operations."""

    def __init__(self, folder: Path, precision: str = "packed") -> None:
        """Loads a checkpoint folder.

        Raises:
            SettingError: unknown precision.
            ConfigError: the checkpoint does not fit its own config.
            CorruptedFileError: files are damaged or incomplete.
        """
        if precision not in ("packed", "float32"):
            raise SettingError(f"precision must be 'packed' or 'float32', got {precision!r}")
        self.config = config = TrunkConfig.from_dir(folder)
        self.precision = precision
        checkpoint = Checkpoint(folder)
        if checkpoint.has("model.layers.0.self_attn.q_norm.weight"):
            raise ConfigError("the checkpoint normalises queries and keys, which does not run yet")
        embedding = checkpoint.matrix("model.embed_tokens")
        if embedding.n_rows != config.vocab_size:
            raise ConfigError(
                f"the checkpoint embeds {embedding.n_rows} tokens where its config.json has "
                f"vocab_size={config.vocab_size}"
            )
        head = embedding if config.tied_embeddings else checkpoint.matrix("lm_head")
        norm = checkpoint.tensor("model.norm.weight").float()
        inverse = config.rope_theta ** (
            -torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        )
        angles = torch.outer(torch.arange(config.context_length, dtype=torch.float32), inverse)
        self.rotations = torch.polar(torch.ones_like(angles), angles)[:, None, :]
        self.turn = Turn()
        """Of whoever computes: the cores are one resource, and two threads that compute at the same
        time are slower than one after the other."""
        self.prefixes = Prefixes()
        self.schedule: Schedule | None = None
        if precision == "packed" and native.library() is not None and native.fits(config):
            self.cache_dtype = torch.bfloat16
            packed = native.Packed.of(embedding)
            trunk = native.NativeTrunk(
                config, [self._packed_layer(checkpoint, i) for i in range(config.n_layer)],
                packed, packed if head is embedding else native.Packed.of(head), norm,
                torch.view_as_real(self.rotations).flatten(1).contiguous(),
            )  # fmt: skip
            self.schedule = Schedule(trunk, self.turn)
            return
        self.embedding, self.norm = embedding, norm
        self.layers = [self._load_layer(checkpoint, i) for i in range(config.n_layer)]
        if precision == "packed":
            self.head: Linear = Int8Head(head)
        else:
            self.head = pack(head, None, precision)
            self.embedding = QuantisedMatrix({"weight": embedding.dense()})
        self.cache_dtype = self.layers[0].qkv.dtype

    @property
    def is_native(self) -> bool:
        """Whether our own kernels run it."""
        return self.schedule is not None

    def _matrix(
        self, checkpoint: Checkpoint, index: int, *names: str
    ) -> tuple[QuantisedMatrix, Tensor | None]:
        """Matrices of one layer below each other, and their biases if they have some.

        Queries and keys are reordered so that partners in the rotation stand side by side.
        """
        matrices, biases = [], []
        for name in names:
            full = f"model.layers.{index}.{name}"
            matrix = checkpoint.matrix(full)
            order = torch.arange(matrix.n_rows)
            if name in ROTATED:
                order = pairs_from_halves(matrix.n_rows, self.config.head_dim)
            matrices.append(matrix.rows(order))
            if checkpoint.has(f"{full}.bias"):
                biases.append(checkpoint.tensor(f"{full}.bias")[order])
        bias = torch.cat(biases) if len(biases) == len(names) else None
        return QuantisedMatrix.stack(matrices), bias

    def _norms(self, checkpoint: Checkpoint, index: int) -> dict[str, Tensor]:
        names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
        return {
            name: checkpoint.tensor(f"model.layers.{index}.{stored}.weight").float()
            for name, stored in names.items()
        }

    def _load_layer(self, checkpoint: Checkpoint, index: int) -> Layer:
        norms = self._norms(checkpoint, index)
        linears = {
            name: pack(*self._matrix(checkpoint, index, *parts), self.precision)
            for name, parts in PARTS.items()
        }
        return Layer(attn_norm=norms["attn_norm"], ffn_norm=norms["ffn_norm"], **linears)

    def _packed_layer(
        self, checkpoint: Checkpoint, index: int
    ) -> dict[str, native.Packed | Tensor]:
        layer: dict[str, native.Packed | Tensor] = dict(self._norms(checkpoint, index))
        for name, parts in PARTS.items():
            matrix, bias = self._matrix(checkpoint, index, *parts)
            if name == "gate_up":
                matrix = matrix.rows(native.interleaved(self.config.n_ff))
            layer[name] = native.Packed.of(matrix, bias)
        return layer

    def new_cache(
        self, capacity: int, padding: Int64[Tensor, " B"] | None = None, copies: int = 1
    ) -> KVCache:
        """See `Runtime.new_cache`."""
        return KVCache(self.config, capacity, self.cache_dtype, padding, copies)

    @torch.inference_mode()
    def forward(
        self,
        ids: Int64[Tensor, "*B T"],
        cache: KVCache,
        *,
        all_logits: bool = False,
        expert: Sequence[Updates] | None = None,
    ) -> Float[Tensor, "*B R V"]:
        """See `Runtime.forward`."""
        check_room(cache, ids.shape[-1])
        batch = ids if ids.ndim == 2 else ids[None]
        if self.schedule is not None:
            logits = self.schedule.forward(batch, cache, all_logits, expert)
        else:
            with self.turn.of(STEPS):
                logits = self._forward(batch, cache, all_logits, expert)
        return logits if ids.ndim == 2 else logits[0]

    @torch.inference_mode()
    def likeliest(
        self,
        ids: Int64[Tensor, "B T"],
        cache: KVCache,
        k: int,
        expert: Sequence[Updates] | None = None,
        among: Int64[Tensor, " N"] | None = None,
    ) -> tuple[Float[Tensor, "B k"], Int64[Tensor, "B k"]]:
        """See `Runtime.likeliest`."""
        check_room(cache, ids.shape[-1])
        if k > (self.config.vocab_size if among is None else len(among)):
            raise ValueError(f"{k} likeliest tokens are more than there are")
        if self.schedule is not None and k <= native.MOST_LIKELY:
            return self.schedule.likeliest(ids, cache, k, expert, among)
        logits = self.forward(ids, cache, expert=expert)[:, -1]
        if among is not None:
            logits = logits[:, among]
        # the best of each row first: a sum over all of them would take as long as half the trunk
        found, tokens = logits.topk(k)
        tokens = tokens if among is None else among[tokens]
        return found - logits.logsumexp(-1, keepdim=True), tokens

    def begin(self, ids: Sequence[int], capacity: int) -> tuple[KVCache, int]:
        """See `Runtime.begin`."""
        cache = self.new_cache(capacity)
        return cache, self.prefixes.begin(ids, cache) if self.is_native else 0

    def keep(self, ids: Sequence[int], cache: KVCache) -> None:
        """See `Runtime.keep`."""
        if self.is_native:
            self.prefixes.keep(ids, cache)

    def generate(
        self, ids: Int64[Tensor, " T"], cache: KVCache, choose: Choose, stop: threading.Event
    ) -> Generator[int, None, None]:
        """See `Runtime.generate`."""
        check_room(cache, len(ids))
        if self.schedule is not None:
            return self.schedule.generate(ids, cache, choose, stop)
        return self._generate(ids, cache, choose, stop)

    def _generate(
        self, ids: Tensor, cache: KVCache, choose: Choose, stop: threading.Event
    ) -> Generator[int, None, None]:
        # A long prompt is read in parts, so that other streams get their turn.
        to_read = list(ids.split(PREFILL_CHUNK))
        while to_read and not stop.is_set():
            logits = self.forward(to_read.pop(0), cache)[-1]
            if to_read:
                continue
            token = choose(logits)
            if token is None:
                return
            yield token
            if cache.length < cache.capacity:
                to_read.append(torch.tensor([token]))

    def _forward(
        self, ids: Tensor, cache: KVCache, all_logits: bool, expert: Sequence[Updates] | None
    ) -> Tensor:
        config, eps = self.config, self.config.rms_norm_eps
        n_query, n_kv = config.n_head, config.n_kv_head
        group, head_dim = n_query // n_kv, config.head_dim
        batch, length = ids.shape
        start = cache.length
        end = start + length
        rotations, mask = self.rotations[start:end], None
        if cache.padding is not None:
            places = torch.arange(start, end) - cache.padding[:, None]
            rotations = self.rotations[places.clamp_(min=0)]
        if length > 1 or cache.padding is not None:
            mask = visible(start, length, cache.padding)

        def product(name: str, x: Tensor) -> Tensor:
            linear: Linear = getattr(layer, name)
            x = x.to(linear.dtype)
            y = linear(x)
            if name in updates:
                y = updates[name].added(y, x)
            return y

        residual = self.embedding.rows(ids.flatten()).dense()
        for index, layer in enumerate(self.layers):
            updates: Updates = {} if expert is None else expert[index]
            x = F.rms_norm(residual, residual.shape[-1:], layer.attn_norm, eps)
            qkv = product("qkv", x).view(batch, length, -1, head_dim)
            turned = torch.view_as_complex(
                qkv[:, :, : n_query + n_kv].float().unflatten(-1, (-1, 2))
            )
            turned = torch.view_as_real(turned * rotations).flatten(-2).to(qkv.dtype)
            cache.write(
                index, turned[:, :, n_query:].transpose(1, 2),
                qkv[:, :, n_query + n_kv :].transpose(1, 2),
            )  # fmt: skip
            keys, values = cache.read(index, end)
            if length == 1:  # the queries of one group read the same keys: make them one batch
                queries = turned[:, 0, :n_query].view(batch, n_kv, group, head_dim)
                mixed = attend_once(queries, keys, values, mask)
            else:
                queries = turned[:, :, :n_query].transpose(1, 2)
                mixed = F.scaled_dot_product_attention(
                    queries, keys, values, attn_mask=mask, enable_gqa=True
                )
                mixed = mixed.transpose(1, 2)
            residual += product("out", mixed.reshape(batch * length, n_query * head_dim))

            x = F.rms_norm(residual, residual.shape[-1:], layer.ffn_norm, eps)
            gate, up = product("gate_up", x).chunk(2, dim=-1)
            residual += product("down", F.silu(gate) * up)
        cache.length = end
        residual = residual.view(batch, length, -1)
        if not all_logits:
            residual = residual[:, -1:]
        x = F.rms_norm(residual, residual.shape[-1:], self.norm, eps)
        logits = self.head(x.flatten(0, 1).to(self.head.dtype)).float()
        return logits.view(batch, -1, logits.shape[-1])


def check_room(cache: KVCache, length: int) -> None:
    """Refuses more positions than a cache has left."""
    if cache.length + length > cache.capacity:
        raise ValueError(f"cache of {cache.capacity} positions is full at {cache.length}")


def attend_once(
    queries: Float[Tensor, "B G Q D"],
    keys: Float[Tensor, "B G P D"],
    values: Float[Tensor, "B G P D"],
    mask: Bool[Tensor, "B 1 1 P"] | None,
) -> Float[Tensor, "B G Q D"]:
    """Attention of one new position a stream.

    torch's kernel is faster for a few streams; for many it takes two to six times as long as
    the two products (128 streams of 32 and 64 positions, one core).
    """
    if len(queries) < MANY_STREAMS:
        return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
    scores = (queries @ keys.transpose(2, 3)).float() * queries.shape[-1] ** -0.5
    if mask is not None:
        scores.masked_fill_(~mask, -torch.inf)
    return scores.softmax(-1).to(values.dtype) @ values


def visible(start: int, length: int, padding: Int64[Tensor, " B"] | None) -> Bool[Tensor, "*B T P"]:
    """Which positions each of `length` new ones sees: what is before it and no padding.

    A position in the padding sees itself, as a softmax over nothing has no value.
    """
    end = start + length
    seen = torch.ones(length, end, dtype=torch.bool).tril_(start)
    if padding is None:
        return seen
    places = torch.arange(end)
    real = places >= padding[:, None, None, None]
    itself = places == torch.arange(start, end)[:, None]
    return seen & real | itself


def usable_cores() -> int:
    """Cores that this process may use: affinity, and a container's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:  # cgroup v2: "max 100000", or microseconds of CPU time per period
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        cores = min(cores or 1, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores or 1


def use_all_cores() -> None:
    """Gives torch the cores that this process may use; by itself it counts the machine's.

    What OMP_NUM_THREADS asks for stays.
    """
    if not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(usable_cores())
