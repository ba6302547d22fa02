"""Drawing for the page: previews while it goes on, then PNG files; one picture or a sheet."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from mtgen.errors import SettingError
from mtgen.model.trunk import writing
from mtgen.png import PictureSettings, file_name, save_picture, settings_of
from mtgen.requests import IMAGE_MARKS, UNMARKED, ImageGeneration, ImageRequest
from mtgen.ui.model import SharedModel

REFRESH_S = 0.1
"""Seconds between previews, at least."""
MAX_ROWS = 4
"""Seeds of a sheet."""
MAX_COLUMNS = 5
"""Guidance values of a sheet."""
MARGIN_PX, GAP_PX, LINE_PX = 104, 6, 20
"""Room for labels on a sheet, between its pictures, and for a line of text."""
INK, PAPER = (30, 41, 59), (255, 255, 255)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a drawing has got to."""

    images: tuple[Image.Image, ...]
    share: float
    """0..1 of the work."""
    line: str
    """The same in words."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What came of it, on disk."""

    files: tuple[tuple[str, str], ...]
    """Path and caption of each PNG."""
    line: str
    seed: int
    record: dict[str, Any]
    """JSON-ready, for programs."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The same prompt with several seeds and guidance values."""

    request: ImageRequest
    """Of the first picture."""
    seeds: tuple[int, ...]
    guidance_scales: tuple[float, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.seeds) <= MAX_ROWS:
            raise SettingError(f"compare 1 to {MAX_ROWS} seeds, got {len(self.seeds)}")
        if not 1 <= len(self.guidance_scales) <= MAX_COLUMNS:
            raise SettingError(
                f"compare 1 to {MAX_COLUMNS} guidance values, got {len(self.guidance_scales)}"
            )
        self.requests  # noqa: B018  # checks each of them

    @property
    def requests(self) -> tuple[ImageRequest, ...]:
        """Of each picture, row by row."""
        return tuple(
            dataclasses.replace(self.request, seed=seed, guidance_scale=scale, num_images=1)
            for seed in self.seeds
            for scale in self.guidance_scales
        )


def parse_scales(text: str) -> tuple[float, ...]:
    """`1.5, 3, 6` as numbers, each once.

    Raises:
        SettingError: something else than numbers.
    """
    parts = re.findall(r"[^\s,;]+", text)
    try:
        scales = tuple(dict.fromkeys(float(part) for part in parts))
    except ValueError:
        scales = ()
    if not scales:
        raise SettingError(f"guidance values must be numbers such as '1.5, 3, 6', got {text!r}")
    return scales


def draw(
    model: SharedModel, request: ImageRequest, folder: Path, stop: threading.Event | None = None
) -> Iterator[Progress | Drawn]:
    """Draws a request and saves its pictures below `folder`.

    Raises:
        MtgenError: as `Pipeline.image_stream`; `CacheWriteError` where it cannot be saved.
    """
    pipeline = model.get()
    stream = pipeline.image_stream(request, stop=stop)
    shown = 0.0
    for preview in stream:
        if time.monotonic() - shown > REFRESH_S:
            line = f"Step {preview.step} of {preview.num_steps}{in_words(preview.seconds_left)}"
            share = preview.step / preview.num_steps
            yield Progress(images=preview.images, share=share, line=line)
            shown = time.monotonic()
    generation = stream.generation
    files = []
    place = new_folder(folder)
    for index, image in enumerate(generation.images):
        settings = settings_of(generation, index)
        path = place / file_name(settings.request)
        save_picture(path, image, settings, pipeline.signer)
        files.append((str(path), str(settings.request.seed)))
    yield Drawn(
        files=tuple(files),
        line=status(generation),
        seed=generation.seeds[0] if files else stream.request.seed or 0,
        record=generation.as_dict(),
    )


def draw_sheet(
    model: SharedModel, comparison: Comparison, folder: Path, stop: threading.Event
) -> Iterator[Progress | Drawn]:
    """Draws the pictures of a comparison in turn, and saves one sheet; errors as `draw`."""
    pipeline = model.get()
    unguarded = getattr(pipeline, "unguarded", pipeline)  # a sheet is one request
    requests = comparison.requests
    images: list[Image.Image] = []
    started, shown, cancelled, name = time.monotonic(), 0.0, False, pipeline.model
    for number, request in enumerate(requests, start=1):
        request = dataclasses.replace(request, mark=UNMARKED)  # the sheet is marked as a whole
        stream = (pipeline if number == 1 else unguarded).image_stream(request, stop=stop)
        for preview in stream:
            if time.monotonic() - shown > REFRESH_S:
                share = (number - 1 + preview.step / preview.num_steps) / len(requests)
                left = (time.monotonic() - started) * (1 - share) / share
                yield Progress(
                    images=(pipeline.mark_image(sheet(comparison, [*images, *preview.images])),),
                    share=share,
                    line=f"Picture {number} of {len(requests)}, step {preview.step} of "
                    f"{preview.num_steps}{in_words(left)}",
                )
                shown = time.monotonic()
        generation = stream.generation
        images += generation.images
        name = generation.model
        if generation.finish_reason == "cancelled":
            cancelled = True
            break
    seconds = time.monotonic() - started
    settings = PictureSettings(
        request=requests[0],
        model=name,
        finish_reason="cancelled" if cancelled else "stop",
        seeds=comparison.seeds,
        guidance_scales=comparison.guidance_scales,
        marks=(f"{IMAGE_MARKS[0]}:{pipeline.keys.current.fingerprint}",),
    )
    files: tuple[tuple[str, str], ...] = ()
    if images:
        path = new_folder(folder) / f"compare-{file_name(requests[0])}"
        image = pipeline.mark_image(sheet(comparison, images))
        save_picture(path, image, settings, pipeline.signer)
        files = ((str(path), ""),)
    parts = [f"seeds {' '.join(map(str, comparison.seeds))}", f"{seconds:.1f} s"]
    if cancelled:
        parts.append(f"stopped in picture {len(images) or 1} of {len(requests)}")
    yield Drawn(
        files=files,
        line=" · ".join(parts),
        seed=comparison.seeds[0],
        record=settings.as_dict(),
    )


def sheet(comparison: Comparison, images: list[Image.Image]) -> Image.Image:
    """Pictures, row by row, under their guidance values and beside their seeds."""
    side = comparison.request.size_px
    columns, rows = len(comparison.guidance_scales), len(comparison.seeds)
    top = 2 * LINE_PX + 2 * GAP_PX
    width = MARGIN_PX + columns * (side + GAP_PX)
    page = Image.new("RGB", (width, top + rows * (side + GAP_PX)), PAPER)
    pen = ImageDraw.Draw(page)
    font = label_font()
    title = comparison.request.prompt
    while title and pen.textlength(title, font) > width - 2 * GAP_PX:
        title = title[:-2].rstrip("…") + "…" if len(title) > 2 else ""
    pen.text((GAP_PX, GAP_PX), title, INK, font)
    for column, scale in enumerate(comparison.guidance_scales):
        at = MARGIN_PX + column * (side + GAP_PX) + side / 2, GAP_PX + LINE_PX
        pen.text(at, f"guidance {scale:g}", INK, font, anchor="ma")
    for row, seed in enumerate(comparison.seeds):
        at = MARGIN_PX / 2, top + row * (side + GAP_PX) + side / 2
        pen.multiline_text(at, f"seed\n{seed}", INK, font, anchor="mm", align="center")
    for number, image in enumerate(images):
        row, column = divmod(number, columns)
        page.paste(image, (MARGIN_PX + column * (side + GAP_PX), top + row * (side + GAP_PX)))
    return page


@cache
def label_font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """DejaVu Sans, which comes with matplotlib: Pillow's own font has no accents."""
    [place] = find_spec("matplotlib").submodule_search_locations  # type: ignore[union-attr]
    return ImageFont.truetype(f"{place}/mpl-data/fonts/ttf/DejaVuSans.ttf", 14)


def new_folder(folder: Path) -> Path:
    """A folder of its own, so that names cannot clash.

    Raises:
        CacheWriteError: it cannot be made.
    """
    place = folder / uuid.uuid4().hex
    with writing(folder, "the server needs room there"):
        place.mkdir(parents=True)
    return place


def in_words(seconds: float) -> str:
    """` · about 4 s left`, nothing at the end."""
    if seconds < 0.5:
        return ""
    minutes = f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
    return f" · about {minutes} left"


def status(generation: ImageGeneration) -> str:
    """One line under the pictures."""
    request, timings = generation.request, generation.timings
    count = len(generation.images)
    seed = f"seed {request.seed}" + (f" to {generation.seeds[-1]}" if count > 1 else "")
    parts = [seed, f"{timings.num_steps} steps", f"{timings.total_s:.1f} s"]
    if generation.finish_reason == "cancelled":
        wanted = request.num_inference_steps
        parts[1] = f"stopped after step {timings.num_steps} of {wanted}"
    if generation.marks:
        parts.append("watermarked")
    return " · ".join([*parts, *generation.notes])


def data_uri(image: Image.Image) -> str:
    """A picture as a JPEG inside a page."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def preview_html(progress: Progress) -> str:
    """Pictures in the making under a bar."""
    kind = "one" if len(progress.images) == 1 else "many"
    pictures = "".join(
        f'<img src="{data_uri(image)}" alt="picture in the making">' for image in progress.images
    )
    percent = round(100 * progress.share)
    return (
        f'<div class="canvas {kind}">{pictures}</div>'
        f'<div class="bar" role="progressbar" aria-valuenow="{percent}" aria-valuemin="0" '
        f'aria-valuemax="100"><div style="width: {percent}%"></div></div>'
    )
