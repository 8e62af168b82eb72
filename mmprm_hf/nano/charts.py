"""Families of the nano world about scales, charts and tables: bars, ticks, grids, prices, clocks and symbols."""

from __future__ import annotations

import random

from .blueprint import COPY, READ, Blueprint, PlanStep, read_steps, styled_canvas
from .drawing import PALE, PALETTE, Canvas


def bar_chart(rng: random.Random) -> Blueprint:
    """Difference or sum of two of four bars; the other two distract."""
    values = dict(zip("ABCD", rng.sample(range(10, 60), 4), strict=True))
    first, second = rng.sample("ABCD", 2)
    is_sum = rng.random() < 0.5
    if not is_sum and values[first] < values[second]:
        first, second = second, first
    order = "ABCD"

    def draw(style: random.Random) -> Canvas:
        canvas, line, _ = styled_canvas(style)
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
        question,
        values,
        (*read_steps(first, second), last),
        (*read_steps(first), wrong_read, last),
        draw,
        tuple(values[letter] for letter in others),
        tuple(order),
    )


def number_line(rng: random.Random) -> Blueprint:
    """A point some ticks after a known start; the gap is given."""
    values = {"start": rng.randint(0, 60), "gap": rng.randint(2, 9), "ticks": rng.randint(1, 5)}

    def draw(style: random.Random) -> Canvas:
        canvas, line, _ = styled_canvas(style)
        canvas.line([(0.1, 3.5), (5.95, 3.5)], line, 3)
        for tick in range(6):
            canvas.line([(tick + 0.5, 3.2), (tick + 0.5, 3.8)], line)
        canvas.text(0, 4, values["start"])
        canvas.text(1, 1, "+", PALETTE[1])
        canvas.text(2, 1, values["gap"], PALETTE[1])
        canvas.dot(values["ticks"] + 0.5, 2.6, PALETTE[1])
        return canvas

    reads = read_steps("start", "gap", "ticks")
    span = PlanStep("gap*ticks", "*", ("gap", "ticks"))
    miscounted = PlanStep("ticks", "+1", ("ticks",))
    return Blueprint(
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
        canvas, line, _ = styled_canvas(style)
        for index in range(5):
            canvas.line([(index + 0.5, 0.5), (index + 0.5, 4.5)], (190, 190, 190), 1)
            canvas.line([(0.5, index + 0.5), (4.5, index + 0.5)], (190, 190, 190), 1)
        canvas.line([(px + 0.5, py + 0.5), (qx + 0.5, py + 0.5), (qx + 0.5, qy + 0.5)], line, 3)
        canvas.dot(px + 0.5, py + 0.5, PALETTE[0])
        canvas.dot(qx + 0.5, qy + 0.5, PALETTE[1])
        canvas.text(5, 5, values["side"])
        return canvas

    reads = read_steps("across", "up")
    add = PlanStep("across+up", "+", ("across", "up"))
    walk = PlanStep("path", "*", ("across+up", "side"))
    return Blueprint(
        rng.choice(["How long is the path on the grid?", "Find the length of the path."]),
        values,
        (*reads, add, *read_steps("side"), walk),
        (*reads, PlanStep("across+up", "*", ("across", "up")), *read_steps("side"), walk),
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
        canvas, line, fill = styled_canvas(style)
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
        canvas, line, _ = styled_canvas(style)
        canvas.circle(3, 3, 2.7, line)
        for mark in range(12):
            canvas.hand(3, 3, mark / 12, 2.7, line, 1)
        canvas.dot(3, 3, (255, 255, 255), 2.3)
        canvas.hand(3, 3, values["hour"] / 12, 1.3, (0, 0, 0), 6)
        canvas.hand(3, 3, values["minute"] / 60, 2.3, PALETTE[1], 3)
        canvas.text(0, 0, "+")
        canvas.text(0, 5, values["add"])
        return canvas

    hours = (*read_steps("hour"), PlanStep("hour*60", "*", ("hour", 60)))
    end = (
        *read_steps("add"),
        PlanStep("minute+add", "+", ("minute", "add")),
        PlanStep("time", "+", ("hour*60", "minute+add")),
    )
    return Blueprint(
        rng.choice(["How many minutes after 12 is the later time?", "Find the minutes since 12 at the later time."]),
        values,
        (*hours, *read_steps("minute"), *end),
        (*hours, PlanStep("minute", "/5", ("minute",)), *end),
        draw,
    )


def pictogram(rng: random.Random) -> Blueprint:
    """Two rows of symbols and a key that says what one symbol stands for."""
    values = {"A": rng.randint(1, 5), "B": rng.randint(1, 5), "C": rng.randint(1, 5), "key": rng.randint(2, 12)}
    first, second = sorted(rng.sample("ABC", 2))
    (other,) = set("ABC") - {first, second}

    def draw(style: random.Random) -> Canvas:
        canvas, _, _ = styled_canvas(style)
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
    common = (*read_steps(first, second), PlanStep(both, "+", (first, second)))
    return Blueprint(
        f"How many do the rows {first} and {second} show in total?",
        values,
        (*common, *read_steps("key"), PlanStep("total", "*", (both, "key"))),
        (*common, PlanStep("total", COPY, (both,))),
        draw,
        (values[other],),
        tuple("ABC"),
    )
