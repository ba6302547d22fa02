"""The mark in pixels: not seen, found after what happens to pictures, and found nowhere else."""

from __future__ import annotations

import datetime
import io

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from mtgen.marks.keys import KeyRing, MarkKey
from mtgen.marks.picture import marked_image, read_picture
from mtgen.marks.pixels import NUM_BITS, PSNR_DB, embedded, laplacian, read_pixels, to_band, to_tile

KEY, OTHER = b"k" * 32, b"o" * 32
COLORS = ("white", "gold", "navy", "tomato", "seagreen", "black", "skyblue", "pink")


def picture(seed: int, side: int = 256) -> Image.Image:
    """Flat art: a background, shapes, and a soft shade."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (4 * side, 4 * side), COLORS[rng.integers(len(COLORS))])
    pen = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 7))):
        x, y, w, h = rng.integers(side // 8, 3 * side, 4)
        kind = pen.ellipse if rng.random() < 0.5 else pen.rectangle
        kind((x, y, x + w // 2, y + h // 2), fill=COLORS[rng.integers(len(COLORS))])
    image = image.resize((side, side), Image.Resampling.LANCZOS)
    shade = Image.linear_gradient("L").resize((side, side)).convert("RGB")
    return Image.blend(image, shade, 0.15 if seed % 2 else 0.0)


def bits(seed: int) -> tuple[int, ...]:
    return tuple(int(x) for x in np.random.default_rng(seed).integers(0, 2, NUM_BITS))


@pytest.fixture(scope="module")
def marked() -> list[Image.Image]:
    made = [embedded(np.asarray(picture(n)), KEY, bits(n)) for n in range(24)]
    return [Image.fromarray(pixels) for pixels in made]


def jpeg(quality: int):
    def through(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return through


def noisy(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image) + np.random.default_rng(0).normal(0, 8, (*image.size[::-1], 3))
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


ATTACKS = {
    "none": (lambda image: image, 1.0),
    "jpeg 50": (jpeg(50), 0.985),
    "half size": (lambda image: image.resize((128, 128), Image.Resampling.BICUBIC), 0.995),
    "blur": (lambda image: image.filter(ImageFilter.GaussianBlur(1)), 0.99),
    "noise": (noisy, 0.98),
    "crop": (lambda image: image.crop((17, 5, 247, 235)), 0.95),
    "brighter": (lambda image: image.point(lambda v: min(255, round(v * 1.1))), 0.99),
    "grey": (lambda image: image.convert("L"), 0.999),
    "screenshot": (lambda image: jpeg(85)(image.resize((512, 512))), 0.99),
}


def test_the_mark_is_faint(marked):
    for number, image in enumerate(marked):
        before = np.asarray(picture(number)).astype(float)
        error = ((np.asarray(image) - before) ** 2).mean()
        assert 10 * np.log10(255**2 / error) >= PSNR_DB - 0.2


@pytest.mark.parametrize("name", ATTACKS)
def test_the_payload_survives(marked, name):
    attack, least = ATTACKS[name]
    found = [read_pixels(np.asarray(attack(image).convert("RGB")), KEY) for image in marked]
    right = [np.mean(np.array(f.bits) == bits(n)) for n, f in enumerate(found)]
    assert np.mean(right) >= least
    assert max(f.p_value for f in found) < 0.01


def test_a_picture_that_was_cut_and_resized_is_found_when_looked_for(marked):
    for number, image in enumerate(marked[:4]):
        cut = image.crop((9, 20, 239, 250)).resize((300, 300))
        found = read_pixels(np.asarray(cut), KEY, any_size=True)
        assert found.p_value < 1e-3
        assert found.scale == pytest.approx(230 / 300, rel=0.02)
        assert np.mean(np.array(found.bits) == bits(number)) > 0.9


@pytest.mark.parametrize("side", [128, 200, 384, 512])
def test_other_sizes_are_marked_too(side):
    pixels = embedded(np.asarray(picture(1, side)), KEY, bits(1))
    assert pixels.shape == (side, side, 3)
    found = read_pixels(pixels, KEY)
    assert found.bits == bits(1)
    assert found.p_value < 1e-6


def test_other_keys_and_unmarked_pictures_are_not_called_marked(marked):
    wrong = [
        read_pixels(np.asarray(image), bytes([n]) * 32).p_value for n, image in enumerate(marked)
    ]
    plain = [
        read_pixels(np.asarray(picture(100 + n)), bytes([n % 50]) * 32).p_value for n in range(120)
    ]
    assert sum(p < 0.01 for p in [*wrong, *plain]) <= 4
    for flat in ("white", "black", "red"):
        image = np.asarray(Image.new("RGB", (256, 256), flat))
        assert read_pixels(image, KEY).p_value == 1


def test_a_longer_look_finds_mirrored_pictures():
    pixels = embedded(np.asarray(picture(2)), KEY, bits(2))[:, ::-1]
    assert read_pixels(pixels, KEY).p_value > 1e-3
    found = read_pixels(pixels, KEY, any_size=True)
    assert found.bits == bits(2)
    assert found.p_value < 1e-6


def test_a_tile_and_its_coordinates_are_one():
    band = np.random.default_rng(0).standard_normal(len(laplacian()))
    tile = to_tile(band)
    assert np.allclose(to_band(tile), band)
    assert np.linalg.norm(tile) == pytest.approx(np.linalg.norm(band))


def test_the_payload_names_key_model_and_day():
    key, other = MarkKey(b"1" * 32), MarkKey(b"2" * 32, host="another host")
    day = datetime.date(2026, 11, 24)
    image = marked_image(picture(3), key, "a model", day)
    first, second = read_picture(image, KeyRing(other, (key,)))
    assert (first.key, first.day) == (key.fingerprint, "2026-11-24")
    assert len(first.model or "") == 4
    assert first.p_value < 1e-6
    assert (second.host, second.day) == ("another host", None)
    assert second.p_value > 0.001


def test_tiny_and_transparent_pictures_do_no_harm():
    key = MarkKey(b"1" * 32)
    tiny = Image.new("RGB", (20, 20))
    assert marked_image(tiny, key, "m", datetime.date(2026, 1, 1)) is tiny
    assert len(read_picture(tiny, KeyRing(key))) <= 1
    clear = marked_image(picture(4), key, "m", datetime.date(2026, 1, 1)).convert("RGBA")
    assert read_picture(clear, KeyRing(key))[0].p_value < 1e-6
