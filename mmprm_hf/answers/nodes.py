"""Trees of formulas, and what can be asked of them without computing. Standard library only."""

from __future__ import annotations

Node = tuple
"""``("num", Fraction)``, ``("name", str)``, ``("sum" | "product", *nodes)``, ``("call", function, *arguments)``, ..."""


def names_in(node: Node) -> set[str]:
    """Return the names of a tree, those of functions not among them."""
    if node[0] == "name":
        return {node[1]}
    return set().union(*(names_in(part) for part in node[1:] if isinstance(part, tuple))) if len(node) > 1 else set()


def substitute(node: Node, name: str, value: Node) -> Node:
    """Return a tree with a formula in the place of a name."""
    if node == ("name", name):
        return value
    return tuple(substitute(part, name, value) if isinstance(part, tuple) else part for part in node)


def is_ambiguous_size(node: Node) -> bool:
    """Return whether a tree has ``|A|`` of capital letters, which may be the size of a number, set or matrix."""
    if node[0] == "call" and node[1] == "abs":
        names = names_in(node)
        return bool(names) and all(name[0].isupper() for name in names)
    return any(is_ambiguous_size(part) for part in node[1:] if isinstance(part, tuple))


def kinds_in(node: Node) -> set[str]:
    """Return the kinds of all nodes of a tree, the functions that it calls and the sizes of its matrices."""
    called = {node[1]} if node[0] == "call" else {node[1:3]} if node[0] == "matrix" else set()
    return {node[0]}.union(called, *(kinds_in(part) for part in node[1:] if isinstance(part, tuple)))
