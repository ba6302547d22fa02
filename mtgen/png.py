"""Pictures as files that say how they were drawn, so that they can be drawn again.

In a PNG the settings are a text chunk named `mtgen`: one JSON object, in ASCII. Beside it stand
the same settings for people and for other programs (`parameters`, in the layout that viewers of
generated pictures know) and `Software`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mtgen import __version__
from mtgen.errors import BadRequestError, PictureError
from mtgen.model.trunk import writing
from mtgen.requests import FinishReason, ImageGeneration, ImageRequest

if TYPE_CHECKING:
    from mtgen.marks.credentials import Signer

CHUNK = "mtgen"
"""Name of the text chunk that holds the settings."""
VERSION = 1
"""Goes up when older code could misread the settings."""
KINDS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Types of files that are written, by suffix."""
JPEG_QUALITY = 95
MAX_SLUG = 40
"""Characters of the prompt in a file's name."""


@dataclass(frozen=True, kw_only=True)
class PictureSettings:
    """How one picture was drawn."""

    request: ImageRequest
    """For this picture alone: `num_images` is 1 and `seed` its own."""
    model: str
    """As in `ImageGeneration`."""
    finish_reason: FinishReason = "stop"
    """`cancelled` where the picture is half drawn; its request draws the whole one."""
    marks: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    """Rows of a comparison sheet, whose first picture is `request`; empty for a picture."""
    guidance_scales: tuple[float, ...] = ()
    """Columns of a comparison sheet."""

    @property
    def is_sheet(self) -> bool:
        """Whether this is a sheet of several pictures."""
        return bool(self.seeds)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: every field, with the version of this layout and of the program."""
        record = {"version": VERSION, "software": f"mtgen {__version__}"}
        return record | dataclasses.asdict(self)

    def as_text(self) -> str:
        """The same for people, in the layout that other programs write and read."""
        request = self.request
        lines = [request.prompt]
        if request.negative_prompt:
            lines.append(f"Negative prompt: {request.negative_prompt}")
        fields = {
            "Steps": request.num_inference_steps,
            "CFG scale": f"{request.guidance_scale:g}",
            "Temperature": f"{request.temperature:g}",
            "Style": request.style or "any",
            "Seed": request.seed,
            "Size": f"{request.size_px}x{request.size_px}",
            "Model": self.model,
            "Version": f"mtgen {__version__}",
        }
        if self.is_sheet:
            fields["CFG scale"] = " ".join(f"{scale:g}" for scale in self.guidance_scales)
            fields["Seed"] = " ".join(map(str, self.seeds))
        if self.finish_reason == "cancelled":
            fields["Stopped"] = "half drawn"
        return "\n".join([*lines, ", ".join(f"{name}: {value}" for name, value in fields.items())])


def settings_of(generation: ImageGeneration, index: int) -> PictureSettings:
    """How picture `index` of a generation was drawn."""
    return PictureSettings(
        request=dataclasses.replace(generation.request, seed=generation.seeds[index], num_images=1),
        model=generation.model,
        finish_reason=generation.finish_reason,
        marks=generation.marks,
    )


def to_png(image: Image.Image, settings: PictureSettings) -> bytes:
    """A picture as the bytes of a PNG file with its settings."""
    info = PngInfo()
    info.add_text("parameters", settings.as_text())
    info.add_text(CHUNK, json.dumps(settings.as_dict(), ensure_ascii=True))
    info.add_text("Software", f"mtgen {__version__}")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def to_file(
    image: Image.Image, settings: PictureSettings, name: str, signer: Signer | None
) -> bytes:
    """A picture as the bytes of a PNG or JPEG file with its settings.

    Args:
        image: RGB.
        settings: How it was drawn; a JPEG has them in its credentials alone.
        name: The file's name, whose suffix says the type.
        signer: Signs Content Credentials; None leaves them out.
    """
    kind = KINDS[Path(name).suffix.lower()]
    if kind == "PNG":
        content = to_png(image, settings)
    else:
        buffer = io.BytesIO()
        image.save(buffer, kind, quality=JPEG_QUALITY, subsampling=0)
        content = buffer.getvalue()
    if signer is None:
        return content
    from mtgen.marks.credentials import signed

    return signed(content, kind, name, settings.as_dict(), signer)


def save_picture(
    path: Path, image: Image.Image, settings: PictureSettings, signer: Signer | None = None
) -> None:
    """Writes a picture, see `to_file`; the file appears whole or not at all.

    Raises:
        CacheWriteError: disk full or not writable.
    """
    content = to_file(image, settings, path.name, signer)
    partial = path.with_name(f".{path.name}.part")
    with writing(path.absolute().parent, "make room there or choose another folder"):
        try:
            partial.write_bytes(content)
            partial.replace(path)
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise


def read_settings(path: str | Path | io.BytesIO) -> PictureSettings:
    """The settings that a PNG file, or its content, carries; its pixels are not read.

    Raises:
        PictureError: no such file, not a PNG, damaged, or without settings that can be used.
    """
    name = "the picture" if isinstance(path, io.BytesIO) else Path(path).name
    try:
        with Image.open(path) as image:
            kind, texts = image.format, dict(image.info)
    except Image.DecompressionBombError:
        raise PictureError(f"{name} is too large for a picture of ours") from None
    except (OSError, ValueError, SyntaxError) as error:
        if isinstance(error, OSError) and error.strerror:
            reason = error.strerror.lower()
            raise PictureError(f"{name} cannot be read: {reason}") from None
        raise PictureError(
            f"{name} is no picture, or is damaged; give a PNG file that was drawn here"
        ) from None
    if kind != "PNG":
        raise PictureError(
            f"{name} is a {kind} file; only PNG files as they were drawn here carry settings"
        )
    if CHUNK not in texts:
        raise PictureError(
            f"{name} carries no settings of mtgen: another program made it or removed them, as "
            "most chats do"
        )
    try:
        return from_json(texts[CHUNK])
    except BadRequestError as error:
        raise PictureError(f"the settings in {name} cannot be used: {error}") from None


def from_json(text: str) -> PictureSettings:
    """Reads what `PictureSettings.as_dict` became.

    Raises:
        BadRequestError: it is of another layout, or its request is not one.
    """
    try:
        record = json.loads(text)
        version, software = record["version"], record["software"]
        if version != VERSION:
            raise PictureError(f"{software} wrote them, which is newer than mtgen {__version__}")
        request = ImageRequest(**record["request"])
        settings = PictureSettings(
            request=request,
            model=record["model"],
            finish_reason=record["finish_reason"],
            marks=tuple(record["marks"]),
            seeds=tuple(record["seeds"]),
            guidance_scales=tuple(record["guidance_scales"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise PictureError(f"they are not as mtgen writes them ({error})") from None
    if request.seed is None:
        raise PictureError("they hold no seed")
    if bool(settings.seeds) != bool(settings.guidance_scales):
        raise PictureError("a sheet needs both seeds and guidance_scales")
    for seed in settings.seeds:
        dataclasses.replace(request, seed=seed)
    for scale in settings.guidance_scales:
        dataclasses.replace(request, guidance_scale=scale)
    return settings


def file_name(request: ImageRequest) -> str:
    """`three-red-apples-1234.png`: words of the prompt and the seed."""
    plain = unicodedata.normalize("NFKD", request.prompt).encode("ascii", "ignore").decode()
    slug = "-".join(re.findall(r"[a-z0-9]+", plain.lower()))[:MAX_SLUG].strip("-")
    return f"{slug or 'picture'}-{request.seed}.png"
