"""The problems behind trees: found by id, told by content, read only when a tree asks for one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from ..data import Problem, SearchTree
from ..rows import problem_key


class LabelledProblems:
    """Problems by id. Of a lazy sequence no more than one is held at a time.

    Args:
        problems: Problems; a sequence is read again and again, anything else is listed.

    Raises:
        ValueError: if an id appears twice.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._problems = problems if isinstance(problems, Sequence) else list(problems)
        self._index: dict[str, int] = {}
        for index, problem in enumerate(self._problems):
            if self._index.setdefault(problem.id, index) != index:
                raise ValueError(f"Problem id {problem.id!r} appears twice. Trees name their problem by id.")
        self._keys: dict[str, str | None] = {}

    def __len__(self) -> int:
        return len(self._index)

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._problems)

    def has(self, tree: SearchTree) -> bool:
        """True if the tree's problem is here, with the content that the tree was made from."""
        return tree.problem_id in self._index and self._is_same(tree)

    def of(self, tree: SearchTree) -> Problem:
        """The problem of a tree.

        Raises:
            ValueError: if it is not here, or its content (question, figures, gold answer, options) is another by now.
        """
        if tree.problem_id not in self._index:
            raise ValueError(
                f"Tree {tree.id} belongs to problem {tree.problem_id!r}, which is not among the {len(self)} "
                "problems given. Pass the problems that were labelled."
            )
        if not self._is_same(tree):
            raise ValueError(
                f"Tree {tree.id} was made from another problem {tree.problem_id!r} than the one given: question, "
                "figures, gold answer or options differ. Label the problem again, or pass the problems that were "
                "labelled."
            )
        return self._problems[self._index[tree.problem_id]]

    def problem(self, problem_id: str) -> Problem:
        """The problem with an id that is here."""
        return self._problems[self._index[problem_id]]

    def groups(self, trees: Iterable[SearchTree]) -> Iterator[tuple[Problem, list[SearchTree]]]:
        """Each problem with its trees, in the order of the trees.

        Raises:
            ValueError: if the trees of a problem do not follow one another, or as `of`.
        """
        seen: set[str] = set()
        for problem_id, found in itertools.groupby(trees, key=lambda tree: tree.problem_id):
            group = list(found)
            if problem_id in seen:
                raise ValueError(
                    f"The trees of problem {problem_id!r} do not follow one another. Their labels are joined, so sort "
                    "the trees by problem first."
                )
            seen.add(problem_id)
            problems = [self.of(tree) for tree in group]
            yield problems[0], group

    def _is_same(self, tree: SearchTree) -> bool:
        if not tree.problem_key:  # a tree that no driver wrote
            return True
        if tree.problem_id not in self._keys:
            try:
                key = problem_key(self._problems[self._index[tree.problem_id]])
            except ValueError:  # its figure cannot be read: not the one that was labelled
                key = None
            self._keys[tree.problem_id] = key
        return self._keys[tree.problem_id] == tree.problem_key


def by_problem(trees: Iterable[SearchTree]) -> list[SearchTree]:
    """The trees such that those of one problem follow one another, problems in the order of their first trees."""
    groups: dict[str, list[SearchTree]] = {}
    for tree in trees:
        groups.setdefault(tree.problem_id, []).append(tree)
    return [tree for group in groups.values() for tree in group]
