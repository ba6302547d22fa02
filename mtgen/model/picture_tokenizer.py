"""Few codes for a picture: the sixteen of each place made four, and brought back with the prompt.

The autoencoder's codes are faithful but many: 1,024 for 256 x 256 pixels, most of them for detail
that follows from what the picture shows. Four codes for each place of 32 x 32 pixels are left for
the image expert to predict (two in the preset for CPUs), and a decoder that reads the prompt, as
the expert does, fills in the rest: the autoencoder's codes are the proxy that it learns (TiTok,
arXiv:2406.07550). Where it is not sure it gives odds: their mean is a softer picture, not noise,
and what a key chooses by them is a mark (`mtgen.marks.codes`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor, nn

from mtgen.model.autoencoder import (
    CHANNELS_PER_CODE,
    LEVELS,
    Autoencoder,
    from_levels,
    to_digits,
    to_levels,
)
from mtgen.model.config import TrunkConfig
from mtgen.model.image_expert import (
    DIGITS,
    Block,
    ExpertShape,
    Norm,
    PromptReader,
    code_embedding,
    digits,
)


@dataclass(frozen=True, kw_only=True)
class PictureTokenizerConfig(ExpertShape):
    """Shape of the tokenizer; `n_layer` counts the layers of its decoder."""

    n_encoder_layer: int = 2
    num_codes: int = 4
    """Codes of a cell of the autoencoder."""
    patch: int = 2
    """Cells of a side that make one place."""
    codes_per_place: int = 2
    """Codes that are left of a place."""

    @property
    def codes_given(self) -> int:
        """Codes of the autoencoder in a place."""
        return self.patch**2 * self.num_codes


class PictureTokenizer(PromptReader):
    """Turns the autoencoder's codes into tokens, and tokens and a prompt into its latents."""

    def __init__(self, config: PictureTokenizerConfig, trunk: TrunkConfig) -> None:
        super().__init__(config, trunk)
        self.config = config
        width, channels = config.n_embd, config.codes_per_place * CHANNELS_PER_CODE
        self.embed = code_embedding(config.codes_given, width)
        self.encoder_position = nn.Parameter(torch.randn(config.num_places, width) * 0.02)
        self.encoder = nn.ModuleList(
            Block(config, trunk, reads=False) for _ in range(config.n_encoder_layer)
        )
        self.encoder_norm = Norm(width)
        self.to_tokens = nn.Linear(width, channels)
        self.from_tokens = nn.Sequential(
            nn.Linear(channels, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.norm = Norm(width)
        self.head = nn.Linear(width, config.codes_given * DIGITS)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def freeze_encoder(self) -> None:
        """Keeps training from changing the tokens of pictures."""
        self.encoder_position.requires_grad_(False)
        for part in (self.embed, self.encoder, self.encoder_norm, self.to_tokens):
            part.requires_grad_(False)

    def token_levels(self, cells: UInt8[Tensor, "B h w S"]) -> Float[Tensor, "B P L"]:
        """Levels of the tokens, -1.5..1.5 in steps of 1; gradients pass the rounding unchanged."""
        x = self.embed(digits(to_places(cells, self.config))) + self.encoder_position
        nothing = x.new_zeros(len(x), *self.nothing)
        for block in self.encoder:
            x = block(x, (nothing, nothing), self.turns, None)
        soft = LEVELS / 2 * torch.tanh(self.to_tokens(self.encoder_norm(x)).float())
        return Autoencoder.quantise(soft)

    @property
    def nothing(self) -> tuple[int, int, int]:
        """Shape of one picture's keys of an empty prompt."""
        block = self.encoder[0]
        assert isinstance(block, Block)
        return block.n_kv_head, 0, block.head_dim

    @torch.no_grad()
    def encode(self, cells: UInt8[Tensor, "B h w S"]) -> Int64[Tensor, "B P K"]:
        """Tokens of the autoencoder's codes, 0..255, places in raster order."""
        return from_levels(self.token_levels(cells))

    def scores(
        self,
        token_levels: Float[Tensor, "B P L"],
        prompt: list[tuple[Tensor, Tensor]],
        prompt_mask: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B P D 4"]:
        """Scores of the four levels of every latent channel of every place."""
        states = self.states(self.from_tokens(token_levels), prompt, prompt_mask)
        return self.head(self.norm(states)).float().unflatten(-1, (-1, LEVELS))

    @torch.no_grad()
    def decode(
        self,
        tokens: Int64[Tensor, "B P K"],
        prompt: list[tuple[Tensor, Tensor]],
        prompt_mask: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B C h w"]:
        """Mean latents of tokens, for `Autoencoder.render`."""
        levels = mean_levels(self.scores(to_levels(tokens), prompt, prompt_mask))
        return to_latents(levels, self.config)

    def loss(
        self,
        cells: UInt8[Tensor, "B h w S"],
        prompt: list[tuple[Tensor, Tensor]],
        prompt_mask: Bool[Tensor, "B T"],
        keep: Bool[Tensor, "B K"] | None = None,
    ) -> Float[Tensor, " M"]:
        """Cross-entropy of every place's latent levels, their mean in nats; M is B times P.

        Args:
            cells: The autoencoder's codes.
            prompt: What `read_prompt` gave.
            prompt_mask: Which of its tokens are real.
            keep: Codes of each picture that the decoder sees; without the later ones now and then,
                the first learns to say the most (arXiv:1402.0915).
        """
        levels = self.token_levels(cells)
        if keep is not None:
            levels = levels * keep.repeat_interleave(CHANNELS_PER_CODE, 1)[:, None]
        scores = self.scores(levels, prompt, prompt_mask)
        wanted = to_digits(to_places(cells, self.config)).flatten(-2)
        losses = F.cross_entropy(scores.flatten(0, 2), wanted.flatten(), reduction="none")
        return losses.view(wanted.shape).mean(-1).flatten()


def to_places(
    cells: UInt8[Tensor, "B h w S"], config: PictureTokenizerConfig
) -> Int64[Tensor, "B P K"]:
    """The autoencoder's codes by place, in raster order; within a place cell by cell."""
    b, h, w, s = cells.shape
    p = config.patch
    blocks = cells.view(b, h // p, p, w // p, p, s).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(b, config.num_places, config.codes_given).long()


def mean_levels(scores: Float[Tensor, "B P D 4"]) -> Float[Tensor, "B P D"]:
    """Means of the levels by their odds, -1.5..1.5."""
    steps = torch.arange(LEVELS, device=scores.device) - (LEVELS - 1) / 2
    return (scores.softmax(-1) * steps).sum(-1)


def to_latents(
    places: Float[Tensor, "B P D"], config: PictureTokenizerConfig
) -> Float[Tensor, "B C h w"]:
    """Latent channels by place as the autoencoder has them."""
    p, side = config.patch, config.side
    blocks = places.view(-1, side, side, p, p, config.num_codes * CHANNELS_PER_CODE)
    return blocks.permute(0, 5, 1, 3, 2, 4).reshape(len(places), -1, side * p, side * p)
