"""Trains the detector on composed scenes, whose truth is known."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from evals.judge.corpus import scene_composer
from evals.judge.detector import Detector, DetectorConfig, heat_loss, heat_maps
from evals.judge.model import from_bytes
from evals.judge.styles import JUDGED_STYLES
from evals.judge.training import train
from mtgen.data.images.colours import COLOUR_NAMES
from mtgen.data.images.grammar import MAX_COUNT
from mtgen.data.images.mixture import PictureMixture
from mtgen.data.images.scenes import Scene, SceneComposer
from mtgen.data.packed import Packed
from mtgen.model.checkpoint import save_weights

BATCH_SIZE = 32
FRESH = 12
"""New scenes in a step; composing them costs a sixth of what a step does."""
POOL_SIZE = 6000
"""Scenes kept, 300 MB; the rest of a batch is drawn from them."""
MIN_POOL = 8 * BATCH_SIZE
CATEGORY_TURNS = (
    "single", "colours", "two", "attribution", "counting", "colours", "position", "attribution",
    "counting", "colours",
)  # fmt: skip
"""Of the scenes, in turn; nouns in colours that they never have are the hardest."""
SWAPPED_SHARE = 0.25
"""Of pictures whose channels change places, so that nouns are told by shape."""
LEARNING_RATE, ADAM_RATE = 0.03, 3e-3
SEED = 20261124
_UNNAMED = -100  # what cross entropy leaves out

Scenes = tuple[
    UInt8[Tensor, "B 3 H W"], Float[Tensor, "B 6 4"], Int64[Tensor, "B 6"], Int64[Tensor, "B 6"]
]
"""Pixels; boxes as centre x, y, width, height in shares of the side; nouns, -1 where there is no
thing; colours, `_UNNAMED` where no name fits."""


def open_composer(packed: Packed, config: DetectorConfig, size_px: int) -> SceneComposer:
    """Scenes of the detector's nouns in the styles that it judges, what is held out among them."""
    mixture = PictureMixture(packed, cache_mb=16)
    return scene_composer(packed, mixture, size_px, JUDGED_STYLES, frozenset(config.nouns))


def truth_of(
    scene: Scene, config: DetectorConfig, size_px: int
) -> tuple[Float[np.ndarray, "6 4"], Int64[np.ndarray, " 6"], Int64[np.ndarray, " 6"]]:
    """Boxes, nouns and colours, padded to the largest count."""
    boxes = np.zeros((MAX_COUNT, 4), np.float32)
    nouns = np.full(MAX_COUNT, -1)
    colours = np.full(MAX_COUNT, _UNNAMED)
    for place, item in enumerate(scene.objects):
        x0, y0, x1, y1 = (side / size_px for side in item.box)
        boxes[place] = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0
        nouns[place] = config.nouns.index(item.concept)
        if item.colour:
            colours[place] = COLOUR_NAMES.index(item.colour)
    return boxes, nouns, colours


class FreshScenes(Dataset):
    """Item `i` is the new scenes of step `i`, the same on every machine."""

    def __init__(self, pack: Path, config: DetectorConfig, count: int) -> None:
        self.pack, self.config, self.count = pack, config, count
        self.composer: SceneComposer | None = None

    def __getitem__(self, step: int) -> Scenes:
        if self.composer is None:  # in the worker
            packed = Packed(self.pack, "images")
            self.composer = open_composer(packed, self.config, self.config.size_px)
        pixels, truths = [], []
        for number in range(step * self.count, (step + 1) * self.count):
            category = CATEGORY_TURNS[number % len(CATEGORY_TURNS)]
            picture, scene = self.composer.scene(number, category, caption_langs=())
            pixels.append(torch.from_numpy(picture).permute(2, 0, 1))
            truths.append(truth_of(scene, self.config, self.config.size_px))
        boxes, nouns, colours = (
            torch.from_numpy(np.stack(part)) for part in zip(*truths, strict=True)
        )
        return torch.stack(pixels), boxes, nouns, colours


class Pool:
    """Scenes of the latest steps, from which batches are filled up."""

    def __init__(self, fresh: Iterator[Scenes], size: int) -> None:
        self.fresh, self.size = fresh, size
        self.kept: Scenes | None = None
        self.num_seen = 0

    def add(self) -> int:
        """Takes new scenes in, in place of the oldest; returns how many."""
        new = next(self.fresh)
        if self.kept is None:
            self.kept = tuple(  # type: ignore[assignment]
                torch.empty((self.size, *part.shape[1:]), dtype=part.dtype) for part in new
            )
        assert self.kept is not None
        places = (self.num_seen + torch.arange(len(new[0]))) % self.size
        for kept, part in zip(self.kept, new, strict=True):
            kept[places] = part
        self.num_seen += len(new[0])
        return len(new[0])

    def batch(self, rng: np.random.Generator, batch_size: int) -> Scenes:
        """The newest scenes, and others at random."""
        count = self.add()
        while self.num_seen < MIN_POOL:
            count = self.add()
        count = min(count, batch_size)
        newest = (self.num_seen - 1 - np.arange(count)) % self.size
        others = rng.integers(0, min(self.num_seen, self.size), batch_size - count)
        rows = torch.from_numpy(np.concatenate([newest, others]))
        assert self.kept is not None
        return tuple(part[rows] for part in self.kept)  # type: ignore[return-value]


def worn(
    pixels: UInt8[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B 6 4"],
    rng: np.random.Generator,
) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B 6 4"]]:
    """Mirrored, in slightly other light, blurred, noisy: names of colours stay true."""
    n, _, size, _ = pixels.shape
    x = from_bytes(pixels)
    boxes = boxes.clone()
    flipped = torch.from_numpy(np.flatnonzero(rng.random(n) < 0.5))
    x[flipped] = x[flipped].flip(3)
    boxes[flipped, :, 0] = 1 - boxes[flipped, :, 0]
    gain = torch.from_numpy(rng.uniform(0.93, 1.07, (n, 1, 1, 1)).astype(np.float32))
    shift = torch.from_numpy(rng.uniform(-0.05, 0.05, (n, 1, 1, 1)).astype(np.float32))
    x = x * gain + shift
    blurred = torch.from_numpy(np.flatnonzero(rng.random(n) < 0.3))
    if len(blurred):
        soft = F.avg_pool2d(x[blurred], 2)
        x[blurred] = F.interpolate(soft, scale_factor=2.0, mode="bilinear")
    noisy = torch.from_numpy(np.flatnonzero(rng.random(n) < 0.3))
    if len(noisy):
        noise = rng.standard_normal((len(noisy), 3, size, size), np.float32)
        x[noisy] += 0.06 * torch.from_numpy(noise)
    return x.clamp_(-1, 1), boxes


def swapped(
    x: Float[Tensor, "B 3 H W"], colours: Int64[Tensor, "B 6"], rng: np.random.Generator
) -> tuple[Float[Tensor, "B 3 H W"], Int64[Tensor, "B 6"]]:
    """Red, green and blue of some pictures in another order; their things have no colours then."""
    orders = [order for order in itertools.permutations(range(3)) if order != (0, 1, 2)]
    chosen = np.flatnonzero(rng.random(len(x)) < SWAPPED_SHARE)
    x, colours = x.clone(), colours.clone()
    for row in chosen:
        x[row] = x[row, list(orders[rng.integers(len(orders))])]
    colours[torch.from_numpy(chosen)] = _UNNAMED
    return x, colours


def detector_loss(
    detector: Detector,
    pixels: Float[Tensor, "B 3 H W"],
    boxes: Float[Tensor, "B 6 4"],
    nouns: Int64[Tensor, "B 6"],
    colours: Int64[Tensor, "B 6"],
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Focal loss of the heat, cross entropy of noun and colour at the true centres."""
    cells = detector.config.cells
    is_there: Bool[Tensor, "B 6"] = nouns >= 0
    heat, scales = detector(pixels)
    heat_part = heat_loss(heat, heat_maps(boxes, is_there, cells))
    picture, thing = is_there.nonzero(as_tuple=True)
    centres = (boxes[picture, thing, :2] * cells).long().clamp(0, cells - 1)
    noun_scores, colour_scores = detector.name(scales, (picture, centres[:, 1], centres[:, 0]))
    noun, colour = nouns[picture, thing], colours[picture, thing]
    noun_part = F.cross_entropy(noun_scores, noun)
    named = colour != _UNNAMED
    colour_part = F.cross_entropy(colour_scores[named], colour[named]) if named.any() else 0.0
    shown = {
        "heat": float(heat_part.detach()),
        "noun": float((noun_scores.argmax(1) == noun).float().mean()),
    }
    if named.any():
        shown["colour"] = float((colour_scores.argmax(1) == colour)[named].float().mean())
    return heat_part + noun_part + 0.5 * colour_part, shown


def train_detector(
    pack: Path,
    out: Path,
    work: Path,
    *,
    minutes: float,
    resume: bool = False,
    config: DetectorConfig | None = None,
    num_workers: int = 1,
    pool_size: int = POOL_SIZE,
) -> Detector:
    """Trains and saves.

    Args:
        pack: Folder of packed pictures.
        out: The weights.
        work: Folder for the checkpoint.
        minutes: Of training.
        resume: Go on from the checkpoint in `work`.
        config: The detector's shape.
        num_workers: Processes that compose scenes; 0 composes in this one.
        pool_size: Scenes kept.
    """
    config = config or DetectorConfig()
    Packed(pack, "images")  # what is missing is said before any worker starts
    torch.manual_seed(SEED)
    detector = Detector(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    pool: Pool | None = None

    def step(number: int, share: float) -> tuple[Tensor, dict[str, float]]:
        nonlocal pool
        if pool is None:  # a resumed run goes on with scenes that it has not seen
            loader = DataLoader(
                FreshScenes(pack, config, FRESH), batch_size=None,
                sampler=range(number, 2**40), num_workers=num_workers,
            )  # fmt: skip
            pool = Pool(iter(loader), pool_size)
        rng = np.random.default_rng([SEED, number])
        pixels, boxes, nouns, colours = pool.batch(rng, BATCH_SIZE)
        x, boxes = worn(pixels, boxes, rng)
        x, colours = swapped(x, colours, rng)
        with torch.autocast("cpu", torch.bfloat16):
            return detector_loss(detector, x, boxes, nouns, colours)

    notes = train(
        detector, step, minutes=minutes, checkpoint=work / "detector.pt", resume=resume,
        lr=LEARNING_RATE, adam_lr=ADAM_RATE,
    )  # fmt: skip
    save_weights(out, detector, config, kind="detector", **notes)
    return detector
