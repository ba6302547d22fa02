"""Writes the prompts of the image suites, once: `python -m evals.suites.image_prompts PACK`.

Everything is drawn with a seed from our own vocabulary, so the same pictures give the same files.
The files are frozen; writing them again with other pictures changes what the scores mean.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from evals.judge.concepts import JudgedConcept, judged_concepts, question, told_nouns
from evals.judge.styles import PROMPT_STYLES
from evals.judge.wanted import said_of
from evals.suites.base import DATA, ImageSample
from mtgen.data.images.held_out import HeldOut, common_nouns
from mtgen.data.images.lexicon import LANGS
from mtgen.data.images.mixture import PictureMixture
from mtgen.data.images.scenes import CATEGORIES, SceneComposer, SpriteStore
from mtgen.data.images.sources import STYLES
from mtgen.data.packed import Packed

SEED = "image suites 1"
NUM_CONCEPTS = 120
NUM_LANGUAGE_CONCEPTS = 50
NUM_PER_CATEGORY = 25
NUM_DISTANCE = 200
FIRST_SCENE = 2**46 + 2**41
HELD_OUT_CATEGORIES = ("counting", "colours", "position", "attribution")
"""Whose captions say what is held out: a number, a colour, a relation."""


def concept_samples(concepts: list[JudgedConcept], styles: dict[str, set[str]]) -> list[dict]:
    """Single things, four pictures each, in turn in each of the prompt styles.

    Args:
        concepts: All that are judged.
        styles: By code points, the styles that training pictures have.
    """
    rng = random.Random(f"{SEED} concepts")
    samples = []
    for place, concept in enumerate(rng.sample(concepts, NUM_CONCEPTS)):
        name = concept.noun.codepoints
        turned = PROMPT_STYLES[place % 4 :] + PROMPT_STYLES[: place % 4]
        style = next(style for style in turned if style in styles[name])
        prompt = f"{concept.caption()}, {STYLES[style]['en'][0]}"
        samples.append(
            line(
                ImageSample(
                    id=f"concept-{name}", prompts={"en": prompt}, num_images=4, style=style,
                    captions=tuple(question(concept, concepts, SEED)),
                )
            )
        )  # fmt: skip
    return samples


def language_samples(concepts: list[JudgedConcept]) -> list[dict]:
    """The same things asked for in each language, without a style, two pictures each."""
    rng = random.Random(f"{SEED} languages")
    return [
        line(
            ImageSample(
                id=f"language-{concept.noun.codepoints}",
                prompts={lang: concept.caption(lang) for lang in LANGS},
                num_images=2,
                captions=tuple(question(concept, concepts, SEED)),
            )
        )
        for concept in rng.sample(concepts, NUM_LANGUAGE_CONCEPTS)
    ]


def scene_samples(
    composer: SceneComposer, categories: tuple[str, ...], name: str, first: int
) -> list[dict]:
    """Scenes of each category, two pictures each; no prompt twice."""
    samples, seen = [], set()
    for category in categories:
        seed = first
        while sum(sample["category"] == category for sample in samples) < NUM_PER_CATEGORY:
            _, scene = composer.scene(seed, category, caption_langs=("en",))
            seed += 1
            prompt = scene.captions["en"]
            if prompt in seen:
                continue
            seen.add(prompt)
            samples.append(
                line(
                    ImageSample(
                        id=f"{name}-{category}-{seed - first}", prompts={"en": prompt},
                        num_images=2, category=category, wanted=said_of(scene).as_dict(),
                    )
                )
            )  # fmt: skip
    return samples


def distance_samples(
    concepts: list[JudgedConcept], styles: dict[str, set[str]], composer: SceneComposer
) -> list[dict]:
    """As many single things as scenes, one picture each, as the frozen real pictures are."""
    rng = random.Random(f"{SEED} distance")
    samples = []
    for number in range(NUM_DISTANCE // 2):
        style = PROMPT_STYLES[number % len(PROMPT_STYLES)]
        concept = rng.choice([c for c in concepts if style in styles[c.noun.codepoints]])
        prompt = f"{concept.caption()}, {STYLES[style]['en'][0]}"
        samples.append(
            line(
                ImageSample(
                    id=f"single-{number}", prompts={"en": prompt}, num_images=1, style=style
                )
            )
        )
    for number in range(NUM_DISTANCE // 2):
        _, scene = composer.scene(FIRST_SCENE + 2**20 + number, caption_langs=("en",))
        prompts = {"en": scene.captions["en"]}
        samples.append(line(ImageSample(id=f"scene-{number}", prompts=prompts, num_images=1)))
    return samples


def line(sample: ImageSample) -> dict[str, Any]:
    """A sample as its line in the file: what is not set is left out."""
    return {"kind": "image"} | {name: value for name, value in asdict(sample).items() if value}


def prompt_composer(
    mixture: PictureMixture, packed: Packed, held_out: Literal[True, "only"]
) -> SceneComposer:
    """Scenes of the commonest nouns in the prompt styles.

    Args:
        mixture: Open pictures.
        packed: The same.
        held_out: True: combinations that the generator may have seen; "only": those it has not.
    """
    rows = mixture.rows
    nouns = {noun.codepoints for noun in common_nouns(mixture.lexicon)}
    kept = [
        row
        for row, kind in enumerate(packed.column("kind"))
        if kind == "emoji"
        and rows["tone"][row] is None
        and rows["source"][row] in PROMPT_STYLES
        and rows["concept"][row] in nouns
    ]
    store = SpriteStore([mixture.store.sprites[row] for row in kept], cache_mb=200)
    words = {
        style: {lang: said[0] for lang, said in STYLES[style].items()} for style in PROMPT_STYLES
    }
    return SceneComposer(
        store, mixture.lexicon, exclude_held_out=held_out, style_words=words, size_px=64
    )


def write(packed: Packed, folder: Path = DATA) -> list[Path]:
    """Writes all files and their hashes."""
    mixture = PictureMixture(packed, cache_mb=16)
    concepts = judged_concepts(packed, mixture.lexicon, told_nouns())
    held_out = HeldOut.read()
    styles: dict[str, set[str]] = defaultdict(set)
    for concept, style in zip(mixture.rows["concept"], mixture.rows["source"], strict=True):
        if (concept, style) not in held_out.styles:
            styles[concept].add(style)
    concepts = [c for c in concepts if styles[c.noun.codepoints].intersection(PROMPT_STYLES)]
    seen = prompt_composer(mixture, packed, True)
    unseen = prompt_composer(mixture, packed, "only")
    files = {
        "image-concepts": concept_samples(concepts, styles),
        "image-languages": language_samples(concepts),
        "image-scenes": scene_samples(seen, CATEGORIES, "scene", FIRST_SCENE),
        "image-scenes-held-out": scene_samples(
            unseen, HELD_OUT_CATEGORIES, "held-out", FIRST_SCENE + 2**10
        ),
        "image-distance": distance_samples(concepts, styles, seen),
    }
    sums = folder / "SHA256SUMS"
    known = sums.read_text("utf-8").splitlines() if sums.exists() else []
    paths = []
    for name, samples in files.items():
        path = folder / f"{name}.jsonl"
        text = "".join(json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
        path.write_text(text, "utf-8")
        known = [entry for entry in known if not entry.endswith(f"  {path.name}")]
        known.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}")
        paths.append(path)
    sums.write_text("\n".join(known) + "\n", "utf-8")
    return paths


if __name__ == "__main__":
    print("\n".join(map(str, write(Packed(Path(sys.argv[1]), "images")))))
