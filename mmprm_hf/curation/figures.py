"""A figure's size, pixels and perceptual hash. Pillow only."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..models import load_image
from .records import RowError

HASH_SIDE = 16
NUM_BITS = HASH_SIDE * HASH_SIDE
_PAPER = 200  # grey from here on is paper: margins differ between scans of one figure


@dataclasses.dataclass(frozen=True)
class Figure:
    """What duplicates are told by.

    Args:
        size: Width and height in pixels, upright.
        pixels: Hash of the RGB pixels.
        look: Difference hash, `NUM_BITS` bits: is a cell of the trimmed figure brighter than its left neighbour?
    """

    size: tuple[int, int]
    pixels: str
    look: int


def read_figure(image: Any) -> Figure:
    """The facts of a figure in any form that `load_image` takes.

    Raises:
        RowError: "figure_unreadable".
    """
    try:
        loaded = load_image(image)
    except (ValueError, TypeError) as error:
        words = str(error)
        if isinstance(image, (str, os.PathLike)):  # the path of this machine is nobody's business
            words = words.replace(str(image), os.path.basename(image))
        raise RowError("figure_unreadable", words) from error
    pixels = hashlib.sha256(repr(loaded.size).encode() + loaded.tobytes()).hexdigest()[:16]
    return Figure(loaded.size, pixels, difference_hash(loaded))


def difference_hash(image: Image.Image) -> int:
    """A difference hash (dHash) of a figure without its margins.

    Two scans of one figure differ in few bits whatever their size and margins; see `look_distance`.
    """
    grey = image.convert("L")
    box = grey.point(lambda value: 255 if value < _PAPER else 0).getbbox()
    cells = list(grey.crop(box).resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX).tobytes())
    bits = 0
    for row in range(HASH_SIDE):
        for column in range(HASH_SIDE):
            index = row * (HASH_SIDE + 1) + column
            bits = bits << 1 | (cells[index + 1] > cells[index])
    return bits


def look_distance(first: Sequence[Figure], second: Sequence[Figure]) -> float | None:
    """How differently two problems' figures look, in [0, 1]; None if one side has no figure.

    Mean over the figures of the problem with fewer, each beside one of the other's, most alike first: choices may be
    drawn in another order. About 0.5 means unrelated, line drawings with much paper somewhat less.
    """
    few, many = sorted((first, second), key=len)
    if not few:
        return None
    bits = sorted(((a.look ^ b.look).bit_count(), i, j) for i, a in enumerate(few) for j, b in enumerate(many))
    pairs: dict[int, int] = {}
    total = 0
    for count, i, j in bits:
        if i not in pairs and j not in pairs.values():
            pairs[i] = j
            total += count
    return total / (NUM_BITS * len(few))


__all__ = ["Figure", "difference_hash", "look_distance", "read_figure"]
