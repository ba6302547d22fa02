"""Where the sprites of a scene go: alone, in a pair, in a crowd.

Everything is worked out on a square of side 1 from the sprites' shapes; nothing overlaps, and all
lies inside.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

EDGE = 0.02
"""Free margin around a scene, as a share of its side."""
GAP = 0.02
"""Free space between the sprites of a crowd."""

# Long sides in a crowd of 1 to 6, as shares of the scene's side.
_CROWD_SIZES = ((0.46, 0.80), (0.32, 0.45), (0.26, 0.38), (0.24, 0.33), (0.21, 0.30), (0.20, 0.28))
# In tidy scenes, squares of a grid of TIDY_CELLS a side: (side, upper left corners) by count.
TIDY_CELLS = 8
_TIDY_FILL = 0.94
_TIDY_CROWDS = {
    2: ((4, ((0, 2), (4, 2))), (4, ((0, 0), (4, 4))), (4, ((4, 0), (0, 4)))),
    3: ((4, ((2, 0), (0, 4), (4, 4))), (4, ((0, 0), (4, 0), (2, 4)))),
    4: ((4, ((0, 0), (4, 0), (0, 4), (4, 4))),),
    5: ((2, ((0, 1), (6, 1), (3, 3), (0, 5), (6, 5))),
        (2, ((0, 1), (3, 1), (6, 1), (1, 5), (5, 5)))),
    6: ((2, ((0, 1), (3, 1), (6, 1), (0, 5), (3, 5), (6, 5))),
        (2, ((1, 0), (5, 0), (1, 3), (5, 3), (1, 6), (5, 6)))),
}  # fmt: skip
_LOOSE_SHARE = 0.7  # crowds thrown loosely; the rest stand in shaken rows
_DARTS = 40
_SHRINKS = 5


@dataclass(frozen=True)
class Spot:
    """A rectangle in shares of the scene's side."""

    x: float
    """Left edge."""
    y: float
    """Upper edge."""
    w: float
    h: float

    @property
    def centre(self) -> tuple[float, float]:
        return self.x + self.w / 2, self.y + self.h / 2


def between(rng: random.Random, low: float, high: float) -> float:
    """Uniform in [low, high)."""
    return low + (high - low) * rng.random()


def extent(aspect: float, size: float) -> tuple[float, float]:
    """Width and height of a sprite meant to look `size` large.

    Args:
        aspect: Width over height.
        size: Its long side, were it square; longer sprites get a little more of it.
    """
    stretch = min(1.25, max(aspect, 1 / aspect) ** 0.3)
    long = min(size * stretch, 1 - 2 * EDGE)
    return (long, long / aspect) if aspect >= 1 else (long * aspect, long)


def alone(rng: random.Random, aspect: float) -> list[Spot]:
    """One sprite, large, near the middle or not."""
    w, h = extent(aspect, between(rng, 0.42, 0.88))
    return [Spot(_within(rng, w), _within(rng, h), w, h)]


def _within(rng: random.Random, side: float) -> float:
    """A position for a side, the middle more likely than the edges."""
    free = 1 - 2 * EDGE - side
    return EDGE + free * (rng.random() + rng.random()) / 2


def pair(
    rng: random.Random,
    aspects: Sequence[float],
    sizes: Sequence[float],
    *,
    axis: Literal["x", "y"],
    min_apart: float,
    max_offset: float,
) -> list[Spot]:
    """Two sprites, the first to the left of the second, or above it.

    Args:
        rng: Source of all draws.
        aspects: Width over height of both.
        sizes: Of both, as for `extent`; they shrink together where the room needs it.
        axis: The direction in which they follow each other.
        min_apart: Least distance of the centres along `axis`, in shares of the side.
        max_offset: Largest distance of the centres across it, unless that would stick out.
    """
    room = 1 - 2 * EDGE - GAP
    extents = [extent(aspect, size) for aspect, size in zip(aspects, sizes, strict=True)]
    along = 0 if axis == "x" else 1
    needed = extents[0][along] + extents[1][along]
    scale = min(1.0, room / needed)
    (w0, h0), (w1, h1) = ((w * scale, h * scale) for w, h in extents)
    sides, others = ((w0, w1), (h0, h1)) if axis == "x" else ((h0, h1), (w0, w1))

    least = max(GAP, min_apart - sum(sides) / 2)
    free = 1 - 2 * EDGE - sum(sides)
    gap = between(rng, least, max(least, min(free, least + 0.25)))
    start = between(rng, EDGE, max(EDGE, 1 - EDGE - sum(sides) - gap))
    second = start + sides[0] + gap

    middle = _kept_inside(between(rng, 0.3, 0.7), others[0])
    offset = _kept_inside(middle + between(rng, -max_offset, max_offset), others[1])
    across = (middle - others[0] / 2, offset - others[1] / 2)
    if axis == "x":
        return [Spot(start, across[0], w0, h0), Spot(second, across[1], w1, h1)]
    return [Spot(across[0], start, w0, h0), Spot(across[1], second, w1, h1)]


def _kept_inside(centre: float, side: float) -> float:
    """The centre nearest to this one at which a side does not stick out."""
    return min(max(centre, EDGE + side / 2), 1 - EDGE - side / 2)


def crowd(rng: random.Random, aspect: float, count: int) -> list[Spot]:
    """One to six sprites of one shape, apart from each other, of about one size.

    Args:
        rng: Source of all draws.
        aspect: Width over height.
        count: 1..6.
    """
    low, high = _CROWD_SIZES[count - 1]
    size = between(rng, low, high)
    if count == 1 or rng.random() < _LOOSE_SHARE:
        for _ in range(_SHRINKS):
            spots = _thrown(rng, aspect, count, size)
            if spots:
                return spots
            size *= 0.9
    return _in_rows(rng, aspect, count, size)


def _thrown(rng: random.Random, aspect: float, count: int, size: float) -> list[Spot] | None:
    """Places anywhere, each tried until it is free; None when one finds no room."""
    spots: list[Spot] = []
    for _ in range(count):
        w, h = extent(aspect, size * between(rng, 0.88, 1.12))
        for _ in range(_DARTS):
            x = between(rng, EDGE, 1 - EDGE - w)
            y = between(rng, EDGE, 1 - EDGE - h)
            if all(
                x > s.x + s.w + GAP or x + w + GAP < s.x or y > s.y + s.h + GAP or y + h + GAP < s.y
                for s in spots
            ):
                spots.append(Spot(x, y, w, h))
                break
        else:
            return None
    return spots


def _in_rows(rng: random.Random, aspect: float, count: int, size: float) -> list[Spot]:
    """Rows of cells of equal size, some left empty, each sprite shaken within its cell."""
    shapes = [
        (columns, math.ceil(count / columns))
        for columns in range(1, count + 1)
        if (columns / math.ceil(count / columns)) * aspect < 3.2
        and (math.ceil(count / columns) / columns) / aspect < 3.2
    ]
    columns, rows = shapes[int(rng.random() * len(shapes))] if shapes else (3, 2)
    cells = [(column, row) for row in range(rows) for column in range(columns)]
    while len(cells) > count:
        cells.pop(int(rng.random() * len(cells)))
    room_x, room_y = (1 - 2 * EDGE) / columns, (1 - 2 * EDGE) / rows
    spots = []
    for column, row in cells:
        w, h = extent(aspect, size * between(rng, 0.92, 1.08))
        scale = min(1.0, (room_x - GAP) / w, (room_y - GAP) / h)
        w, h = w * scale, h * scale
        x = EDGE + column * room_x + between(rng, GAP / 2, room_x - GAP / 2 - w)
        y = EDGE + row * room_y + between(rng, GAP / 2, room_y - GAP / 2 - h)
        spots.append(Spot(x, y, w, h))
    return spots


def in_square(aspect: float, side: float, x: float, y: float) -> Spot:
    """A sprite in the middle of a square of the tidy grid; all in cells."""
    long = side * _TIDY_FILL
    w, h = (long, long / aspect) if aspect >= 1 else (long * aspect, long)
    left, top = x + (side - w) / 2, y + (side - h) / 2
    return Spot(*(value / TIDY_CELLS for value in (left, top, w, h)))


def tidy_alone(aspect: float) -> list[Spot]:
    """One sprite in the middle, large."""
    return [in_square(aspect, 7, 0.5, 0.5)]


def tidy_crowd(rng: random.Random, aspect: float, count: int) -> list[Spot]:
    """Like `crowd`, in one of a few fixed arrangements and two sizes."""
    if count == 1:
        return tidy_alone(aspect)
    options = _TIDY_CROWDS[count]
    side, corners = options[int(rng.random() * len(options))]
    return [in_square(aspect, side, x, y) for x, y in corners]


def tidy_pair(
    rng: random.Random,
    aspects: Sequence[float],
    sides: Sequence[int],
    axis: Literal["x", "y"],
) -> list[Spot]:
    """Like `pair`, each sprite in a square of the grid.

    Args:
        rng: Source of all draws.
        aspects: Width over height of both.
        sides: Of the squares: 4, or 4 and 2 in any order.
        axis: The direction in which they follow each other.
    """
    along = (0, 4 if sides[1] == 4 else 5) if sides[0] == 4 else (1, 4)
    middle = 1 + int(rng.random() * 3)
    other = min(3, max(1, middle - 1 + int(rng.random() * 3)))
    across = [place + (4 - side) // 2 for place, side in zip((middle, other), sides, strict=True)]
    corners = zip(along, across, strict=True) if axis == "x" else zip(across, along, strict=True)
    return [
        in_square(aspect, side, x, y)
        for aspect, side, (x, y) in zip(aspects, sides, corners, strict=True)
    ]
