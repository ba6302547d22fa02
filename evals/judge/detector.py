"""The detector: what is in a scene, in which colour, and where.

Centres of things are peaks of a heat map (CenterNet, arXiv:1904.07850) that knows nothing of kinds;
noun and colour are read off the features at each peak, so that 150 nouns in 11 colours cost no more
than a small matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from PIL import Image
from torch import Tensor, nn

from evals.judge.model import to_pixels
from evals.judge.wanted import Found
from mtgen.data.images.colours import COLOUR_NAMES
from mtgen.data.images.held_out import common_nouns
from mtgen.data.images.lexicon import Lexicon
from mtgen.errors import ConfigError

MAX_THINGS = 12
"""Peaks that are looked at in one picture; scenes hold at most 6 things."""
_BATCH = 64


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """Shape of the detector."""

    nouns: tuple[str, ...] = ()
    """Code points; the nouns over which held-out combinations are drawn unless given."""
    size_px: int = 128
    """Side of the pictures; others are resized."""
    widths: tuple[int, ...] = (24, 48, 96, 192)
    """Channels at half of the pixels, and at each halving from there. Things are found at the
    second."""
    blocks: tuple[int, ...] = (0, 1, 2, 2)
    """Residual blocks at each of those."""
    n_hidden: int = 256
    """Width of the layer that names things."""
    threshold: float = 0.4
    """Peaks below are nothing."""

    def __post_init__(self) -> None:
        if len(self.widths) < 3 or len(self.widths) != len(self.blocks):
            raise ConfigError(
                f"widths has {len(self.widths)} numbers and blocks {len(self.blocks)}; they need "
                "as many, and at least 3"
            )
        if self.size_px % 2 ** len(self.widths):
            raise ConfigError(f"size_px={self.size_px} is not divisible by {2 ** len(self.widths)}")
        if not self.nouns:
            nouns = tuple(noun.codepoints for noun in common_nouns(Lexicon.read()))
            object.__setattr__(self, "nouns", nouns)

    @property
    def stride(self) -> int:
        """Pixels between neighbouring places of the heat map."""
        return 4

    @property
    def cells(self) -> int:
        """Places along a side of the heat map."""
        return self.size_px // self.stride


class Block(nn.Module):
    """The detector's: two 3x3 convolutions beside an identity.

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
    """The detector's stages, each at half the pixels of the one before; the first sees 12 channels,
    which are the picture's after `PixelUnshuffle(2)`."""
    made = nn.ModuleList()
    for place, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        stride = 2 if place else 1
        before = widths[place - 1] if place else 12
        enter = nn.Conv2d(before, width, 3, stride=stride, padding=1)
        nn.init.kaiming_normal_(enter.weight)
        made.append(nn.Sequential(enter, nn.ReLU(), *(Block(width) for _ in range(count))))
    return made


class Detector(nn.Module):
    """Pictures to heat maps and features; features at places to nouns and colours."""

    def __init__(self, config: DetectorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DetectorConfig()
        widths = config.widths
        self.unshuffle = nn.PixelUnshuffle(2)
        self.stages = stages(widths, config.blocks)
        # from the coarsest stage back to the second, each joined by what the way down saw
        self.ups = nn.ModuleList(
            nn.Conv2d(widths[n + 1], widths[n], 1) for n in reversed(range(1, len(widths) - 1))
        )
        self.joins = nn.ModuleList(Block(widths[n]) for n in reversed(range(1, len(widths) - 1)))
        self.heat_norm = nn.LayerNorm(widths[1])
        self.heat = nn.Conv2d(widths[1], 1, 3, padding=1)
        nn.init.normal_(self.heat.weight, std=1e-2)
        nn.init.constant_(self.heat.bias, -4.0)  # type: ignore[arg-type]
        total = sum(widths[1:])
        self.norm = nn.LayerNorm(total)
        self.hidden = nn.Linear(total, config.n_hidden)
        self.dropout = nn.Dropout(0.1)
        self.noun = nn.Linear(config.n_hidden, len(config.nouns))
        self.colour = nn.Linear(config.n_hidden, len(COLOUR_NAMES))

    def forward(
        self, pixels: Float[Tensor, "B 3 H W"]
    ) -> tuple[Float[Tensor, "B h w"], list[Float[Tensor, "B C _h _w"]]]:
        """Heat before the sigmoid, and the features by scale, coarsest first."""
        x = self.unshuffle(pixels).contiguous(memory_format=torch.channels_last)
        seen = []
        for stage in self.stages:
            x = stage(x)
            seen.append(x)
        scales = [x]
        for up, join, side in zip(self.ups, self.joins, reversed(seen[1:-1]), strict=True):
            x = join(side + F.interpolate(up(x), scale_factor=2.0, mode="nearest"))
            scales.append(x)
        normed = self.heat_norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.heat(normed)[:, 0].float(), scales

    def name(
        self,
        scales: Sequence[Float[Tensor, "B C _h _w"]],
        places: tuple[Int64[Tensor, " N"], Int64[Tensor, " N"], Int64[Tensor, " N"]],
    ) -> tuple[Float[Tensor, "N V"], Float[Tensor, "N K"]]:
        """Scores of nouns and colours at some places.

        Args:
            scales: From `forward`.
            places: Picture, row and column in the heat map.
        """
        picture, row, column = places
        parts = []
        for features in scales:
            step = self.config.cells // features.shape[-1]
            parts.append(features[picture, :, row // step, column // step])
        x = self.hidden(self.norm(torch.cat(parts, 1)))
        x = self.dropout(F.gelu(x))
        return self.noun(x).float(), self.colour(x).float()

    @torch.no_grad()
    def detect(self, pictures: Sequence[Image.Image]) -> list[list[Found]]:
        """What is in each picture, surest first."""
        found: list[list[Found]] = []
        for first in range(0, len(pictures), _BATCH):
            pixels = to_pixels(pictures[first : first + _BATCH], self.config.size_px)
            heat, scales = self(pixels)
            places = peaks(heat.sigmoid(), self.config.threshold)
            nouns, colours = self.name(scales, places)
            found += self._listed(heat.sigmoid(), places, nouns, colours)
        return found

    def _listed(
        self,
        heat: Float[Tensor, "B h w"],
        places: tuple[Tensor, Tensor, Tensor],
        nouns: Float[Tensor, "N V"],
        colours: Float[Tensor, "N K"],
    ) -> list[list[Found]]:
        lists: list[list[Found]] = [[] for _ in heat]
        best = zip(nouns.argmax(1).tolist(), colours.argmax(1).tolist(), strict=True)
        for (b, row, column), (noun, colour) in zip(
            zip(*(axis.tolist() for axis in places), strict=True), best, strict=True
        ):
            lists[b].append(
                Found(
                    noun=self.config.nouns[noun],
                    colour=COLOUR_NAMES[colour],
                    x=(column + 0.5) / heat.shape[2],
                    y=(row + 0.5) / heat.shape[1],
                    confidence=float(heat[b, row, column]),
                )
            )
        return lists


def peaks(
    heat: Float[Tensor, "B h w"], threshold: float
) -> tuple[Int64[Tensor, " N"], Int64[Tensor, " N"], Int64[Tensor, " N"]]:
    """Places that are the highest of their 3x3 neighbourhood and reach the threshold.

    Of each picture the MAX_THINGS highest, highest first; of equal neighbours only the first.

    Returns:
        Picture, row and column of each.
    """
    places = torch.arange(heat[0].numel()).view_as(heat[0])
    order = places.float() * 1e-7  # so that a plateau has one peak
    sharper = heat - order
    top = F.max_pool2d(sharper[:, None], 3, stride=1, padding=1)[:, 0]
    is_peak = (sharper == top) & (heat >= threshold)
    ranked = torch.where(is_peak, heat, torch.zeros(())).flatten(1)
    values, index = ranked.topk(min(MAX_THINGS, ranked.shape[1]), dim=1)
    picture, rank = (values > 0).nonzero(as_tuple=True)
    cell = index[picture, rank]
    return picture, cell // heat.shape[2], cell % heat.shape[2]


def heat_maps(
    boxes: Float[Tensor, "B N 4"], is_there: Tensor, cells: int
) -> Float[Tensor, "B h w"]:
    """What a perfect detector's heat is: 1 at each centre, falling off with the thing's size.

    Args:
        boxes: Centre x and y, width and height, in shares of the side.
        is_there: Which of the N are things, `B N` bool; the rest is padding.
        cells: Places along a side.
    """
    grid = torch.arange(cells) + 0.5
    column, row = ((boxes[..., axis] * cells).floor() + 0.5 for axis in (0, 1))
    wide, high = ((0.12 * boxes[..., axis] * cells).clamp(min=0.7) for axis in (2, 3))
    across = ((grid - column[..., None]) / wide[..., None]).square()
    down = ((grid - row[..., None]) / high[..., None]).square()
    hills = torch.exp(-0.5 * (across[:, :, None, :] + down[:, :, :, None]))
    return (hills * is_there[:, :, None, None]).amax(1)


def heat_loss(logits: Float[Tensor, "B h w"], target: Float[Tensor, "B h w"]) -> Float[Tensor, ""]:
    """Focal loss over places, divided by the number of things (arXiv:1904.07850, equation 1)."""
    is_centre = target >= 1 - 1e-6
    p = logits.sigmoid()
    hit = -F.logsigmoid(logits) * (1 - p).square()
    miss = -F.logsigmoid(-logits) * p.square() * (1 - target).pow(4)
    return torch.where(is_centre, hit, miss).sum() / is_centre.sum().clamp(min=1)
