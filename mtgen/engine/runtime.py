"""Runs a Llama-family trunk: token ids in, logits out, with a key/value cache.

`Runtime` is all that the rest of mtgen knows of it.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from mtgen.engine.linear import (
    FEW_ROWS,
    Checkpoint,
    Int4Linear,
    Int8Head,
    Linear,
    QuantisedMatrix,
    Updates,
    pack,
)
from mtgen.errors import ConfigError, SettingError
from mtgen.model.config import TrunkConfig

PATIENCE_S = 0.01
"""How long a step waits for the streams that took part in the one before."""
MANY_STREAMS = 24
"""From so many on, attention of one position each is spelled out."""


class KVCache:
    """Keys and values of a batch of streams; belongs to one request and dies with it."""

    def __init__(
        self,
        config: TrunkConfig,
        capacity: int,
        dtype: torch.dtype,
        padding: Int64[Tensor, " B"] | None = None,
    ) -> None:
        """An empty cache.

        Args:
            config: Of the trunk.
            capacity: Positions of each stream.
            dtype: Of keys and values.
            padding: How many of the first positions of each stream mean nothing, so that streams
                of unequal lengths end together; None is one stream without any.
        """
        batch = 1 if padding is None else len(padding)
        shape = (batch, config.n_kv_head, capacity, config.head_dim)
        layers = range(config.n_layer)
        self.keys: list[Float[Tensor, "B G P D"]] = [
            torch.empty(shape, dtype=dtype) for _ in layers
        ]
        self.values: list[Float[Tensor, "B G P D"]] = [
            torch.empty(shape, dtype=dtype) for _ in layers
        ]
        self.padding = padding
        self.capacity = capacity
        self.length = 0
        """Positions filled so far."""

    def repeat(self, count: int) -> None:
        """Makes each stream `count` streams, side by side."""
        assert self.padding is not None
        self.padding = self.padding.repeat_interleave(count)
        for tensors in (self.keys, self.values):
            for layer, held in enumerate(tensors):
                tensors[layer] = held.repeat_interleave(count, 0)

    def select(self, rows: Int64[Tensor, " N"], *, shared: int = 0, group: int = 1) -> None:
        """Goes on with these streams, in this order.

        Args:
            rows: N numbers of streams, no more than there are; one may be taken several times.
            shared: Positions at the start that the streams of a group have in common, which are
                copied only where a group moves.
            group: Neighbouring streams that have them in common.
        """
        assert self.padding is not None
        count = torch.arange(len(rows))
        self.padding = self.padding[rows]
        moved = (rows // group != count // group).nonzero().flatten()
        for tensors in (self.keys, self.values):
            for layer, held in enumerate(tensors):
                if shared and len(moved):
                    held[moved, :, :shared] = held[rows[moved], :, :shared]
                chosen = held[:, :, shared : self.length].index_select(0, rows)
                held = tensors[layer] = held[: len(rows)]
                held[:, :, shared : self.length] = chosen


@runtime_checkable
class Runtime(Protocol):
    """What a way of running the trunk must offer."""

    config: TrunkConfig
    precision: str

    def new_cache(self, capacity: int, padding: Int64[Tensor, " B"] | None = None) -> KVCache:
        """An empty cache for up to `capacity` positions of one stream, or of a padded batch."""
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


@dataclass(eq=False)
class Step:
    """A stream that waits for the logits after one more token."""

    ids: Int64[Tensor, " 1"]
    cache: KVCache
    logits: Float[Tensor, "1 V"] | None = None
    error: BaseException | None = None


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
    """The trunk on a CPU, in plain PyTorch operations, nothing compiled."""

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
        self.embedding = checkpoint.matrix("model.embed_tokens")
        if self.embedding.n_rows != config.vocab_size:
            raise ConfigError(
                f"the checkpoint embeds {self.embedding.n_rows} tokens where its config.json has "
                f"vocab_size={config.vocab_size}"
            )
        self.layers = [self._load_layer(checkpoint, i) for i in range(config.n_layer)]
        self.norm = checkpoint.tensor("model.norm.weight").float()
        head = self.embedding if config.tied_embeddings else checkpoint.matrix("lm_head")
        if precision == "packed":
            self.head: Linear = Int8Head(head)
        else:
            self.head = pack(head, None, precision)
        if precision == "float32":
            self.embedding = QuantisedMatrix({"weight": self.embedding.dense()})
        self.cache_dtype = self.layers[0].qkv.dtype
        inverse = config.rope_theta ** (
            -torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        )
        angles = torch.outer(torch.arange(config.context_length, dtype=torch.float32), inverse)
        self.rotations = torch.polar(torch.ones_like(angles), angles)[:, None, :]
        # Streams take turns step by step: the two cores are one resource, and a step in two
        # threads at once is slower than the two steps after each other.
        self._turn = threading.Lock()
        # Of these kernels each row is that of a product of one row, bit for bit.
        self._rows_are_exact = isinstance(self.head, Int8Head) and all(
            isinstance(linear, Int4Linear)
            for layer in self.layers
            for linear in (layer.qkv, layer.out, layer.gate_up, layer.down)
        )
        self._waiting: list[Step] = []
        self._arrived = threading.Condition()
        self._expected = 1  # streams that took part in the last step together

    def _load_layer(self, checkpoint: Checkpoint, index: int) -> Layer:
        prefix, config = f"model.layers.{index}", self.config
        if checkpoint.has(f"{prefix}.self_attn.q_norm.weight"):
            raise ConfigError("the checkpoint normalises queries and keys, which does not run yet")

        def fused(*names: str, rotary: tuple[str, ...] = ()) -> Linear:
            matrices, biases = [], []
            for name in names:
                matrix = checkpoint.matrix(f"{prefix}.{name}")
                bias = f"{prefix}.{name}.bias"
                order = torch.arange(matrix.n_rows)
                if name in rotary:
                    order = pairs_from_halves(matrix.n_rows, config.head_dim)
                matrices.append(matrix.rows(order))
                if checkpoint.has(bias):
                    biases.append(checkpoint.tensor(bias)[order])
            bias = torch.cat(biases) if len(biases) == len(names) else None
            return pack(QuantisedMatrix.stack(matrices), bias, self.precision)

        q, k, v = (f"self_attn.{name}_proj" for name in "qkv")
        return Layer(
            attn_norm=checkpoint.tensor(f"{prefix}.input_layernorm.weight").float(),
            qkv=fused(q, k, v, rotary=(q, k)),
            out=fused("self_attn.o_proj"),
            ffn_norm=checkpoint.tensor(f"{prefix}.post_attention_layernorm.weight").float(),
            gate_up=fused("mlp.gate_proj", "mlp.up_proj"),
            down=fused("mlp.down_proj"),
        )

    def new_cache(self, capacity: int, padding: Int64[Tensor, " B"] | None = None) -> KVCache:
        """See `Runtime.new_cache`."""
        return KVCache(self.config, capacity, self.cache_dtype, padding)

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
        if cache.length + ids.shape[-1] > cache.capacity:
            raise ValueError(f"cache of {cache.capacity} positions is full at {cache.length}")
        if self._rows_are_exact and ids.shape == (1,) and cache.padding is None and expert is None:
            return self._step(Step(ids, cache))
        with self._turn:
            logits = self._forward(ids if ids.ndim == 2 else ids[None], cache, all_logits, expert)
        return logits if ids.ndim == 2 else logits[0]

    def _step(self, step: Step) -> Float[Tensor, "1 V"]:
        """One more token of one stream, together with those of other streams that wait.

        Whoever gets the turn computes for all: the weights, whose reading is most of the time, are
        read once. A row of a product does not depend on the others (the kernels of few rows add up
        each by itself), and attention goes stream by stream, so each gets bit for bit what it
        would get alone.
        """
        with self._arrived:
            self._waiting.append(step)
            self._arrived.notify()
        with self._turn:
            if step.logits is None and step.error is None:
                self._compute(self._gathered(step))
        if step.error is not None:
            raise step.error
        assert step.logits is not None
        return step.logits

    def _gathered(self, own: Step) -> list[Step]:
        """A stream's step and those that wait; those of the last time are waited for shortly."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._waiting) >= self._expected, PATIENCE_S)
            others = [step for step in self._waiting if step is not own][: FEW_ROWS - 1]
            steps = [own, *others]
            self._waiting = [step for step in self._waiting if step not in steps]
            self._expected = min(len(steps), FEW_ROWS)
        return steps

    def _compute(self, steps: list[Step]) -> None:
        """Gives each step its logits, or all of them what went wrong."""
        try:
            if len(steps) == 1:
                steps[0].logits = self._forward(steps[0].ids[None], steps[0].cache, False, None)[0]
                return
            for step, row in zip(steps, self._forward_steps(steps), strict=True):
                step.logits = row[None]
        except BaseException as error:
            for step in steps:
                step.error = error

    def _forward_steps(self, steps: Sequence[Step]) -> Float[Tensor, "B V"]:
        """One position of each of several streams of any lengths; see `_forward`."""
        config, eps = self.config, self.config.rms_norm_eps
        n_query, n_kv = config.n_head, config.n_kv_head
        group, head_dim, batch = n_query // n_kv, config.head_dim, len(steps)
        starts = [step.cache.length for step in steps]
        rotations = self.rotations[starts]
        residual = self.embedding.rows(torch.cat([step.ids for step in steps])).dense()
        for index, layer in enumerate(self.layers):
            x = F.rms_norm(residual, residual.shape[-1:], layer.attn_norm, eps)
            qkv = layer.qkv(x.to(layer.qkv.dtype)).view(batch, -1, head_dim)
            turned = torch.view_as_complex(qkv[:, : n_query + n_kv].float().unflatten(-1, (-1, 2)))
            turned = torch.view_as_real(turned * rotations).flatten(-2).to(qkv.dtype)
            queries = turned[:, :n_query].view(batch, n_kv, group, head_dim)
            mixed = []
            for row, (step, start) in enumerate(zip(steps, starts, strict=True)):
                keys, values = step.cache.keys[index], step.cache.values[index]
                keys[0, :, start] = turned[row, n_query:]
                values[0, :, start] = qkv[row, n_query + n_kv :]
                end = start + 1
                mixed.append(
                    attend_once(queries[row : row + 1], keys[:, :, :end], values[:, :, :end], None)
                )
            x = torch.cat(mixed).reshape(batch, -1)
            residual += layer.out(x.to(layer.out.dtype))
            x = F.rms_norm(residual, residual.shape[-1:], layer.ffn_norm, eps)
            gate, up = layer.gate_up(x.to(layer.gate_up.dtype)).chunk(2, dim=-1)
            residual += layer.down((F.silu(gate) * up).to(layer.down.dtype))
        for step in steps:
            step.cache.length += 1
        x = F.rms_norm(residual, residual.shape[-1:], self.norm, eps)
        return self.head(x.to(self.head.dtype)).float()

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
            keys, values = cache.keys[index], cache.values[index]
            keys[:, :, start:end] = turned[:, :, n_query:].transpose(1, 2)
            values[:, :, start:end] = qkv[:, :, n_query + n_kv :].transpose(1, 2)
            keys, values = keys[:, :, :end], values[:, :, :end]
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


def release_free_memory() -> None:
    """Returns what loading used for a moment to the system: 150 MB that glibc would keep."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)


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
