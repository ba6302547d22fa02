"""What the judge is trained on: sprites of its own styles, composed scenes, and captions of both.

Rendered once (about two minutes) and kept in the work folder, so that a resumed run starts at once.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections.abc import Callable
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

NUM_SCENES = 8000
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
    """Pictures, captions, and which belong together.

    Pictures and captions have a *key* each (a concept, or a scene); keys have a group.
    """

    sprites: Sprites
    picture_key: Int64[np.ndarray, " N"]
    picture_weight: Float[np.ndarray, " N"]
    bags: Bags
    caption_key: Int64[np.ndarray, " M"]
    """Ascending."""
    key_group: Int64[np.ndarray, " K"]
    group_weight: Float[np.ndarray, " G"]
    """How often a group is drawn; 0 for scenes, which are drawn by themselves."""


def render_corpus(packed: Packed, size_px: int, num_scenes: int, show: bool = True) -> Corpus:
    """Renders and captions everything.

    Raises:
        SettingError: the packed pictures hold none of the judge's styles.
    """
    mixture = PictureMixture(packed, size_px=256, cache_mb=200)
    rows = mixture.rows
    is_emoji = [kind == "emoji" for kind in packed.column("kind")]
    own = [row for row, style in enumerate(rows["source"]) if style not in JUDGED_STYLES]
    if not own:
        raise SettingError("the packed pictures hold no style that the judge may be trained on")
    group_of = groups(rows)
    keys: dict[str, int] = {}
    for row in own:
        keys.setdefault(rows["concept"][row], len(keys))
    rgba = np.zeros((len(own) + num_scenes, 4, size_px, size_px), np.uint8)
    clashes = []
    for place, row in enumerate(own):
        rgba[place] = cut_out(mixture, row, size_px)
        clashes.append(mixture.store.look(row).clashes)
        if show and place % 2000 == 0:
            print(f"rendering {place} of {len(own)} sprites", file=sys.stderr, flush=True)

    captions, caption_key = [], []
    first_row = {rows["concept"][row]: row for row in reversed(own)}
    for concept, key in keys.items():
        said = concept_captions(mixture, first_row[concept], random.Random(concept))
        captions += said
        caption_key += [key] * len(said)
    numbers: dict[str, int] = {}
    key_group = [numbers.setdefault(group_of[concept], len(numbers)) for concept in keys]

    composer = scene_composer(packed, mixture, size_px, lambda style: style not in JUDGED_STYLES)
    is_fixed = []
    for number in range(num_scenes):
        pixels, scene = composer.scene(number)
        rgba[len(own) + number, :3] = pixels.transpose(2, 0, 1)
        rgba[len(own) + number, 3] = 255
        is_fixed.append(scene.relation is not None)
        captions += scene.captions.values()
        caption_key += [len(keys) + number] * len(scene.captions)
        group = f"scene {number}"
        if len(scene.objects) == 1:  # "a dog" fits any picture of a dog
            group = group_of[scene.objects[0].concept]
        key_group.append(numbers.setdefault(group, len(numbers)))
        if show and number % 2000 == 0:
            print(f"composing {number} of {num_scenes} scenes", file=sys.stderr, flush=True)

    weights = np.zeros(len(numbers))
    for row in own:
        concept = rows["concept"][row]
        weight = LEXICON_WEIGHT if concept in mixture.lexicon else 1.0
        place = numbers[group_of[concept]]
        weights[place] = max(weights[place], weight if is_emoji[row] else OTHER_WEIGHT)
    shades = np.zeros((len(rgba), NUM_SHADES), bool)
    for place, clash in enumerate(clashes):
        shades[place, list(clash)] = True
    is_scene = np.arange(len(rgba)) >= len(own)
    flippable = [rows["group"][row] in MIRRORED_GROUPS for row in own]
    return Corpus(
        sprites=Sprites(
            rgba=rgba,
            clashes=shades,
            is_flippable=np.array(flippable + [not fixed for fixed in is_fixed]),
            is_shape=np.array(
                [rows["source"][r] in SILHOUETTES for r in own] + [False] * num_scenes
            ),
            is_scene=is_scene,
        ),
        picture_key=np.array(
            [keys[rows["concept"][row]] for row in own] + [len(keys) + n for n in range(num_scenes)]
        ),
        picture_weight=np.array(
            [1.0 if is_emoji[row] else PLAIN_ROW_WEIGHT for row in own] + [1.0] * num_scenes
        ),
        bags=Bags(captions),
        caption_key=np.array(caption_key),
        key_group=np.array(key_group),
        group_weight=weights,
    )


def scene_composer(
    packed: Packed,
    mixture: PictureMixture,
    size_px: int,
    takes: Callable[[str], bool],
    concepts: frozenset[str] | None = None,
) -> SceneComposer:
    """Scenes of some styles and concepts; what is held out from the generator may be in them.

    Args:
        packed: Pictures.
        mixture: The same, open.
        size_px: Side of the scenes.
        takes: Whether a style is used.
        concepts: Code points; None for all nouns of the lexicon.
    """
    rows = mixture.rows
    kept = [
        row
        for row, kind in enumerate(packed.column("kind"))
        if kind == "emoji"
        and rows["tone"][row] is None
        and takes(rows["source"][row])
        and rows["concept"][row] in mixture.lexicon
        and (concepts is None or rows["concept"][row] in concepts)
    ]
    store = SpriteStore([mixture.store.sprites[row] for row in kept], cache_mb=600)
    return SceneComposer(
        store, mixture.lexicon, size_px=size_px, exclude_held_out=False,
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


def open_corpus(
    packed: Packed, work: Path, size_px: int, num_scenes: int = NUM_SCENES, show: bool = True
) -> Corpus:
    """The corpus from the work folder; rendered and put there first where it is missing.

    Raises:
        CacheWriteError: the folder cannot be written.
    """
    made_from = [packed.manifest, size_px, num_scenes, CAPTIONS, len(LANGS), 2]
    digest = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:12]
    path = work / f"corpus-{digest}.npz"
    if path.is_file():
        with np.load(path) as file:
            return unpacked(dict(file))
    corpus = render_corpus(packed, size_px, num_scenes, show)
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
    names = ("picture_key", "picture_weight", "caption_key", "key_group", "group_weight")
    return flat | {name: getattr(corpus, name) for name in names}


def unpacked(flat: dict[str, np.ndarray]) -> Corpus:
    """What `arrays` made, put back."""
    sprites = Sprites(**{f.name: flat.pop(f.name) for f in fields(Sprites)})
    bags = Bags([])
    bags.ids, bags.starts = flat.pop("ids"), flat.pop("starts")
    return Corpus(sprites=sprites, bags=bags, **flat)
