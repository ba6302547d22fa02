"""Measures the mark in pictures: `python -m evals.picture_marks --pictures 300 --out runs/marks`.

Pictures of our own model, with the mark in their codes and a payload of its own in the pixels of
each, are changed in every way of ATTACKS, read with the right key and with wrong ones, and drawn
anew by our own autoencoder.
"""

from __future__ import annotations

import io
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter
from scipy.stats import binomtest
from tqdm import tqdm

from mtgen.cli import Parser, print_json, run
from mtgen.marks.codes import CodesReading, codes_p_value
from mtgen.marks.pixels import NUM_BITS, embedded, read_pixels

ReadCodes = Callable[[Image.Image], CodesReading | None]
Attack = Callable[[Image.Image], Image.Image]
LEVEL = 0.01
KEY = b"a key for measurements, not safe"
SIDE = 256


def jpeg(quality: int) -> Attack:
    """Saved as JPEG."""

    def changed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer).convert("RGB")

    return changed


def webp(quality: int) -> Attack:
    """Saved as WebP."""

    def changed(image: Image.Image) -> Image.Image:
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", quality=quality)
        return Image.open(buffer).convert("RGB")

    return changed


def noise(levels: float) -> Attack:
    """Gaussian noise of that standard deviation, of 255."""

    def changed(image: Image.Image) -> Image.Image:
        pixels = np.asarray(image).astype(float)
        pixels += np.random.default_rng(0).normal(0, levels, pixels.shape)
        return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))

    return changed


def scaled(factor: float) -> Attack:
    """Resized, the same in both directions."""
    return lambda image: image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC
    )


def cropped(share: float) -> Attack:
    """Without a share of the width and the height, from a corner that is not at the tiles'."""

    def changed(image: Image.Image) -> Image.Image:
        lost = round(image.width * share)
        left, top = lost * 2 // 3, lost // 3
        return image.crop((left, top, left + image.width - lost, top + image.height - lost))

    return changed


def screenshot(image: Image.Image) -> Image.Image:
    """Shown at 1.5 times the size amid a page, photographed by the system, saved as JPEG."""
    large = scaled(1.5)(image)
    page = Image.new("RGB", (large.width + 61, large.height + 83), "#f4f4f7")
    page.paste(large, (23, 41))
    return jpeg(80)(page.crop((23, 41, 23 + large.width, 41 + large.height)))


ATTACKS: dict[str, Attack] = {
    "none": lambda image: image,
    "JPEG 75": jpeg(75),
    "JPEG 50": jpeg(50),
    "JPEG 30": jpeg(30),
    "WebP 50": webp(50),
    "half size": scaled(0.5),
    "double size": scaled(2.0),
    "blur 1 px": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
    "blur 2 px": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "noise 8": noise(8),
    "noise 16": noise(16),
    "crop 10%": cropped(0.1),
    "crop 30%": cropped(0.3),
    "brightness 1.2": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "contrast 0.8": lambda image: ImageEnhance.Contrast(image).enhance(0.8),
    "saturation 0.5": lambda image: ImageEnhance.Color(image).enhance(0.5),
    "screenshot": screenshot,
    "crop 10%, then JPEG 50": lambda image: jpeg(50)(cropped(0.1)(image)),
}
ANY_SIZE: dict[str, Attack] = {
    "crop 10%, back to size": lambda image: cropped(0.1)(image).resize(image.size),
    "to 200 px": lambda image: image.resize((200, 200), Image.Resampling.LANCZOS),
    "turned by 1 degree": lambda image: image.rotate(1, Image.Resampling.BICUBIC),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}
"""For which any size is looked for, and mirrors; turning is beyond what it is made for."""
CHANGES = ATTACKS | ANY_SIZE


def interval(hits: int, count: int) -> list[float]:
    """Share with its 95% interval (Wilson)."""
    found = binomtest(hits, count).proportion_ci(method="wilson")
    return [hits / count, float(found.low), float(found.high)]


def measured(
    name: str, images: Sequence[Image.Image], bits: Sequence[np.ndarray], read_codes: ReadCodes,
    any_size: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Shares of bits, of pictures found by each layer and by either, and the time to read one."""
    right, seconds, p_values = 0, [], []
    for image, wanted in zip(images, bits, strict=True):
        pixels = np.asarray(image.convert("RGB"))
        started = time.perf_counter()
        found = read_pixels(pixels, KEY, any_size=any_size)
        seconds.append(time.perf_counter() - started)
        right += int((np.array(found.bits or [-1] * NUM_BITS) == wanted).sum())
        reading = read_codes(image)
        p_values.append((found.p_value, 1.0 if reading is None else codes_p_value(reading, KEY)))
    pixels, codes = np.array(p_values).T
    either = 2 * np.minimum(pixels, codes)
    return {
        "attack": name, "pictures": len(images), "bits": interval(right, NUM_BITS * len(images)),
        "found": interval(int((pixels <= LEVEL).sum()), len(images)),
        "found_in_codes": interval(int((codes <= LEVEL).sum()), len(images)),
        "found_in_either": interval(int((either <= LEVEL).sum()), len(images)),
        "median_ms": 1000 * float(np.median(seconds)),
    }  # fmt: skip


def drawn(pipeline: Any, prompt: str, seed: int) -> Image.Image:
    """A picture with the mark of KEY in its codes alone."""
    from mtgen.requests import ImageRequest
    from mtgen.tasks.image import ImageStream

    stream = ImageStream(
        ImageRequest(prompt=prompt, seed=seed), pipeline.runtime, pipeline.tokenizer,
        pipeline.painters(), "measured", secret=KEY,
    )  # fmt: skip
    return stream.generation.images[0]


def redrawn(pipeline: Any, images: Sequence[Image.Image], flips: float) -> list[Image.Image]:
    """Pictures encoded and decoded by our own autoencoder, a share of the codes drawn at random."""
    import torch

    autoencoder = pipeline.painters().autoencoder
    generator = torch.Generator().manual_seed(0)
    made = []
    for image in images:
        pixels = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)[None] / 127.5 - 1
        codes = autoencoder.encode(pixels)
        wrong = torch.rand(codes.shape, generator=generator) < flips
        random = torch.randint(256, codes.shape, generator=generator).to(codes.dtype)
        drawn = autoencoder.decode(torch.where(wrong, random, codes))[0]
        array = ((drawn + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        made.append(Image.fromarray(array))
    return made


def main(arguments: list[str]) -> int:
    """Command line."""
    import mtgen
    from evals.suites.base import ImageSample
    from evals.suites.image import IMAGE_CONCEPTS, IMAGE_SCENES
    from mtgen.marks.keys import PUBLIC

    parser = Parser(prog="python -m evals.picture_marks", description=__doc__)
    parser.add_argument("--pictures", type=int, default=300, help="of our model")
    parser.add_argument("--seed", type=int, default=0, help="of the first picture")
    parser.add_argument("--out", type=Path, help="folder that gets the rates as JSON")
    options = parser.parse_args(arguments)
    pipeline = mtgen.load(keys=PUBLIC)
    samples = [*IMAGE_CONCEPTS.samples(), *IMAGE_SCENES.samples()]
    known = [sample.prompts["en"] for sample in samples if isinstance(sample, ImageSample)]
    prompts = [known[n % len(known)] for n in range(options.pictures)]
    plain = [
        drawn(pipeline, prompt, options.seed + n)
        for n, prompt in enumerate(tqdm(prompts, desc="drawing", disable=None))
    ]
    rng = np.random.default_rng(options.seed)
    bits = [rng.integers(0, 2, NUM_BITS) for _ in plain]
    marked = [
        Image.fromarray(embedded(np.asarray(image), KEY, [int(b) for b in wanted]))
        for image, wanted in zip(plain, bits, strict=True)
    ]
    errors = [
        ((np.asarray(a).astype(float) - np.asarray(b)) ** 2).mean()
        for a, b in zip(plain, marked, strict=True)
    ]
    psnr = 10 * np.log10(255**2 / np.array(errors))
    read = pipeline.read_codes
    rows = [
        measured(name, [attack(image) for image in marked], bits, read)
        for name, attack in tqdm(ATTACKS.items(), desc="attacks", disable=None)
    ]
    rows += [
        measured(name, [attack(image) for image in marked[:50]], bits[:50], read, any_size=True)
        for name, attack in ANY_SIZE.items()
    ]
    for flips in (0.0, 0.05, 0.2):
        name = f"drawn anew by our autoencoder, {flips:.0%} of its codes at random"
        rows.append(measured(name, redrawn(pipeline, marked[:100], flips), bits[:100], read))
    wrong = [
        read_pixels(np.asarray(image), rng.bytes(32)).p_value
        for image in [*marked, *plain] * max(1, 2000 // (2 * len(plain)))
    ]
    readings = [reading for image in marked if (reading := read(image)) is not None]
    codes = [
        codes_p_value(reading, rng.bytes(32))
        for reading in readings * max(1, 2000 // max(1, len(readings)))
    ]
    result = {
        "psnr_db": {"mean": float(psnr.mean()), "least": float(psnr.min())},
        "wrong_key_false_positives": [*interval(sum(p <= LEVEL for p in wrong), len(wrong))],
        "wrong_key_readings": len(wrong),
        "wrong_key_false_positives_in_codes": [
            *interval(sum(p <= LEVEL for p in codes), len(codes))
        ],
        "wrong_key_readings_of_codes": len(codes),
        "rows": rows,
    }
    print_json(result)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "picture-marks.json").write_text(json.dumps(result, indent=1), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
