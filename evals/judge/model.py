"""The judge: a small convolutional picture tower and a bag-of-features caption tower.

Both end on the unit sphere; the dot product says how well caption and picture fit, as in CLIP
(arXiv:2103.00020) at a thousandth of its size. Unlike CLIP they are not trained against each other
but both to name the concept (`evals.judge.train_judge`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor, nn

from evals.judge.words import NUM_BUCKETS, Bags
from mtgen.errors import ConfigError

_BATCH = 256


@dataclass(frozen=True, kw_only=True)
class JudgeConfig:
    """Shape of the judge."""

    size_px: int = 32
    """Side of the pictures; others are resized."""
    widths: tuple[int, ...] = (48, 96, 192, 256)
    """Channels at half of the pixels, and at each halving from there."""
    blocks: tuple[int, ...] = (1, 1, 1, 1)
    """Residual blocks at each of those; only the first may have none, as blocks do the halving."""
    n_word: int = 128
    """Width of the caption features."""
    n_embd: int = 128
    """Dimensions of the common space."""

    def __post_init__(self) -> None:
        if len(self.widths) != len(self.blocks):
            raise ConfigError(
                f"widths has {len(self.widths)} numbers and blocks {len(self.blocks)}; "
                "they need as many"
            )
        if 0 in self.blocks[1:]:
            raise ConfigError(f"blocks={self.blocks} has a 0 after the first; 1 is the least there")
        step = 2 ** len(self.widths)
        if self.size_px % step:
            raise ConfigError(f"size_px={self.size_px} is not divisible by {step}")


class BasicBlock(nn.Module):
    """A ResNet's (arXiv:1512.03385): two normalised 3x3 convolutions beside a shortcut.

    The second norm starts at zero, so that a block starts as its shortcut (arXiv:1706.02677), which
    averages where it halves (arXiv:1812.01187).
    """

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, width, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        nn.init.zeros_(self.second_norm.weight)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride))
        if stride > 1 or before != width:
            self.shortcut.append(nn.Conv2d(before, width, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(width))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B _C _H _W"]:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))


class PictureTower(nn.Module):
    """Pixels in -1..1 to unit vectors."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        width = config.widths[0]
        enter = nn.Conv2d(12, width, 3, padding=1, bias=False)
        layers = [nn.PixelUnshuffle(2), enter, nn.BatchNorm2d(width), nn.ReLU()]
        for stage, (after, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            for number in range(count):
                layers.append(BasicBlock(width, after, 2 if stage and not number else 1))
                width = after
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(width, config.n_embd)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        x = self.body(pixels.contiguous(memory_format=torch.channels_last))
        pooled = x.float().mean((2, 3))
        return F.normalize(self.out(self.dropout(pooled)).float(), dim=-1)


class CaptionTower(nn.Module):
    """Bags of features to unit vectors: a weighted mean, weights learned, then a small MLP."""

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.features = nn.Embedding(NUM_BUCKETS, config.n_word)
        self.weights = nn.Embedding(NUM_BUCKETS, 1)
        nn.init.normal_(self.features.weight, std=0.3)
        nn.init.zeros_(self.weights.weight)
        self.norm = nn.LayerNorm(config.n_word)
        self.up = nn.Linear(config.n_word, 2 * config.n_word)
        self.down = nn.Linear(2 * config.n_word, config.n_word)
        self.out = nn.Linear(config.n_word, config.n_embd)

    def forward(
        self, ids: Int64[Tensor, " F"], starts: Int64[Tensor, " B"]
    ) -> Float[Tensor, "B D"]:
        weights = self.weights(ids)[:, 0].clamp(-6, 6).exp()
        mean = F.embedding_bag(
            ids, self.features.weight, starts, mode="sum", per_sample_weights=weights
        )
        x = self.norm(mean)
        x = x + self.down(F.gelu(self.up(x)))
        return F.normalize(self.out(x).float(), dim=-1)


class Judge(nn.Module):
    """Both towers. They are trained against the same table of groups, so they share its space."""

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config or JudgeConfig()
        self.pictures = PictureTower(self.config)
        self.captions = CaptionTower(self.config)

    @torch.no_grad()
    def embed_pictures(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "N D"]:
        """Unit vectors of pictures of any size, float32."""
        rows = []
        for first in range(0, len(pictures), _BATCH):
            batch = pictures[first : first + _BATCH]
            pixels = to_pixels(batch, self.config.size_px, Image.Resampling.BOX)
            rows.append(self.pictures(pixels).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, self.config.n_embd), np.float32)

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """Unit vectors of captions, float32."""
        ids, starts = Bags(captions).take(range(len(captions)))
        return self.captions(torch.from_numpy(ids), torch.from_numpy(starts)).numpy()


def to_pixels(
    pictures: Sequence[Image.Image],
    size_px: int,
    resample: Image.Resampling = Image.Resampling.BILINEAR,
) -> Float[Tensor, "N 3 H W"]:
    """Pictures as tensors in -1..1; Pillow widens the filter where it shrinks them.

    The judge's training averages squares of pixels, so the judge takes `BOX`.
    """
    rows = [
        np.asarray(picture.convert("RGB").resize((size_px, size_px), resample))
        for picture in pictures
    ]
    return from_bytes(torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2))


def from_bytes(pixels: Tensor) -> Float[Tensor, "N 3 H W"]:
    """uint8 to -1..1."""
    return pixels.float().div_(127.5).sub_(1)
