"""Solving with policy and PRM: one problem for the terminal, or a file or dataset of them into a folder of candidates.

A folder is resumed: a problem that is in its ``candidates.jsonl`` is not solved again. No problem is left out in
silence: each has a row with its outcome, also one that could not be shown to the models.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
from tqdm.auto import tqdm
from transformers import pipeline

from ..answers import RuleVerifier
from ..data import Candidate, Verdict
from ..evaluation.evaluators import best_of_n_report
from ..files import append_line, drop_torn_line, iter_jsonl, read_jsonl, write_json
from ..models.images_mm_prm import load_image
from ..nano import POLICY_PATH, PRM_PATH
from ..nano.drawing import SIZE
from ..nano.world import problems as nano_problems
from ..publish.solution_html import group_candidates
from .options import Servers

FOREIGN_FIGURE_NOTE = (
    "the shipped nano policy knows only the nano world's figures (144 x 144, see `mmprm data`); "
    "for any other figure its answer means nothing. Give --policy and --prm for real problems."
)
OUTCOMES: dict[str, str] = {
    "answered": "a complete solution was chosen",
    "no_complete_candidate": "all solutions were cut or malformed",
    "not_shown": "the problem cannot be shown to the models",
}
"""What can become of a problem."""


def open_pipeline(policy: str | None, prm: str | None, servers: Servers = Servers()) -> Any:  # noqa: B008 (frozen)
    """``pipeline("generate-and-rerank")`` by paths, hub ids or the server's URL; None takes the shipped nano models."""
    prm = str(prm or PRM_PATH)
    if servers.engine is not None:
        return pipeline(
            "generate-and-rerank", model=servers.engine, prm=prm, served_model=policy, api_key=servers.api_key
        )
    return pipeline("generate-and-rerank", model=str(policy or POLICY_PATH), prm=prm)


def judged_row(candidate: Candidate | Mapping[str, Any], gold: str | None) -> dict[str, Any]:
    """The candidate as a dict with its verdict; an incomplete one has no answer to judge and is wrong as an answer."""
    row = candidate.to_dict() if isinstance(candidate, Candidate) else dict(candidate)
    answer = row["answer"] if row["complete"] else None
    verdict = RuleVerifier().verify(answer, gold) if answer is not None else Verdict.INCORRECT
    return {**row, "verdict": str(verdict)}


def rerank_one(
    images: Sequence[str],
    question: str,
    *,
    policy: str | None,
    prm: str | None,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    options: dict[str, Any],
) -> dict[str, Any]:
    """One problem through ``pipeline("generate-and-rerank")``.

    Args:
        images: Paths or URLs of the figures.
        question: The question.
        policy, prm: Paths or hub ids; None takes the shipped nano models.
        servers: With `engine`, the policy runs there, and `policy` is its name.
        options: Options of the pipeline's call.

    Returns:
        The pipeline's output with all candidates, and under ``note`` a warning where the shipped nano models were asked
        about a figure of another kind than they know: then the answer means nothing.
    """
    rerank = open_pipeline(policy, prm, servers)
    result = rerank(images=list(images), text=question, return_candidates=True, **options)
    is_shipped = servers.engine is None and (policy is None or Path(policy).resolve() == POLICY_PATH.resolve())
    looks_nano = bool(images) and all(Path(path).is_file() and load_image(path).size == (SIZE, SIZE) for path in images)
    note = FOREIGN_FIGURE_NOTE if is_shipped and not looks_nano else None
    return {**result, "note": note}


def rerank_problems(
    data: str | None,
    output: Path,
    *,
    policy: str | None,
    prm: str | None,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    split: str = "test",
    num_problems: int | None = None,
    options: Mapping[str, Any],
    batch_size: int = 8,
    progress: bool = True,
) -> dict[str, Any]:
    """Solve the problems of a file or dataset into ``output/candidates.jsonl`` and ``output/summary.json``.

    Args:
        data: A ``.jsonl`` file (``id``, ``question``, ``images``: paths beside the file, ``answer``), or a dataset
            folder or hub id in MM-K12's schema; None for the nano world's test problems.
        output: The folder; problems in it are not solved again, and must have been solved with the same options.
        policy, prm, servers: As in `rerank_one`.
        split: Of a dataset.
        num_problems: The first so many; None takes all.
        options: Options of the pipeline.
        batch_size: Problems that are solved together.
        progress: Show a bar.

    Returns:
        ``{"num_problems", "outcomes": counts by `OUTCOMES`, "errors": counts by reason, "verdicts": counts of the
        chosen answers', where gold answers are known, "seconds", "num_tokens", "best_of_n": see
        `evaluation.best_of_n_report`, None without gold}``.

    Raises:
        ValueError: if the folder was made with other options.
    """
    settings = {"data": data, "split": split, "policy": policy, "prm": prm, "engine": servers.engine, **options}
    _check_same_settings(output / "config.json", settings)
    path = output / "candidates.jsonl"
    drop_torn_line(path)
    known = {row["problem_id"] for row in iter_jsonl(path)}
    rows = (row for row in islice(problem_rows(data, split), num_problems) if row["id"] not in known)
    rerank = open_pipeline(policy, prm, servers)
    with tqdm(desc="solving", unit="problem", initial=len(known), disable=not progress) as bar:
        while chunk := list(islice(rows, batch_size)):
            shown = [{"text": row["question"], "images": row["images"]} for row in chunk]
            results = rerank(shown, batch_size=batch_size, on_error="return", return_candidates=True, **options)
            append_line(path, *(_solved_row(row, result) for row, result in zip(chunk, results, strict=True)))
            bar.update(len(chunk))
    summary = _summary(read_jsonl(path), options)
    write_json(output / "summary.json", summary)
    return summary


def _check_same_settings(path: Path, settings: dict[str, Any]) -> None:
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name))
        if changed:
            raise ValueError(
                f"{path.parent} was begun with other settings ({', '.join(changed)}). Its rows would not belong "
                "together; choose another output folder, or the same settings."
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def problem_rows(data: str | None, split: str) -> Iterator[dict[str, Any]]:
    """Rows ``{"id", "question", "images", "answer"}`` of a source of `rerank_problems`, one at a time.

    Options of a choice problem that its question does not show are written below it, one a line, with letters.
    """
    if data is None:
        for nano in nano_problems("test", 500):
            problem = nano.to_problem()
            row = {"id": problem.id, "question": problem.question, "images": problem.images, "answer": problem.answer}
            yield row
        return
    path = Path(data)
    is_file = path.suffix in (".jsonl", ".json")
    rows = iter_jsonl(path) if is_file else datasets.load_dataset(data, split=split)
    for index, row in enumerate(rows):
        images = row.get("images") if row.get("images") is not None else row.get("image")
        images = [] if images is None else list(images) if isinstance(images, (list, tuple)) else [images]
        if is_file:
            images = [_beside(path, image) for image in images]
        question = with_options(row.get("question") or row.get("text") or "", row.get("options") or ())
        yield {"id": str(row.get("id", index)), "question": question, "images": images, "answer": row.get("answer")}


def _beside(path: Path, image: Any) -> Any:
    """A path as seen from the file that names it; addresses and figures themselves as they are."""
    is_path = isinstance(image, str) and not image.startswith(("http://", "https://", "data:"))
    return str(path.parent / image) if is_path else image


def with_options(question: str, options: Sequence[str]) -> str:
    """The question with its options below; options that are nothing but their letters add nothing."""
    letters = [chr(ord("A") + index) for index in range(len(options))]
    if not options or list(options) == letters:
        return question
    return "\n".join([question, *(f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))])


def _solved_row(row: Mapping[str, Any], result: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``candidates.jsonl``: a row of `best_of_n_report` with its outcome."""
    shown = {"problem_id": row["id"], "question": row["question"], "answer": row["answer"]}
    shown["figures"] = [image for image in row["images"] if isinstance(image, str)]
    if "error" in result:
        return {**shown, "outcome": "not_shown", "error": result["error"], "candidates": []}
    return {
        **shown,
        "outcome": "no_complete_candidate" if result["chosen"] is None else "answered",
        "chosen": result["chosen"],
        "greedy": None,
        "candidates": [judged_row(candidate, row["answer"]) for candidate in result["candidates"]],
        "num_tokens": result["num_tokens"],
        "seconds": result["seconds"],
    }


def _summary(rows: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    solved = [row for row in rows if row["outcome"] != "not_shown"]
    judged = [row for row in solved if row["answer"] is not None]
    sizes = {len(row["candidates"]) for row in judged}
    chosen = [row["candidates"][row["chosen"]] for row in judged if row["chosen"] is not None]
    counts = Counter(row["outcome"] for row in rows)
    return {
        "num_problems": len(rows),
        "outcomes": {name: counts[name] for name in OUTCOMES},
        "errors": dict(Counter(row["error"] for row in rows if row["outcome"] == "not_shown").most_common()),
        "verdicts": dict(Counter(candidate["verdict"] for candidate in chosen)),
        "num_tokens": sum(row["num_tokens"] for row in solved),
        "seconds": {stage: round(sum(row["seconds"][stage] for row in solved), 3) for stage in ("generate", "score")},
        # A guided search has as many candidates as it finds; best-of-n needs equally many.
        "best_of_n": best_of_n_report(judged, aggregation=options.get("aggregation", "min"))
        if len(sizes) == 1
        else None,
    }


def format_summary(summary: Mapping[str, Any]) -> str:
    """The summary of `rerank_problems` for the terminal."""
    lines = [f"{summary['num_problems']} problems"]
    lines += [f"  {summary['outcomes'][name]:>6}  {name}: {words}" for name, words in OUTCOMES.items()]
    for reason, count in list(summary["errors"].items())[:5]:
        lines.append(f"          {count} x {reason[:150]}")
    if summary["verdicts"]:
        verdicts = ", ".join(f"{count} {name}" for name, count in sorted(summary["verdicts"].items()))
        lines.append(f"chosen answers against gold: {verdicts}")
    seconds = summary["seconds"]
    lines.append(
        f"generate {seconds['generate']:.1f} s, score {seconds['score']:.1f} s; {summary['num_tokens']} tokens"
    )
    return "\n".join(lines)


def format_rerank(result: dict[str, Any]) -> str:
    """A `rerank_one` result for the terminal: distinct candidates by score, steps with scores, the winner marked."""
    lines = []
    rows = result["candidates"]
    groups = group_candidates(rows)
    for found in groups:
        row = rows[found[0]]
        mark = "->" if result["chosen"] in found else "  "
        score = "no score" if row["score"] is None else f"{row['score']:.3f}"
        answer = row["answer"] if row["complete"] else "none (cut or malformed)"
        lines.append(f"{mark} {score}  x{len(found)}  answer {answer}")
        for step, step_score in zip(row["steps"], row["step_scores"] or [], strict=False):
            lines.append(f"      {step_score:.3f}  {step}")
    winner = "none: no candidate is complete" if result["chosen"] is None else result["answer"]
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in result["seconds"].items())
    lines += ["", f"{len(rows)} candidates, {len(groups)} distinct ({seconds})", f"winner: {winner}"]
    if result.get("note"):
        lines.append(f"note: {result['note']}")
    return "\n".join(lines)
