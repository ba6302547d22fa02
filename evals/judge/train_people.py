"""Trains the reader of people on emoji, and checks it on trades that it has never seen.

Every fourth trade is kept for the check, in all styles: a reader that had learned the drawings by
heart would know neither their hair nor their skin.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from evals.judge.check import share
from evals.judge.people import SHOWN, SKINS, PeopleConfig, PeopleReader
from evals.judge.pictures import NUM_SHADES, Painter, Sprites, cut_out
from evals.judge.training import train
from evals.metrics.stats import Score
from mtgen.data.images.mixture import PictureMixture
from mtgen.data.images.people import GENDERS, roles
from mtgen.data.packed import Packed
from mtgen.model.checkpoint import save_weights

RENDER_PX = 80
"""Side at which pictures are painted, before they are shrunk to the reader's."""
BATCH_SIZE = 96
NOBODY_SHARE = 0.2
NUM_NOBODY = 3000
"""Pictures of other things."""
STRENGTH = 0.5
"""Of changes to the pictures: skin tones lie near each other, so colours are changed little."""
LEARNING_RATE, ADAM_RATE = 0.02, 3e-3
EMA = 0.998
SEED = 20261128
KEPT = 4
"""One trade in so many is kept for the check."""


@dataclass(frozen=True, kw_only=True)
class PeopleCorpus:
    """Sprites with what they show."""

    sprites: Sprites
    shown: Int64[np.ndarray, " N"]
    """Place in SHOWN."""
    skin: Int64[np.ndarray, " N"]
    """Place in SKINS; -1 of nobody."""
    kept: Bool[np.ndarray, " N"]
    """For the check alone."""
    trade: list[str]
    """In English; of nobody the concept."""
    style: list[str]


def is_kept(concept: str) -> bool:
    """Whether a trade or thing, by its code points, is for the check alone."""
    return hashlib.sha256(concept.encode()).digest()[0] % KEPT == 0


def people_corpus(packed: Packed, size_px: int = RENDER_PX) -> PeopleCorpus:
    """All emoji of people at work, and some of other things."""
    mixture = PictureMixture(packed, size_px=256, cache_mb=200)
    rows = mixture.rows
    people = [
        row for row, person in enumerate(rows["person"])
        if person and rows["gender"][row] in GENDERS and rows["tone"][row] in (None, *SKINS)
    ]  # fmt: skip
    things = [
        row for row, kind in enumerate(packed.column("kind"))
        if kind == "emoji" and not rows["person"][row] and not rows["tone"][row]
        and rows["concept"][row] in mixture.lexicon
    ]  # fmt: skip
    chosen = people + random.Random(SEED).sample(things, min(NUM_NOBODY, len(things)))
    rgba = np.zeros((len(chosen), 4, size_px, size_px), np.uint8)
    clashes = np.zeros((len(chosen), NUM_SHADES), bool)
    for place, row in enumerate(chosen):
        rgba[place] = cut_out(mixture, row, size_px)
        clashes[place, list(mixture.store.look(row).clashes)] = True
        if place % 2000 == 0:
            print(f"rendering {place} of {len(chosen)} sprites", file=sys.stderr, flush=True)
    is_person = np.arange(len(chosen)) < len(people)
    of = [rows["person"][row] or rows["concept"][row] for row in chosen]
    return PeopleCorpus(
        sprites=Sprites(
            rgba=rgba, clashes=clashes, is_flippable=np.ones(len(chosen), bool),
            is_shape=np.zeros(len(chosen), bool),
        ),
        shown=np.array(
            [SHOWN.index(rows["gender"][r] if p else "nobody")
             for r, p in zip(chosen, is_person, strict=True)]
        ),
        skin=np.array(
            [SKINS.index(rows["tone"][r] or SKINS[0]) if p else -1
             for r, p in zip(chosen, is_person, strict=True)]
        ),
        kept=np.array([is_kept(concept) for concept in of]),
        trade=[
            roles()[one].words["en", "m"] if p else one
            for one, p in zip(of, is_person, strict=True)
        ],
        style=[rows["source"][row] for row in chosen],
    )  # fmt: skip


def cell_odds(corpus: PeopleCorpus) -> Float[np.ndarray, " N"]:
    """How often each sprite is shown in training: genders and tones evenly, nobody at its share."""
    cells = corpus.shown * (len(SKINS) + 1) + corpus.skin + 1
    free = ~corpus.kept
    counts = np.bincount(cells[free], minlength=cells.max() + 1)
    weight = np.where(free, 1 / np.maximum(counts[cells], 1), 0)
    nobody = corpus.skin < 0
    for part, share_of in ((nobody, NOBODY_SHARE), (~nobody, 1 - NOBODY_SHARE)):
        weight[part] *= share_of / weight[part].sum()
    return weight / weight.sum()


def people_loss(
    reader: PeopleReader, corpus: PeopleCorpus, painter: Painter, odds: Float[np.ndarray, " N"],
    number: int, batch_size: int,
) -> tuple[Float[Tensor, ""], dict[str, float]]:  # fmt: skip
    """Loss of one step, and the shares read right.

    Args:
        reader: In training.
        corpus: Of sprites.
        painter: Of these.
        odds: Of each sprite.
        number: Of the step; equal numbers draw the same.
        batch_size: Pictures.
    """
    rng = np.random.default_rng([SEED, number])
    rows = rng.choice(len(odds), batch_size, p=odds)
    pixels = painter.paint(rows, rng, strength=STRENGTH)
    size = reader.config.size_px
    pixels = F.interpolate(pixels, (size, size), mode="area")
    with torch.autocast("cpu", torch.bfloat16):
        shown, skin = reader(pixels)
    is_shown, has = torch.from_numpy(corpus.shown[rows]), torch.from_numpy(corpus.skin[rows])
    loss = F.cross_entropy(shown.float(), is_shown, label_smoothing=0.05)
    loss = loss + F.cross_entropy(skin.float(), has, ignore_index=-1, label_smoothing=0.05)
    right = (skin.argmax(1) == has)[has >= 0]
    return loss, {
        "shown": float((shown.argmax(1) == is_shown).float().mean()),
        "skin": float(right.float().mean()),
    }


def train_people(
    pack: Path, out: Path, work: Path, *, minutes: float, resume: bool = False,
    config: PeopleConfig | None = None, batch_size: int = BATCH_SIZE,
) -> PeopleReader:  # fmt: skip
    """Trains and saves; see `evals.judge.train_judge.train_judge` for the arguments."""
    corpus = people_corpus(Packed(pack, "images"))
    torch.manual_seed(SEED)
    reader = PeopleReader(config)
    reader.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    painter, odds = Painter(corpus.sprites), cell_odds(corpus)

    def step(number: int, share: float) -> tuple[Tensor, dict[str, float]]:
        return people_loss(reader, corpus, painter, odds, number, batch_size)

    notes = train(
        reader, step, minutes=minutes, checkpoint=work / "people.pt", resume=resume,
        lr=LEARNING_RATE, adam_lr=ADAM_RATE, ema=EMA,
    )  # fmt: skip
    save_weights(out, reader, reader.config, kind="people", **notes)
    return reader


def check_people(reader: PeopleReader, packed: Packed, limit: int | None = None) -> list[Score]:
    """Shares of real pictures read right, of trades and things kept from training.

    Clusters of the intervals are trades. First man, woman, neutral or nobody over all pictures
    of people; then of each, of skin, and of skin within one step of the scale.

    Args:
        reader: To be checked.
        packed: Real pictures.
        limit: Only so many pictures.
    """
    corpus = people_corpus(packed)
    rows = np.flatnonzero(corpus.kept)[:limit]
    painter = Painter(corpus.sprites)
    hits: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for start in range(0, len(rows), 256):
        part = rows[start : start + 256]
        pixels = painter.paint(part, np.random.default_rng(start), strength=0.0)
        size = reader.config.size_px
        with torch.no_grad():
            shown, skin = reader(F.interpolate(pixels, (size, size), mode="area"))
        for row, said, tone in zip(part, shown.argmax(1), skin.argmax(1), strict=True):
            trade, true = corpus.trade[row], SHOWN[corpus.shown[row]]
            right = float(said == corpus.shown[row])
            hits[f"shown_{true}"][trade].append(right)
            if true in GENDERS:
                hits["shown"][trade].append(right)
                away = abs(int(tone) - int(corpus.skin[row]))
                hits["skin"][trade].append(float(away == 0))
                hits["skin_near"][trade].append(float(away <= 1))
    names = ("shown", "skin", "skin_near", *(f"shown_{name}" for name in SHOWN))
    return [share(name, hits[name], f"people|kept:1/{KEPT}|seed:{SEED}") for name in names]
