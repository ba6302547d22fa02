"""Marks pictures with a key, the model and the day, and finds them again."""

from __future__ import annotations

import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from mtgen.marks.codes import CodesReading, codes_p_value
from mtgen.marks.keys import CODES, PIXELS, KeyRing, MarkKey
from mtgen.marks.pixels import NUM_BITS, Bands, bands_of, embedded, read_bands

FIELD_BITS = 16
"""Of the key's fingerprint, of the model's, and of the day: 48 together."""
FIRST_DAY = datetime.date(2024, 1, 1)
MIN_PX = 64
"""Side of the smallest picture that is marked or read."""
MAX_PX = 2048
"""Side to which larger pictures are reduced before they are read."""
DOUBTFUL_MARGIN = 2.0
"""Standard deviations of a payload's weakest bit, below which it may be wrong."""


@dataclass(frozen=True, kw_only=True)
class PictureTest:
    """What one key finds in a picture."""

    key: str
    """Its fingerprint."""
    host: str
    """Whose it is; empty for our own."""
    p_value: float
    """How often a picture without this key's mark looks as marked, in pixels or codes."""
    p_pixels: float
    """How often its pixels do."""
    p_codes: float | None
    """How often its codes do; None where they were not read, as of pictures that were cut."""
    payload: tuple[int, ...]
    """The bits; meaningless where there is no mark."""
    day: str | None
    """When it was drawn, ISO 8601; None where the payload cannot be read for certain."""
    model: str | None
    """Fingerprint of what drew it, four hexadecimal digits; None as above."""

    @property
    def layers(self) -> dict[str, float]:
        """The p-values by layer, of those that were read."""
        codes = {} if self.p_codes is None else {CODES: self.p_codes}
        return {PIXELS: self.p_pixels} | codes


def model_bits(model: str) -> int:
    """Sixteen bits that tell models apart, by their names with fingerprints."""
    return int.from_bytes(hashlib.sha256(model.encode()).digest()[:2], "big")


def payload(key: MarkKey, model: str, day: datetime.date) -> tuple[int, ...]:
    """Bits that say which key, which model, and when; nothing of whoever asked."""
    fields = int(key.fingerprint[:4], 16), model_bits(model), (day - FIRST_DAY).days % 2**16
    return tuple(field >> place & 1 for field in fields for place in range(FIELD_BITS - 1, -1, -1))


def marked_image(image: Image.Image, key: MarkKey, model: str, day: datetime.date) -> Image.Image:
    """A picture with the mark in its pixels; smaller ones than MIN_PX come back as they are."""
    if min(image.size) < MIN_PX:
        return image
    pixels = np.asarray(image.convert("RGB"))
    marked = embedded(pixels, key.derived(PIXELS), payload(key, model, day))
    return Image.fromarray(marked)


def read_picture(
    image: Image.Image, keys: KeyRing, *, any_size: bool = False,
    codes: Callable[[Image.Image], CodesReading | None] | None = None,
) -> list[PictureTest]:  # fmt: skip
    """One test for each key, the likeliest first; none of pictures smaller than MIN_PX.

    Args:
        image: As it was found; what is transparent counts as white. Larger ones are made smaller
            in place.
        keys: Whose marks are looked for.
        any_size: Also look for pictures that were cut and then resized, which takes longer.
        codes: Gives a picture's codes, or None.
    """
    if max(image.size) > MAX_PX:
        image.thumbnail((MAX_PX, MAX_PX))
    if min(image.size) < MIN_PX:
        return []
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        flat = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(flat, image.convert("RGBA"))
    bands = bands_of(np.asarray(image.convert("RGB")), any_size=any_size)
    reading = codes(image) if codes is not None else None
    tests = [tested(bands, reading, key) for key in keys.all]
    return sorted(tests, key=lambda test: test.p_value)


def tested(bands: Bands, reading: CodesReading | None, key: MarkKey) -> PictureTest:
    """What a key finds in the pixels and in the codes."""
    found = read_bands(bands, key.derived(PIXELS))
    day = model = None
    if len(found.bits) == NUM_BITS and found.margin >= DOUBTFUL_MARGIN:
        numbers = [
            int("".join(map(str, found.bits[start : start + FIELD_BITS])), 2)
            for start in range(0, NUM_BITS, FIELD_BITS)
        ]
        if numbers[0] == int(key.fingerprint[:4], 16):
            model = f"{numbers[1]:04x}"
            day = (FIRST_DAY + datetime.timedelta(days=numbers[2])).isoformat()
    p_codes, p = None, found.p_value
    if reading is not None:
        p_codes = codes_p_value(reading, key.derived(CODES))
        p = min(1.0, 2 * min(p, p_codes))
    return PictureTest(
        key=key.fingerprint, host=key.host, p_value=p, p_pixels=found.p_value, p_codes=p_codes,
        payload=found.bits,
        day=day, model=model,
    )  # fmt: skip
