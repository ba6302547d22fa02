"""Pictures to codes and back: a convolutional autoencoder with finite scalar quantisation.

A picture of 256x256 pixels becomes a grid of 16x16 cells of `num_codes` codes each, one byte a
code. There is no codebook to learn or to collapse: a code is the index of four numbers, each
rounded to one of four levels (FSQ, arXiv:2309.15505).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor, nn

from mtgen.errors import ConfigError

LEVELS = 4
"""Values that one latent channel can take."""
CHANNELS_PER_CODE = 4
CODEBOOK_SIZE = LEVELS**CHANNELS_PER_CODE
"""256: a code is a byte."""
STEM_PX = 4
"""Pixels of a side that the encoder folds into channels before its first layer."""


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig:
    """Shape of the autoencoder."""

    num_codes: int = 4
    """Codes of a cell."""
    channels: tuple[int, ...] = (64, 128, 256)
    """Width at a quarter of the pixels, and at each halving from there."""
    encoder_blocks: tuple[int, ...] = (1, 1, 2)
    """Residual blocks at each of those."""
    decoder_blocks: tuple[int, ...] = (2, 2, 3)
    """The same, way back; listed from fine to coarse as well."""
    last_channels: int = 32
    """Width of the decoder's last stage, at half of the pixels."""
    last_blocks: int = 1

    def __post_init__(self) -> None:
        if not len(self.channels) == len(self.encoder_blocks) == len(self.decoder_blocks):
            raise ConfigError(
                f"channels has {len(self.channels)} widths, encoder_blocks "
                f"{len(self.encoder_blocks)} and decoder_blocks {len(self.decoder_blocks)} "
                "numbers; they need as many"
            )
        if self.num_codes < 1:
            raise ConfigError(f"num_codes={self.num_codes}; a cell needs at least one code")

    @property
    def cell_px(self) -> int:
        """Side of the square that one cell stands for."""
        return STEM_PX * 2 ** (len(self.channels) - 1)

    @property
    def latent_channels(self) -> int:
        """Numbers that describe a cell."""
        return self.num_codes * CHANNELS_PER_CODE


def to_digits(codes: Shaped[Tensor, "*N"]) -> Int64[Tensor, "*N 4"]:
    """The level, 0..3, of each of a code's channels; the first is the lowest digit."""
    weights = LEVELS ** torch.arange(CHANNELS_PER_CODE, device=codes.device)
    return codes.long()[..., None] // weights % LEVELS


def to_levels(codes: Shaped[Tensor, "*N K"]) -> Float[Tensor, "*N L"]:
    """The levels that codes stand for, -1.5..1.5; four of each code, one after the other."""
    return to_digits(codes).flatten(-2).float() - (LEVELS - 1) / 2


def from_levels(levels: Float[Tensor, "*N L"]) -> Int64[Tensor, "*N K"]:
    """What `to_levels` was made from."""
    digits = (levels + (LEVELS - 1) / 2).round().long().unflatten(-1, (-1, CHANNELS_PER_CODE))
    return (digits * LEVELS ** torch.arange(CHANNELS_PER_CODE, device=levels.device)).sum(-1)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity; starts as the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Encoder(nn.Module):
    """Pixels to latents that are not yet rounded."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.channels
        layers: list[nn.Module] = [
            nn.PixelUnshuffle(STEM_PX),
            nn.Conv2d(3 * STEM_PX**2, widths[0], 3, padding=1),
        ]
        for place, (width, blocks) in enumerate(zip(widths, config.encoder_blocks, strict=True)):
            if place:
                layers.append(nn.Conv2d(widths[place - 1], width, 4, stride=2, padding=1))
            layers += [ResidualBlock(width) for _ in range(blocks)]
        layers += [nn.SiLU(), nn.Conv2d(widths[-1], config.latent_channels, 1)]
        self.layers = nn.Sequential(*layers)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        return self.layers(pixels)


class Decoder(nn.Module):
    """Rounded latents to pixels."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        widths = config.channels
        layers: list[nn.Module] = [nn.Conv2d(config.latent_channels, widths[-1], 3, padding=1)]
        for place in reversed(range(len(widths))):
            layers += [ResidualBlock(widths[place]) for _ in range(config.decoder_blocks[place])]
            after = widths[place - 1] if place else config.last_channels
            layers += [nn.Conv2d(widths[place], 4 * after, 1), nn.PixelShuffle(2)]
        layers += [ResidualBlock(config.last_channels) for _ in range(config.last_blocks)]
        layers += [
            nn.SiLU(),
            nn.Conv2d(config.last_channels, 3 * 4, 3, padding=1),
            nn.PixelShuffle(2),
        ]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        return self.layers(latents)


class Autoencoder(nn.Module):
    """Pixels to codes and back. Pixels are in -1..1; sides are multiples of `cell_px`."""

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or AutoencoderConfig()
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def latents(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B C h w"]:
        """Latents before rounding, each in -LEVELS/2..LEVELS/2; levels are 1 apart."""
        return LEVELS / 2 * torch.tanh(self.encoder(pixels).float())

    @staticmethod
    def quantise(latents: Float[Tensor, "*N"]) -> Float[Tensor, "*N"]:
        """The nearest levels (-1.5, -0.5, 0.5, 1.5); gradients pass as if nothing happened."""
        rounded = torch.floor(latents).clamp(-LEVELS / 2, LEVELS / 2 - 1) + 0.5
        return latents + (rounded - latents).detach()

    @staticmethod
    def to_codes(levels: Float[Tensor, "B C h w"]) -> UInt8[Tensor, "B h w S"]:
        """Codes of rounded latents; the first channel of four is the lowest digit."""
        return from_levels(levels.permute(0, 2, 3, 1)).to(torch.uint8)

    @staticmethod
    def to_levels(codes: UInt8[Tensor, "B h w S"]) -> Float[Tensor, "B C h w"]:
        """The latents that codes stand for."""
        return to_levels(codes).permute(0, 3, 1, 2)

    @torch.no_grad()
    def encode(self, pixels: Float[Tensor, "B 3 H W"]) -> UInt8[Tensor, "B h w S"]:
        """Codes of pictures."""
        return self.to_codes(self.quantise(self.latents(pixels)))

    @torch.no_grad()
    def decode(self, codes: UInt8[Tensor, "B h w S"]) -> Float[Tensor, "B 3 H W"]:
        """Pictures of codes, clipped to -1..1."""
        return self.render(self.to_levels(codes))

    @torch.no_grad()
    def render(self, latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 3 H W"]:
        """Pictures of latents, rounded or not, clipped to -1..1."""
        return self.decoder(latents).float().clamp(-1, 1)
