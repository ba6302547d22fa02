"""Verification: which marks a text, a picture or a file carries, and how sure that is."""

from __future__ import annotations

import dataclasses
import io
import struct
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from mtgen.errors import BadRequestError, DocumentError, PictureError
from mtgen.marks.codes import CodesReading
from mtgen.marks.credentials import Credentials, Signer, read_credentials
from mtgen.marks.keys import TRANSLATION, KeyRing
from mtgen.marks.original import Choices
from mtgen.marks.picture import PictureTest, read_picture
from mtgen.marks.text import (
    LEVEL,
    MAX_CHARS,
    MIN_TOKENS,
    LogProbabilities,
    TextTest,
    read_text,
)
from mtgen.model.tokenizer import ChatTokenizer

ReadCodes = Callable[[Image.Image], CodesReading | None]

Verdict = Literal["marked", "claimed", "unmarked", "too little"]
"""`claimed`: the file says that it is machine-made, and anyone could have written that."""

MAX_BYTES = 20_000_000
"""Of a file that is looked at."""
MAX_PIXELS = 25_000_000
"""Of a picture that is looked at."""
PICTURE_KINDS = ("PNG", "JPEG", "WEBP")

TEXT_LIMITS = (
    "A watermark that is not found proves nothing: other programs leave none, short or edited "
    "texts lose it, texts at temperature 0 have none, and translations show theirs from about 200 "
    "words on.",
)
PICTURE_LIMITS = (
    "Credentials and settings are lost when a picture is saved anew, as most chats and social "
    "networks do. The watermark survives that, and cutting and resizing, but not every edit: that "
    "nothing is found proves nothing.",
)


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found."""

    kind: Literal["text", "picture"]
    verdict: Verdict
    summary: str
    """For people: what was found, with its error rate."""
    p_value: float | None
    """How often something unmarked looks as marked to any of the tests of watermarks; None where
    there are none, as for tiny pictures."""
    text_tests: tuple[TextTest, ...] = ()
    """Two for each key, the likeliest first."""
    picture_tests: tuple[PictureTest, ...] = ()
    """One for each key, the likeliest first; none of pictures that are too small."""
    credentials: Credentials | None = None
    """Content Credentials of a picture."""
    settings: dict[str, Any] | None = None
    """How a picture was drawn, as it says itself; anyone can write that."""
    limits: tuple[str, ...] = ()
    """What these tests cannot show."""
    seconds: float = field(default=0.0, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


def odds(p_value: float) -> str:
    """A p-value in words: `1 in 2,300`."""
    return "1 in 1,000,000,000 or fewer" if p_value < 1e-9 else f"1 in {1 / p_value:,.0f}"


def verify_text(
    text: str,
    tokenizer: ChatTokenizer,
    keys: KeyRing,
    log_probabilities: LogProbabilities | None = None,
    choices: Choices | None = None,
) -> Verification:
    """Looks for the watermarks of all keys; see `read_text` for the arguments and errors."""
    started = time.perf_counter()
    tests = tuple(read_text(text, tokenizer, keys, log_probabilities, choices))
    best = tests[0]
    p = min(1.0, best.p_value * len(tests))
    verdict: Verdict = "marked" if p <= LEVEL else "unmarked"
    whose = f"{best.host}'s key" if best.host else f"our key {best.key}"
    if best.num_scored < MIN_TOKENS:
        verdict = "too little"
        summary = (
            f"Too little text: {best.num_scored} of its tokens count and at least {MIN_TOKENS} are "
            "needed, about 15 words."
        )
    elif verdict == "marked":
        likely = "almost certainly" if p <= 1e-5 else "very probably" if p <= 1e-3 else "probably"
        share = sum(part.end - part.start for part in best.parts) / len(text)
        where = "" if share > 0.8 or not best.parts else f", in {share:.0%} of it"
        did = "translated" if best.mark == TRANSLATION else "written"
        summary = (
            f"Watermark found, made with {whose}: this text was {likely} {did} by mtgen{where}. "
            f"Of texts without the mark {odds(p)} would look like this."
        )
    else:
        summary = (
            f"No watermark found: {p:.0%} of texts without one look at least as marked as this, "
            f"in {len(tests)} tests with {len(keys.all)} key{'s' if len(keys.all) > 1 else ''}."
        )
    return Verification(
        kind="text", verdict=verdict, summary=summary, p_value=p, text_tests=tests,
        limits=TEXT_LIMITS, seconds=time.perf_counter() - started,
    )  # fmt: skip


def verify_picture(
    content: bytes, name: str, signer: Signer, keys: KeyRing, any_size: bool = False,
    codes: ReadCodes | None = None,
) -> Verification:  # fmt: skip
    """Looks for the watermarks of all keys in pixels and codes, for credentials and for settings.

    Args:
        content: Of the file.
        name: The file's name, for messages.
        signer: Whose roots are trusted.
        keys: Whose watermarks are looked for.
        any_size: See `read_picture`.
        codes: Gives a picture's codes, or None; marks are not looked for in codes without it.

    Raises:
        PictureError: it is no picture that can be read, or too large.
    """
    started = time.perf_counter()
    kind, image = checked_picture(content, name)
    tests = tuple(read_picture(image, keys, any_size=any_size, codes=codes))
    credentials = read_credentials(content, kind, signer.anchors)
    settings = None
    if kind == "PNG":
        from mtgen.png import read_settings

        try:
            settings = read_settings(io.BytesIO(content)).as_dict()
        except BadRequestError:
            settings = None
    found = []
    p = min(1.0, tests[0].p_value * len(tests)) if tests else None
    watermarked = False
    if p is not None and p <= LEVEL:
        watermarked = True
        best = tests[0]
        whose = f"{best.host}'s key" if best.host else f"our key {best.key}"
        when = f" on {best.day}" if best.day else ""
        where = " and ".join(
            f"the {layer}" for layer, value in best.layers.items()
            if value * len(best.layers) * len(tests) <= LEVEL
        )  # fmt: skip
        found.append(
            f"watermark found in {where}, made with {whose}{when}: of pictures "
            f"without the mark {odds(p)} would look like this"
        )
    if credentials is not None:
        by = credentials.signer or "an unknown signer"
        said = "machine-made" if credentials.machine_made else "not said to be machine-made"
        if credentials.edited:
            found.append(f"Content Credentials of {by}, but the file was edited since signing")
        elif credentials.state == "invalid":
            found.append("damaged Content Credentials")
        elif credentials.state == "trusted":
            found.append(f"Content Credentials, signed by {by}, whom we trust: {said}")
        else:
            found.append(f"Content Credentials, signed by {by}, whom we do not know: {said}")
    if settings:
        seed = settings["request"]["seed"]
        found.append(f"settings of mtgen, seed {seed}, which anyone could have written")
    says_so = settings is not None or (credentials is not None and credentials.machine_made)
    trusted = credentials is not None and credentials.state == "trusted"
    if watermarked or (trusted and says_so):
        verdict: Verdict = "marked"
    else:
        verdict = "claimed" if says_so else "unmarked"
    text = "; ".join(found)
    return Verification(
        kind="picture", verdict=verdict, p_value=p,
        summary=f"{text[:1].upper()}{text[1:]}." if found else "No mark found.",
        picture_tests=tests, credentials=credentials, settings=settings, limits=PICTURE_LIMITS,
        seconds=time.perf_counter() - started,
    )  # fmt: skip


def checked_picture(content: bytes, name: str) -> tuple[str, Image.Image]:
    """Pillow's name of a picture's format, and the picture.

    Raises:
        PictureError: it is none, damaged, moving, or too large; its pixels were not unpacked.
    """
    try:
        with (
            warnings.catch_warnings(action="ignore", category=Image.DecompressionBombWarning),
            Image.open(io.BytesIO(content), formats=[*PICTURE_KINDS, "GIF"]) as image,
        ):
            kind, (width, height) = str(image.format), image.size
            if kind == "MPO":  # a JPEG with a second picture behind it, as some phones write
                kind = "JPEG"
                image.seek(0)
            if width * height > MAX_PIXELS:
                raise PictureError(
                    f"{name} has {width * height / 1e6:,.0f} megapixels and up to "
                    f"{MAX_PIXELS // 1_000_000} are looked at; make it smaller"
                )
            moving = image.format != "MPO" and getattr(image, "n_frames", 1) > 1
            if kind == "GIF" or moving:
                raise PictureError(
                    f"{name} is a moving picture or a GIF; give one frame of it as PNG or JPEG"
                )
            image.load()
            return kind, image.copy()
    except Image.DecompressionBombError:
        raise PictureError(f"{name} unpacks to far more pixels than are looked at") from None
    except (OSError, ValueError, SyntaxError, struct.error, IndexError, TypeError) as error:
        raise PictureError(
            f"{name} is no picture that can be read, or is cut off or damaged ({error}); give a "
            "whole PNG, JPEG or WebP file"
        ) from None


def looks_like_picture(content: bytes) -> bool:
    """Whether a file begins as pictures do, whatever it is called."""
    starts = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")
    return content.startswith(starts) or (content[:4] == b"RIFF" and content[8:12] == b"WEBP")


def text_of(content: bytes, name: str) -> str:
    """The text in a file: of a document that can be translated, or of any file in UTF-8.

    Raises:
        DocumentError: there is none.
    """
    from mtgen.documents import SUFFIXES, open_document

    suffix = Path(name).suffix.lower()
    if suffix in SUFFIXES and suffix not in (".txt", ".md"):
        text = "\n".join(open_document(name, content).pieces)
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DocumentError(
                f"{name} is neither a picture nor text in UTF-8 (byte {error.start}); give a PNG, "
                f"JPEG or WebP picture, or a {', '.join(SUFFIXES)} file"
            ) from None
        if suffix == ".svg" or text.lstrip()[:5] in ("<?xml", "<svg ", "<svg>"):
            raise DocumentError(
                f"{name} is a drawing in SVG or other XML, which carries no mark of ours; give a "
                "PNG, JPEG or WebP picture"
            )
    if len(text) > MAX_CHARS:
        raise DocumentError(
            f"{name} holds {len(text):,} characters and up to {MAX_CHARS:,} are looked through; "
            "give a part of it"
        )
    return text


def read_file(path: Path) -> bytes:
    """The content of a file, if that is not too large.

    Raises:
        BadRequestError: it cannot be read, or is.
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadRequestError(
                f"{path.name} has {size / 1e6:,.0f} MB and up to {MAX_BYTES // 1_000_000} MB are "
                "looked at; give a part of it, or a smaller copy"
            )
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadRequestError(f"{path.name} cannot be read: {reason}") from None
