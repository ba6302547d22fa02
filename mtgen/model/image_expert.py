"""The image expert: a narrow transformer beside the trunk that predicts a picture's tokens.

It has its own norms and matrices, and shares the trunk's head size and key/value heads: at each
of its layers, places of the picture attend to the trunk's keys and values of the prompt and to
each other (as the experts of Mixture-of-Transformers, arXiv:2411.04996, and pi-0,
arXiv:2410.24164). The trunk never sees the picture, so a prompt is read once.

A place is 32 x 32 pixels, and has the few codes of `mtgen.model.picture_tokenizer`. Places are
drawn many at a time with masking (MaskGIT, arXiv:2202.04200); the codes of one place after the
other by a small network of one hidden layer (NADE, arXiv:1605.02226), so that they fit together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from mtgen.errors import ConfigError
from mtgen.model.autoencoder import CHANNELS_PER_CODE, CODEBOOK_SIZE, LEVELS, to_digits
from mtgen.model.config import TrunkConfig
from mtgen.model.transformer import KeysValues, rotate, rotations

DIGITS = LEVELS * CHANNELS_PER_CODE
"""Inputs that tell one code: which of four levels, for each of its four channels."""
ROTARY_CHANNELS = 32
"""Channels of a head that are turned by row and column; the others see content alone."""
ROTARY_THETA = 100.0


@dataclass(frozen=True, kw_only=True)
class ExpertShape:
    """Shape of the layers that attend to the trunk."""

    n_layer: int = 8
    n_embd: int = 384
    n_head: int = 6
    """Query heads; a multiple of the trunk's key/value heads."""
    n_ff: int = 1024
    trunk_layers: tuple[int, ...] = (1, 5, 9, 13, 17, 21, 25, 29)
    """The layer of the trunk that each layer reads."""
    side: int = 8
    """Places of a side."""

    def __post_init__(self) -> None:
        if len(self.trunk_layers) != self.n_layer:
            raise ConfigError(
                f"trunk_layers names {len(self.trunk_layers)} layers for n_layer={self.n_layer}; "
                "each layer reads one"
            )

    @property
    def num_places(self) -> int:
        return self.side**2

    def check_trunk(self, trunk: TrunkConfig) -> None:
        """Refuses a trunk that these layers cannot read.

        Raises:
            ConfigError: its heads or layers do not fit.
        """
        if self.n_head % trunk.n_kv_head:
            raise ConfigError(
                f"n_head={self.n_head} is not divisible by the trunk's {trunk.n_kv_head} "
                "key/value heads"
            )
        if max(self.trunk_layers) >= trunk.n_layer:
            raise ConfigError(
                f"trunk_layers names layer {max(self.trunk_layers)}; the trunk's last is "
                f"{trunk.n_layer - 1}"
            )


@dataclass(frozen=True, kw_only=True)
class ImageExpertConfig(ExpertShape):
    """Shape of the expert."""

    codes_per_place: int = 2
    n_code_embd: int = 256
    """Width of the network that draws a place's codes."""
    n_code_ff: int = 512


def digits(codes: Int64[Tensor, "*N K"]) -> Float[Tensor, "*N KD"]:
    """One-hot levels of codes: 16 numbers a code."""
    return F.one_hot(to_digits(codes), LEVELS).flatten(-3).float()


class Norm(nn.Module):
    """RMS norm over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "*N C"]) -> Float[Tensor, "*N C"]:
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), 1e-6)


class Block(nn.Module):
    """One layer over places; it attends to a prompt too, unless `reads` is False."""

    def __init__(self, config: ExpertShape, trunk: TrunkConfig, reads: bool = True) -> None:
        super().__init__()
        self.n_head, self.n_kv_head = config.n_head, trunk.n_kv_head
        self.head_dim = trunk.head_dim
        kv = trunk.n_kv_head * trunk.head_dim
        self.attn_norm = Norm(config.n_embd)
        self.qkv = nn.Linear(config.n_embd, config.n_head * trunk.head_dim + 2 * kv, bias=False)
        self.query_norm = Norm(trunk.head_dim)
        self.key_norm = Norm(trunk.head_dim)
        self.out = nn.Linear(config.n_head * trunk.head_dim, config.n_embd, bias=False)
        if reads:
            self.prompt_key_norm = Norm(kv)
            self.prompt_value_norm = Norm(kv)
            self.prompt_key = nn.Linear(kv, kv, bias=False)
            self.prompt_value = nn.Linear(kv, kv, bias=False)
            nn.init.eye_(self.prompt_key.weight)
            nn.init.eye_(self.prompt_value.weight)
        self.ffn_norm = Norm(config.n_embd)
        self.gate_up = nn.Linear(config.n_embd, 2 * config.n_ff, bias=False)
        self.down = nn.Linear(config.n_ff, config.n_embd, bias=False)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.down.weight)

    def read_prompt(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """The trunk's keys and values as this layer attends to them, `B G T D` each."""
        flat_key, flat_value = (x.transpose(1, 2).flatten(2) for x in (key, value))
        flat_key = self.prompt_key(self.prompt_key_norm(flat_key))
        flat_value = self.prompt_value(self.prompt_value_norm(flat_value))
        shape = (self.n_kv_head, self.head_dim)
        key = self.key_norm(flat_key.unflatten(-1, shape)).transpose(1, 2)
        return key, flat_value.unflatten(-1, shape).transpose(1, 2)

    def forward(
        self,
        x: Float[Tensor, "B P C"],
        prompt: tuple[Tensor, Tensor],
        turns: Float[Tensor, "P R 2"],
        mask: Bool[Tensor, "B 1 P N"] | None,
    ) -> Float[Tensor, "B P C"]:
        """The new states.

        Args:
            x: States of places.
            prompt: What `read_prompt` gave.
            turns: Rotations of the places.
            mask: True where a place may look: the prompt's tokens first, then the places; None
                for everywhere.
        """
        heads = self.qkv(self.attn_norm(x)).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        query, key, value = heads.split([self.n_head, self.n_kv_head, self.n_kv_head], dim=1)
        query, key = turned(self.query_norm(query), turns), turned(self.key_norm(key), turns)
        value = value.to(key.dtype)
        mixed = F.scaled_dot_product_attention(
            query,
            torch.cat([prompt[0].to(key.dtype), key], 2),
            torch.cat([prompt[1].to(key.dtype), value], 2),
            attn_mask=mask, enable_gqa=True,
        )  # fmt: skip
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        gate, up = self.gate_up(self.ffn_norm(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def turned(x: Float[Tensor, "B H P D"], turns: Float[Tensor, "P R 2"]) -> Tensor:
    """Rotates the first channels by row and column."""
    return torch.cat([rotate(x[..., :ROTARY_CHANNELS], turns), x[..., ROTARY_CHANNELS:]], -1)


def grid_rotations(side: int) -> Float[Tensor, "P R 2"]:
    """Rotations of each place: half of the pairs turn by row, half by column."""
    pairs = ROTARY_CHANNELS // 4
    inverse = ROTARY_THETA ** (-torch.arange(pairs, dtype=torch.float32) / pairs)
    place = torch.arange(side * side)
    angles = [torch.outer(axis.float(), inverse) for axis in (place // side, place % side)]
    return rotations(torch.cat(angles, -1))


class CodeHead(nn.Module):
    """Draws the codes of one place, each given those before it."""

    seen: Tensor
    """Which inputs each code may see."""

    def __init__(self, config: ImageExpertConfig) -> None:
        super().__init__()
        k, width, hidden = config.codes_per_place, config.n_code_embd, config.n_code_ff
        self.norm = Norm(config.n_embd)
        self.project = nn.Linear(config.n_embd, width, bias=False)
        self.before = nn.Parameter(torch.zeros(k, k * DIGITS, width))
        self.bias = nn.Parameter(torch.zeros(k, 1, width))
        self.up = nn.Parameter(torch.randn(k, width, hidden) / width**0.5)
        self.down = nn.Parameter(torch.zeros(k, hidden, width))
        self.logits = nn.Parameter(torch.zeros(k, width, CODEBOOK_SIZE))
        nn.init.normal_(self.before, std=(k * DIGITS) ** -0.5)
        nn.init.normal_(self.logits, std=0.02)
        # code j sees only the digits of codes before it
        seen = torch.ones(k, k).tril(-1).repeat_interleave(DIGITS, 1)[:, :, None]
        self.register_buffer("seen", seen, persistent=False)

    def forward(
        self, x: Float[Tensor, "N C"], codes: Int64[Tensor, "N K"]
    ) -> Float[Tensor, "K N V"]:
        """Scores of every code, given the true codes before it."""
        base = self.project(self.norm(x))
        given = digits(codes).to(base.dtype)
        state = base + torch.matmul(given, (self.before * self.seen).to(base.dtype)) + self.bias
        return self._score(state, slice(None))

    def _score(self, state: Float[Tensor, "K N W"], which: slice) -> Float[Tensor, "K N V"]:
        hidden = F.silu(torch.bmm(unit(state), self.up[which].to(state.dtype)))
        state = state + torch.bmm(hidden, self.down[which].to(state.dtype))
        return torch.bmm(unit(state), self.logits[which].to(state.dtype))

    def step(self, base: Float[Tensor, "N W"], codes: Int64[Tensor, "N j"]) -> Float[Tensor, "N V"]:
        """Scores of code j, given codes 0..j-1; `base` is `start` of the places."""
        j = codes.shape[1]
        state = base + self.bias[j].to(base.dtype)
        if j:
            state = state + digits(codes).to(base.dtype) @ self.before[j, : j * DIGITS].to(
                base.dtype
            )
        return self._score(state[None], slice(j, j + 1))[0]

    def start(self, x: Float[Tensor, "N C"]) -> Float[Tensor, "N W"]:
        """What the codes of a place have in common."""
        return self.project(self.norm(x))


def unit(x: Tensor) -> Tensor:
    """RMS norm without a weight."""
    return F.rms_norm(x, x.shape[-1:])


class PromptReader(nn.Module):
    """Layers over the places of a picture that read the trunk's keys and values of a prompt."""

    turns: Tensor

    def __init__(self, config: ExpertShape, trunk: TrunkConfig) -> None:
        super().__init__()
        config.check_trunk(trunk)
        self.trunk_layers = config.trunk_layers
        self.position = nn.Parameter(torch.randn(config.num_places, config.n_embd) * 0.02)
        self.blocks = nn.ModuleList(Block(config, trunk) for _ in range(config.n_layer))
        self.register_buffer("turns", grid_rotations(config.side), persistent=False)

    def read_prompt(self, keys_values: KeysValues) -> list[tuple[Tensor, Tensor]]:
        """What each layer attends to; `keys_values` has the layers of `config.trunk_layers`."""
        reads = []
        for block, layer in zip(self.blocks, self.trunk_layers, strict=True):
            assert isinstance(block, Block)
            reads.append(block.read_prompt(*keys_values[layer]))
        return reads

    def states(
        self,
        inputs: Float[Tensor, "B P C"],
        prompt: list[tuple[Tensor, Tensor]],
        prompt_mask: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B P C"]:
        """Final states of all places, from their inputs."""
        b, p, _ = inputs.shape
        places = torch.ones(b, p, p, dtype=torch.bool, device=inputs.device)
        mask = torch.cat([prompt_mask[:, None].expand(b, p, -1), places], -1)[:, None]
        x = inputs + self.position
        for block, read in zip(self.blocks, prompt, strict=True):
            x = block(x, read, self.turns, mask)
        return x


class ImageExpert(PromptReader):
    """Predicts a picture's tokens from a prompt's keys and values."""

    def __init__(self, config: ImageExpertConfig, trunk: TrunkConfig) -> None:
        super().__init__(config, trunk)
        self.config = config
        self.embed = code_embedding(config.codes_per_place, config.n_embd)
        self.unknown = nn.Parameter(torch.randn(config.n_embd) * 0.02)
        """Stands for a masked place."""
        self.head = CodeHead(config)

    def inputs(
        self, places: Int64[Tensor, "B P K"], known: Bool[Tensor, "B P"]
    ) -> Float[Tensor, "B P C"]:
        """Inputs of all places; codes of unknown ones do not matter."""
        embedded = self.embed(digits(places))
        return torch.where(known[..., None], embedded, self.unknown.to(embedded.dtype))

    def loss(
        self,
        places: Int64[Tensor, "B P K"],
        prompt: list[tuple[Tensor, Tensor]],
        prompt_mask: Bool[Tensor, "B T"],
        known: Bool[Tensor, "B P"],
    ) -> Float[Tensor, " M"]:
        """Cross-entropy in nats, the mean over each predicted place's codes.

        M counts the places that were predicted: those not known. Give `known` on the CPU: then a
        GPU is not waited for.
        """
        hidden = (~known).flatten().nonzero()[:, 0].to(places.device, non_blocking=True)
        known = known.to(places.device, non_blocking=True)
        states = self.states(self.inputs(places, known), prompt, prompt_mask)
        states, wanted = (x.flatten(0, 1).index_select(0, hidden) for x in (states, places))
        logits = self.head(states, wanted)
        losses = F.cross_entropy(logits.flatten(0, 1).float(), wanted.T.flatten(), reduction="none")
        return losses.view(self.config.codes_per_place, -1).mean(0)


def code_embedding(num_codes: int, width: int) -> nn.Sequential:
    """From the `digits` of a place's codes."""
    return nn.Sequential(nn.Linear(num_codes * DIGITS, width), nn.SiLU(), nn.Linear(width, width))


def mask_shares(random: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """Shares of places to hide, from even draws in 0..1: MaskGIT's cosine schedule."""
    return torch.cos(random * torch.pi / 2)
