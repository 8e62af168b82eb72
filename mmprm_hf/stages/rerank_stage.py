"""Solving with policy and PRM: one problem for the terminal, or a file or dataset of them into a folder of candidates.

A folder is resumed: a problem that is in its ``candidates.jsonl`` is not solved again. No problem is left out in
silence: each has a row with its outcome, also one that could not be shown to the models.
"""

from __future__ import annotations

import json
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from os.path import isfile
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm
from transformers import pipeline

from ..answers import RuleVerifier
from ..data import Candidate, Problem, Verdict
from ..evaluation.evaluators import best_of_n_report
from ..files import append_line, drop_torn_line, iter_jsonl, read_jsonl, write_json
from ..models.images_mm_prm import load_image
from ..nano import POLICY_PATH, PRM_PATH
from ..nano.drawing import SIZE
from ..problem_source import ProblemSource
from ..publish.solution_html import group_candidates
from ..rerank.candidates import GUIDED_SEARCHES
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
    """``pipeline("generate-and-rerank")`` by paths, hub ids or the server's URL.

    No policy and no PRM are the shipped nano models; a policy alone brings the PRM that was saved with it.
    """
    if prm is None and policy is None and servers.engine is None:
        prm = str(PRM_PATH)  # another policy brings its own, or has none
    if servers.engine is not None:
        return pipeline(
            "generate-and-rerank", model=servers.engine, prm=prm, served_model=policy, api_key=servers.api_key
        )
    return pipeline("generate-and-rerank", model=str(policy or POLICY_PATH), prm=prm)


def judged_row(candidate: Candidate | Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """The candidate as a dict with its verdict; an incomplete one has no answer to judge and is wrong as an answer."""
    row = candidate.to_dict() if isinstance(candidate, Candidate) else dict(candidate)
    if not row["complete"]:
        return {**row, "verdict": str(Verdict.INCORRECT)}
    kind = {"answer_type": problem.answer_type, "options": problem.options, "precision": problem.meta.get("precision")}
    return {**row, "verdict": str(RuleVerifier().verify(row["answer"], problem.answer, **kind))}


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
        policy, prm: Paths or hub ids, see `open_pipeline`.
        servers: With `engine`, the policy runs there, and `policy` is its name.
        options: Options of the pipeline's call.

    Returns:
        The pipeline's output with all candidates, and under ``note`` a warning where the shipped nano models were asked
        about a figure of another kind than they know: then the answer means nothing.
    """
    rerank = open_pipeline(policy, prm, servers)
    result = rerank(images=list(images), text=question, return_candidates=True, **options)
    is_shipped = servers.engine is None and (policy is None or Path(policy).resolve() == POLICY_PATH.resolve())
    # Not Path.is_file: it raises on a data URI, a name too long for a file.
    looks_nano = bool(images) and all(isfile(path) and load_image(path).size == (SIZE, SIZE) for path in images)
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
        data: As in `ProblemSource`: a ``.jsonl`` file (``id``, ``question``, ``images``: paths beside the file,
            ``answer``, ``options``), or a dataset folder or hub id in MM-K12's schema; None for the nano world.
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
        ValueError: if the folder was made with other options or of other problems.
    """
    engine = None if servers.engine is None else _without_credentials(servers.engine)
    settings = {"data": data, "split": split, "policy": policy, "prm": prm, "engine": engine, **options}
    source = ProblemSource(data, num_problems, split)
    path = output / "candidates.jsonl"
    output.mkdir(parents=True, exist_ok=True)
    drop_torn_line(path)
    num_done = _num_done(path, source)
    if num_done:
        _check_same_settings(output / "config.json", settings)
    write_json(output / "config.json", settings)
    rerank = open_pipeline(policy, prm, servers)
    with tqdm(desc="solving", unit="problem", total=len(source), initial=num_done, disable=not progress) as bar:
        for start in range(num_done, len(source), batch_size):
            indices = range(start, min(start + batch_size, len(source)))
            problems = [_read(source, index) for index in indices]
            shown = [{"text": shown_question(p), "images": list(p.images)} for p in problems if isinstance(p, Problem)]
            results = iter(rerank(shown, batch_size=batch_size, on_error="return", return_candidates=True, **options))
            rows = [
                _solved_row(problem, next(results)) if isinstance(problem, Problem) else {**_ROW, **problem}
                for problem in problems
            ]
            append_line(path, *rows)
            bar.update(len(rows))
    summary = _summary(read_jsonl(path), {**rerank.options, **options})
    write_json(output / "summary.json", summary)
    return summary


_ROW = {"question": None, "answer": None, "figures": [], "outcome": "not_shown", "candidates": []}


def _read(source: ProblemSource, index: int) -> Problem | dict[str, Any]:
    """The problem, or what a row says of one that is none."""
    try:
        return source[index]
    except ValueError as error:
        return {"problem_id": source.ids[index], "error": str(error)}


def _question(source: ProblemSource, index: int) -> str | None:
    """What a row of ``candidates.jsonl`` says of the question."""
    problem = _read(source, index)
    return shown_question(problem) if isinstance(problem, Problem) else None


def _without_credentials(url: str) -> str:
    """The address of a server as it may be written down."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _num_done(path: Path, source: ProblemSource) -> int:
    """Problems that a folder has already: rows stand in the order of the source, whose ids need not be unique.

    Raises:
        ValueError: if they are those of another source.
    """
    known = [(row["problem_id"], row["question"]) for row in iter_jsonl(path)] if path.exists() else []
    shown = [(source.ids[index], _question(source, index)) for index in range(min(len(known), len(source)))]
    if known[: len(shown)] != shown:
        raise ValueError(
            f"{path} holds other problems than the first {len(known)} of the data. The data has changed since; choose "
            "another output folder."
        )
    return len(known)


def _check_same_settings(path: Path, settings: dict[str, Any]) -> None:
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name))
        if changed:
            raise ValueError(
                f"{path.parent} was begun with other settings ({', '.join(changed)}). Its rows would not belong "
                "together; choose another output folder, or the same settings."
            )


def shown_question(problem: Problem) -> str:
    """The question with its options below, one a line with its letter, unless it shows them already.

    Options that are nothing but their letters (they stand in the figure) add nothing.
    """
    options = problem.options
    letters = [chr(ord("A") + index) for index in range(len(options))]
    if not options or list(options) == letters or all(option in problem.question for option in options):
        return problem.question
    lines = (f"({letter}) {option}" for letter, option in zip(letters, options, strict=True))
    return "\n".join([problem.question, *lines])


def _solved_row(problem: Problem, result: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``candidates.jsonl``: a row of `best_of_n_report` with its outcome."""
    shown = {"problem_id": problem.id, "question": shown_question(problem), "answer": problem.answer}
    shown["figures"] = [image for image in problem.images if isinstance(image, str)]
    if "error" in result:
        return {**_ROW, **shown, "error": result["error"]}
    return {
        **shown,
        "outcome": "no_complete_candidate" if result["chosen"] is None else "answered",
        "chosen": result["chosen"],
        "greedy": None,
        "candidates": [judged_row(candidate, problem) for candidate in result["candidates"]],
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
        if len(sizes) == 1 and 0 not in sizes and options.get("strategy") not in GUIDED_SEARCHES
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
