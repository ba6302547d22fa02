"""The judge: a small convolutional picture tower and a bag-of-features caption tower.

Both end on the unit sphere; the dot product says how well caption and picture fit (CLIP,
arXiv:2103.00020, at a thousandth of its size).
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

    size_px: int = 64
    """Side of the pictures; others are resized."""
    widths: tuple[int, ...] = (32, 64, 128, 256)
    """Channels at half of the pixels, and at each halving from there."""
    blocks: tuple[int, ...] = (1, 1, 2, 1)
    """Residual blocks at each of those."""
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
        step = 2 ** len(self.widths)
        if self.size_px % step:
            raise ConfigError(f"size_px={self.size_px} is not divisible by {step}")


class Block(nn.Module):
    """Two 3x3 convolutions beside an identity.

    Channels are normalised at each place by itself: no statistic of the batch is kept, so training
    and testing cannot differ, and in channels_last this norm is the cheapest on a CPU.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight)
        nn.init.kaiming_normal_(self.second.weight)
        with torch.no_grad():
            self.second.weight.mul_(0.5)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        normed = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + self.second(F.relu(self.first(normed)))


def stages(widths: Sequence[int], blocks: Sequence[int]) -> nn.ModuleList:
    """Residual stages, each at half the pixels of the one before; the first sees 12 channels,
    which are the picture's after `PixelUnshuffle(2)`."""
    made = nn.ModuleList()
    for place, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        stride = 2 if place else 1
        before = widths[place - 1] if place else 12
        enter = nn.Conv2d(before, width, 3, stride=stride, padding=1)
        nn.init.kaiming_normal_(enter.weight)
        made.append(nn.Sequential(enter, nn.ReLU(), *(Block(width) for _ in range(count))))
    return made


class PictureTower(nn.Module):
    """Pixels in -1..1 to unit vectors.

    The pooled features are centred and scaled over the batch. Without that, all pictures start in
    one direction and stay there: 260 steps left the judge at chance, with it they did not
    (docs/log.md). It is the only batch statistic, and is averaged slowly for use afterwards.
    """

    def __init__(self, config: JudgeConfig) -> None:
        super().__init__()
        self.unshuffle = nn.PixelUnshuffle(2)
        self.stages = stages(config.widths, config.blocks)
        self.norm = nn.BatchNorm1d(2 * config.widths[-1], momentum=0.02, affine=False)
        self.dropout = nn.Dropout(0.1)
        self.out = nn.Linear(2 * config.widths[-1], config.n_embd)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        x = self.unshuffle(pixels).contiguous(memory_format=torch.channels_last)
        for stage in self.stages:
            x = stage(x)
        x = F.relu(x).float()
        pooled = torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)
        return F.normalize(self.out(self.dropout(self.norm(pooled))).float(), dim=-1)


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
    """Both towers and the temperature under which they were trained."""

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config or JudgeConfig()
        self.pictures = PictureTower(self.config)
        self.captions = CaptionTower(self.config)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    @torch.no_grad()
    def embed_pictures(self, pictures: Sequence[Image.Image]) -> Float[np.ndarray, "N D"]:
        """Unit vectors of pictures of any size, float32."""
        rows = []
        for first in range(0, len(pictures), _BATCH):
            pixels = to_pixels(pictures[first : first + _BATCH], self.config.size_px)
            rows.append(self.pictures(pixels).numpy())
        return np.concatenate(rows) if rows else np.zeros((0, self.config.n_embd), np.float32)

    @torch.no_grad()
    def embed_captions(self, captions: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """Unit vectors of captions, float32."""
        ids, starts = Bags(captions).take(range(len(captions)))
        return self.captions(torch.from_numpy(ids), torch.from_numpy(starts)).numpy()


def to_pixels(pictures: Sequence[Image.Image], size_px: int) -> Float[Tensor, "N 3 H W"]:
    """Pictures as tensors in -1..1; Pillow widens the filter where it shrinks them."""
    rows = [
        np.asarray(picture.convert("RGB").resize((size_px, size_px), Image.Resampling.BILINEAR))
        for picture in pictures
    ]
    return from_bytes(torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2))


def from_bytes(pixels: Tensor) -> Float[Tensor, "N 3 H W"]:
    """uint8 to -1..1."""
    return pixels.float().div_(127.5).sub_(1)
