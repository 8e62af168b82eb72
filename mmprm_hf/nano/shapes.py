"""Families of the nano world about plane figures: angles, perimeters and areas."""

from __future__ import annotations

import random

from .blueprint import Blueprint, PlanStep, read_steps, styled_canvas
from .drawing import PALE, PALETTE, Canvas


def triangle_angle(rng: random.Random) -> Blueprint:
    """Two angles of a triangle are given; the third is asked."""
    first, second, third = rng.sample("ABC", 3)
    low, high = sorted((first, second))
    while True:
        values = {name: rng.randint(20, 95) for name in (low, high)}
        if values[low] + values[high] <= 155:
            break
    side = rng.randint(10, 99)
    corners = {"A": (0.9, 5.1), "B": (5.1, 5.1), "C": (rng.choice([2.0, 3.0, 4.0]), 0.9)}
    label = {"A": (0, 5), "B": (5, 5), "C": (int(corners["C"][0]), 0)}
    inside = {"A": (1, 4), "B": (4, 4), "C": (int(corners["C"][0]), 2)}

    def draw(style: random.Random) -> Canvas:
        canvas, line, fill = styled_canvas(style)
        canvas.polygon(list(corners.values()), fill, line)
        for name, cell in label.items():
            canvas.text(*cell, name)
        for name in (low, high):
            canvas.text(*inside[name], values[name])
        canvas.text(3 if third != "B" else 2, 5, side, (120, 120, 120))
        return canvas

    both = f"{low}+{high}"
    reads = read_steps(low, high)
    add = PlanStep(both, "+", (low, high))
    return Blueprint(
        rng.choice([f"What is angle {third} of the triangle?", f"Find angle {third}."]),
        values,
        (*reads, add, PlanStep(third, "-", (180, both))),
        (*reads, PlanStep(third, "-", (180, high))),
        draw,
        (side,),
    )


def right_corner(rng: random.Random) -> Blueprint:
    """A right angle is cut into three parts; two are given."""
    while True:
        values = {"P": rng.randint(11, 60), "Q": rng.randint(11, 60)}
        if values["P"] + values["Q"] <= 82:
            break
    slots = [(4, 4), (3, 2), (1, 1)]
    rng.shuffle(slots)
    cells = dict(zip("PQX", slots, strict=True))

    def draw(style: random.Random) -> Canvas:
        canvas, line, _ = styled_canvas(style)
        for end in ((0.3, 0.2), (0.3, 5.7), (5.8, 5.7)):
            canvas.line([(0.3, 5.7), end], line, 3)
        canvas.line([(0.3, 5.0), (1.0, 5.0), (1.0, 5.7)], line)
        canvas.line([(0.3, 5.7), (5.6, 2.9)], line)
        canvas.line([(0.3, 5.7), (3.0, 0.3)], line)
        for name, (column, row) in cells.items():
            canvas.text(column, row, name, PALETTE[1])
            if name != "X":
                canvas.text(column + 1, row, values[name])
        return canvas

    both = PlanStep("P+Q", "+", ("P", "Q"))
    return Blueprint(
        rng.choice(["The corner is a right angle. What is angle X?", "Find angle X in the right corner."]),
        values,
        (*read_steps("P", "Q"), both, PlanStep("X", "-", (90, "P+Q"))),
        (*read_steps("P", "Q"), both, PlanStep("X", "-", (180, "P+Q"))),
        draw,
    )


def rectangle(rng: random.Random) -> Blueprint:
    """Perimeter of a rectangle."""
    values = {"width": rng.randint(10, 49), "height": rng.randint(3, 39)}
    diagonal = rng.randint(10, 99)

    def draw(style: random.Random) -> Canvas:
        canvas, line, fill = styled_canvas(style)
        canvas.polygon([(1.1, 1.1), (4.9, 1.1), (4.9, 4.9), (1.1, 4.9)], fill, line)
        canvas.line([(1.1, 4.9), (4.9, 1.1)], line, 1)
        canvas.text(style.choice([2, 3]), style.choice([0, 5]), values["width"])
        canvas.text(style.choice([0, 5]), style.choice([2, 3]), values["height"])
        canvas.text(2, 2, diagonal, (120, 120, 120))
        return canvas

    reads = read_steps("width", "height")
    add = PlanStep("width+height", "+", ("width", "height"))
    return Blueprint(
        rng.choice(["What is the perimeter of the rectangle?", "Find the perimeter of the rectangle."]),
        values,
        (*reads, add, PlanStep("perimeter", "*", (2, "width+height"))),
        (*reads, PlanStep("perimeter", "+", ("width", "height"))),
        draw,
        (diagonal,),
    )


def trapezoid(rng: random.Random) -> Blueprint:
    """Area of a trapezoid from its parallel sides and height."""
    while True:
        values = {"top": rng.randint(3, 12), "bottom": rng.randint(3, 15), "height": rng.randint(2, 9)}
        if (values["top"] + values["bottom"]) * values["height"] % 2 == 0:
            break

    def draw(style: random.Random) -> Canvas:
        canvas, line, fill = styled_canvas(style)
        shift = style.choice([0.0, 0.5, -0.5])
        canvas.polygon([(1.9 + shift, 1.1), (4.1 + shift, 1.1), (5.6, 4.9), (0.4, 4.9)], fill, line)
        canvas.line([(3 + shift, 1.1), (3 + shift, 4.9)], line, 1)
        canvas.text(2, 0, values["top"])
        canvas.text(2, 5, values["bottom"])
        canvas.text(3 if shift < 0.4 else 2, 2, values["height"])
        return canvas

    common = (
        *read_steps("top", "bottom"),
        PlanStep("top+bottom", "+", ("top", "bottom")),
        *read_steps("height"),
    )
    twice = PlanStep("twice", "*", ("top+bottom", "height"))
    return Blueprint(
        rng.choice(["What is the area of the trapezoid?", "Find the area of the trapezoid."]),
        values,
        (*common, twice, PlanStep("area", "/", ("twice", 2))),
        (*common, PlanStep("area", "*", ("top+bottom", "height"))),
        draw,
    )


def l_shape(rng: random.Random) -> Blueprint:
    """Area of an L: two rectangles side by side, four lengths."""
    values = {name: rng.randint(2, 9) for name in ("left.width", "left.height", "right.width", "right.height")}

    def draw(style: random.Random) -> Canvas:
        canvas, line, fill = styled_canvas(style)
        canvas.polygon([(1.1, 0.2), (3, 0.2), (3, 4.9), (1.1, 4.9)], fill, line)
        canvas.polygon([(3, 2.2), (5.7, 2.2), (5.7, 4.9), (3, 4.9)], style.choice(PALE), line)
        canvas.text(2, 5, values["left.width"])
        canvas.text(0, 2, values["left.height"])
        canvas.text(4, 5, values["right.width"])
        canvas.text(5, 3, values["right.height"])
        return canvas

    parts = (
        PlanStep("left", "*", ("left.width", "left.height")),
        PlanStep("right", "*", ("right.width", "right.height")),
    )
    wrong = (parts[0], PlanStep("right", "*", ("right.width", "left.height")))
    total = PlanStep("area", "+", ("left", "right"))
    return Blueprint(
        rng.choice(["What is the area of the L shape?", "Find the area of the whole shape."]),
        values,
        (*parts, total),
        (*wrong, total),
        draw,
    )
