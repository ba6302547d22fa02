"""Training pictures: single concepts, composed scenes, silhouettes and icons, in fixed shares.

Sample number `i` of a seed is the same on every machine and whatever the number of workers, so a
run that was stopped goes on with the pictures that it would have had. Nothing that held_out.json
lists is drawn, in scenes or alone.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mtgen.data.images.backgrounds import SHADES, choose_background, clashing_shades
from mtgen.data.images.grammar import Description, Thing, caption, pick
from mtgen.data.images.held_out import HeldOut
from mtgen.data.images.languages import LANGUAGES
from mtgen.data.images.layouts import tidy_alone
from mtgen.data.images.lexicon import Lexicon, Word
from mtgen.data.images.people import GENDERS, roles
from mtgen.data.images.scenes import SceneComposer, Sprite, SpriteStore
from mtgen.data.images.sources import STYLES
from mtgen.data.packed import Packed
from mtgen.errors import SettingError, UnknownNameError

SHARES = {"concept": 0.35, "scene": 0.45, "silhouette": 0.12, "vocabulary": 0.08}
"""Of each kind of sample; SOURCES of the first survey suggested them by eye."""
TIDY_SHARES = {"concept": 0.6, "scene": 0.4}
TIDY_OTHERS = 0.25
"""How often tidy pictures show what is no everyday noun (faces, flags, signs), against a noun."""

LANGUAGE_SHARES = {"en": 0.75, "fr": 0.085, "de": 0.0825, "es": 0.0825}
TIDY_LANGUAGE_SHARES = {"en": 0.46, "fr": 0.18, "de": 0.18, "es": 0.18}
"""Of captions; a short run learns no words that it seldom reads."""
STYLE_SAID = 0.6
"""Captions of single pictures that name the style."""

BACKGROUND_SAID = {"white": 0.15}
OTHER_BACKGROUND_SAID = 0.5
GENDER_SAID = 0.4
"""Captions of people that name man or woman; the others draw all genders evenly."""

KEYWORDS_SAID = 0.1
"""Captions of single pictures that add one or two of CLDR's keywords."""

TONE_SAID = 0.25
MIRRORED_GROUPS = frozenset({"Animals & Nature", "Food & Drink", "Smileys & Emotion"})
"""Whose pictures mean the same in a mirror; letters, flags and clocks do not."""

SILHOUETTE = {
    "en": Word(singular="silhouette", plural="silhouettes"),
    "fr": Word(singular="silhouette", plural="silhouettes", gender="f"),
    "de": Word(singular="Silhouette", plural="Silhouetten", gender="f"),
    "es": Word(singular="silueta", plural="siluetas", gender="f"),
}
TONE_WORDS = {
    "light": {"en": "light skin tone", "fr": "peau claire", "de": "helle Hautfarbe",
              "es": "tono de piel claro"},
    "medium-light": {"en": "medium-light skin tone", "fr": "peau moyennement claire",
                     "de": "mittelhelle Hautfarbe", "es": "tono de piel claro medio"},
    "medium": {"en": "medium skin tone", "fr": "peau légèrement mate",
               "de": "mittlere Hautfarbe", "es": "tono de piel medio"},
    "medium-dark": {"en": "medium-dark skin tone", "fr": "peau mate",
                    "de": "mitteldunkle Hautfarbe", "es": "tono de piel oscuro medio"},
    "dark": {"en": "dark skin tone", "fr": "peau foncée", "de": "dunkle Hautfarbe",
             "es": "tono de piel oscuro"},
}  # fmt: skip
"""CLDR's names of the skin tones."""


@dataclass(frozen=True, kw_only=True)
class PictureSample:
    """One training example."""

    pixels: UInt8[np.ndarray, "H W 3"]
    caption: str
    lang: str
    kind: str
    """A key of SHARES."""
    truth: dict[str, Any]
    """What is known of the picture: ids, or a scene's objects, boxes and relations."""


class PictureMixture:
    """Draws training pictures with captions.

    Args:
        packed: Pictures from `build images --pack`.
        size_px: Side of the square samples.
        seed: Of the whole stream.
        shares: Of each kind; SHARES or TIDY_SHARES unless given. Kinds without pictures are left
            out.
        styles: Sources whose pictures are drawn; all unless given.
        tidy: As for `SceneComposer`; single things all have the same place and size too, and
            everyday nouns are most of them.
        cache_mb: Bound of decoded sprites kept in memory, for each process. Three quarters are
            for scenes, which take 1 GB to have all of their 6,000 sprites at hand.

    Raises:
        UnknownNameError: a share for a kind that does not exist, or a style that no picture has.
        SettingError: no kind has both a share and pictures.
    """

    def __init__(
        self,
        packed: Packed,
        *,
        size_px: int = 256,
        seed: int = 0,
        shares: Mapping[str, float] | None = None,
        styles: Collection[str] = (),
        tidy: bool = False,
        cache_mb: float = 1400,
    ) -> None:
        self.size_px, self.seed, self.tidy = size_px, seed, tidy
        self.lexicon = Lexicon.read()
        kinds = packed.column("kind")
        columns = {
            name: packed.column(name)
            for name in ("concept", "source", "colour", "recolours", "names", "keywords", "group",
                         "person", "gender", "tone", "id", "weight")
        }  # fmt: skip
        self.rows = columns
        packed_styles = set(columns["source"])
        for style in styles:
            if style not in packed_styles:
                raise UnknownNameError("style among the packed pictures", style, packed_styles)
        is_drawn = [not styles or source in styles for source in columns["source"]]
        sprites = [
            Sprite(
                concept=columns["concept"][row], style=columns["source"][row],
                colour=columns["colour"][row], recolours=tuple(columns["recolours"][row] or ()),
                webp=packed.webp(row),
            )
            for row in range(len(packed))
        ]  # fmt: skip
        self.store = SpriteStore(sprites, cache_mb=cache_mb / 4)
        scene_rows = [
            row for row, kind in enumerate(kinds)
            if is_drawn[row] and kind == "emoji" and columns["concept"][row] in self.lexicon
            and columns["tone"][row] is None
        ]  # fmt: skip
        self.composer = None
        if scene_rows:
            words = {
                style: {lang: options[0] for lang, options in by_lang.items()}
                for style, by_lang in STYLES.items()
            }
            self.composer = SceneComposer(
                SpriteStore([sprites[row] for row in scene_rows], cache_mb=cache_mb * 3 / 4),
                self.lexicon, size_px=size_px, style_words=words,
                unflippable={
                    columns["concept"][row] for row in scene_rows
                    if columns["group"][row] not in MIRRORED_GROUPS
                },
                tidy=tidy,
            )  # fmt: skip
        self.concepts = Weighted()
        by_concept: dict[str, Weighted] = defaultdict(Weighted)
        self.by_role: dict[str, dict[str, dict[str, list[int]]]] = {}
        self.silhouettes, self.vocabulary = Weighted(), Weighted()
        self.held_out = HeldOut.read()
        for row, kind in enumerate(kinds):
            weight = columns["weight"][row]
            if not is_drawn[row]:
                continue
            if (columns["concept"][row], columns["colour"][row], 1) in self.held_out.counts:
                continue
            if kind == "silhouette":
                self.silhouettes.add(row, weight)
            elif kind != "emoji":
                self.vocabulary.add(row, weight)
            elif person := columns["person"][row]:
                tones = self.by_role.setdefault(person, {}).setdefault(columns["gender"][row], {})
                tones.setdefault(columns["tone"][row] or "", []).append(row)
            else:
                by_concept[columns["concept"][row]].add(row, weight)
        for concept, members in by_concept.items():
            weight = max(columns["weight"][row] for row in members.things)
            if tidy and concept not in self.lexicon:
                weight *= TIDY_OTHERS
            self.concepts.add(members, weight)
        for person in self.by_role:
            self.concepts.add(person, 1.0)
        self.languages = Weighted()
        for lang, share in (TIDY_LANGUAGE_SHARES if tidy else LANGUAGE_SHARES).items():
            self.languages.add(lang, share)
        usual = TIDY_SHARES if tidy else SHARES
        self.shares = self.usable(usual if shares is None else shares)

    def usable(self, shares: Mapping[str, float]) -> Weighted:
        """The kinds that can be drawn."""
        have = {
            "concept": len(self.concepts), "scene": self.composer is not None,
            "silhouette": len(self.silhouettes), "vocabulary": len(self.vocabulary),
        }  # fmt: skip
        usable = Weighted()
        for kind, share in shares.items():
            if kind not in SHARES:
                raise UnknownNameError("kind of picture", kind, SHARES)
            if have[kind] and share > 0:
                usable.add(kind, share)
        if not len(usable):
            raise SettingError("no kind of picture has both a share above 0 and pictures")
        return usable

    def sample(self, number: int) -> PictureSample:
        """Sample `number` of the stream, from 0 up."""
        rng = random.Random(self.seed * 2**40 + number)
        kind = self.shares.draw(rng)
        lang = self.languages.draw(rng)
        if kind == "scene":
            assert self.composer is not None
            pixels, scene = self.composer.scene(int(rng.random() * 2**47), caption_langs=(lang,))
            return PictureSample(
                pixels=pixels, caption=scene.captions[lang], lang=lang, kind=kind,
                truth=scene.to_dict(),
            )  # fmt: skip
        if kind == "silhouette":
            return self.silhouette(rng, lang, self.silhouettes.draw(rng))
        if kind == "vocabulary":
            row = self.vocabulary.draw(rng)
            return self.single(rng, row, self.name(rng, row, lang), kind)
        drawn = self.concepts.draw(rng)
        if isinstance(drawn, str):
            return self.person(rng, lang, drawn)
        row = drawn.draw(rng)
        return self.single(rng, row, self.name(rng, row, lang), kind)

    def picture(self, row: int, lang: str, number: int) -> PictureSample:
        """One given picture, captioned as in the stream."""
        rng = random.Random(self.seed * 2**40 + number)
        if row in self.silhouettes.things:
            return self.silhouette(rng, lang, row)
        return self.single(rng, row, self.name(rng, row, lang), "concept")

    def person(self, rng: random.Random, lang: str, concept: str) -> PictureSample:
        """Someone of a trade: gender first, then tone, then style, each evenly."""
        genders = self.by_role[concept]
        gender = pick(rng, [name for name in GENDERS if name in genders])
        tones = genders[gender]
        tone = pick(rng, sorted(tones))
        row = pick(rng, tones[tone])
        said = gender if gender != "neutral" and rng.random() < GENDER_SAID else None
        text = roles()[concept].caption(lang, said)
        if tone and rng.random() < TONE_SAID:
            text += ", " + TONE_WORDS[tone][lang]
        return self.single(rng, row, (text, lang), "concept")

    def name(self, rng: random.Random, row: int, lang: str) -> tuple[str | Word, str]:
        """A name of the picture's concept, and its language: English where the other has none."""
        concept = self.rows["concept"][row]
        if concept in self.lexicon:
            words = self.lexicon[concept].words[lang]
            return (words[0] if rng.random() < 0.6 else pick(rng, words)), lang
        names = self.rows["names"][row]
        if not names[lang]:
            lang = "en"
        options = names[lang]
        return (options[0] if rng.random() < 0.7 else pick(rng, options)), lang

    def single(
        self,
        rng: random.Random,
        row: int,
        named: tuple[str | Word, str],
        kind: str,
        shade: int | None = None,
    ) -> PictureSample:
        """One picture, large, on a background that it stands out from.

        Args:
            rng: Source of every choice.
            row: Of the picture.
            named: What to call it, and in which language.
            kind: A key of SHARES.
            shade: Index into SHADES: all of the picture is painted in it.
        """
        name, lang = named
        look = self.store.look(row)
        if shade is None:
            colour, clashes = self.rows["colour"][row], look.clashes
        else:
            colour, clashes = SHADES[shade][0], shade_clashes(shade)
        taken = {colour} if colour else ()
        background = choose_background(rng, clashes, taken, self.tidy)
        if background is None:
            return self.sample(int(rng.random() * 2**39))
        if self.tidy:
            [spot] = tidy_alone(look.width / look.height)
            width, height = (max(1, int(side * self.size_px)) for side in (spot.w, spot.h))
            left, top = int(spot.x * self.size_px), int(spot.y * self.size_px)
            sprite = self.store.resized(row, None, width, height)
        else:
            scale = (0.72 + 0.24 * rng.random()) * self.size_px / max(look.width, look.height)
            width, height = (max(1, round(side * scale)) for side in (look.width, look.height))
            sprite = self.store.resized(row, None, width, height)
            if self.rows["group"][row] in MIRRORED_GROUPS and rng.random() < 0.5:
                sprite = sprite.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            left = round((self.size_px - width) * (0.3 + 0.4 * rng.random()))
            top = round((self.size_px - height) * (0.3 + 0.4 * rng.random()))
        canvas = background.paint(self.size_px)
        box = (left, top, left + width, top + height)
        canvas.paste(sprite if shade is None else SHADES[shade][1], box, sprite)
        plain = background.kind == "plain"
        share = BACKGROUND_SAID.get(background.colour, OTHER_BACKGROUND_SAID)
        shown = background.colour if plain and rng.random() < share else None
        text = self.say(rng, name, lang, shown)
        source = self.rows["source"][row]
        words = (self.rows["keywords"][row] or {}).get(lang) or ()
        if kind == "concept" and words and rng.random() < KEYWORDS_SAID:
            text += "".join(f", {word}" for word in self.keywords(rng, words, text))
        if shade is None and rng.random() < STYLE_SAID:
            text += ", " + pick(rng, STYLES[source][lang])
        truth = {
            "id": self.rows["id"][row], "concept": self.rows["concept"][row], "style": source,
            "colour": colour, "background": background.colour, "person": self.rows["person"][row],
            "gender": self.rows["gender"][row], "tone": self.rows["tone"][row], "box": box,
        }  # fmt: skip
        return PictureSample(
            pixels=np.asarray(canvas), caption=text, lang=lang, kind=kind, truth=truth
        )

    @staticmethod
    def keywords(rng: random.Random, words: list[str], text: str) -> list[str]:
        """One or two keywords that the caption does not hold already."""
        fresh = [word for word in words if word.casefold() not in text.casefold()]
        chosen = [pick(rng, fresh) for _ in range(1 + int(rng.random() * 2))] if fresh else []
        return list(dict.fromkeys(chosen))

    def say(self, rng: random.Random, name: str | Word, lang: str, shown: str | None) -> str:
        """A caption for one thing; nouns of the lexicon get their article."""
        if isinstance(name, Word):
            if rng.random() < 0.75:
                thing = Thing(words={lang: name})
                return caption(Description(things=(thing,), background=shown), lang, rng)
            name = name.singular
        if shown:
            language = LANGUAGES[lang]
            return f"{name} {language.background(language.backgrounds[0], shown)}"
        return name

    def silhouette(self, rng: random.Random, lang: str, row: int) -> PictureSample:
        """A shape in one colour; what it shows, and which colour it is."""
        name, lang = self.name(rng, row, lang)
        shade = int(rng.random() * len(SHADES))
        while (self.rows["concept"][row], SHADES[shade][0], 1) in self.held_out.counts:
            shade = int(rng.random() * len(SHADES))
        thing = Thing(words={lang: SILHOUETTE[lang]}, colour=SHADES[shade][0])
        shape = caption(Description(things=(thing,)), lang)
        bare = name.singular if isinstance(name, Word) else name
        return self.single(rng, row, (f"{bare}, {shape}", lang), "silhouette", shade)


@cache
def shade_clashes(shade: int) -> frozenset[int]:
    """Shades that a shape painted in one shade cannot be told from."""
    return clashing_shades(np.array([SHADES[shade][1]], np.uint8))


class Weighted:
    """Things drawn in proportion to their weights; by random() alone, whose sequence is kept."""

    def __init__(self) -> None:
        self.things: list[Any] = []
        self.ends: list[float] = []

    def add(self, thing: Any, weight: float) -> None:
        self.things.append(thing)
        self.ends.append((self.ends[-1] if self.ends else 0.0) + weight)

    def __len__(self) -> int:
        return len(self.things)

    def draw(self, rng: random.Random) -> Any:
        place = bisect_right(self.ends, rng.random() * self.ends[-1])
        return self.things[min(place, len(self.things) - 1)]


def open_mixture(folder: Path, **options: Any) -> PictureMixture:
    """The mixture over a packed folder; options as for `PictureMixture`."""
    return PictureMixture(Packed(folder, "images"), **options)
