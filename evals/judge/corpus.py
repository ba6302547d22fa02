"""What the judge is trained on: sprites of its own styles, and captions of what they show.

Rendered once (about a minute) and kept in the work folder, so that a resumed run starts at once.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int64

from evals.judge.concepts import groups
from evals.judge.pictures import NUM_SHADES, Sprites, cut_out
from evals.judge.styles import JUDGED_STYLES
from evals.judge.words import Bags
from mtgen.data.images.grammar import pick
from mtgen.data.images.lexicon import LANGS
from mtgen.data.images.mixture import MIRRORED_GROUPS, PictureMixture
from mtgen.data.images.people import GENDERS, roles
from mtgen.data.images.scenes import SceneComposer, SpriteStore
from mtgen.data.images.sources import SILHOUETTES, STYLES
from mtgen.data.packed import Packed
from mtgen.errors import CacheWriteError, SettingError

CAPTIONS = {"en": 10, "fr": 4, "de": 4, "es": 4}
"""Kept of each concept; different draws may say the same."""
LEXICON_WEIGHT = 3.0
OTHER_WEIGHT = 0.1
"""Of groups that no emoji shows, such as most icons."""
PLAIN_ROW_WEIGHT = 0.3
"""Of icons, silhouettes and clip art among the pictures of a group."""
STYLE_SAID = 0.25


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """Pictures and captions, and the group (`evals.judge.concepts`) that each belongs to."""

    sprites: Sprites
    picture_group: Int64[np.ndarray, " N"]
    picture_odds: Float[np.ndarray, " N"]
    """How often each is drawn; sums to 1."""
    bags: Bags
    caption_group: Int64[np.ndarray, " M"]
    caption_odds: Float[np.ndarray, " M"]

    @property
    def num_groups(self) -> int:
        """Each has a picture and a caption at least."""
        return int(self.picture_group.max()) + 1


def render_corpus(packed: Packed, size_px: int, show: bool = True) -> Corpus:
    """Renders and captions everything.

    Raises:
        SettingError: the packed pictures hold none of the judge's styles.
    """
    mixture = PictureMixture(packed, size_px=256, cache_mb=200)
    rows = mixture.rows
    is_emoji = np.array([kind == "emoji" for kind in packed.column("kind")])
    own = [row for row, style in enumerate(rows["source"]) if style not in JUDGED_STYLES]
    if not own:
        raise SettingError("the packed pictures hold no style that the judge may be trained on")
    rgba = np.zeros((len(own), 4, size_px, size_px), np.uint8)
    clashes = np.zeros((len(own), NUM_SHADES), bool)
    for place, row in enumerate(own):
        rgba[place] = cut_out(mixture, row, size_px)
        clashes[place, list(mixture.store.look(row).clashes)] = True
        if show and place % 2000 == 0:
            print(f"rendering {place} of {len(own)} sprites", file=sys.stderr, flush=True)

    group_of = groups(rows)
    numbers: dict[str, int] = {}
    picture_group = np.array(
        [numbers.setdefault(group_of[rows["concept"][row]], len(numbers)) for row in own]
    )
    captions, caption_group = [], []
    first_row = {rows["concept"][row]: row for row in reversed(own)}
    for concept, row in first_row.items():
        said = concept_captions(mixture, row, random.Random(concept))
        captions += said
        caption_group += [numbers[group_of[concept]]] * len(said)

    group_weight = np.full(len(numbers), OTHER_WEIGHT)
    for place, row in enumerate(own):
        if is_emoji[row]:
            weight = LEXICON_WEIGHT if rows["concept"][row] in mixture.lexicon else 1.0
            group = picture_group[place]
            group_weight[group] = max(group_weight[group], weight)
    picture_weight = np.where(is_emoji[own], 1.0, PLAIN_ROW_WEIGHT)
    return Corpus(
        sprites=Sprites(
            rgba=rgba,
            clashes=clashes,
            is_flippable=np.array([rows["group"][row] in MIRRORED_GROUPS for row in own]),
            is_shape=np.array([rows["source"][row] in SILHOUETTES for row in own]),
        ),
        picture_group=picture_group,
        picture_odds=odds(picture_group, picture_weight, group_weight),
        bags=Bags(captions),
        caption_group=np.array(caption_group),
        caption_odds=odds(np.array(caption_group), np.ones(len(captions)), group_weight),
    )


def odds(
    group: Int64[np.ndarray, " N"],
    weight: Float[np.ndarray, " N"],
    group_weight: Float[np.ndarray, " G"],
) -> Float[np.ndarray, " N"]:
    """How often to draw each row: groups by their weight, and in a group rows by theirs."""
    share = weight / np.bincount(group, weight, len(group_weight))[group]
    return group_weight[group] * share / (group_weight[group] * share).sum()


def scene_composer(
    packed: Packed,
    mixture: PictureMixture,
    size_px: int,
    styles: Collection[str],
    concepts: frozenset[str] | None = None,
    tidy: bool = False,
) -> SceneComposer:
    """Scenes of some styles and concepts; what is held out from the generator may be in them.

    Args:
        packed: Pictures.
        mixture: The same, open.
        size_px: Side of the scenes.
        styles: That are used.
        concepts: Code points; None for all nouns of the lexicon.
        tidy: As for `SceneComposer`.
    """
    rows = mixture.rows
    kept = [
        row
        for row, kind in enumerate(packed.column("kind"))
        if kind == "emoji"
        and rows["tone"][row] is None
        and rows["source"][row] in styles
        and rows["concept"][row] in mixture.lexicon
        and (concepts is None or rows["concept"][row] in concepts)
    ]
    store = SpriteStore([mixture.store.sprites[row] for row in kept], cache_mb=600)
    return SceneComposer(
        store, mixture.lexicon, size_px=size_px, exclude_held_out=False, tidy=tidy,
        unflippable={
            rows["concept"][row] for row in kept if rows["group"][row] not in MIRRORED_GROUPS
        },
    )  # fmt: skip


def concept_captions(mixture: PictureMixture, row: int, rng: random.Random) -> list[str]:
    """Captions in four languages, worded as in the generator's training, with style words or none.

    The style words are those of any style, so that they tell nothing: the judge is asked what a
    picture shows, not how.
    """
    person = mixture.rows["person"][row]
    gender = mixture.rows["gender"][row]
    said = []
    for lang, count in CAPTIONS.items():
        for _ in range(count):
            if person:
                known = gender if gender in GENDERS[1:] and rng.random() < 0.5 else None
                text = roles()[person].caption(lang, known)
            else:
                name, named_in = mixture.name(rng, row, lang)
                text = mixture.say(rng, name, named_in, None)
            if rng.random() < STYLE_SAID:
                text += ", " + pick(rng, STYLES[pick(rng, sorted(STYLES))][lang])
            said.append(text)
    return list(dict.fromkeys(said))


def open_corpus(packed: Packed, work: Path, size_px: int, show: bool = True) -> Corpus:
    """The corpus from the work folder; rendered and put there first where it is missing.

    Raises:
        CacheWriteError: the folder cannot be written.
    """
    made_from = [packed.manifest, size_px, CAPTIONS, len(LANGS), 3]
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:12]
    path = work / f"corpus-{digest}.npz"
    if path.is_file():
        with np.load(path) as file:
            return unpacked(dict(file))
    corpus = render_corpus(packed, size_px, show)
    partial = path.with_name(path.name + ".part")
    try:
        work.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            np.savez(file, **arrays(corpus))  # type: ignore[arg-type]
        partial.replace(path)
    except OSError as error:
        raise CacheWriteError(f"cannot write to {work}: {error.strerror}") from error
    return corpus


def arrays(corpus: Corpus) -> dict[str, np.ndarray]:
    """All of it as named arrays."""
    flat = {f.name: getattr(corpus.sprites, f.name) for f in fields(Sprites)}
    flat |= {"ids": corpus.bags.ids, "starts": corpus.bags.starts}
    names = ("picture_group", "picture_odds", "caption_group", "caption_odds")
    return flat | {name: getattr(corpus, name) for name in names}


def unpacked(flat: dict[str, np.ndarray]) -> Corpus:
    """What `arrays` made, put back."""
    sprites = Sprites(**{f.name: flat.pop(f.name) for f in fields(Sprites)})
    bags = Bags([])
    bags.ids, bags.starts = flat.pop("ids"), flat.pop("starts")
    return Corpus(sprites=sprites, bags=bags, **flat)
