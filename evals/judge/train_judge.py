"""Trains the judge: pictures against the captions of their batch and of many other concepts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from evals.judge.corpus import NUM_SCENES, Corpus, open_corpus
from evals.judge.model import Judge, JudgeConfig
from evals.judge.pictures import Painter
from evals.judge.training import train
from evals.judge.weights import save_weights
from mtgen.data.packed import Packed

BATCH_SIZE = 192
SCENE_SHARE = 0.12
NUM_OTHERS = 512
"""Captions of concepts that the batch does not show: wrong answers at almost no cost."""
LEARNING_RATE, ADAM_RATE = 0.04, 4e-3
GENTLE = 0.45
"""Share of the time in which pictures become harder: from white backgrounds to all changes."""
SMALL = 0.9
"""Share of the first steps whose pictures have half their side, at a quarter of the cost. Mixed,
as a judge that saw only one size is lost at another."""
SMALL_UNTIL = (0.35, 0.65)
"""Shares of the time between which that comes down to none."""
MAX_SCALE = 4.2
"""Of the temperature: exp(4.2) = 67 at most."""
SEED = 20261123


class Batches:
    """Draws batches in which no group is shown twice.

    Args:
        corpus: Of pictures and captions.
        batch_size: Pictures; at most one for each group.
        num_others: Further captions.
        scene_share: Of the pictures.
    """

    def __init__(
        self, corpus: Corpus, batch_size: int, num_others: int, scene_share: float = SCENE_SHARE
    ) -> None:
        self.corpus = corpus
        picture_group = corpus.key_group[corpus.picture_key]
        is_scene = corpus.sprites.is_scene
        self.scenes = np.flatnonzero(is_scene)
        self.num_scenes = round(batch_size * scene_share) if len(self.scenes) else 0
        singles = np.flatnonzero(~is_scene)
        self.order = singles[np.argsort(picture_group[singles], kind="stable")]
        groups, starts = np.unique(picture_group[self.order], return_index=True)
        self.odds = corpus.group_weight[groups] / corpus.group_weight[groups].sum()
        # a group's pictures are a stretch of `order`, and a stretch of the sum of their weights
        self.ends = np.cumsum(corpus.picture_weight[self.order])
        bounds = np.concatenate([[0.0], self.ends])
        self.stretch = bounds[starts], bounds[np.append(starts[1:], len(self.order))]
        self.batch_size = min(batch_size, len(groups) + self.num_scenes)
        self.num_others = num_others
        keys = np.arange(len(corpus.key_group) + 1)
        self.caption_starts = np.searchsorted(corpus.caption_key, keys)

    def _pictures(self, rng: np.random.Generator, num_singles: int, num_scenes: int) -> np.ndarray:
        """Pictures of different groups, then scenes."""
        num_singles = min(num_singles, len(self.odds))
        shown = rng.choice(len(self.odds), num_singles, replace=False, p=self.odds)
        low, high = (bounds[shown] for bounds in self.stretch)
        places = np.searchsorted(self.ends, low + rng.random(num_singles) * (high - low), "right")
        singles = self.order[np.minimum(places, len(self.order) - 1)]
        num_scenes = min(num_scenes, len(self.scenes))
        return np.concatenate([singles, rng.choice(self.scenes, num_scenes, replace=False)])

    def draw(
        self, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, Bool[np.ndarray, "B M"]]:
        """Rows of pictures; of captions, the pictures' own first; and which are no wrong answer."""
        corpus = self.corpus
        pictures = self._pictures(rng, self.batch_size - self.num_scenes, self.num_scenes)
        # drawn alike: were these rarer concepts, knowing what is common would already help
        num_scenes = round(self.num_others * self.num_scenes / self.batch_size)
        others = self._pictures(rng, self.num_others - num_scenes, num_scenes)
        keys = corpus.picture_key[np.concatenate([pictures, others])]
        counts = self.caption_starts[keys + 1] - self.caption_starts[keys]
        captions = self.caption_starts[keys] + (rng.random(len(keys)) * counts).astype(np.int64)
        groups = corpus.key_group[keys]
        same = groups[: len(pictures), None] == groups[None]
        np.fill_diagonal(same, False)
        return pictures, captions, same


def contrastive_loss(
    pictures: Float[Tensor, "B D"],
    captions: Float[Tensor, "M D"],
    scale: Float[Tensor, ""],
    same: Bool[Tensor, "B M"],
) -> tuple[Float[Tensor, ""], Float[Tensor, "B M"]]:
    """InfoNCE both ways (arXiv:1807.03748); the first B captions are the pictures' own.

    Args:
        pictures: Unit vectors.
        captions: Unit vectors.
        scale: One over the temperature.
        same: Captions that are no wrong answer to a picture, its own not among them.

    Returns:
        The loss, and the scaled products with `same` at minus infinity.
    """
    logits = (scale * pictures @ captions.T).masked_fill(same, float("-inf"))
    own = torch.arange(len(pictures))
    to_caption = F.cross_entropy(logits, own)
    to_picture = F.cross_entropy(logits[:, : len(pictures)].T, own)
    return 0.5 * (to_caption + to_picture), logits


def small_share(share: float) -> float:
    """How many of the steps take small pictures, when a share of the time is over."""
    first, last = SMALL_UNTIL
    return SMALL * min(1.0, max(0.0, (last - share) / (last - first)))


def train_judge(
    pack: Path,
    out: Path,
    work: Path,
    *,
    minutes: float,
    resume: bool = False,
    config: JudgeConfig | None = None,
    batch_size: int = BATCH_SIZE,
    num_scenes: int = NUM_SCENES,
) -> Judge:
    """Trains and saves.

    Args:
        pack: Folder of packed pictures.
        out: The weights.
        work: Folder for rendered pictures and the checkpoint.
        minutes: Of training; rendering comes on top, once.
        resume: Go on from the checkpoint in `work`.
        config: The judge's shape.
        batch_size: Pictures in a step.
        num_scenes: Composed scenes among the pictures.
    """
    config = config or JudgeConfig()
    corpus = open_corpus(Packed(pack, "images"), work, config.size_px, num_scenes)
    torch.manual_seed(SEED)
    judge = Judge(config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    painter, batches = Painter(corpus.sprites), Batches(corpus, batch_size, NUM_OTHERS)

    def step(number: int, share: float) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([SEED, number])
        pictures, captions, same = batches.draw(rng)
        shrink = 2 if rng.random() < small_share(share) else 1
        strength = min(1.0, share / GENTLE)
        pixels = painter.paint(pictures, rng, shrink=shrink, strength=strength)
        ids, starts = (torch.from_numpy(part) for part in corpus.bags.take(captions))
        with torch.autocast("cpu", torch.bfloat16):
            shown = judge.pictures(pixels)
            said = judge.captions(ids, starts)
        scale = judge.log_scale.clamp(max=MAX_SCALE).exp()
        loss, logits = contrastive_loss(shown.float(), said.float(), scale, torch.from_numpy(same))
        hits = (logits.argmax(1) == torch.arange(len(logits))).float().mean()
        return loss, {"top-1": float(hits), "scale": float(scale.detach())}

    notes = train(
        judge,
        step,
        minutes=minutes,
        checkpoint=work / "judge.pt",
        resume=resume,
        lr=LEARNING_RATE,
        adam_lr=ADAM_RATE,
    )
    save_weights(out, judge, config, kind="judge", **notes)
    return judge
