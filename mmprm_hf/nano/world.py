"""The nano world: procedural K12 problems with rendered figures, exact answers and an exact step checker.

Same seed, same problems, same pixels. A problem's content (family, question, everything its figure shows except style)
decides by hash whether it may appear in the test split, so no test problem can ever occur in training data,
however many problems are drawn.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from PIL import Image

from ..data import Problem, content_hash
from ..rows import problem_features, problem_to_row
from .families import FAMILIES, Blueprint
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
        """Facts, plans and drawing of the problem."""
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
        """Stable id, from which `problem_from_id` rebuilds the problem."""
        return f"nano-{self.family}-{self.seed}"

    @property
    def split(self) -> Split:
        """The split this content belongs to."""
        return "test" if int(self.content_id, 16) % _TEST_SHARE == 0 else "train"

    @property
    def question(self) -> str:
        """The question's text; the numbers needed stand only in the figure."""
        return self.blueprint.question

    @property
    def answer(self) -> str:
        """The exact answer."""
        return str(self.facts[self.blueprint.plan[-1].name])

    def figure(self) -> Image.Image:
        """The figure, 144 x 144 RGB; a new image each call."""
        return self.blueprint.draw(random.Random(f"style/{self.family}/{self.seed}")).image

    def solve(self, rng: random.Random | None = None, noise: Noise | None = None) -> tuple[str, ...]:
        """Steps of one solution, the right one unless `noise` says otherwise."""
        pieces = write_solution(self.blueprint, self.facts, rng or random.Random(0), noise)
        return tuple(step_text(step) for step in pieces)

    def check(self, steps: Sequence[str]) -> tuple[StepTruth, ...]:
        """Exact truth of every step, each judged by itself."""
        return tuple(check_step(step, self.facts) for step in steps)

    def check_prefixes(self, steps: Sequence[str]) -> tuple[bool, ...]:
        """For every step: are it and all steps before it right? This is what a Monte Carlo estimate aims at."""
        verdicts, fine = [], True
        for truth in self.check(steps):
            fine = fine and truth is StepTruth.RIGHT
            verdicts.append(fine)
        return tuple(verdicts)

    def to_problem(self) -> Problem:
        """The problem as the rest of the package sees it."""
        meta = {"subject": self.family, "source": "nano", "license": "Apache-2.0", "split_group": self.content_id}
        return Problem(
            id=self.id, question=self.question, images=(self.figure(),), answer=self.answer, meta={**meta, "grade": 6}
        )


def make_problem(family: str, seed: int) -> NanoProblem:
    """The nano problem of `family` with `seed`.

    Raises:
        ValueError: if there is no such family.
    """
    if family not in FAMILIES:
        raise ValueError(f"Unknown nano family {family!r}; choose one of {', '.join(FAMILIES)}.")
    return NanoProblem(family, seed)


def problem_from_id(problem_id: str) -> NanoProblem:
    """Rebuild a nano problem from its id ("nano-clock-123")."""
    parts = problem_id.split("-")
    if len(parts) != 3 or parts[0] != "nano" or not parts[2].isdigit():
        raise ValueError(f"{problem_id!r} is no nano problem id; expected nano-FAMILY-SEED, such as nano-clock-123.")
    return make_problem(parts[1], int(parts[2]))


def stream(split: Split, seed: int = 0) -> Iterator[NanoProblem]:
    """Endless nano problems of one split, families evenly mixed; contents may recur late in the stream."""
    rng = random.Random(f"stream/{split}/{seed}")
    families = list(FAMILIES)
    while True:
        problem = make_problem(rng.choice(families), rng.getrandbits(40))
        if problem.split == split:
            yield problem


def problems(split: Split, num_problems: int, seed: int = 0) -> list[NanoProblem]:
    """The first `num_problems` problems of distinct content of a split.

    Raises:
        ValueError: unless 1 <= num_problems <= 20,000 (contents run out in the smaller families).
    """
    if not 1 <= num_problems <= _MAX_PROBLEMS:
        raise ValueError(f"Found num_problems={num_problems}; ask for 1 to {_MAX_PROBLEMS:,} problems of a split.")
    seen: set[str] = set()
    chosen: list[NanoProblem] = []
    for problem in stream(split, seed):
        if problem.content_id not in seen:
            seen.add(problem.content_id)
            chosen.append(problem)
            if len(chosen) == num_problems:
                return chosen
    raise AssertionError("the stream never ends")


class NanoProblems(Sequence[Problem]):
    """The first problems of a split as the rest of the package sees them, each drawn when it is asked for.

    Args:
        num_problems: How many; None takes the whole split (10,000 train, 500 test).
        split: "train" or "test".

    Attributes:
        ids: The problems' ids.

    Raises:
        ValueError: for another split.
    """

    def __init__(self, num_problems: int | None = None, split: str = "train") -> None:
        if split not in SPLIT_SIZES:
            raise ValueError(f"Found split={split!r} of the nano world. It has {' and '.join(SPLIT_SIZES)}.")
        self._problems = problems(split, SPLIT_SIZES[split] if num_problems is None else num_problems)
        self.ids = [problem.id for problem in self._problems]

    def __len__(self) -> int:
        return len(self._problems)

    def __getitem__(self, index: int) -> Problem:
        return self._problems[index].to_problem()


def load_nano(split: Split, num_problems: int | None = None, seed: int = 0) -> Dataset:
    """The nano dataset in the shape of MM-K12: 10,000 train and 500 test problems unless `num_problems` says less.

    Columns: ``id, images (list of Image), question, options, answer, answer_type, subject, grade, source, license,
    split_group``.
    """
    import datasets

    count = num_problems if num_problems is not None else {"train": 10_000, "test": 500}[split]
    rows = [problem_to_row(nano.to_problem()) for nano in problems(split, count, seed)]
    return datasets.Dataset.from_list(rows, features=problem_features())
