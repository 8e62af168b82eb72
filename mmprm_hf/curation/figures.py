"""A figure's size, pixels and perceptual hash. Pillow and NumPy only."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..models import load_image
from .records import RowError

_HASH_SIDE = 16
NUM_BITS = _HASH_SIDE * _HASH_SIDE
_PAPER = 200  # grey from here on is paper: scans of one figure have different margins


@dataclasses.dataclass(frozen=True)
class Figure:
    """What figures are told apart by."""

    size: tuple[int, int]  # width and height in pixels, upright
    pixel_hash: str  # of the RGB pixels
    difference_hash: int  # see the function


def read_figure(image: Any) -> Figure:
    """Return the facts of a figure in any form that `load_image` takes, or raise a `RowError`."""
    try:
        loaded = load_image(image)
    except (ValueError, TypeError) as error:
        message = str(error)
        if isinstance(image, (str, os.PathLike)):  # reports must not contain paths of this machine
            message = message.replace(str(image), os.path.basename(image))
        raise RowError("figure_unreadable", message) from error
    pixel_hash = hashlib.sha256(repr(loaded.size).encode() + loaded.tobytes()).hexdigest()[:16]
    return Figure(loaded.size, pixel_hash, difference_hash(loaded))


def difference_hash(image: Image.Image) -> int:
    """Return the difference hash (dHash) of a figure without its margins, `NUM_BITS` bits.

    A bit says whether a cell of the figure is brighter than its left neighbour. Two scans of one figure differ in few
    bits, whatever their sizes and margins.
    """
    grey = image.convert("L")
    box = grey.point(lambda value: 255 if value < _PAPER else 0).getbbox()
    cells = np.asarray(grey.crop(box).resize((_HASH_SIDE + 1, _HASH_SIDE), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(cells[:, 1:] > cells[:, :-1]).tobytes(), "big")


def figure_distance(first: Sequence[Figure], second: Sequence[Figure]) -> float | None:
    """Return how differently the figures of two problems look, in [0, 1]; None if one of them has no figure.

    It is the share of differing bits, averaged over the figures of the problem with fewer; each is paired with another
    one of the other problem, most alike first, because choices may be drawn in another order. Unrelated figures differ
    in about half of their bits.
    """
    few, many = sorted((first, second), key=len)
    if not few:
        return None
    num_bits = sorted(
        ((a.difference_hash ^ b.difference_hash).bit_count(), i, j)
        for i, a in enumerate(few)
        for j, b in enumerate(many)
    )
    partners: dict[int, int] = {}
    total = 0
    for count, i, j in num_bits:
        if i not in partners and j not in partners.values():
            partners[i] = j
            total += count
    return total / (NUM_BITS * len(few))
