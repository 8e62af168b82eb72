"""The problems behind trees: looked up by id, compared by content, read only when a tree needs one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from ..data import Problem, SearchTree
from ..rows import problem_key


class LabelledProblems:
    """Problems by id. Only one problem of a lazy sequence is in memory at a time.

    Args:
        problems: Problems; a sequence is read as often as needed, anything else is turned into a list.

    Raises:
        ValueError: if an id appears twice.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self._problems = problems if isinstance(problems, Sequence) else list(problems)
        self._indices: dict[str, int] = {}
        for index, problem in enumerate(self._problems):
            if self._indices.setdefault(problem.id, index) != index:
                raise ValueError(f"Problem id {problem.id!r} appears twice. Trees name their problem by its id.")
        self._keys: dict[str, str | None] = {}

    def has(self, tree: SearchTree) -> bool:
        """Return whether the tree's problem is here, with the content that the tree was made from."""
        return tree.problem_id in self._indices and self._is_same(tree)

    def problem(self, problem_id: str) -> Problem:
        """Return the problem with this id."""
        return self._problems[self._indices[problem_id]]

    def groups(self, trees: Iterable[SearchTree]) -> Iterator[tuple[Problem, list[SearchTree]]]:
        """Yield each problem with its trees, in the order of the trees.

        Raises:
            ValueError: if the trees of a problem do not follow one another, or if a tree's problem is not here or has
                another content (question, figures, gold answer, options) than the tree was made from.
        """
        seen: set[str] = set()
        for problem_id, group in itertools.groupby(trees, key=lambda tree: tree.problem_id):
            if problem_id in seen:
                raise ValueError(
                    f"The trees of problem {problem_id!r} do not follow one another. Their labels are joined, so sort "
                    "the trees by problem first."
                )
            seen.add(problem_id)
            group_trees = list(group)
            for tree in group_trees:
                self._check(tree)
            yield self.problem(problem_id), group_trees

    def _check(self, tree: SearchTree) -> None:
        if tree.problem_id not in self._indices:
            raise ValueError(
                f"Tree {tree.id} belongs to problem {tree.problem_id!r}, which is not among the {len(self._indices)} "
                "problems given. Pass the problems that were labelled."
            )
        if not self._is_same(tree):
            raise ValueError(
                f"Tree {tree.id} was made from another problem {tree.problem_id!r} than the one given: question, "
                "figures, gold answer or options differ. Label the problem again, or pass the problems that were "
                "labelled."
            )

    def _is_same(self, tree: SearchTree) -> bool:
        if not tree.problem_key:  # the driver did not write this tree
            return True
        if tree.problem_id not in self._keys:
            try:
                key = problem_key(self.problem(tree.problem_id))
            except ValueError:  # its figure cannot be read: it is not the problem that was labelled
                key = None
            self._keys[tree.problem_id] = key
        return self._keys[tree.problem_id] == tree.problem_key
