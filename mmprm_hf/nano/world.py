"""The nano world: procedural K12 problems with rendered figures, exact answers and an exact step checker.

The same seed gives the same problems and the same pixels. A problem's content (family, question, everything its figure
shows except style) decides by hash to which split it belongs. So no test problem occurs in training data, however many
problems are drawn.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import operator
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from PIL import Image

from ..data import Problem, content_hash
from ..errors import UnknownNameError
from ..rows import problem_features, problem_to_row
from .blueprint import Blueprint
from .drawing import FIGURE_SIZE
from .families import FAMILIES
from .solver import Noise, StepTruth, check_step, step_text, true_facts, write_solution

if TYPE_CHECKING:
    from datasets import Dataset

Split = Literal["train", "test"]
SPLIT_SIZES = {"train": 10_000, "test": 500}
_MAX_PROBLEMS = 20_000
_TEST_SHARE = 16  # one content in 16 belongs to the test split


@dataclasses.dataclass(frozen=True)
class NanoProblem:
    """One problem of the nano world; everything about it follows from `family` and `seed`.

    Example:
        >>> problem = make_problem("bar_chart", 7)
        >>> set(problem.check(problem.solve())) == {StepTruth.RIGHT}
        True
    """

    family: str
    seed: int

    @functools.cached_property
    def blueprint(self) -> Blueprint:
        """The problem's facts, plans and drawing."""
        return FAMILIES[self.family](random.Random(f"{self.family}/{self.seed}"))

    @functools.cached_property
    def facts(self) -> dict[str, int]:
        """All true values by name."""
        return true_facts(self.blueprint)

    @functools.cached_property
    def content_id(self) -> str:
        """Hash of what is asked and shown (style excluded): equal for problems that differ only in style."""
        blueprint = self.blueprint
        return content_hash(
            self.family, self.facts, [step.name for step in blueprint.plan], blueprint.distractors, blueprint.layout
        )

    @property
    def id(self) -> str:
        """The id, from which `problem_from_id` rebuilds the problem."""
        return f"nano-{self.family}-{self.seed}"

    @property
    def split(self) -> Split:
        """The split that the content belongs to."""
        return "test" if int(self.content_id, 16) % _TEST_SHARE == 0 else "train"

    @property
    def question(self) -> str:
        """The question; the numbers that it needs stand only in the figure."""
        return self.blueprint.question

    @property
    def answer(self) -> str:
        """The exact answer."""
        return str(self.facts[self.blueprint.plan[-1].name])

    def figure(self) -> Image.Image:
        """Return the figure, 144 x 144 RGB; a new image each call."""
        return self.blueprint.draw(random.Random(f"style/{self.family}/{self.seed}")).image

    def solve(self, rng: random.Random | None = None, noise: Noise | None = None) -> tuple[str, ...]:
        """Return the steps of one solution; the right one where `noise` is None."""
        pieces = write_solution(self.blueprint, self.facts, rng or random.Random(0), noise)
        return tuple(step_text(step) for step in pieces)

    def check(self, steps: Sequence[str]) -> tuple[StepTruth, ...]:
        """Return the exact truth of every step, each judged by itself."""
        return tuple(check_step(step, self.facts) for step in steps)

    def check_prefixes(self, steps: Sequence[str]) -> tuple[bool, ...]:
        """Return for every step whether it and all steps before it are right, which Monte Carlo labels estimate."""
        is_right = (truth is StepTruth.RIGHT for truth in self.check(steps))
        return tuple(itertools.accumulate(is_right, operator.and_))

    def to_problem(self) -> Problem:
        """Return the problem as the rest of the package sees it."""
        meta = {"subject": self.family, "source": "nano", "license": "Apache-2.0", "split_group": self.content_id}
        return Problem(
            id=self.id, question=self.question, images=(self.figure(),), answer=self.answer, meta={**meta, "grade": 6}
        )


def make_problem(family: str, seed: int) -> NanoProblem:
    """Return the nano problem of a family and a seed.

    Raises:
        UnknownNameError: if there is no such family.
    """
    if family not in FAMILIES:
        raise UnknownNameError("nano family", family, FAMILIES)
    return NanoProblem(family, seed)


def problem_from_id(problem_id: str) -> NanoProblem:
    """Return the nano problem that has this id, such as "nano-clock-123"."""
    parts = problem_id.split("-")
    if len(parts) != 3 or parts[0] != "nano" or not parts[2].isdigit():
        raise ValueError(f"{problem_id!r} is not a nano problem's id. It is nano-FAMILY-SEED, such as nano-clock-123.")
    return make_problem(parts[1], int(parts[2]))


def stream(split: Split, seed: int = 0) -> Iterator[NanoProblem]:
    """Yield nano problems of one split without end, families evenly mixed; contents may recur late in the stream."""
    rng = random.Random(f"stream/{split}/{seed}")
    families = list(FAMILIES)
    while True:
        problem = make_problem(rng.choice(families), rng.getrandbits(40))
        if problem.split == split:
            yield problem


def nano_problems(split: Split, num_problems: int | None = None, seed: int = 0) -> list[NanoProblem]:
    """Return the first problems of distinct content of a split.

    Args:
        split: "train" or "test".
        num_problems: 1 to 20,000 (contents run out in the smaller families); None takes 10,000 of train, 500 of test.
        seed: Seed of the stream of problems.

    Raises:
        UnknownNameError: for another split.
        ValueError: for another number.
    """
    if split not in SPLIT_SIZES:
        raise UnknownNameError("split", split, SPLIT_SIZES, " of the nano world")
    count = SPLIT_SIZES[split] if num_problems is None else num_problems
    if not 1 <= count <= _MAX_PROBLEMS:
        raise ValueError(f"Found num_problems={count}; ask for 1 to {_MAX_PROBLEMS:,} problems of a split.")
    by_content: dict[str, NanoProblem] = {}
    for problem in stream(split, seed):
        by_content.setdefault(problem.content_id, problem)
        if len(by_content) == count:
            break
    return list(by_content.values())


class NanoProblems(Sequence[Problem]):
    """The first problems of a split as the rest of the package sees them, each drawn when it is asked for.

    Args:
        num_problems, split: As in `problems`.

    Attributes:
        ids: The problems' ids.
    """

    def __init__(self, num_problems: int | None = None, split: str = "train") -> None:
        self._problems = nano_problems(split, num_problems)
        self.ids = [problem.id for problem in self._problems]

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:
        return self._problems[index].to_problem()


def load_nano(split: Split, num_problems: int | None = None) -> Dataset:
    """Return nano problems as a dataset in MM-K12's schema.

    Columns: ``id, images (list of Image), question, options, answer, answer_type, subject, grade, source, license,
    split_group``.
    """
    import datasets

    rows = [problem_to_row(problem) for problem in NanoProblems(num_problems, split)]
    return datasets.Dataset.from_list(rows, features=problem_features())


def foreign_problem_note(figures: Sequence[Image.Image], output: str) -> str | None:
    """Return a warning where the shipped models are shown a problem of another world, as its figures' sizes tell.

    Args:
        figures: The problem's figures, loaded.
        output: What the warning is about: "scores", or "answers and scores".
    """
    if figures and all(set(figure.size) == {FIGURE_SIZE} for figure in figures):
        return None
    return (
        f"The shipped nano models know only the nano world's figures ({FIGURE_SIZE} x {FIGURE_SIZE}, see `mmprm "
        f"data`). For any other problem their {output} mean nothing: give models of your own."
    )
