"""Solves problems with policy and PRM: one for the terminal, or many into a folder of candidates.

A folder is resumed: a problem that is in its ``candidates.jsonl`` is not solved again. No problem is left out in
silence: each has a row with its outcome, even if it could not be shown to the models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..evaluation import best_of_n_report
from ..files import lock_folder, read_jsonl, write_json
from ..nano import POLICY_PATH, foreign_problem_note
from ..publish import group_candidates
from ..rerank import GUIDED_SEARCHES, read_problem
from ..rows import FigureRules
from ..steps import NOT_RECORDED, count_faults, fault_words
from .candidate_rows import (
    OUTCOMES,
    PipelineSource,
    check_served_prm,
    open_pipeline,
    shown_question,
    write_candidates,
)
from .options import PolicyForm, Servers, named_hosts
from .places import check_output_folder
from .problems import open_problems
from .run_settings import model_settings


def rerank_one(
    images: Sequence[str],
    question: str,
    *,
    policy: str | None,
    prm: str | None,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    form: PolicyForm = PolicyForm(),  # noqa: B008 (frozen)
    options: dict[str, Any],
) -> dict[str, Any]:
    """Solve one problem with ``pipeline("generate-and-rerank")``.

    Args:
        images: Paths or URLs of the figures.
        question: The question.
        policy, prm: Paths or hub ids, see `open_pipeline`.
        servers: With `engine`, the policy runs there, and `policy` is its name on that server.
        form: How the policy writes steps.
        options: Options of the pipeline's call.

    Returns:
        The pipeline's output with all candidates, and under ``note`` a warning where the shipped nano models were shown
        figures that are not of the nano world: then the answer means nothing. None otherwise.
    """
    check_served_prm(prm, servers)
    problem, _ = read_problem({"images": list(images), "text": question}, named_hosts(images))
    rerank = open_pipeline(policy, prm, servers, form)
    result = rerank(images=list(problem.images), text=question, return_candidates=True, **options)
    is_shipped = servers.engine is None and (policy is None or Path(policy).resolve() == POLICY_PATH.resolve())
    note = foreign_problem_note(problem.images, "answers and scores") if is_shipped else None
    return {**result, "note": note}


def rerank_problems(
    data: str | None,
    output: str | Path,
    *,
    policy: str | None,
    prm: str | None,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    form: PolicyForm = PolicyForm(),  # noqa: B008 (frozen)
    split: str = "test",
    num_problems: int | None = None,
    options: Mapping[str, Any],
    batch_size: int = 8,
    rules: FigureRules = FigureRules(),  # noqa: B008 (frozen)
    columns: Mapping[str, str] | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Solve the problems of a file or dataset; write ``output/candidates.jsonl`` and ``output/summary.json``.

    Args:
        data: As in `ProblemSource`: a file, or a dataset folder or hub id, in MM-K12's schema; None for the nano world.
        output: The folder; problems in it are not solved again, and must have been solved with the same options.
        policy, prm, servers: As in `rerank_one`.
        split: Split of the dataset to read.
        num_problems: The most problems; None takes all.
        options: Options of the pipeline's call.
        batch_size: Problems that are solved together.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.
        progress: Show a bar.

    Returns:
        ``{"num_problems", "outcomes": counts by `OUTCOMES`, "errors": counts by reason, "faults": incomplete
        candidates by `steps.FAULTS`, "verdicts": counts of the chosen answers', where gold answers are known,
        "seconds", "num_tokens", "best_of_n": see `evaluation.best_of_n_report`, None without gold}``.

    Raises:
        ValueError: if the folder is of another run or in use, no problem can be shown, or a server has no PRM.
        EngineUnavailableError: if the server of a figure cannot be reached; start again to resume.
    """
    check_served_prm(prm, servers)
    output = Path(output)
    check_output_folder(output, "a folder of candidates", ("candidates.jsonl",), data=data)
    source = open_problems(data, num_problems, split, rules, columns)
    settings = {"data": data, "split": split, **model_settings(policy, prm, servers), **form.settings, **options}

    def open_source() -> PipelineSource:
        return PipelineSource(open_pipeline(policy, prm, servers, form), options, batch_size, shown_question)

    with lock_folder(output):
        opened = write_candidates(source, output, settings, open_source, batch_size, progress=progress)
        rows = read_jsonl(output / "candidates.jsonl")[: len(source)]
        summary = _summary(rows, {**opened.pipeline.options, **options})
        write_json(output / "summary.json", summary)
    if rows and summary["outcomes"]["not_shown"] == len(rows):
        reason, count = next(iter(summary["errors"].items()))
        raise ValueError(
            f"None of the {len(rows)} problems of {data} could be shown to the models; {count} of them because of: "
            f"{reason:.300} All reasons are in {output / 'candidates.jsonl'}."
        )
    return summary


def _summary(rows: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> dict[str, Any]:
    """The counts, costs and table of candidate rows, see `rerank_problems`."""
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
        "faults": _faults(row["candidates"] for row in solved),
        "num_tokens": sum(row["num_tokens"] for row in solved),
        "seconds": {stage: round(sum(row["seconds"][stage] for row in solved), 3) for stage in ("generate", "score")},
        # A guided search has as many candidates as it finds; best-of-n needs equally many.
        "best_of_n": best_of_n_report(judged, aggregation=options.get("aggregation", "min"))
        if len(sizes) == 1 and 0 not in sizes and options.get("strategy") not in GUIDED_SEARCHES
        else None,
    }


def _faults(candidates: Iterable[Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    """How many candidates of these problems are incomplete, by the reason."""
    return count_faults(row.get("fault") for rows in candidates for row in rows if not row["complete"])


def format_summary(summary: Mapping[str, Any]) -> str:
    """Return the summary of `rerank_problems` for the terminal."""
    lines = [f"{summary['num_problems']} problems"]
    lines += [f"  {summary['outcomes'][name]:>6}  {name}: {words}" for name, words in OUTCOMES.items()]
    for reason, count in list(summary["errors"].items())[:5]:
        lines.append(f"          {count} x {reason[:150]}")
    if summary["faults"]:
        lines.append(f"incomplete candidates: {fault_words(summary['faults'])}")
    if summary["verdicts"]:
        verdicts = ", ".join(f"{count} {name}" for name, count in sorted(summary["verdicts"].items()))
        lines.append(f"chosen answers against gold: {verdicts}")
    seconds = summary["seconds"]
    lines.append(
        f"generate {seconds['generate']:.1f} s, score {seconds['score']:.1f} s; {summary['num_tokens']} tokens"
    )
    return "\n".join(lines)


def format_rerank(result: dict[str, Any]) -> str:
    """Return a `rerank_one` result for the terminal: distinct candidates by score, the winner marked."""
    lines = []
    rows = result["candidates"]
    groups = group_candidates(rows)
    for indices in groups:
        row = rows[indices[0]]
        mark = "->" if result["chosen"] in indices else "  "
        score = "no score" if row["score"] is None else f"{row['score']:.3f}"
        answer = row["answer"] if row["complete"] else f"none ({row.get('fault') or NOT_RECORDED})"
        lines.append(f"{mark} {score}  x{len(indices)}  answer {answer}")
        for step, step_score in zip(row["steps"], row["step_scores"] or [], strict=False):
            lines.append(f"      {step_score:.3f}  {step}")
    winner = result["answer"]
    if result["chosen"] is None:
        faults = fault_words(_faults([rows]))
        winner = f"none: no candidate is complete{f' ({faults})' if faults else ''}"
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in result["seconds"].items())
    lines += ["", f"{len(rows)} candidates, {len(groups)} distinct ({seconds})", f"winner: {winner}"]
    if result.get("note"):
        lines.append(f"note: {result['note']}")
    return "\n".join(lines)
