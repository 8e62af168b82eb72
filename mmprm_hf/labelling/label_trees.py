"""Search trees <-> dataset rows: one row per tree, so that trees are published beside the rows made from them.

Nested data is stored as lists of structs, free-form dicts (configuration, engine) as JSON texts. A row turns back into
an equal tree. ``datasets`` is imported only by `tree_features`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..data import SearchTree

if TYPE_CHECKING:
    import datasets


def tree_features(*, rollouts: bool = True) -> datasets.Features:
    """Return the `datasets.Features` of `tree_to_row`'s rows, with or without the `rollouts` column.

    Example:
        >>> tree_features()["nodes"].feature["parent"].dtype
        'int32'
    """
    from datasets import Features, List, Value

    text, number = Value("string"), Value("int32")
    node = {
        "id": text,
        "parent": number,
        "steps": List(text),
        "num_correct": number,
        "num_decided": number,
        "num_visits": number,
        "judge_verdict": text,
    }
    rollout = {
        "node": number,
        "steps": List(text),
        "answer": text,
        "complete": Value("bool"),
        "finish_reason": text,
        "num_tokens": number,
        "num_prompt_tokens": number,
        "verdict": text,
        "text": text,
        "fault": text,
    }
    return Features(
        {
            "problem_id": text,
            "problem_key": text,
            "tree_id": text,
            "schema_version": number,
            "config": text,
            "engine": text,
            "nodes": List(node),
            "num_rollouts": number,
            "num_undecided": number,
            "num_incomplete": number,
            **({"rollouts": List(rollout)} if rollouts else {}),
        }
    )


def tree_to_row(tree: SearchTree, *, rollouts: bool = True) -> dict[str, Any]:
    """Return a tree as a flat row: the root's parent is -1, `config` and `engine` are JSON texts.

    Args:
        tree: A search tree.
        rollouts: Keep the rollouts, which are most of a tree's size (`node` is the index of the node each was drawn
            from). Their counts are kept either way.
    """
    row: dict[str, Any] = {
        "problem_id": tree.problem_id,
        "problem_key": tree.problem_key,
        "tree_id": tree.id,
        "schema_version": tree.schema_version,
        "config": json.dumps(tree.config, ensure_ascii=False),
        "engine": json.dumps(tree.engine, ensure_ascii=False),
        "nodes": [{**node.to_dict(), "parent": -1 if node.parent is None else node.parent} for node in tree.nodes],
        "num_rollouts": tree.num_rollouts,
        "num_undecided": tree.num_undecided,
        "num_incomplete": tree.num_incomplete,
    }
    if rollouts:
        row["rollouts"] = [{"node": index, "fault": "", **rollout.to_dict()} for index, rollout in tree.rollouts]
    return row


def tree_from_row(row: Mapping[str, Any]) -> SearchTree:
    """Return the tree of a row, without rollouts if the row has none (its id is the same).

    Raises:
        ValueError: if the row was written under another schema version, or its `tree_id` belongs to another tree.
    """
    rollouts = row.get("rollouts") or []
    tree = SearchTree.from_dict(
        {
            "problem_id": row["problem_id"],
            "problem_key": row["problem_key"],
            "nodes": [{**node, "parent": None if node["parent"] < 0 else node["parent"]} for node in row["nodes"]],
            "rollouts": [
                (drawn["node"], {"fault": "", **{k: v for k, v in drawn.items() if k != "node"}}) for drawn in rollouts
            ],
            "config": json.loads(row["config"]),
            "engine": json.loads(row["engine"]),
            "num_undecided": row["num_undecided"],
            "num_incomplete": row["num_incomplete"],
            "schema_version": row["schema_version"],
        }
    )
    if tree.id != row["tree_id"]:
        raise ValueError(
            f"Found tree_id {row['tree_id']!r}, but the row's problem, configuration and nodes make {tree.id!r}. The "
            "row was changed after it was written; write the dataset again."
        )
    return tree
