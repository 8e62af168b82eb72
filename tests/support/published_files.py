"""What published MM-PRM writes to disk from a tree: the nested tree, its rows and its training file."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from mmprm_hf.data import Problem, Rollout, SearchTree, Verdict


def to_published_tree(tree: SearchTree, problem: Problem, image_path: str) -> dict[str, Any]:
    """Return a tree of `search` as the nested dict that published MM-PRM writes to disk."""
    children: dict[int | None, list[int]] = {}
    for index, node in enumerate(tree.nodes):
        children.setdefault(node.parent, []).append(index)
    drawn: dict[int, list[Rollout]] = {}
    for index, rollout in tree.rollouts:
        drawn.setdefault(index, []).append(rollout)

    def solutions(index: int, verdict: Verdict) -> list[list[str]]:
        rollouts = [rollout for rollout in drawn.get(index, ()) if rollout.verdict is verdict]
        distinct = dict.fromkeys((*r.steps, *(() if r.answer is None else (r.answer,))) for r in rollouts)
        return [list(solution) for solution in distinct]

    def nested(index: int) -> dict[str, Any]:
        node = tree.nodes[index]
        return {
            **({} if node.parent is None else {"partial_solution": list(node.steps)}),
            "mc_value": node.mc_estimate or 0.0,
            "visit_count": node.num_visits,
            "correct_rollouts": solutions(index, Verdict.CORRECT),
            "incorrect_rollouts": solutions(index, Verdict.INCORRECT),
            "children": [nested(child) for child in children.get(index, ())],
        }

    head = {"question": problem.question, "answer": problem.answer, "image_path": image_path}
    return {**head, **nested(0), "id": problem.id}


def published_rows(tree: Mapping[str, Any], rng: random.Random) -> list[dict[str, Any]]:
    """Return the rows that the published traversal makes of one published tree.

    Paths end at the first node with an estimate of 0 (negative) or at a leaf (positive); of the positive ones at most
    as many as there are negative ones are kept, chosen by `rng`.
    """
    negative: dict[str, list[float]] = {}
    positive: dict[str, list[float]] = {}

    def walk(node: Mapping[str, Any], process: str, labels: list[float]) -> None:
        if "partial_solution" in node:
            process += "\n\n".join(step.strip() for step in node["partial_solution"]) + "<prm>\n\n"
            labels = [*labels, node["mc_value"]]
        if node["mc_value"] <= 0 or not node["children"]:
            rows = negative if node["mc_value"] <= 0 else positive
            text = process.strip()
            if len(text.split(" ")) > 10:
                rows.setdefault(text, labels)
            return
        for child in node["children"]:
            walk(child, process, labels)

    walk(tree, "", [])
    chosen: Sequence[tuple[str, list[float]]] = list(positive.items())
    if len(positive) >= len(negative):
        chosen = rng.sample(chosen, len(negative))
    head = {name: tree[name] for name in ("question", "answer", "image_path")}
    return [{**head, "process": process, "labels": labels} for process, labels in [*negative.items(), *chosen]]


def published_prm_rows(trees: Sequence[Mapping[str, Any]], rng: random.Random) -> list[dict[str, Any]]:
    """Return the published training file of these trees: problems solved always or never are left out."""
    rows = [row for tree in trees if tree["mc_value"] not in (0, 1) for row in published_rows(tree, rng)]
    return [
        {
            "id": index,
            "image": row["image_path"],
            "conversations": [
                {"from": "human", "value": f"Question: {row['question']}\nProcess: {row['process']}"},
                {"from": "gpt", "value": row["labels"]},
            ],
        }
        for index, row in enumerate(rows)
    ]
