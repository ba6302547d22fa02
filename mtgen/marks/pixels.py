"""The mark in a picture's pixels: a faint pattern of a key, repeated, that carries a few bytes.

A tile of 64 x 64 pixels is repeated over the picture. In a band of low frequencies, which JPEG,
resizing and blurring leave alone, it is a sum of directions that the key draws: one to be found by,
and one for each bit, whose sign is the bit. What the picture itself has in these directions is
known when the mark is put in, and taken out (informed embedding: Costa, "Writing on dirty paper",
1983; Miller, Doerr and Cox, doi:10.1109/TIP.2003.821551): so the pattern needs little strength.

Under a key that has nothing to do with the picture the direction is uniform on a sphere, whatever
the picture: so the p-value of what is found is exact. Cropping moves the tile, and the place where
it fits best is looked for; resizing is undone for sizes that are likely, and on request for all.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image
from scipy.special import betaincc

TILE = 64
"""Side of the pattern, in pixels of a picture in its own size."""
SIDE = 256
"""Pixels to which smaller pictures are enlarged in thought before the pattern is laid on."""
BAND = (3.0, 10.0)
"""Lowest and highest frequency, in waves a tile."""
NUM_BITS = 48
SYNC = 6.0
"""Strength of the direction to be found by, of a bit's being 1."""
PSNR_DB = 42.3
"""Peak signal-to-noise ratio of a marked picture to the one before."""
MAX_STEP = 4.0
"""Of brightness from one pixel to the next, beyond which it is an edge."""
ROUNDS = 8
"""Times that what clipping, rounding and JPEG take away is put back."""
QUALITY = 50
"""Of the JPEG that the mark is made to survive."""
SCALES = (1.0, 2.0, 0.5)
"""Enlargements that are always tried, beside the one to SIDE."""
FINE_SCALES = tuple(float(s) for s in np.exp(np.arange(math.log(0.4), math.log(2.6), 0.015)))
"""Those that are tried on request: any size."""


MAX_PIXELS = 4_500_000
"""Of an enlarged picture; larger sizes are not tried."""

Bands = list[tuple[float, Float[np.ndarray, " D"]]]
"""Enlargements, and what a picture has in the band at each."""


@dataclass(frozen=True)
class PixelReading:
    """What a key finds in a picture."""

    p_value: float
    """How often a picture without this key's mark looks as marked, at any place and scale tried."""
    bits: tuple[int, ...]
    """The payload, where there is one."""
    margin: float
    """Of the weakest bit, in standard deviations of what is no mark."""
    scale: float
    """Enlargement at which it was found."""


@functools.cache
def frequencies() -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the band in the spectrum of a tile, one of each conjugate pair."""
    axis = np.fft.fftfreq(TILE, 1 / TILE)
    rows, columns = np.meshgrid(axis, axis, indexing="ij")
    radius = np.hypot(rows, columns)
    half = (rows > 0) | ((rows == 0) & (columns > 0))
    rows, columns = np.nonzero((radius >= BAND[0]) & (radius <= BAND[1]) & half)
    return rows, columns


def to_band(tile: Float[np.ndarray, "64 64"]) -> Float[np.ndarray, " D"]:
    """Coordinates of a tile in an orthonormal basis of the band."""
    spectrum = np.fft.fft2(tile, norm="ortho")[frequencies()] * math.sqrt(2)
    return np.concatenate([spectrum.real, spectrum.imag])


@functools.cache
def laplacian() -> Float[np.ndarray, " D"]:
    """What the discrete Laplacian multiplies each coordinate of the band by."""
    waves = [4 * np.sin(np.pi * axis / TILE) ** 2 for axis in frequencies()]
    return -np.tile(waves[0] + waves[1], 2)


def band_of(plane: Float[np.ndarray, "H W"]) -> Float[np.ndarray, " D"]:
    """What a plane has in the band, edges apart."""
    return to_band(folded(plane)) / laplacian()


def to_tile(band: Float[np.ndarray, " D"]) -> Float[np.ndarray, "64 64"]:
    """The tile that has these coordinates, and nothing beside the band."""
    rows, columns = frequencies()
    real, imaginary = np.split(band / math.sqrt(2), 2)
    spectrum = np.zeros((TILE, TILE), dtype=np.complex128)
    spectrum[rows, columns] = real + 1j * imaginary
    spectrum[-rows, -columns] = real - 1j * imaginary
    return np.fft.ifft2(spectrum, norm="ortho").real


@functools.lru_cache(maxsize=16)
def directions(secret: bytes) -> Float[np.ndarray, "D K"]:
    """Orthonormal directions of a key: the one to be found by, then one for each bit."""
    words = [int.from_bytes(secret[i : i + 4], "big") for i in range(0, len(secret), 4)]
    rng = np.random.default_rng(words)
    return np.linalg.qr(rng.standard_normal((2 * len(frequencies()[0]), 1 + NUM_BITS)))[0]


def luma(pixels: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """Brightness, 0..255 (ITU-R BT.601, as JPEG has it)."""
    return pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)


def resized(plane: Float[np.ndarray, "H W"], height: int, width: int) -> np.ndarray:
    """A plane at another size."""
    if plane.shape == (height, width):
        return plane
    image = Image.fromarray(plane.astype(np.float32))
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def folded(plane: Float[np.ndarray, "H W"]) -> Float[np.ndarray, "64 64"]:
    """The mean of all tiles of a plane without its edges; the last tiles may be incomplete.

    Steps from pixel to pixel are clipped: those of the mark are small, and edges, which are large
    and few, would drown it. What is given is the Laplacian of what the clipped steps describe.
    """
    height, width = plane.shape
    curvature = np.zeros((-(-height // TILE) * TILE, -(-width // TILE) * TILE), dtype=np.float32)
    down = np.diff(plane, axis=0).clip(-MAX_STEP, MAX_STEP)
    right = np.diff(plane, axis=1).clip(-MAX_STEP, MAX_STEP)
    curvature[: height - 1, :width] += down
    curvature[1:height, :width] -= down
    curvature[:height, : width - 1] += right
    curvature[:height, 1:width] -= right
    sums = curvature.reshape(-1, TILE, curvature.shape[1] // TILE, TILE).sum(axis=(0, 2))
    counts = [size // TILE + (np.arange(TILE) < size % TILE) for size in (height, width)]
    return sums / np.maximum(np.multiply.outer(*counts), 1)


def laid(tile: Float[np.ndarray, "64 64"], height: int, width: int) -> np.ndarray:
    """A plane of tiles."""
    return np.tile(tile, (-(-height // TILE), -(-width // TILE)))[:height, :width]


def compressed(pixels: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
    """A picture after JPEG of QUALITY."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(buffer))


def added(
    original: Float[np.ndarray, "H W 3"], change: Float[np.ndarray, "H W"]
) -> UInt8[np.ndarray, "H W 3"]:
    """A picture whose brightness was changed."""
    return (original + change[..., None]).round().clip(0, 255).astype(np.uint8)


def own_scale(height: int, width: int) -> float:
    """Enlargement at which the pattern is laid onto a picture."""
    return max(1.0, SIDE / min(height, width))


def embedded(
    pixels: UInt8[np.ndarray, "H W 3"], secret: bytes, bits: Iterable[int],
    psnr_db: float = PSNR_DB,
) -> UInt8[np.ndarray, "H W 3"]:  # fmt: skip
    """A picture with the mark.

    Args:
        pixels: RGB.
        secret: Of the key, derived for pixels.
        bits: NUM_BITS of them, 0 or 1.
        psnr_db: What the mark may cost.
    """
    height, width = pixels.shape[:2]
    scale = own_scale(height, width)
    large = round(height * scale), round(width * scale)
    basis = directions(secret)
    signs = np.array([1, *(2 * bit - 1 for bit in bits)], dtype=np.float64)
    weights = np.array([SYNC] + [1.0] * NUM_BITS)
    budget = 255**2 * 10 ** (-psnr_db / 10)  # mean square of the change, in one channel
    found = signs * (basis.T @ band_of(resized(luma(pixels), *large)))
    strength = 1.0
    for _ in range(60):  # the largest that the budget allows
        lack = np.maximum(strength * weights - found, 0)
        if (lack @ lack) / TILE**2 > budget:
            strength /= 1.05
            break
        strength *= 1.05
    original = pixels.astype(np.float32)
    change = np.zeros((height, width))
    marked = pixels
    for _ in range(ROUNDS):
        found = np.minimum(*(
            signs * (basis.T @ band_of(resized(luma(seen), *large)))
            for seen in (marked, compressed(marked))
        ))  # fmt: skip
        lack = np.maximum(strength * weights - found, 0)
        if (lack < 0.05 * strength * weights).all():
            break
        tile = to_tile(basis @ (signs * lack))
        change += resized(laid(tile, *large), height, width)
        marked = added(original, change)
        energy = float(((marked - original) ** 2).mean())
        if energy > budget:
            change *= math.sqrt(budget / energy)
            marked = added(original, change)
    return marked


def bands_of(pixels: UInt8[np.ndarray, "H W 3"], *, any_size: bool = False) -> Bands:
    """What a picture has in the band at each size in which it is looked at.

    Args:
        pixels: RGB.
        any_size: Also at sizes that it may have if it was cut and then resized, and in a mirror.
    """
    if any_size:
        return [*_bands(pixels, True), *_bands(pixels[:, ::-1], True)]
    return _bands(pixels, False)


def _bands(pixels: UInt8[np.ndarray, "H W 3"], any_size: bool) -> Bands:
    plane = luma(pixels)
    scales = {*SCALES, own_scale(*plane.shape), SIDE / max(plane.shape)}
    if any_size:
        scales |= {*FINE_SCALES}
    bands = []
    for scale in sorted(scales):
        height, width = (round(side * scale) for side in plane.shape)
        if min(height, width) >= TILE and height * width <= MAX_PIXELS:
            bands.append((scale, band_of(resized(plane, height, width))))
    return bands


def read_bands(bands: Bands, secret: bytes) -> PixelReading:
    """Looks for a key's mark in what `bands_of` gives."""
    basis = directions(secret)
    pattern = np.fft.fft2(to_tile(basis[:, 0])).conj()
    best: tuple[float, float, np.ndarray] | None = None
    for scale, band in bands:
        tile, energy = to_tile(band), float(np.linalg.norm(band))
        if energy == 0:
            continue
        fit = np.fft.ifft2(np.fft.fft2(tile) * pattern).real / energy
        row, column = np.unravel_index(int(fit.argmax()), fit.shape)
        if best is None or fit[row, column] > best[0]:
            best = float(fit[row, column]), scale, np.roll(tile, (-row, -column), (0, 1))
    if best is None:
        return PixelReading(1.0, (), 0.0, 1.0)
    fit, scale, tile = best
    size = len(basis)
    single = float(betaincc((size - 1) / 2, (size - 1) / 2, (1 + fit) / 2))
    coordinates = to_band(tile)
    found = basis.T @ coordinates
    rest = coordinates - basis @ found
    noise = float(np.linalg.norm(rest)) / math.sqrt(size - 1 - NUM_BITS)
    return PixelReading(
        p_value=min(1.0, single * TILE**2 * len(bands)),
        bits=tuple(int(x > 0) for x in found[1:]),
        margin=float(np.abs(found[1:]).min()) / max(noise, 1e-9), scale=scale,
    )  # fmt: skip


def read_pixels(
    pixels: UInt8[np.ndarray, "H W 3"], secret: bytes, *, any_size: bool = False
) -> PixelReading:
    """Looks for a key's mark; see `bands_of` for the arguments."""
    return read_bands(bands_of(pixels, any_size=any_size), secret)
