"""The Image tab's form: what its fields ask for, and how a picture's settings fill them."""

from __future__ import annotations

import html
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from mtgen.errors import MtgenError
from mtgen.model.files import IMAGE_EXPERT, trained_styles
from mtgen.png import PictureSettings, read_settings
from mtgen.requests import MAX_SEED, ImageRequest
from mtgen.ui.pictures import Comparison, parse_scales
from mtgen.ui.turns import complaint, whole

ANY = "any"

STYLE_NAMES = {
    ANY: "Any",
    "fluent-emoji-3d": "3D",
    "twemoji": "Flat",
    "fluent-emoji-flat": "Modern flat",
    "emojione": "Bright flat",
    "noto": "Shaded cartoon",
    "fluent-emoji": "Glossy",
    "openmoji": "Black outlines",
    "streamline-emojis": "Comic",
    "fxemoji": "Geometric",
    "emojione-v1": "Classic emoji",
    "noto-v1": "Blob",
}
"""What the page calls the styles, which go by their key everywhere else."""


def offered_styles(weights: Path) -> dict[str, str]:
    """Those of STYLE_NAMES that the image expert in a folder has learnt."""
    known = trained_styles(weights / IMAGE_EXPERT) or tuple(STYLE_NAMES)
    return {key: name for key, name in STYLE_NAMES.items() if key == ANY or key in known}


class Form(NamedTuple):
    """The components, or their values, that make a request."""

    prompt: Any
    negative: Any
    style: Any
    size: Any
    steps: Any
    guidance: Any
    temperature: Any
    seed: Any
    num_images: Any

    def request(self) -> ImageRequest:
        """What the values ask for.

        Raises:
            gr.Error: they ask for nothing that can be drawn.
        """
        return asked(
            prompt=self.prompt,
            negative_prompt=(self.negative or "").strip(),
            style=None if self.style in (None, ANY) else self.style,
            size_px=self.size,
            num_inference_steps=whole(self.steps, "steps"),
            guidance_scale=self.guidance,
            temperature=self.temperature,
            seed=parse_seed(self.seed),
            num_images=whole(self.num_images, "num_images"),
        )

    @classmethod
    def filled(cls, settings: PictureSettings, styles: Collection[str]) -> Form:
        """Values that draw a picture again, where the page offers its style."""
        return cls.asking(settings.request, styles)

    @classmethod
    def asking(cls, request: ImageRequest, styles: Collection[str]) -> Form:
        """Values that make a request, where the page offers its style."""
        style = request.style or ANY
        if style not in styles:
            gr.Warning(f"this page does not offer the style {style!r}; any style is set instead")
            style = ANY
        return cls(
            request.prompt, request.negative_prompt, style, request.size_px,
            request.num_inference_steps, request.guidance_scale, request.temperature,
            str(request.seed), request.num_images,
        )  # fmt: skip


def parse_seed(text: str | None) -> int | None:
    """A number from the box for seeds; None where it is empty, which draws one."""
    text = (text or "").strip()
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        raise complaint(
            f"seed must be a whole number from 0 to {MAX_SEED}, got {text[:40]!r}; empty draws one"
        ) from None


def asked(**fields: Any) -> ImageRequest:
    """An `ImageRequest`, or its complaint as the page shows it."""
    try:
        return ImageRequest(**fields)
    except MtgenError as error:
        raise complaint(error) from None


def compared(request: ImageRequest, num_seeds: float, scales: str) -> Comparison:
    """A request with several seeds and guidance values, or the complaint."""
    from mtgen.model.sampling import draw_seed

    first = draw_seed() if request.seed is None else request.seed
    count = whole(num_seeds, "seeds") or 0
    try:
        return Comparison(
            request=request,
            seeds=tuple((first + i) % (MAX_SEED + 1) for i in range(count)),
            guidance_scales=parse_scales(scales),
        )
    except MtgenError as error:
        raise complaint(error) from None


def sheet_fields(settings: PictureSettings) -> tuple[Any, Any]:
    """Number of seeds and guidance values of a sheet; a single picture leaves them as they are."""
    if not settings.is_sheet:
        return gr.skip(), gr.skip()
    return len(settings.seeds), ", ".join(f"{scale:g}" for scale in settings.guidance_scales)


def settings_of_file(path: str) -> PictureSettings:
    """What a PNG file carries, or the complaint."""
    if not Path(path).is_file():
        raise complaint("that picture is no longer on the server, which keeps them for a day")
    try:
        return read_settings(path)
    except MtgenError as error:
        raise complaint(error) from None


def settings_html(settings: PictureSettings) -> str:
    """What a picture was drawn with, as a table."""
    request = settings.request
    style = request.style or ANY
    rows = {
        "Prompt": request.prompt,
        "Not this": request.negative_prompt or "–",
        "Style": STYLE_NAMES.get(style, style),
        "Size": f"{request.size_px} px",
        "Steps": request.num_inference_steps,
        "Guidance": f"{request.guidance_scale:g}",
        "Temperature": f"{request.temperature:g}",
        "Seed": request.seed,
        "Model": settings.model,
    }
    if settings.is_sheet:
        rows["Guidance"] = ", ".join(f"{scale:g}" for scale in settings.guidance_scales)
        rows["Seed"] = ", ".join(map(str, settings.seeds))
    if settings.finish_reason == "cancelled":
        rows["Note"] = "half drawn: it was stopped; the same settings draw the whole picture"
    cells = (
        f"<tr><th>{name}</th><td>{html.escape(str(value))}</td></tr>"
        for name, value in rows.items()
    )
    return f'<table class="settings">{"".join(cells)}</table>'
