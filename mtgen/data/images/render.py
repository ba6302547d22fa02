"""From vector art to 256-pixel pictures with alpha."""

from __future__ import annotations

import io

from PIL import Image

SIZE_PX = 256
LOSSLESS_LIMIT_BYTES = 9_000
"""Above this a picture (shading, gradients) is stored lossy, quality 92: a quarter to two thirds
of the size."""

MIN_VISIBLE = 0.004
"""Least share of visible pixels; below, a picture counts as blank."""


class NotAPictureError(Exception):
    """Art that cannot be rendered, or shows nothing."""


def rasterise(svg: str, *, crop: bool = False) -> Image.Image:
    """Renders an SVG into a 256 px square, RGBA.

    Args:
        svg: Markup.
        crop: Cut to what is visible first, for art whose canvas is arbitrary.

    Raises:
        NotAPictureError: it cannot be rendered.
    """
    import resvg_py

    try:
        # dpi: pt units fail without; system fonts would be scanned at every call
        png = resvg_py.svg_to_bytes(
            svg_string=svg, width=SIZE_PX * (2 if crop else 1), dpi=96, skip_system_fonts=True
        )
    except (ValueError, RuntimeError) as error:
        raise NotAPictureError(f"it cannot be rendered: {error}") from None
    picture = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    return squared(picture, crop=crop)


def squared(picture: Image.Image, *, crop: bool = False) -> Image.Image:
    """Centred in a transparent square of 256 px, with a small margin where it was cropped."""
    if crop:
        box = picture.getchannel("A").point([0] * 16 + [255] * 240).getbbox()
        if box is None:
            raise NotAPictureError("nothing is visible")
        picture = picture.crop(box)
    inner = SIZE_PX - 16 if crop else SIZE_PX
    if max(picture.size) != inner:
        scale = inner / max(picture.size)
        size = [max(1, round(side * scale)) for side in picture.size]
        # premultiplied, or colours of invisible pixels bleed into the edges
        small = picture.convert("RGBa").resize((size[0], size[1]), Image.Resampling.LANCZOS)
        picture = small.convert("RGBA")
    if picture.size == (SIZE_PX, SIZE_PX):
        return picture
    canvas = Image.new("RGBA", (SIZE_PX, SIZE_PX))
    canvas.paste(picture, ((SIZE_PX - picture.width) // 2, (SIZE_PX - picture.height) // 2))
    return canvas


def visible_share(picture: Image.Image) -> float:
    """Share of pixels that are at least half opaque."""
    histogram = picture.getchannel("A").histogram()
    return sum(histogram[128:]) / sum(histogram)


def encode(picture: Image.Image) -> bytes:
    """WebP with exact alpha: lossless where that is small, else quality 92.

    Raises:
        NotAPictureError: the picture is blank.
    """
    if visible_share(picture) < MIN_VISIBLE:
        raise NotAPictureError("nothing is visible")
    lossless = io.BytesIO()
    picture.save(lossless, "WEBP", lossless=True, quality=40, method=3)
    if lossless.tell() <= LOSSLESS_LIMIT_BYTES:
        return lossless.getvalue()
    lossy = io.BytesIO()
    picture.save(lossy, "WEBP", quality=92, method=3, alpha_quality=100)
    return min(lossless.getvalue(), lossy.getvalue(), key=len)
