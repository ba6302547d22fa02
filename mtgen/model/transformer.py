"""The trunk as a differentiable module: what training runs, in batches, on a CPU or a GPU.

It computes what `mtgen.engine.LlamaRuntime` computes with float32 weights (a test holds both
together), takes low-rank experts beside its matrices, and hands out the keys and values that the
image expert reads.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from mtgen.engine.linear import MATRICES, PARTS, ROTATED, Checkpoint
from mtgen.engine.runtime import pairs_from_halves
from mtgen.errors import CacheWriteError, ConfigError
from mtgen.model.config import TrunkConfig

COMPANIONS = ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json")
"""Files of a checkpoint folder beside its weights."""

Factors = Mapping[str, tuple[Tensor, Tensor]]
"""By matrix of one layer: factors `R K` and `N R` whose product is added to its `N K`."""

KeysValues = dict[int, tuple[Tensor, Tensor]]
"""By layer: keys and values, each `B G T D`; keys without their rotation."""


def rotations(angles: Float[Tensor, "T R"]) -> Float[Tensor, "T R 2"]:
    """Cosine and sine of each position's angle for each pair of channels."""
    return torch.stack([angles.cos(), angles.sin()], -1)


def rotate(x: Float[Tensor, "*N T D"], turns: Float[Tensor, "T R 2"]) -> Float[Tensor, "*N T D"]:
    """Turns each pair of neighbouring channels by its position's angle (RoFormer, eq. 34)."""
    first, second = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = turns.unbind(-1)
    turned = torch.stack([first * cos - second * sin, first * sin + second * cos], -1)
    return turned.flatten(-2).to(x.dtype)


@dataclass(frozen=True, kw_only=True)
class LowRankConfig:
    """Shape of a low-rank expert."""

    rank: int = 32
    alpha: float | None = None
    """An update counts alpha / rank; None is 1."""
    matrices: tuple[str, ...] = MATRICES
    """Which of MATRICES get one, in every layer."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not set(self.matrices) <= set(MATRICES):
            raise ConfigError(
                f"rank={self.rank} must be at least 1 and matrices={self.matrices} be of {MATRICES}"
            )


class LowRankExpert(nn.Module):
    """Low-rank weights beside the trunk's matrices (LoRA, arXiv:2106.09685)."""

    def __init__(self, config: LowRankConfig, trunk: TrunkConfig) -> None:
        super().__init__()
        self.config = config
        self.scale = (config.alpha or config.rank) / config.rank
        shapes = matrix_shapes(trunk)
        self.down = nn.ParameterDict()
        self.up = nn.ParameterDict()
        for layer in range(trunk.n_layer):
            for name in config.matrices:
                rows, columns = shapes[name]
                a = torch.randn(config.rank, columns) / columns**0.5
                self.down[f"{layer}_{name}"] = nn.Parameter(a)
                self.up[f"{layer}_{name}"] = nn.Parameter(torch.zeros(rows, config.rank))

    def updates(self, layer: int) -> Factors:
        """The pairs of low-rank factors of one layer, by name of the matrix that they update."""
        keys = {name: f"{layer}_{name}" for name in self.config.matrices}
        if self.scale == 1:  # a product with 1 would be 16 million numbers at every step
            return {name: (self.down[key], self.up[key]) for name, key in keys.items()}
        return {name: (self.down[key], self.scale * self.up[key]) for name, key in keys.items()}


def matrix_shapes(config: TrunkConfig) -> dict[str, tuple[int, int]]:
    """Rows and columns of each of MATRICES."""
    heads = config.n_head * config.head_dim
    return {
        "qkv": (heads + 2 * config.n_kv_head * config.head_dim, config.n_embd),
        "out": (config.n_embd, heads),
        "gate_up": (2 * config.n_ff, config.n_embd),
        "down": (config.n_embd, config.n_ff),
    }


class TrunkLayer(nn.Module):
    """One layer of the trunk."""

    def __init__(self, config: TrunkConfig, biased: bool) -> None:
        super().__init__()
        self.config = config
        shapes = matrix_shapes(config)
        self.attn_norm = nn.Parameter(torch.ones(config.n_embd))
        self.ffn_norm = nn.Parameter(torch.ones(config.n_embd))
        for name in MATRICES:
            rows, columns = shapes[name]
            bias = biased and name == "qkv"
            setattr(self, name, nn.Linear(columns, rows, bias=bias, device="meta"))

    def product(self, name: str, x: Tensor, updates: Factors) -> Tensor:
        """One of MATRICES times `x`, with its update if there is one."""
        y = getattr(self, name)(x)
        if name not in updates:
            return y
        down, up = updates[name]
        return y + F.linear(F.linear(x, down), up)

    def norm(self, weight: Tensor, x: Tensor) -> Tensor:
        """RMSNorm in the type of `x`: in float32, which autocast chooses, twice the time."""
        return F.rms_norm(x, weight.shape, weight.to(x.dtype), self.config.rms_norm_eps)

    def heads(
        self, residual: Float[Tensor, "B T C"], updates: Factors
    ) -> Sequence[Float[Tensor, "B G T D"]]:
        """Queries, keys and values before any rotation."""
        config = self.config
        qkv = self.product("qkv", self.norm(self.attn_norm, residual), updates)
        heads = qkv.view(*residual.shape[:2], -1, config.head_dim).transpose(1, 2)
        return heads.split([config.n_head, config.n_kv_head, config.n_kv_head], dim=1)

    def forward(
        self,
        residual: Float[Tensor, "B T C"],
        turns: Float[Tensor, "T R 2"],
        mask: Float[Tensor, "T T"],
        updates: Factors,
    ) -> tuple[Float[Tensor, "B T C"], Tensor, Tensor]:
        """The residual after this layer, and its keys (not rotated) and values, `B G T D`.

        Attention is spelled out on a CPU: at the lengths of sentences two products of matrices
        take a fraction of the time of torch's fused kernel there.
        """
        config = self.config
        b, t = residual.shape[:2]
        query, key, value = self.heads(residual, updates)
        if residual.is_cuda:
            mixed = F.scaled_dot_product_attention(
                rotate(query, turns), rotate(key, turns), value, is_causal=True, enable_gqa=True
            )
        else:
            group = config.n_head // config.n_kv_head
            q = rotate(query, turns).reshape(b, config.n_kv_head, group * t, config.head_dim)
            scores = q @ rotate(key, turns).transpose(2, 3) * config.head_dim**-0.5
            shares = (scores.view(b, -1, group, t, t).float() + mask).softmax(-1).to(value.dtype)
            mixed = shares.view(b, config.n_kv_head, group * t, t) @ value
            mixed = mixed.view(b, config.n_head, t, -1)
        mixed = mixed.transpose(1, 2).reshape(b, t, -1)
        residual = residual + self.product("out", mixed, updates)
        x = self.norm(self.ffn_norm, residual)
        gate, up = self.product("gate_up", x, updates).chunk(2, -1)
        return residual + self.product("down", F.silu(gate) * up, updates), key, value


@dataclass
class TrunkOutput:
    """What one pass gives."""

    hidden: Float[Tensor, "B T C"]
    """After the last layer that ran, before the final norm."""
    keys_values: KeysValues


class TrunkModel(nn.Module):
    """The trunk's weights, frozen unless told otherwise."""

    def __init__(self, config: TrunkConfig, state: dict[str, Tensor]) -> None:
        """Takes a checkpoint's dense tensors under their Hugging Face names."""
        super().__init__()
        self.config = config
        biased = "model.layers.0.self_attn.q_proj.bias" in state
        self.embedding = nn.Parameter(state["model.embed_tokens.weight"].clone())
        self.norm = nn.Parameter(state["model.norm.weight"].clone())
        self.head = None
        if not config.tied_embeddings:
            self.head = nn.Parameter(state["lm_head.weight"].clone())
        self.layers = nn.ModuleList(TrunkLayer(config, biased) for _ in range(config.n_layer))
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, TrunkLayer)
            prefix = f"model.layers.{index}"
            with torch.no_grad():
                layer.attn_norm.copy_(state[f"{prefix}.input_layernorm.weight"])
                layer.ffn_norm.copy_(state[f"{prefix}.post_attention_layernorm.weight"])
            for name, parts in PARTS.items():
                linear = getattr(layer, name)
                for kind in ("weight", "bias") if linear.bias is not None else ("weight",):
                    rows = [self._rows(state[f"{prefix}.{p}.{kind}"], p) for p in parts]
                    setattr(linear, kind, nn.Parameter(torch.cat(rows)))
        self.requires_grad_(False)
        self._turns: Tensor | None = None
        self.folder: Path | None = None
        """Where it was read from."""

    def _rows(self, tensor: Tensor, name: str) -> Tensor:
        if name in ROTATED:
            return tensor[pairs_from_halves(tensor.shape[0], self.config.head_dim)]
        return tensor

    @classmethod
    def from_dir(cls, folder: Path) -> TrunkModel:
        """Reads a checkpoint folder; 4-bit weights become dense."""
        trunk = cls(TrunkConfig.from_dir(folder), Checkpoint(folder).state_dict())
        trunk.folder = folder
        return trunk

    def save(self, folder: Path, weights: Mapping[str, Tensor]) -> None:
        """Writes a checkpoint folder in the Hugging Face layout, in bf16.

        Args:
            folder: Gets the weights, and the config and tokenizer of the folder this was read from.
            weights: By their names in this module.

        Raises:
            CacheWriteError: disk full or not writable.
        """
        state = {"model.embed_tokens.weight": weights["embedding"]}
        state["model.norm.weight"] = weights["norm"]
        if self.head is not None:
            state["lm_head.weight"] = weights["head"]
        for index in range(self.config.n_layer):
            prefix = f"model.layers.{index}"
            state[f"{prefix}.input_layernorm.weight"] = weights[f"layers.{index}.attn_norm"]
            state[f"{prefix}.post_attention_layernorm.weight"] = weights[f"layers.{index}.ffn_norm"]
            for name, parts in PARTS.items():
                for kind in ("weight", "bias"):
                    fused = weights.get(f"layers.{index}.{name}.{kind}")
                    if fused is None:
                        continue
                    for part, rows in zip(parts, self._split(fused, name), strict=True):
                        state[f"{prefix}.{part}.{kind}"] = self._rows_as_stored(rows, part)
        tensors = {
            name: x.detach().to("cpu", torch.bfloat16).contiguous() for name, x in state.items()
        }
        assert self.folder is not None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name in COMPANIONS:
                if (self.folder / name).is_file():
                    shutil.copy(self.folder / name, folder)
            save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        except (OSError, SafetensorError) as error:
            raise CacheWriteError(f"the trunk cannot be written to {folder} ({error})") from None

    def _split(self, fused: Tensor, name: str) -> Sequence[Tensor]:
        """The matrices that were put together as one of MATRICES."""
        if name == "qkv":
            kv = self.config.n_kv_head * self.config.head_dim
            return fused.split([len(fused) - 2 * kv, kv, kv])
        return fused.chunk(len(PARTS[name]))

    def _rows_as_stored(self, tensor: Tensor, name: str) -> Tensor:
        if name in ROTATED:
            return tensor[pairs_from_halves(tensor.shape[0], self.config.head_dim).argsort()]
        return tensor

    def forward(
        self,
        ids: Int64[Tensor, "B T"],
        *,
        expert: LowRankExpert | None = None,
        collect: Collection[int] = (),
        stop_after: int | None = None,
    ) -> TrunkOutput:
        """Runs a right-padded batch; attention is causal, so padding changes nothing before it.

        Args:
            ids: Token ids.
            expert: Low-rank weights to add.
            collect: Layers whose keys and values to return.
            stop_after: Last layer to run; all unless given.
        """
        config, t = self.config, ids.shape[1]
        if self._turns is None or len(self._turns) < t or self._turns.device != ids.device:
            pairs = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
            places = torch.arange(max(t, 256), dtype=torch.float32)
            turns = rotations(torch.outer(places, config.rope_theta**-pairs))
            self._turns = turns.to(ids.device)
        turns = self._turns[:t]
        mask = torch.full((t, t), -torch.inf, device=ids.device).triu(1)
        collected: KeysValues = {}
        residual = F.embedding(ids, self.embedding)
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, TrunkLayer)
            updates = {} if expert is None else expert.updates(index)
            if index == stop_after:
                if index in collect:
                    _, key, value = layer.heads(residual, updates)
                    collected[index] = (key, value)
                break
            residual, key, value = layer(residual, turns, mask, updates)
            if index in collect:
                collected[index] = (key, value)
        return TrunkOutput(residual, collected)

    def logits(self, hidden: Float[Tensor, "N C"]) -> Float[Tensor, "N V"]:
        """Scores of every token after the positions that `hidden` comes from."""
        weight = self.norm.to(hidden.dtype)
        normed = F.rms_norm(hidden, weight.shape, weight, self.config.rms_norm_eps)
        return F.linear(normed, self.embedding if self.head is None else self.head)
