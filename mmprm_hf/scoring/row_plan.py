"""How the solutions of several problems are laid out as common prefixes and rows behind them, at the least cost.

Pure bookkeeping on token ids. Costs are counted in tokens: the projections of a token cost 1, a pair of query and key
`pair_cost`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from .packing import PackedTree, pack_prefix_tree

# Another forward costs about as much as this many more tokens (the nano PRM on two CPU cores).
FORWARD_TOKENS = 256

Row = Sequence[int]


@dataclasses.dataclass(frozen=True)
class RowPlan:
    """Problems laid out as common prefixes and the rows behind them.

    Args:
        lengths: Prefix length of each problem.
        subtrees: ``(problem, indices of its solutions, their tree behind the prefix)``, small trees first.
        chunks: Ranges of `subtrees` that share a forward.
    """

    lengths: list[int]
    subtrees: list[tuple[int, list[int], PackedTree]]
    chunks: list[tuple[int, int]]

    def packed_width(self) -> int:
        """Return the tokens of the problem that makes the longest packed row."""
        widths = list(self.lengths)
        for problem, _, tree in self.subtrees:
            widths[problem] += len(tree)
        return max(widths)

    def packed_cost(self, pair_cost: float) -> float:
        """Return the cost of one packed row per problem, padded to the longest."""
        return len(self.lengths) * row_cost(self.packed_width(), 0, pair_cost)

    def shared_cost(self, pair_cost: float) -> float:
        """Return the cost of the prefixes and of the rows behind them, padded within their forwards."""
        width = max(self.lengths)
        cost = len(self.lengths) * row_cost(width, 0, pair_cost)
        for start, stop in self.chunks:
            longest = len(self.subtrees[stop - 1][2])
            cost += (stop - start) * row_cost(longest, width, pair_cost) + FORWARD_TOKENS
        return cost


def row_cost(num_tokens: int, num_before: int, pair_cost: float) -> float:
    """Return the cost of a row of tokens behind a prefix; masked pairs are computed too."""
    return num_tokens * (1 + (num_before + num_tokens) * pair_cost)


def shared_length(rows: Sequence[Row]) -> int:
    """Return how many tokens all rows begin with: all of a single row, else without the last one of the shortest."""
    if len(rows) == 1:
        return len(rows[0])
    return min(num_common(min(rows), max(rows)), min(map(len, rows)) - 1)


def num_common(first: Row, last: Row) -> int:
    """Return how many tokens two rows begin with; the first and last of sorted rows share what all share."""
    shortest = min(len(first), len(last))
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), shortest)


def num_distinct(rows: Sequence[Row]) -> int:
    """Return the number of tokens in the prefix tree of sorted rows."""
    shared = sum(num_common(a, b) for a, b in zip(rows[:-1], rows[1:], strict=True))
    return sum(map(len, rows)) - shared


def plan_rows(problems: Sequence[Sequence[Row]], pair_cost: float, max_tokens: int, branches: bool) -> RowPlan:
    """Return prefixes, and behind them rows that share what is worth sharing.

    Args:
        problems: Per problem its solutions' token ids (tuples), each distinct.
        pair_cost: Cost of a pair of query and key.
        max_tokens: Most tokens of a forward, each row's prefix included; a single solution may be longer.
        branches: Whether a row may contain several solutions; False gives each its own row.
    """
    lengths = [shared_length(rows) for rows in problems]
    subtrees = []
    for problem, (rows, length) in enumerate(zip(problems, lengths, strict=True)):
        behind = [row[length:] for row in rows if len(rows) > 1]
        groups = [[k] for k in range(len(behind))]
        if branches and behind:
            groups = share_rows(behind, length, pair_cost, max_tokens)
        subtrees += [(problem, members, pack_prefix_tree([behind[k] for k in members])) for members in groups]
    subtrees.sort(key=lambda subtree: len(subtree[2]))
    sizes = [len(tree) for _, _, tree in subtrees]
    return RowPlan(lengths, subtrees, list(_chunks(sizes, max(lengths), max_tokens)))


def share_rows(rows: Sequence[Row], num_before: int, pair_cost: float, max_tokens: int) -> list[list[int]]:
    """Return groups of row indices: rows become one row of the batch if that costs less than its parts alone.

    In one row every token is computed once, but masked attention grows with the square of its length. `rows` are token
    ids behind a prefix of `num_before` tokens, at least one each; the other arguments are those of `plan_rows`.
    """

    def best(members: list[int], depth: int) -> tuple[list[list[int]], float]:
        num_tokens = num_distinct([rows[k] for k in members])
        whole = row_cost(num_tokens, num_before, pair_cost)
        if len(members) == 1:
            return [members], whole
        depth += num_common(rows[members[0]][depth:], rows[members[-1]][depth:])
        parts: dict[int, list[int]] = {}
        for k in members:
            parts.setdefault(rows[k][depth] if depth < len(rows[k]) else -1, []).append(k)
        best_parts = [best(part, depth) for part in parts.values()]
        apart = sum(cost for _, cost in best_parts)
        # Without a common token there is nothing to share, and no tree.
        if depth > 0 and whole <= apart and num_before + num_tokens <= max_tokens:
            return [members], whole
        return [group for groups, _ in best_parts for group in groups], apart

    return best(sorted(range(len(rows)), key=lambda k: rows[k]), 0)[0]


def _chunks(sizes: Sequence[int], width: int, max_tokens: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows (sizes ascending) that fit into the token budget with their prefixes and need little padding."""
    start = waste = 0
    for index, size in enumerate(sizes):
        waste += (index - start) * (size - sizes[max(index - 1, 0)])
        is_full = (index + 1 - start) * (width + size) > max_tokens
        if index > start and (is_full or waste > FORWARD_TOKENS):
            yield start, index
            start, waste = index, 0
    if sizes:
        yield start, len(sizes)
