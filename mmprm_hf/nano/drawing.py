"""A small canvas on a 6 x 6 grid of 24-pixel cells; every text lies inside one cell.

The grid is the vision tower's patch grid: a model of two million parameters learns to read a number within one patch in
minutes, and hardly ever one that straddles patches (see recipes/LOG.md). Text uses Pillow's built-in bitmap font, so
that pixels do not depend on the FreeType build.
"""

from __future__ import annotations

import functools
import math

from PIL import Image, ImageDraw, ImageFont

CELL = 24  # pixels; equals the nano models' patch size
GRID = 6
FIGURE_SIZE = CELL * GRID  # 144 pixels a side
PALETTE = ((31, 119, 180), (214, 39, 40), (44, 160, 44), (148, 103, 189), (200, 110, 20), (60, 60, 60))
PALE = ((222, 235, 247), (254, 224, 210), (229, 245, 224), (239, 237, 245), (255, 245, 204))


@functools.cache
def _glyphs(text: str) -> Image.Image:
    """The mask of a text in the built-in 6 x 11 bitmap font, doubled in size and cropped to its ink."""
    font = ImageFont.load_default_imagefont()
    left, top, right, bottom = font.getbbox(text)
    mask = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(mask).text((0, 0), text, fill=255, font=font)
    box = mask.getbbox()
    assert box is not None, text
    mask = mask.crop(box)
    return mask.resize((mask.width * 2, mask.height * 2), Image.Resampling.NEAREST)


def _box(x: float, y: float, radius: float) -> list[float]:
    """The pixels around a circle whose centre and radius are in cells."""
    return [(x - radius) * CELL, (y - radius) * CELL, (x + radius) * CELL, (y + radius) * CELL]


class Canvas:
    """One figure under construction; coordinates of shapes are in cells (floats), of text in whole cells."""

    def __init__(self, background: tuple[int, int, int] = (255, 255, 255)) -> None:
        self.image = Image.new("RGB", (FIGURE_SIZE, FIGURE_SIZE), background)
        self._draw = ImageDraw.Draw(self.image)
        self.texts: dict[tuple[int, int], str] = {}  # (column, row) -> what is written there

    def text(self, column: int, row: int, text: str | int, color: tuple[int, int, int] = (0, 0, 0)) -> None:
        """Write at most two characters, centred in the cell (`column`, `row`)."""
        assert 0 <= column < GRID and 0 <= row < GRID, f"({column}, {row}) is not a cell"
        self.texts[column, row] = str(text)
        mask = _glyphs(str(text))
        assert mask.width <= CELL and mask.height <= CELL, f"{text!r} does not fit a cell"
        x = column * CELL + (CELL - mask.width) // 2
        y = row * CELL + (CELL - mask.height) // 2
        self.image.paste(color, (x, y), mask)

    def line(self, points: list[tuple[float, float]], color: tuple[int, int, int], width: int = 2) -> None:
        """Draw a polyline through `points`."""
        self._draw.line([(x * CELL, y * CELL) for x, y in points], fill=color, width=width)

    def polygon(self, points: list[tuple[float, float]], fill: tuple[int, int, int], outline: tuple[int, int, int]):
        """Draw a filled polygon with a two-pixel outline."""
        self._draw.polygon([(x * CELL, y * CELL) for x, y in points], fill=fill)
        self.line([*points, points[0]], outline)

    def dot(self, x: float, y: float, color: tuple[int, int, int], radius: float = 0.25) -> None:
        """Draw a disc of `radius` cells."""
        self._draw.ellipse(_box(x, y, radius), fill=color)

    def circle(self, x: float, y: float, radius: float, color: tuple[int, int, int]) -> None:
        """Draw a circle's outline."""
        self._draw.ellipse(_box(x, y, radius), outline=color, width=2)

    def hand(self, x: float, y: float, turn: float, length: float, color: tuple[int, int, int], width: int) -> None:
        """Draw a clock hand from (x, y); `turn` in [0, 1) is clockwise from twelve o'clock."""
        angle = 2 * math.pi * turn
        self.line([(x, y), (x + length * math.sin(angle), y - length * math.cos(angle))], color, width)
