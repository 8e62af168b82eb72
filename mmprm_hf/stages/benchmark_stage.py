"""A policy and a PRM on a best-of-N benchmark: candidates once at the largest N, then table, curves and diagnosis."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Candidate, Problem
from ..evaluation import load_benchmark
from ..files import read_jsonl, write_json
from ..nano import PRM_PATH
from ..rerank import GUIDED_SEARCHES, check_step_scores, select, with_scores
from ..scoring import PRMScorer
from .candidate_rows import EMPTY_ROW, RowsOf, judged_row, open_pipeline, write_candidates, write_rows
from .evaluate_stage import table_of_rows
from .options import Servers
from .run_settings import data_name, files_stamp, model_settings, prm_name, read_settings, result_settings


def evaluate_benchmark(
    benchmark: str,
    data: str,
    output: Path,
    *,
    policy: str | None = None,
    prm: Any = None,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    candidates: Path | None = None,
    split: str = "test",
    subset: str | None = None,
    num_problems: int | None = None,
    options: Mapping[str, Any],
    aggregation: str = "min",
    batch_size: int = 8,
    progress: bool = True,
) -> dict[str, Any]:
    """Solve a benchmark's problems and write its results; candidates and ``config.json`` lie beside them.

    Problems whose candidates lie beside the results already are not solved again. With `candidates` nothing is
    generated: those of another run are scored with this PRM and judged anew.

    Args:
        benchmark: A name of `evaluation.benchmarks.READERS`, which says what the models read of a row.
        data: ``.jsonl`` file (figures as paths beside it), dataset folder or hub id.
        output: The results file.
        policy, servers: As in `rerank_problems`; not with `candidates`.
        prm: Path or hub id; or any scorer with ``score_many(problems, candidates)``, see `PRMScorer.score_many`, which
            results name by its class.
        candidates: A ``candidates.jsonl`` of the same problems.
        split, subset: Of a dataset.
        num_problems: The first so many; None takes all.
        options: Of the pipeline's call: ``num_candidates``, ``temperature``, ``top_p``, ``max_new_tokens``, ``seed``;
            none with `candidates`.
        aggregation: Step scores to one number; the candidates file keeps step scores, so that any may be tried later.
        batch_size: Problems that are solved together.
        progress: Show bars.

    Returns:
        Results with ``best_of_n``, ``curves`` and ``diagnosis``; ``rows`` counts what could not be used, by reason.

    Raises:
        ValueError: for an unknown benchmark, options or problems other than those of the folder, or candidates that are
            not of these problems.
    """
    _check_output(output)
    if options.get("strategy") in GUIDED_SEARCHES:
        raise ValueError(
            f"Found strategy={options['strategy']!r}. A best-of-N table needs independent candidates; searches that "
            "the PRM guides are compared by `mmprm rerank --data`."
        )
    if candidates is not None and (policy is not None or servers.engine is not None or options):
        raise ValueError("With candidates nothing is generated: give no policy, no engine and no options of sampling.")
    source = load_benchmark(benchmark, data, split=split, subset=subset, num_rows=num_problems)
    folder, path = output.parent, output.parent / "candidates.jsonl"
    is_file = str(data).endswith(".jsonl")
    settings = {"benchmark": benchmark, "data": data_name(Path(data) if is_file else data), "aggregation": aggregation}
    settings |= {} if is_file else {"split": split, "subset": subset}
    shown = {"shown_as": lambda problem: problem.question, "progress": progress}
    if candidates is None:
        settings |= {**model_settings(policy, prm, servers), **options}
        given = {"strategy": "best_of_n", "aggregation": aggregation, **options}  # whatever was saved with the policy
        write_candidates(
            source, folder, settings, lambda: open_pipeline(policy, prm, servers), given, batch_size, **shown
        )
    else:
        stamp = hashlib.sha256(candidates.read_bytes()).hexdigest()
        settings |= {"prm": prm_name(prm) or "nano PRM (shipped)", "prm_files": files_stamp(prm)}
        settings |= {**_made_by(candidates), "candidates": data_name(candidates), "candidates_stamp": stamp}
        by_id = _by_id(read_jsonl(candidates), source.ids)

        def open_rows() -> tuple[RowsOf, Mapping[str, Any]]:
            scorer = prm if hasattr(prm, "score_many") else PRMScorer.from_pretrained(prm or PRM_PATH)
            return lambda problems: _scored(problems, by_id, scorer, aggregation), {}

        write_rows(source, folder, settings, open_rows, batch_size, **shown)
    results = table_of_rows(
        read_jsonl(path)[: len(source)],
        benchmark,
        result_settings(read_settings(folder) or {}),
        where=str(path),
        aggregation=aggregation,
        with_diagnosis=True,
        with_curves=True,
    )
    write_json(output, results)
    return results


def _check_output(output: Path) -> None:
    """Before any work is done: the results are one file."""
    if output.is_dir() or output.suffix != ".json":
        hint = output / "results.json" if output.is_dir() or not output.suffix else output.with_suffix(".json")
        raise ValueError(f"Found the output {output}. Name the results file, such as {hint}.")


def _made_by(candidates: Path) -> dict[str, Any]:
    """What a candidates file's ``config.json`` says of its policy and sampling."""
    config = result_settings(read_settings(candidates.parent) or {})
    names = ("policy", "engine", "num_candidates", "temperature", "top_p", "top_k", "max_new_tokens", "seed")
    return {name: config[name] for name in names if name in config}


def _by_id(rows: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Candidate rows by their problem's id, the first of each.

    Raises:
        ValueError: if a problem has none.
    """
    by_id = {row["problem_id"]: row for row in reversed(rows)}
    for index, name in enumerate(ids):
        if name not in by_id:
            raise ValueError(
                f"The candidates have no problem {name!r}, row {index} of the benchmark. Give the candidates of all "
                "its problems, or ask for fewer problems."
            )
    return by_id


def _scored(
    problems: Sequence[Problem], by_id: Mapping[str, Mapping[str, Any]], scorer: Any, aggregation: str
) -> list[dict[str, Any]]:
    """Candidate rows with this PRM's scores and choice, verdicts made anew.

    A problem that the PRM cannot be shown gets a row without candidates, with the reason; only it goes without.

    Raises:
        ValueError: if a problem has another text than its candidates were written for.
    """
    rows = [by_id[problem.id] for problem in problems]
    for row, problem in zip(rows, problems, strict=True):
        if row["question"] is not None and row["question"] != problem.question:
            raise ValueError(
                f"Problem {problem.id!r} has another text in the candidates ({row['question']!r:.100}) than in the "
                f"benchmark ({problem.question!r:.100}). Candidates of another wording cannot be compared; generate "
                "them anew."
            )
    if not problems:
        return []
    begun = time.perf_counter()
    try:
        scored = scorer.score_many(problems, [[_candidate(c) for c in row["candidates"]] for row in rows])
    except ValueError as error:
        if len(problems) == 1:
            return [{**EMPTY_ROW, **_shown(problems[0]), "error": str(error)}]
        return [row for problem in problems for row in _scored([problem], by_id, scorer, aggregation)]
    seconds = (time.perf_counter() - begun) / len(problems)
    return [_scored_row(*one, aggregation, seconds) for one in zip(rows, problems, scored, strict=True)]


def _candidate(row: Mapping[str, Any]) -> Candidate:
    """A candidate without any PRM's scores."""
    steps, text, num_tokens = tuple(row["steps"]), row.get("text", ""), row.get("num_tokens", 0)
    return Candidate(steps, answer=row["answer"], complete=row["complete"], text=text, num_tokens=num_tokens)


def _shown(problem: Problem) -> dict[str, Any]:
    """What a row says of its problem; the gold answer is the benchmark's."""
    return {"problem_id": problem.id, "question": problem.question, "answer": problem.answer}


def _scored_row(
    row: Mapping[str, Any], problem: Problem, scored: Sequence[Candidate], aggregation: str, seconds: float
) -> dict[str, Any]:
    if not scored:
        return {**row, **_shown(problem)}
    check_step_scores(candidate.step_scores or () for candidate in scored)
    ranked = with_scores(scored, aggregation)
    chosen = select(ranked, "best_of_n", aggregation)
    return {
        **row,
        **_shown(problem),
        "outcome": "no_complete_candidate" if chosen is None else "answered",
        "chosen": chosen,
        "candidates": [judged_row(candidate, problem) for candidate in ranked],
        "seconds": {**(row.get("seconds") or {}), "score": seconds},
    }


__all__ = ["evaluate_benchmark"]
