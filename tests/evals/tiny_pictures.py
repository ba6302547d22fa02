"""A small packed set of pictures that the tests draw themselves: patterns for nouns of the lexicon,
each a little different in every style."""

from __future__ import annotations

import io
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageColor, ImageDraw

from mtgen.data.images.held_out import HeldOut
from mtgen.data.images.lexicon import LANGS, Lexicon
from mtgen.data.images.people import roles
from mtgen.data.pack import pack

STYLES = ("openmoji", "emojione", "noto-v1", "twemoji", "noto", "fluent-emoji-flat")
PAINTS = {
    "red": "#d92b2b", "orange": "#f58a1f", "yellow": "#fdd835", "green": "#4caf50",
    "blue": "#1e63c4", "purple": "#8e5bc0", "pink": "#f48fb1", "brown": "#7b5537",
}  # fmt: skip


SKIN = {
    None: "#ffcc33", "light": "#fadcbc", "medium-light": "#e0bb95", "medium": "#bf8f68",
    "medium-dark": "#9b643d", "dark": "#594539",
}  # fmt: skip


def drawn(number: int, style: str) -> tuple[bytes, str]:
    """A pattern of its own for each number, with a style's outline; WebP and its main colour."""
    rng = random.Random(number)
    main, other = rng.sample(sorted(PAINTS), 2)
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    lined = "#222222" if STYLES.index(style) % 2 else None
    pen.rounded_rectangle(
        (6, 6, 57, 57), 4 * STYLES.index(style), fill=PAINTS[main], outline=lined, width=2
    )
    for cell in range(9):
        if rng.random() < 0.4:
            x, y = 12 + 14 * (cell % 3), 12 + 14 * (cell // 3)
            pen.rectangle((x, y, x + 11, y + 11), fill=ImageColor.getrgb(PAINTS[other]))
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True)
    return data.getvalue(), main


def drawn_person(gender: str, tone: str | None, style: str) -> bytes:
    """A face: skin in its tone, long hair for woman, a moustache for man; WebP."""
    picture = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    if gender == "woman":
        pen.rectangle((8, 8, 56, 62), fill="#222222")
    pen.ellipse((12, 10, 52, 58), fill=SKIN[tone], outline="#222222")
    if gender == "man":
        pen.rectangle((20, 42, 44, 48), fill="#222222")
    pen.rectangle((16, 2, 48, 8 + STYLES.index(style)), fill=PAINTS["blue"])
    data = io.BytesIO()
    picture.save(data, "WEBP", lossless=True)
    return data.getvalue()


def write_pack(folder: Path, num_nouns: int = 120, people: bool = False) -> Path:
    """Packs the commonest nouns in all STYLES, and people at work; returns the packed folder."""
    held = HeldOut.read().styles
    rows = []
    for role in {role.concept: role for role in roles().values()}.values() if people else ():
        for style in STYLES[:3]:
            for gender, concept in role.concepts.items():
                for tone in SKIN:
                    words = {lang: [role.words[lang, "m"]] for lang in LANGS}
                    rows.append(
                        {
                            "id": f"{style}/{concept}-{tone}",
                            "image": {"bytes": drawn_person(gender, tone, style), "path": None},
                            "source": style, "kind": "emoji", "concept": concept,
                            "names": words, "keywords": {lang: ["person"] for lang in LANGS},
                            "group": "People & Body", "person": role.concept, "gender": gender,
                            "tone": tone, "colour": "yellow", "recolours": [], "weight": 1.0,
                        }
                    )  # fmt: skip
    for number, noun in enumerate(Lexicon.read().nouns[:num_nouns]):
        for style in STYLES:
            webp, colour = drawn(number, style)
            if (noun.codepoints, style) in held:
                continue
            names = {lang: [word.singular for word in noun.words[lang]] for lang in LANGS}
            rows.append(
                {
                    "id": f"{style}/{noun.codepoints}",
                    "image": {"bytes": webp, "path": None},
                    "source": style, "kind": "emoji", "concept": noun.codepoints,
                    "names": names, "keywords": {lang: ["thing"] for lang in LANGS},
                    "group": "Animals & Nature", "person": None, "gender": None, "tone": None,
                    "colour": colour, "recolours": ["blue", "green"], "weight": 1.0,
                }
            )  # fmt: skip
    lists = pa.struct([(lang, pa.list_(pa.string())) for lang in LANGS])
    kinds = {
        "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        "names": lists, "keywords": lists, "recolours": pa.list_(pa.string()),
        "weight": pa.float32(),
    }  # fmt: skip
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in rows[0]])
    (folder / "out" / "images").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), folder / "out/images/train-0.parquet")
    pack("images", folder / "out", folder / "pack")
    return folder / "pack"
