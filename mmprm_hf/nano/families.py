"""The eleven problem families of the nano world: what they ask, how they are solved, what their figure shows.

A family draws its facts from a random source and returns a `Blueprint`. Facts needed for the answer stand
only in the figure. A plan is a list of `PlanStep`; every solution step it renders is a chain of equalities
("A+B=47+58=105"), which is what makes exact step checking possible. Each family also knows a plan that
people get wrong (`wrong_plan`): forgetting a half, ignoring a key, miscounting ticks.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

from .drawing import PALE, PALETTE, Canvas

READ, COPY = "read", "copy"


@dataclasses.dataclass(frozen=True)
class PlanStep:
    """One step of a plan.

    Args:
        name: What the step states: a fact's name or a sum of names ("A+B").
        op: "read" (one fact from the figure), "copy" (one earlier value), or one of + - * /.
        args: Names of facts or earlier steps, or constants; one for read and copy, else two.
    """

    name: str
    op: str
    args: tuple[str | int, ...]


@dataclasses.dataclass(frozen=True)
class Blueprint:
    """A problem before it is drawn.

    Args:
        family: The maker's name.
        question: Text of the question; states none of the readings.
        readings: What the figure shows, by name. Names with a dot ("A.price") never appear in solutions.
        plan, wrong_plan: The right way to the answer (its last step states it) and a known misconception.
        draw: Draws the figure; style (colours, side of a label) comes from the given random source.
        distractors: Other numbers in the figure, which a misreading may pick up.
        layout: What else makes the figure's content (positions); part of the problem's identity.
    """

    family: str
    question: str
    readings: dict[str, int]
    plan: tuple[PlanStep, ...]
    wrong_plan: tuple[PlanStep, ...]
    draw: Callable[[random.Random], Canvas]
    distractors: tuple[int, ...] = ()
    layout: tuple[int | str, ...] = ()


def _read(*names: str) -> tuple[PlanStep, ...]:
    return tuple(PlanStep(name, READ, (name,)) for name in names)


def _style(rng: random.Random) -> tuple[Canvas, tuple[int, int, int], tuple[int, int, int]]:
    """A fresh canvas, a line colour and a fill."""
    return Canvas(), rng.choice(PALETTE), rng.choice(PALE)


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
        canvas, line, fill = _style(style)
        canvas.polygon(list(corners.values()), fill, line)
        for name, cell in label.items():
            canvas.text(*cell, name)
        for name in (low, high):
            canvas.text(*inside[name], values[name])
        canvas.text(3 if third != "B" else 2, 5, side, (120, 120, 120))
        return canvas

    both = f"{low}+{high}"
    reads = _read(low, high)
    add = PlanStep(both, "+", (low, high))
    return Blueprint(
        "triangle_angle",
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
    places = dict(zip("PQX", slots, strict=True))

    def draw(style: random.Random) -> Canvas:
        canvas, line, _ = _style(style)
        for end in ((0.3, 0.2), (0.3, 5.7), (5.8, 5.7)):
            canvas.line([(0.3, 5.7), end], line, 3)
        canvas.line([(0.3, 5.0), (1.0, 5.0), (1.0, 5.7)], line)
        canvas.line([(0.3, 5.7), (5.6, 2.9)], line)
        canvas.line([(0.3, 5.7), (3.0, 0.3)], line)
        for name, (column, row) in places.items():
            canvas.text(column, row, name, PALETTE[1])
            if name != "X":
                canvas.text(column + 1, row, values[name])
        return canvas

    both = PlanStep("P+Q", "+", ("P", "Q"))
    return Blueprint(
        "right_corner",
        rng.choice(["The corner is a right angle. What is angle X?", "Find angle X in the right corner."]),
        values,
        (*_read("P", "Q"), both, PlanStep("X", "-", (90, "P+Q"))),
        (*_read("P", "Q"), both, PlanStep("X", "-", (180, "P+Q"))),
        draw,
    )


def rectangle(rng: random.Random) -> Blueprint:
    """Perimeter of a rectangle."""
    values = {"width": rng.randint(10, 49), "height": rng.randint(3, 39)}
    diagonal = rng.randint(10, 99)

    def draw(style: random.Random) -> Canvas:
        canvas, line, fill = _style(style)
        canvas.polygon([(1.1, 1.1), (4.9, 1.1), (4.9, 4.9), (1.1, 4.9)], fill, line)
        canvas.line([(1.1, 4.9), (4.9, 1.1)], line, 1)
        canvas.text(style.choice([2, 3]), style.choice([0, 5]), values["width"])
        canvas.text(style.choice([0, 5]), style.choice([2, 3]), values["height"])
        canvas.text(2, 2, diagonal, (120, 120, 120))
        return canvas

    reads = _read("width", "height")
    add = PlanStep("width+height", "+", ("width", "height"))
    return Blueprint(
        "rectangle",
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
        canvas, line, fill = _style(style)
        shift = style.choice([0.0, 0.5, -0.5])
        canvas.polygon([(1.9 + shift, 1.1), (4.1 + shift, 1.1), (5.6, 4.9), (0.4, 4.9)], fill, line)
        canvas.line([(3 + shift, 1.1), (3 + shift, 4.9)], line, 1)
        canvas.text(2, 0, values["top"])
        canvas.text(2, 5, values["bottom"])
        canvas.text(3 if shift < 0.4 else 2, 2, values["height"])
        return canvas

    common = (
        *_read("top", "bottom"),
        PlanStep("top+bottom", "+", ("top", "bottom")),
        *_read("height"),
    )
    twice = PlanStep("twice", "*", ("top+bottom", "height"))
    return Blueprint(
        "trapezoid",
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
        canvas, line, fill = _style(style)
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
        "l_shape",
        rng.choice(["What is the area of the L shape?", "Find the area of the whole shape."]),
        values,
        (*parts, total),
        (*wrong, total),
        draw,
    )


def bar_chart(rng: random.Random) -> Blueprint:
    """Difference or sum of two of four bars; the other two distract."""
    values = dict(zip("ABCD", rng.sample(range(10, 60), 4), strict=True))
    first, second = rng.sample("ABCD", 2)
    is_sum = rng.random() < 0.5
    if not is_sum and values[first] < values[second]:
        first, second = second, first
    order = "ABCD"

    def draw(style: random.Random) -> Canvas:
        canvas, line, _ = _style(style)
        canvas.line([(0.2, 0.2), (0.2, 5.0), (5.9, 5.0)], (60, 60, 60))
        for column, name in enumerate(order, start=1):
            top = 4.9 - 2.7 * values[name] / 60
            canvas.polygon(
                [(column + 0.15, top), (column + 0.85, top), (column + 0.85, 5), (column + 0.15, 5)],
                style.choice(PALE),
                line,
            )
            canvas.text(column, 5, name)
            canvas.text(column, column % 2, values[name])
        return canvas

    operator = "+" if is_sum else "-"
    name = f"{first}{operator}{second}"
    question = f"What is the total of {first} and {second}?" if is_sum else f"How much more is {first} than {second}?"
    others = [letter for letter in "ABCD" if letter not in (first, second)]
    wrong_read = PlanStep(second, READ, (others[0],))
    last = PlanStep(name, operator, (first, second))
    return Blueprint(
        "bar_chart",
        question,
        values,
        (*_read(first, second), last),
        (*_read(first), wrong_read, last),
        draw,
        tuple(values[letter] for letter in others),
        tuple(order),
    )


def number_line(rng: random.Random) -> Blueprint:
    """A point some ticks after a known start; the gap is given."""
    values = {"start": rng.randint(0, 60), "gap": rng.randint(2, 9), "ticks": rng.randint(1, 5)}

    def draw(style: random.Random) -> Canvas:
        canvas, line, _ = _style(style)
        canvas.line([(0.1, 3.5), (5.95, 3.5)], line, 3)
        for tick in range(6):
            canvas.line([(tick + 0.5, 3.2), (tick + 0.5, 3.8)], line)
        canvas.text(0, 4, values["start"])
        canvas.text(1, 1, "+", PALETTE[1])
        canvas.text(2, 1, values["gap"], PALETTE[1])
        canvas.dot(values["ticks"] + 0.5, 2.6, PALETTE[1])
        return canvas

    reads = _read("start", "gap", "ticks")
    span = PlanStep("gap*ticks", "*", ("gap", "ticks"))
    miscounted = PlanStep("ticks", "+1", ("ticks",))
    return Blueprint(
        "number_line",
        rng.choice(["What number is at the point?", "Which number does the dot show?"]),
        values,
        (*reads, span, PlanStep("point", "+", ("start", "gap*ticks"))),
        (*reads[:2], miscounted, span, PlanStep("point", "+", ("start", "gap*ticks"))),
        draw,
    )


def grid_path(rng: random.Random) -> Blueprint:
    """Length of a walk along grid lines from P to Q; every square has the same given side."""
    while True:
        px, py, qx, qy = (rng.randint(0, 4) for _ in range(4))
        if px != qx and py != qy:
            break
    values = {"across": abs(px - qx), "up": abs(py - qy), "side": rng.randint(2, 19)}

    def draw(style: random.Random) -> Canvas:
        canvas, line, _ = _style(style)
        for index in range(5):
            canvas.line([(index + 0.5, 0.5), (index + 0.5, 4.5)], (190, 190, 190), 1)
            canvas.line([(0.5, index + 0.5), (4.5, index + 0.5)], (190, 190, 190), 1)
        canvas.line([(px + 0.5, py + 0.5), (qx + 0.5, py + 0.5), (qx + 0.5, qy + 0.5)], line, 3)
        canvas.dot(px + 0.5, py + 0.5, PALETTE[0])
        canvas.dot(qx + 0.5, qy + 0.5, PALETTE[1])
        canvas.text(5, 5, values["side"])
        return canvas

    reads = _read("across", "up")
    add = PlanStep("across+up", "+", ("across", "up"))
    walk = PlanStep("path", "*", ("across+up", "side"))
    return Blueprint(
        "grid_path",
        rng.choice(["How long is the path on the grid?", "Find the length of the path."]),
        values,
        (*reads, add, *_read("side"), walk),
        (*reads, PlanStep("across+up", "*", ("across", "up")), *_read("side"), walk),
        draw,
        layout=(px, py, qx, qy),
    )


def price_table(rng: random.Random) -> Blueprint:
    """Total cost of two rows of a table of prices and numbers."""
    rows = ["A", "B", "C"]
    values = {f"{row}.{column}": rng.randint(2, 9) for row in rows for column in ("price", "number")}
    first, second = sorted(rng.sample(rows, 2))
    (other,) = set(rows) - {first, second}

    def draw(style: random.Random) -> Canvas:
        canvas, line, fill = _style(style)
        canvas.polygon([(1.0, 1.0), (5.0, 1.0), (5.0, 2.0), (1.0, 2.0)], fill, line)
        for row in range(1, 6):
            canvas.line([(1.0, row), (5.0, row)], line, 1)
        canvas.line([(1.0, 1.0), (1.0, 5.0)], line, 1)
        canvas.line([(5.0, 1.0), (5.0, 5.0)], line, 1)
        canvas.text(2, 1, "$")
        canvas.text(4, 1, "#")
        for row, name in enumerate(rows, start=2):
            canvas.text(1, row, name)
            canvas.text(2, row, values[f"{name}.price"])
            canvas.text(4, row, values[f"{name}.number"])
        return canvas

    def cost(row: str) -> PlanStep:
        return PlanStep(row, "*", (f"{row}.price", f"{row}.number"))

    total = PlanStep("total", "+", (first, second))
    return Blueprint(
        "price_table",
        f"What is the total cost of {first} and {second}?",
        values,
        (cost(first), cost(second), total),
        (cost(first), PlanStep(second, "+", (f"{second}.price", f"{second}.number")), total),
        draw,
        (values[f"{other}.price"], values[f"{other}.number"]),
        tuple(rows),
    )


def clock(rng: random.Random) -> Blueprint:
    """Minutes since twelve at a later time: hour and minute hand, and the minutes to add."""
    values = {"hour": rng.randint(1, 11), "minute": 5 * rng.randint(1, 11), "add": rng.randint(2, 59)}

    def draw(style: random.Random) -> Canvas:
        canvas, line, _ = _style(style)
        canvas.circle(3, 3, 2.7, line)
        for mark in range(12):
            canvas.hand(3, 3, mark / 12, 2.7, line, 1)
        canvas.dot(3, 3, (255, 255, 255), 2.3)
        canvas.hand(3, 3, values["hour"] / 12, 1.3, (0, 0, 0), 6)
        canvas.hand(3, 3, values["minute"] / 60, 2.3, PALETTE[1], 3)
        canvas.text(0, 0, "+")
        canvas.text(0, 5, values["add"])
        return canvas

    hours = (*_read("hour"), PlanStep("hour*60", "*", ("hour", 60)))
    end = (
        *_read("add"),
        PlanStep("minute+add", "+", ("minute", "add")),
        PlanStep("time", "+", ("hour*60", "minute+add")),
    )
    return Blueprint(
        "clock",
        rng.choice(["How many minutes after 12 is the later time?", "Find the minutes since 12 at the later time."]),
        values,
        (*hours, *_read("minute"), *end),
        (*hours, PlanStep("minute", "/5", ("minute",)), *end),
        draw,
    )


def pictogram(rng: random.Random) -> Blueprint:
    """Two rows of symbols and a key that says what one symbol stands for."""
    values = {"A": rng.randint(1, 5), "B": rng.randint(1, 5), "C": rng.randint(1, 5), "key": rng.randint(2, 12)}
    first, second = sorted(rng.sample("ABC", 2))
    (other,) = set("ABC") - {first, second}

    def draw(style: random.Random) -> Canvas:
        canvas, _, _ = _style(style)
        color = style.choice(PALETTE)
        for row, name in enumerate("ABC"):
            canvas.text(0, row + 1, name)
            for column in range(values[name]):
                canvas.dot(column + 1.5, row + 1.5, color, 0.35)
        canvas.dot(1.5, 5.5, color, 0.35)
        canvas.text(2, 5, "=")
        canvas.text(3, 5, values["key"])
        return canvas

    both = f"{first}+{second}"
    common = (*_read(first, second), PlanStep(both, "+", (first, second)))
    return Blueprint(
        "pictogram",
        f"How many do the rows {first} and {second} show in total?",
        values,
        (*common, *_read("key"), PlanStep("total", "*", (both, "key"))),
        (*common, PlanStep("total", COPY, (both,))),
        draw,
        (values[other],),
        tuple("ABC"),
    )


FAMILIES: dict[str, Callable[[random.Random], Blueprint]] = {
    maker.__name__: maker
    for maker in (
        triangle_angle,
        right_corner,
        rectangle,
        trapezoid,
        l_shape,
        bar_chart,
        number_line,
        grid_path,
        price_table,
        clock,
        pictogram,
    )
}
