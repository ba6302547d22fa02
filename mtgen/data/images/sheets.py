"""Contact sheets of packed pictures, to look at before anything is trained on them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mtgen.data.images.drafts import CATEGORIES
from mtgen.data.images.lexicon import LANGS
from mtgen.data.images.mixture import SHARES, PictureMixture, PictureSample
from mtgen.data.packed import Packed

CELL_PX = 168
COLUMNS = 8
ROWS = 6
LINES = 3
LINE_PX = 13


def sheet(samples: Iterable[tuple[np.ndarray, str]], *, columns: int = COLUMNS) -> Image.Image:
    """Pictures in rows with their captions underneath.

    Args:
        samples: Pixels, uint8 `H W 3`, and caption of each.
        columns: Pictures in a row.
    """
    cells = list(samples)
    height = CELL_PX + LINES * LINE_PX
    rows = -(-len(cells) // columns)
    page = Image.new("RGB", (columns * CELL_PX, rows * height), "white")
    draw = ImageDraw.Draw(page)
    # Pillow's own font has no accents
    font = ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", 11)
    for number, (pixels, text) in enumerate(cells):
        left, top = number % columns * CELL_PX, number // columns * height
        picture = Image.fromarray(pixels).resize((CELL_PX - 4, CELL_PX - 4))
        page.paste(picture, (left, top))
        for line, words in enumerate(textwrap.wrap(text, 29)[:LINES]):
            draw.text((left, top + CELL_PX - 2 + line * LINE_PX), words, fill="black", font=font)
    return page


def draw_sheets(folder: Path, out: Path, *, seed: int = 0, size_px: int = 168) -> list[Path]:
    """Draws one sheet for each kind of sample, source and scene category.

    Scenes show each caption language in turn; so do single pictures, where the source has names.

    Args:
        folder: Packed pictures.
        out: Receives the PNG files.
        seed: Which samples.
        size_px: Side that they are composed at.

    Returns:
        The files.

    Raises:
        BadRequestError: no packed pictures there.
    """
    packed = Packed(folder, "images")
    out.mkdir(parents=True, exist_ok=True)
    count = COLUMNS * ROWS
    paths = []

    def save(name: str, cells: Iterable[tuple[np.ndarray, str]]) -> None:
        paths.append(out / f"{name}.png")
        sheet(cells).save(paths[-1])

    def shown(sample: PictureSample) -> tuple[np.ndarray, str]:
        return sample.pixels, f"{sample.lang}: {sample.caption}"

    mixture = PictureMixture(packed, size_px=size_px, seed=seed)
    save("mixture", (shown(mixture.sample(number)) for number in range(count)))
    if mixture.composer is not None:
        for category in CATEGORIES:
            cells = []
            for number in range(count):
                pixels, scene = mixture.composer.scene(seed * count + number, category)
                lang = LANGS[number % len(LANGS)]
                cells.append((pixels, f"{lang}: {scene.captions[lang]}"))
            save(f"scene-{category}", cells)
    rows_of: dict[str, list[int]] = {}
    for row, source in enumerate(mixture.rows["source"]):
        rows_of.setdefault(source, []).append(row)
    for source, rows in sorted(rows_of.items()):
        chosen = np.random.default_rng(seed).permutation(rows)[:count]
        cells = [
            shown(mixture.picture(int(row), LANGS[number % len(LANGS)], seed * count + number))
            for number, row in enumerate(chosen)
        ]
        save(f"source-{source}", cells)
    for kind in mixture.shares.things:
        if kind != "scene":
            alone = PictureMixture(packed, size_px=size_px, seed=seed, shares={kind: SHARES[kind]})
            save(f"kind-{kind}", (shown(alone.sample(number)) for number in range(count)))
    return paths
