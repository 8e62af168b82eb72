"""The eleven problem families of the nano world by name. Their number and order decide which problems a seed draws."""

from __future__ import annotations

import random
from collections.abc import Callable

from . import charts, shapes
from .blueprint import Blueprint

FAMILIES: dict[str, Callable[[random.Random], Blueprint]] = {
    family.__name__: family
    for family in (
        shapes.triangle_angle,
        shapes.right_corner,
        shapes.rectangle,
        shapes.trapezoid,
        shapes.l_shape,
        charts.bar_chart,
        charts.number_line,
        charts.grid_path,
        charts.price_table,
        charts.clock,
        charts.pictogram,
    )
}
"""Each draws a problem's facts from a random source. Facts that the answer needs stand only in the figure."""
