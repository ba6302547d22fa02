"""Trains the judge: pictures learn to name their group, captions to lie where it is.

Each group has a unit vector in a table. Pictures are to lie nearer to their group's than to any
other, which also moves the table; captions follow it. After that the table is no longer needed: a
picture and a caption of the same group lie near each other. Why pictures are not compared with
captions, as in CLIP, and captions do not move the table: docs/log.md.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from evals.judge.corpus import Corpus, open_corpus
from evals.judge.model import Judge, JudgeConfig
from evals.judge.pictures import Painter
from evals.judge.training import WARM_UP, train
from mtgen.data.packed import Packed
from mtgen.model.checkpoint import save_weights

RENDER_PX = 64
"""Side at which pictures are painted, before they are shrunk to the judge's."""
BATCH_SIZE = 128
NUM_CAPTIONS = 1024
"""Captions in a step; they cost a sixth of what the pictures do."""
LEARNING_RATE, ADAM_RATE = 0.03, 4e-3
DECAY_FROM = 0.4
"""Share of the time from which the rates come down."""
EMA = 0.998
SCALE = 16.0
"""One over the temperature."""
LABEL_SMOOTHING = 0.05
LEAST_STRENGTH, FULL_STRENGTH_AT = 0.3, 0.28
"""Strength of the pictures' changes at the start, and the share of the time at which it is 1."""
SEED = 20261123


class Naming(nn.Module):
    """A judge and the table that it is trained with.

    Args:
        judge: Its towers.
        num_groups: Rows of the table.
    """

    def __init__(self, judge: Judge, num_groups: int) -> None:
        super().__init__()
        self.judge = judge
        self.groups = nn.Embedding(num_groups, judge.config.n_embd)

    def picture_loss(
        self, vectors: Float[Tensor, "B D"], group: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, ""], float]:
        """Cross entropy over all groups, and the share of pictures nearest to their own.

        Args:
            vectors: Unit vectors of pictures.
            group: What they show.
        """
        logits = SCALE * vectors @ F.normalize(self.groups.weight, dim=-1).T
        loss = F.cross_entropy(logits, group, label_smoothing=LABEL_SMOOTHING)
        return loss, float((logits.argmax(1) == group).float().mean())

    def caption_loss(
        self, vectors: Float[Tensor, "B D"], group: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, ""], float]:
        """How far captions are from their groups, in units of the logits, and the mean cosine.

        Args:
            vectors: Unit vectors of captions.
            group: What they say.
        """
        there = F.normalize(self.groups.weight.detach()[group], dim=-1)
        cosine = (vectors * there).sum(1).mean()
        return SCALE * (1 - cosine), float(cosine.detach())


class Lessons:
    """What is shown and said in each step; the same for the same number.

    Args:
        corpus: Of pictures and captions.
        size_px: Side of the pictures.
    """

    def __init__(self, corpus: Corpus, size_px: int) -> None:
        self.corpus, self.size_px = corpus, size_px
        self.painter = Painter(corpus.sprites)

    def pictures(
        self, rng: np.random.Generator, count: int, strength: float
    ) -> tuple[Float[Tensor, "B 3 H W"], Int64[Tensor, " B"]]:
        """Newly painted pictures and their groups."""
        odds = self.corpus.picture_odds
        rows = rng.choice(len(odds), count, p=odds)
        pixels = self.painter.paint(rows, rng, strength=strength)
        pixels = F.interpolate(pixels, (self.size_px, self.size_px), mode="area")
        return pixels, torch.from_numpy(self.corpus.picture_group[rows])

    def captions(
        self, rng: np.random.Generator, count: int
    ) -> tuple[Int64[Tensor, " F"], Int64[Tensor, " B"], Int64[Tensor, " B"]]:
        """Bags of captions, where each begins, and their groups."""
        odds = self.corpus.caption_odds
        rows = rng.choice(len(odds), count, p=odds)
        ids, starts = (torch.from_numpy(part) for part in self.corpus.bags.take(rows))
        return ids, starts, torch.from_numpy(self.corpus.caption_group[rows])


def naming_loss(
    naming: Naming, lessons: Lessons, number: int, share: float, batch_size: int = BATCH_SIZE
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Loss of one step; the share of pictures named right; the cosine of captions to their group.

    Args:
        naming: Both towers and the table.
        lessons: What they are given.
        number: Of the step; equal numbers draw the same.
        share: Of the time that is over.
        batch_size: Pictures.
    """
    rng = np.random.default_rng([SEED, number])
    pixels, shown_group = lessons.pictures(rng, batch_size, strength_at(share))
    ids, starts, said_group = lessons.captions(rng, NUM_CAPTIONS)
    with torch.autocast("cpu", torch.bfloat16):
        shown = naming.judge.pictures(pixels)
        said = naming.judge.captions(ids, starts)
    picture_part, hits = naming.picture_loss(shown, shown_group)
    caption_part, cosine = naming.caption_loss(said, said_group)
    return picture_part + caption_part, {"pictures": hits, "captions": cosine}


def rate_at(share: float) -> float:
    """Learning rates as a part of their peak: up, level, and straight down to nothing."""
    return max(0.0, min(1.0, 0.02 + share / WARM_UP, (1 - share) / (1 - DECAY_FROM)))


def strength_at(share: float) -> float:
    """Strength of the pictures' changes, when a share of the time is over."""
    return min(1.0, LEAST_STRENGTH + (1 - LEAST_STRENGTH) * share / FULL_STRENGTH_AT)


def train_judge(
    pack: Path,
    out: Path,
    work: Path,
    *,
    minutes: float,
    resume: bool = False,
    config: JudgeConfig | None = None,
    batch_size: int = BATCH_SIZE,
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
    """
    config = config or JudgeConfig()
    corpus = open_corpus(Packed(pack, "images"), work, RENDER_PX)
    torch.manual_seed(SEED)
    judge = Judge(config)
    naming = Naming(judge, corpus.num_groups)
    naming.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    lessons = Lessons(corpus, config.size_px)

    def step(number: int, share: float) -> tuple[Tensor, dict[str, float]]:
        return naming_loss(naming, lessons, number, share, batch_size)

    notes = train(
        naming, step, minutes=minutes, checkpoint=work / "judge.pt", resume=resume,
        lr=LEARNING_RATE, adam_lr=ADAM_RATE, schedule=rate_at, ema=EMA,
    )  # fmt: skip
    save_weights(out, judge, config, kind="judge", **notes)
    return judge
