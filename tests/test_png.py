"""Settings in PNG files: written, read again, and refused in one sentence."""

from __future__ import annotations

import dataclasses
import json

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from mtgen.errors import CacheWriteError, PictureError
from mtgen.png import (
    CHUNK,
    PictureSettings,
    file_name,
    read_settings,
    save_picture,
    settings_of,
    to_png,
)
from mtgen.requests import ImageRequest

REQUEST = ImageRequest(
    prompt="drei grüne Äpfel 🍏\nund ein <b>Hund</b>", negative_prompt="eine Katze",
    style="noto", size_px=128, num_inference_steps=5, guidance_scale=2.5, seed=7,
)  # fmt: skip
SETTINGS = PictureSettings(request=REQUEST, model="tiny/packed")


@pytest.fixture
def picture() -> Image.Image:
    return Image.radial_gradient("L").convert("RGB")


@pytest.fixture
def tampered(picture, tmp_path):
    """Writes a picture whose settings were changed on the way."""

    def write(text: str | None = None, **fields):
        info = PngInfo()
        record = SETTINGS.as_dict() | fields
        info.add_text(CHUNK, json.dumps(record) if text is None else text)
        picture.save(tmp_path / "x.png", pnginfo=info)
        return tmp_path / "x.png"

    return write


def test_a_picture_carries_its_settings_and_its_pixels_are_untouched(picture, tmp_path):
    path = tmp_path / "x.png"
    save_picture(path, picture, SETTINGS)
    assert read_settings(path) == SETTINGS
    assert Image.open(path).tobytes() == picture.tobytes()
    assert [file.name for file in tmp_path.iterdir()] == ["x.png"]


def test_people_and_other_programs_can_read_them_too(picture, tmp_path):
    (tmp_path / "x.png").write_bytes(to_png(picture, SETTINGS))
    texts = Image.open(tmp_path / "x.png").info
    assert texts["Software"].startswith("mtgen ")
    lines = texts["parameters"].splitlines()
    assert lines[2] == "Negative prompt: eine Katze"
    assert lines[3].startswith("Steps: 5, CFG scale: 2.5, Temperature: 1, Style: noto, Seed: 7, Si")
    assert json.loads(texts[CHUNK])["request"]["prompt"] == REQUEST.prompt


def test_each_picture_of_a_request_says_its_own_seed_and_repeats_alone(tiny_image):
    generation = tiny_image.image("a dog", seed=2**32 - 2, num_images=3, num_inference_steps=3)
    for index, seed in enumerate((2**32 - 2, 2**32 - 1, 0)):
        settings = settings_of(generation, index)
        assert (settings.request.seed, settings.request.num_images) == (seed, 1)
        again = tiny_image.image(settings.request)
        assert again.images[0].tobytes() == generation.images[index].tobytes()


def test_a_half_drawn_picture_says_so(tiny_image, picture):
    stream = tiny_image.image_stream("a dog", seed=1, num_inference_steps=8)
    next(stream)
    stream.stop()
    settings = settings_of(stream.generation, 0)
    assert settings.finish_reason == "cancelled"
    assert settings.as_text().endswith("Stopped: half drawn")


def test_a_sheet_carries_its_rows_and_columns(picture, tmp_path):
    sheet = dataclasses.replace(SETTINGS, seeds=(7, 8), guidance_scales=(1.0, 2.5))
    save_picture(tmp_path / "x.png", picture, sheet)
    assert read_settings(tmp_path / "x.png") == sheet
    assert "CFG scale: 1 2.5" in sheet.as_text()
    assert "Seed: 7 8" in sheet.as_text()


def test_a_picture_that_was_cut_off_still_gives_its_settings(picture, tmp_path):
    content = to_png(picture, SETTINGS)
    (tmp_path / "x.png").write_bytes(content[:-500])
    assert read_settings(tmp_path / "x.png") == SETTINGS


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_other_formats_are_one_sentence(picture, tmp_path, kind):
    picture.save(tmp_path / "x.png", kind)  # whatever its name says
    with pytest.raises(PictureError, match=f"x.png is a {kind} file; only PNG files"):
        read_settings(tmp_path / "x.png")


def test_pictures_of_others_are_one_sentence(picture, tmp_path):
    picture.save(tmp_path / "x.png")
    with pytest.raises(PictureError, match=r"x.png carries no settings of mtgen: another program"):
        read_settings(tmp_path / "x.png")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", "cut"])
def test_broken_files_are_one_sentence(picture, tmp_path, content):
    if content == "cut":
        content = to_png(picture, SETTINGS)[:60]
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(PictureError, match="x.png is no picture, or is damaged; give a PNG file"):
        read_settings(tmp_path / "x.png")


def test_a_flipped_bit_in_the_settings_is_found(picture, tmp_path):
    content = to_png(picture, SETTINGS)
    (tmp_path / "x.png").write_bytes(content.replace(b'"seed": 7', b'"seed": 6'))
    with pytest.raises(PictureError, match="is damaged"):
        read_settings(tmp_path / "x.png")


def test_no_file_and_a_folder_are_one_sentence(tmp_path):
    with pytest.raises(PictureError, match=r"none.png cannot be read: no such file or directory"):
        read_settings(tmp_path / "none.png")
    with pytest.raises(PictureError, match="cannot be read: is a directory"):
        read_settings(tmp_path)


def test_a_picture_of_a_billion_pixels_is_one_sentence(tmp_path):
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x80\0\0\0\x80\0\x08\x02\0\0\0"
    import zlib

    header += zlib.crc32(header[12:]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(header + b"\0\0\0\0IDAT\x35\xaf\x06\x1e")
    with pytest.raises(PictureError, match=r"x.png is too large for a picture of ours"):
        read_settings(tmp_path / "x.png")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"text": "{"}, "they are not as mtgen writes them"),
        ({"text": "[]"}, "they are not as mtgen writes them"),
        ({"text": "[" * 100_000}, "they are not as mtgen writes them"),
        ({"version": 2, "software": "mtgen 9"}, r"mtgen 9 wrote them, which is newer than mtgen"),
        ({"request": {"prompt": "x", "colour": 1}}, "they are not as mtgen writes them"),
        ({"request": {"prompt": "x"}}, "they hold no seed"),
        ({"request": {"prompt": "", "seed": 1}}, "the prompt is empty"),
        ({"request": {"prompt": "x", "seed": 1, "style": "oil"}}, "no style named 'oil'"),
        ({"request": {"prompt": "x", "seed": 1, "num_inference_steps": 10_000}}, "from 1 to 64"),
        ({"request": {"prompt": "x", "seed": 1, "guidance_scale": float("nan")}}, "got nan"),
        ({"seeds": [1]}, "a sheet needs both seeds and guidance_scales"),
        ({"seeds": [-1], "guidance_scales": [1]}, "seed must be a whole number"),
        ({"seeds": [1], "guidance_scales": [99]}, "guidance_scale must be a number"),
    ],
)
def test_settings_that_cannot_be_used_are_one_sentence(tampered, fields, sentence):
    with pytest.raises(PictureError, match=f"the settings in x.png cannot be used: .*{sentence}"):
        read_settings(tampered(**fields))


def test_a_folder_that_cannot_be_written_is_one_sentence_and_leaves_nothing(picture, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CacheWriteError, match="cannot write to .*; make room there or choose"):
        save_picture(tmp_path / "file" / "x.png", picture, SETTINGS)
    (tmp_path / "x.png").mkdir()  # replacing it fails after the bytes were written
    with pytest.raises(CacheWriteError):
        save_picture(tmp_path / "x.png", picture, SETTINGS)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "x.png"]


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("Drei grüne Äpfel!", "drei-grune-apfel-7.png"),
        ("../../etc/passwd", "etc-passwd-7.png"),
        ("🍏", "picture-7.png"),
        ("a " * 100, "a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-a-7.png"),
    ],
)
def test_a_files_name_says_what_is_in_it(prompt, name):
    assert file_name(ImageRequest(prompt=prompt, seed=7)) == name
