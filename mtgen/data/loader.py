"""Feeds packed pictures to a trainer: worker processes compose whole batches, in a fixed order."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from mtgen.data.images.mixture import PictureMixture, open_mixture


class PictureBatches(Dataset):
    """Batch `i` of the stream: samples `i * batch_size` and on.

    An item is a dict of `pixels`, uint8 `B 3 H W` in 0..255, `captions`, `langs` and `kinds`,
    lists of B strings.

    Args:
        folder: Packed pictures.
        batch_size: Samples in a batch.
        num_batches: Length.
        options: For `PictureMixture`: size_px, seed, shares, styles, tidy,
            cache_mb.
    """

    def __init__(self, folder: Path, batch_size: int, num_batches: int, **options: Any) -> None:
        self.folder, self.batch_size, self.num_batches = folder, batch_size, num_batches
        self.options = options
        self.mixture: PictureMixture | None = None

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> dict[str, Any]:
        if self.mixture is None:  # once in each worker: sprites are decoded there
            self.mixture = open_mixture(self.folder, **self.options)
        first = index * self.batch_size
        samples = [self.mixture.sample(first + place) for place in range(self.batch_size)]
        side = samples[0].pixels.shape[0]
        pixels = torch.empty(self.batch_size, side, side, 3, dtype=torch.uint8)
        for place, sample in enumerate(samples):
            pixels[place] = torch.from_numpy(sample.pixels.copy())
        return {
            "pixels": pixels.permute(0, 3, 1, 2),
            "captions": [sample.caption for sample in samples],
            "langs": [sample.lang for sample in samples],
            "kinds": [sample.kind for sample in samples],
        }


def picture_loader(
    folder: Path,
    *,
    batch_size: int,
    num_batches: int,
    first_batch: int = 0,
    every: int = 1,
    num_workers: int = 2,
    **options: Any,
) -> DataLoader:
    """A loader over the picture stream.

    Args:
        folder: Packed pictures.
        batch_size: Samples in a batch.
        num_batches: Of the whole run.
        first_batch: Where a resumed run goes on; the batches are the same as without a stop.
        every: Take each `every`th batch from there on: one of so many trainers.
        num_workers: Processes; 0 composes in this one. The batches do not depend on it.
        options: For `PictureMixture`.
    """
    return DataLoader(
        PictureBatches(folder, batch_size, num_batches, **options),
        batch_size=None,
        sampler=range(first_batch, num_batches, every),
        num_workers=num_workers,
        prefetch_factor=4 if num_workers else None,
        persistent_workers=False,
        pin_memory=torch.cuda.is_available(),
    )


def measure(
    folder: Path,
    *,
    batch_size: int = 64,
    num_workers: int = 2,
    seconds: float = 30,
    warm_up: int = 500,
    **options: Any,
) -> float:
    """Pictures per second of the loader alone, after `warm_up` batches, when sprites are cached."""
    loader = picture_loader(
        folder, batch_size=batch_size, num_batches=1_000_000, num_workers=num_workers, **options
    )
    count, began = 0, 0.0
    for number, batch in enumerate(loader):
        if number == warm_up:
            began = time.perf_counter()
        elif number > warm_up:
            count += len(batch["captions"])
            if time.perf_counter() - began > seconds:
                break
    return count / (time.perf_counter() - began)
