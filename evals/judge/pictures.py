"""Training pictures of the judge: small cut-out sprites in memory, put together for each batch.

Every picture of a batch is new: another background, place, size, slant, tint, blur and noise; a
network this small then learns shapes rather than drawings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from mtgen.data.images.backgrounds import SHADES
from mtgen.data.images.mixture import PictureMixture

NUM_SHADES = len(SHADES)
WHITE_SHARE = 0.3
GRADIENT_SHARE = 0.25


@dataclass(frozen=True, kw_only=True)
class Sprites:
    """Pictures that can be pasted. Colours are multiplied by alpha, 0..255."""

    rgba: UInt8[np.ndarray, "N 4 H W"]
    clashes: Bool[np.ndarray, "N S"]
    """Shades of the background that a sprite's edge cannot be told from."""
    is_flippable: Bool[np.ndarray, " N"]
    is_shape: Bool[np.ndarray, " N"]
    """One-coloured silhouettes, painted anew each time."""


def cut_out(mixture: PictureMixture, row: int, size_px: int) -> UInt8[np.ndarray, "4 H W"]:
    """One sprite in the middle of a square that its long side fills."""
    look = mixture.store.look(row)
    scale = size_px / max(look.width, look.height)
    width, height = (max(1, round(side * scale)) for side in (look.width, look.height))
    sprite = np.asarray(mixture.store.resized(row, None, width, height)).astype(np.uint16)
    sprite[..., :3] = sprite[..., :3] * sprite[..., 3:] // 255
    square = np.zeros((4, size_px, size_px), np.uint8)
    top, left = (size_px - height) // 2, (size_px - width) // 2
    square[:, top : top + height, left : left + width] = sprite.transpose(2, 0, 1)
    return square


class Painter:
    """Makes batches of sprites.

    Args:
        sprites: What to paint.
    """

    def __init__(self, sprites: Sprites) -> None:
        self.sprites = sprites
        self.rng, self.strength = np.random.default_rng(0), 1.0
        self.shades = torch.tensor([rgb for _, rgb in SHADES], dtype=torch.float32) / 255
        white = np.array([name == "white" for name, _ in SHADES])
        self.weights = np.where(
            white, WHITE_SHARE / white.sum(), (1 - WHITE_SHARE) / (~white).sum()
        )
        self.only_white = white / white.sum()

    def paint(
        self, rows: np.ndarray, rng: np.random.Generator, *, strength: float = 1.0
    ) -> Float[Tensor, "B 3 H W"]:
        """Pictures of some sprites, in -1..1.

        Args:
            rows: Of the sprites.
            rng: Source of all draws.
            strength: Of all changes, 0..1; at 0 the sprites are in the middle of white.
        """
        self.rng, self.strength = rng, strength
        given = torch.from_numpy(self.sprites.rgba[rows]).float().div_(255)
        size = given.shape[-1]
        grid = F.affine_grid(self._placements(rows), [len(rows), 4, size, size], False)
        placed = F.grid_sample(given, grid, padding_mode="zeros", align_corners=False)
        alpha = placed[:, 3:]
        pixels = placed[:, :3]
        shapes = torch.from_numpy(self.sprites.is_shape[rows])[:, None, None, None]
        backs, tints = self._backgrounds(rows, size)
        pixels = torch.where(shapes, alpha * tints, pixels) + (1 - alpha) * backs
        return self._worn(pixels).clamp_(0, 1).mul_(2).sub_(1)

    def _uniform(self, low: float, high: float, *shape: int) -> Float[Tensor, ...]:
        return torch.from_numpy(self.rng.uniform(low, high, shape).astype(np.float32))

    def _placements(self, rows: np.ndarray) -> Float[Tensor, "B 2 3"]:
        """Where the output looks in the sprite."""
        n = len(rows)
        flip = torch.from_numpy(self.sprites.is_flippable[rows] & (self.rng.random(n) < 0.5))
        some = self.strength
        scale = self._uniform(0.85 - 0.25 * some, 1.0, n)
        stretch = self._uniform(-0.13, 0.13, n).mul(some).exp()
        slant = some * self._uniform(-0.2, 0.2, n)
        shift = self._uniform(-1, 1, n, 2) * (0.9 * (1 - scale) + 0.03)[:, None]
        across = torch.where(flip, -1.0, 1.0) / (scale * stretch)
        down = stretch / scale
        cos, sin = slant.cos(), slant.sin()
        matrix = torch.stack([across * cos, across * sin, -down * sin, down * cos], 1).view(n, 2, 2)
        moved = -(matrix @ shift[:, :, None])
        return torch.cat([matrix, moved], 2)

    def _backgrounds(
        self, rows: np.ndarray, size: int
    ) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 3 1 1"]]:
        """Plain or graded, in colours that the sprite stands out from; and a tint that does too."""
        n = len(rows)
        is_white = self.rng.random((n, 1)) >= self.strength
        weights = np.where(is_white, self.only_white, self.weights)
        odds = weights * (is_white | ~self.sprites.clashes[rows]) + 1e-9
        ends = (odds / odds.sum(1, keepdims=True)).cumsum(1)
        draws = [np.minimum((ends < self.rng.random((n, 1))).sum(1), NUM_SHADES - 1) for _ in "ab"]
        start, other = (self.shades[torch.from_numpy(draw)][:, :, None, None] for draw in draws)
        graded = self.strength * GRADIENT_SHARE
        is_graded = torch.from_numpy(self.rng.random(n) < graded)[:, None, None, None]
        angle = self._uniform(0, 2 * math.pi, n, 1, 1)
        line = torch.linspace(-0.5, 0.5, size)
        ramp = angle.cos() * line[None, None, :] + angle.sin() * line[None, :, None] + 0.5
        end = torch.where(is_graded, other, start)
        backs = start + (end - start) * ramp[:, None].clamp(0, 1)
        tints = self.shades[torch.from_numpy(self.rng.integers(0, NUM_SHADES, n))]
        tints = tints[:, :, None, None]
        is_lost = (tints - start).abs().amax(1, keepdim=True) < 0.3
        return backs, torch.where(is_lost, (start + 0.5) % 1, tints)

    def _worn(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """Other light and colour, blur, noise, a missing patch: each slight, or seldom."""
        n, _, size, _ = pixels.shape
        some = self.strength
        gray = pixels.mean(1, keepdim=True)
        gain = self._uniform(-0.15, 0.15, n, 1, 1, 1) + self._uniform(-0.06, 0.06, n, 3, 1, 1)
        pixels = gray + (pixels - gray) * (1 + some * self._uniform(-0.35, 0.35, n, 1, 1, 1))
        light = self._uniform(-0.08, 0.08, n, 1, 1, 1)
        pixels = (pixels - 0.5) * (1 + some * gain) + 0.5 + some * light
        blurred = torch.from_numpy(np.flatnonzero(self.rng.random(n) < 0.3 * some))
        if len(blurred):
            soft = F.avg_pool2d(pixels[blurred], 2)
            pixels[blurred] = F.interpolate(soft, scale_factor=2, mode="bilinear")
        noisy = torch.from_numpy(np.flatnonzero(self.rng.random(n) < 0.3 * some))
        if len(noisy):
            noise = self.rng.standard_normal((len(noisy), 3, size, size), np.float32)
            pixels[noisy] += torch.from_numpy(noise) * self._uniform(0, 0.05, len(noisy), 1, 1, 1)
        for row in np.flatnonzero(self.rng.random(n) < 0.2 * some):
            side = int(self.rng.integers(size // 8, size // 3))
            y, x = self.rng.integers(0, size - side, 2)
            pixels[row, :, y : y + side, x : x + side] = float(self.rng.random())
        return pixels
