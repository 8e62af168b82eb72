"""A policy and a PRM on a best-of-N benchmark: candidates once at the largest N, then table, curves and diagnosis."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from ..data import Candidate, Problem
from ..evaluation.benchmarks import Benchmark, load_benchmark
from ..files import read_jsonl, write_json, write_jsonl
from ..rerank.candidates import GUIDED_SEARCHES, check_step_scores, select, with_scores
from ..scoring import PRMScorer
from .candidate_rows import EMPTY_ROW, address, judged_row, open_pipeline, write_candidates
from .evaluate_stage import data_name, open_scorer, prm_name, table_of_rows
from .options import Servers


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
    generated: those of another run are scored with this PRM.

    Args:
        benchmark: A name of `evaluation.benchmarks.READERS`, which says what the models read of a row.
        data: ``.jsonl`` file (figures as paths beside it), dataset folder or hub id.
        output: The results file.
        policy, servers: As in `rerank_problems`.
        prm: Path or hub id; or any scorer with ``score_many(problems, candidates)``, see `PRMScorer.score_many`, which
            results name by its class.
        candidates: A ``candidates.jsonl`` of the same problems.
        split, subset: Of a dataset.
        num_problems: The first so many; None takes all.
        options: Of the pipeline's call: ``num_candidates``, ``temperature``, ``top_p``, ``max_new_tokens``, ``seed``.
        aggregation: Step scores to one number; the candidates file keeps step scores, so that any may be tried later.
        batch_size: Problems that are solved together.
        progress: Show bars.

    Returns:
        Results with ``best_of_n``, ``curves`` and ``diagnosis``; ``rows`` counts what could not be used, by reason.

    Raises:
        ValueError: for an unknown benchmark, options or problems other than those of the folder, or candidates that are
            not of these problems.
    """
    if output.suffix != ".json":
        raise ValueError(f"Found the output {output}. Name the results file, such as {output / 'results.json'}.")
    if options.get("strategy") in GUIDED_SEARCHES:
        raise ValueError(
            f"Found strategy={options['strategy']!r}. A best-of-N table needs independent candidates; searches that "
            "the PRM guides are compared by `mmprm rerank --data`."
        )
    source = load_benchmark(benchmark, data, split=split, subset=subset, num_rows=num_problems)
    folder, given = output.parent, {"aggregation": aggregation, **options}
    named = prm_name(prm)
    settings = {"benchmark": benchmark, "data": data_name(data), "split": split, "subset": subset, "prm": named}
    if candidates is None:
        settings |= {"policy": policy, "engine": address(servers), **given}
        write_candidates(
            source,
            folder,
            settings,
            lambda: open_pipeline(policy, prm, servers),
            given,
            batch_size,
            shown_as=lambda problem: problem.question,
            progress=progress,
        )
    else:
        if (folder / "candidates.jsonl").resolve() == candidates.resolve():
            raise ValueError(f"{candidates} would be overwritten. Choose an output in another folder.")
        settings |= {**_made_by(candidates), "aggregation": aggregation, "candidates": data_name(candidates)}
        scorer = prm if hasattr(prm, "score_many") else open_scorer(prm)
        rows = _scored_anew(read_jsonl(candidates), source, scorer, aggregation, batch_size, progress=progress)
        folder.mkdir(parents=True, exist_ok=True)
        write_jsonl(folder / "candidates.jsonl", rows)
        write_json(folder / "config.json", settings)
    settings = {name: value for name, value in settings.items() if value is not None and name != "benchmark"}
    results = table_of_rows(
        read_jsonl(folder / "candidates.jsonl")[: len(source)],
        benchmark,
        {**settings, **_model_names(policy, named, servers, settings)},
        where=str(folder / "candidates.jsonl"),
        aggregation=aggregation,
        with_diagnosis=True,
        with_curves=True,
    )
    write_json(output, results)
    return results


def _model_names(
    policy: str | None, prm: str | None, servers: Servers, settings: Mapping[str, Any]
) -> dict[str, str | None]:
    """Policy and PRM as results name them: where none was given, the shipped ones or what the policy brings."""
    is_shipped = policy is None and servers.engine is None and "candidates" not in settings
    named = settings.get("policy") or ("nano policy (shipped)" if is_shipped else None)
    if prm is not None:
        return {"policy": named, "prm": prm}
    return {"policy": named, "prm": "saved with the policy" if policy is not None else "nano PRM (shipped)"}


def _made_by(candidates: Path) -> dict[str, Any]:
    """What a candidates file's ``config.json`` says of its policy and sampling."""
    path = candidates.with_name("config.json")
    if not path.exists():
        return {}
    config = json.loads(path.read_text(encoding="utf-8"))
    names = ("policy", "engine", "num_candidates", "temperature", "top_p", "max_new_tokens", "seed")
    return {name: config[name] for name in names if config.get(name) is not None}


def _scored_anew(
    rows: Sequence[Mapping[str, Any]],
    source: Benchmark,
    scorer: PRMScorer,
    aggregation: str,
    batch_size: int,
    *,
    progress: bool,
) -> list[dict[str, Any]]:
    """Candidate rows with another PRM's scores and choice, in the order of the benchmark.

    A problem that this PRM cannot be shown keeps its row without candidates and with the reason; verdicts are made
    anew, since rules may have changed.

    Raises:
        ValueError: if the file lacks a problem, or has it with another question.
    """
    by_id = {row["problem_id"]: row for row in reversed(rows)}
    found = []
    with tqdm(total=len(source), desc="scoring", unit="problem", disable=not progress) as bar:
        for start in range(0, len(source), batch_size):
            indices = range(start, min(start + batch_size, len(source)))
            drafts = [_draft(by_id, source, index) for index in indices]
            found += _scored(drafts, scorer, aggregation)
            bar.update(len(drafts))
    return found


_Draft = tuple[dict[str, Any], Problem | None]  # a row and its problem; None where nothing of it is to be scored


def _draft(by_id: Mapping[str, Mapping[str, Any]], source: Benchmark, index: int) -> _Draft:
    name = source.ids[index]
    if name not in by_id:
        raise ValueError(
            f"The candidates have no problem {name!r}, row {index} of the benchmark. Give the candidates of all its "
            "problems, or ask for fewer problems."
        )
    row = dict(by_id[name])
    try:
        problem = source[index]
    except ValueError as error:
        return {**EMPTY_ROW, "problem_id": name, "error": str(error)}, None
    if row["question"] is not None and row["question"] != problem.question:
        raise ValueError(
            f"Problem {name!r} has another text in the candidates ({row['question']!r:.100}) than in the benchmark "
            f"({problem.question!r:.100}). Candidates of another wording cannot be compared; generate them anew."
        )
    return row, problem if row["candidates"] else None


def _scored(drafts: Sequence[_Draft], scorer: PRMScorer, aggregation: str) -> list[dict[str, Any]]:
    """The rows with scores; where a problem cannot be shown to the PRM, one by one, so that only it goes without."""
    shown = [(row, problem) for row, problem in drafts if problem is not None]
    begun = time.perf_counter()
    try:
        scored = scorer.score_many(
            [problem for _, problem in shown], [[_candidate(c) for c in row["candidates"]] for row, _ in shown]
        )
    except ValueError as error:
        if len(drafts) == 1:
            kept = {name: drafts[0][0][name] for name in ("problem_id", "question", "answer", "figures")}
            return [{**EMPTY_ROW, **kept, "error": str(error)}]
        return [row for draft in drafts for row in _scored([draft], scorer, aggregation)]
    seconds = (time.perf_counter() - begun) / max(1, len(shown))
    results = iter(scored)
    return [
        row if problem is None else _scored_row(row, problem, next(results), aggregation, seconds)
        for row, problem in drafts
    ]


def _candidate(row: Mapping[str, Any]) -> Candidate:
    """A candidate without any PRM's scores."""
    steps, text, num_tokens = tuple(row["steps"]), row.get("text", ""), row.get("num_tokens", 0)
    return Candidate(steps, answer=row["answer"], complete=row["complete"], text=text, num_tokens=num_tokens)


def _scored_row(
    row: Mapping[str, Any], problem: Problem, scored: Sequence[Candidate], aggregation: str, seconds: float
) -> dict[str, Any]:
    check_step_scores(candidate.step_scores or () for candidate in scored)
    ranked = with_scores(scored, aggregation)
    chosen = select(ranked, "best_of_n", aggregation)
    return {
        **row,
        "outcome": "no_complete_candidate" if chosen is None else "answered",
        "chosen": chosen,
        "candidates": [judged_row(candidate, problem) for candidate in ranked],
        "seconds": {**(row.get("seconds") or {}), "score": seconds},
    }


__all__ = ["evaluate_benchmark"]
