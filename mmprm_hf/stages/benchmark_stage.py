"""A policy and a PRM on a best-of-N benchmark: candidates once at the largest N, then table, curves and diagnosis."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..data import Candidate, Problem
from ..errors import each_or_error
from ..evaluation import load_benchmark
from ..files import check_outside, lock_folder, read_jsonl, write_json
from ..nano import PRM_PATH
from ..rerank import GUIDED_SEARCHES, check_step_scores, scored_candidates, winner_index
from ..rows import FigureRules, is_data_file
from ..scoring import PRMScorer
from .candidate_rows import (
    EMPTY_ROW,
    CandidateSource,
    PipelineSource,
    Problems,
    check_served_prm,
    judged_row,
    open_pipeline,
    write_candidates,
)
from .evaluate_stage import read_evaluated_rows, table_of_rows
from .file_fingerprints import checkpoint_fingerprint
from .options import PolicyForm, Servers
from .places import check_results_file
from .run_settings import data_name, model_settings, prm_name, read_settings, result_settings

notes = logging.getLogger("mmprm_hf.notes")  # what `mmprm` prints beside its results


@dataclasses.dataclass(frozen=True)
class BenchmarkData:
    """Which problems of which benchmark are evaluated.

    Args:
        benchmark: A name of `evaluation.READERS`, which says what the models read of a row.
        data: ``.jsonl`` file (figures as paths beside it), dataset folder or hub id.
        split, subset: Split and configuration of a dataset; a file has none.
        num_problems: The first `num_problems` problems; None takes all.
        rules: Which figures besides those in the data's folder may be read and fetched.
        columns: Our names of columns to those of the data, where they differ.
    """

    benchmark: str
    data: str
    split: str = "test"
    subset: str | None = None
    num_problems: int | None = None
    rules: FigureRules = FigureRules()
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def settings(self, aggregation: str) -> dict[str, Any]:
        """What a run's settings say of the data, and how its step scores are aggregated."""
        is_file = is_data_file(self.data)
        name = Path(self.data).name if is_file else data_name(self.data)
        settings = {"benchmark": self.benchmark, "data": name, "aggregation": aggregation}
        return settings if is_file else {**settings, "split": self.split, "subset": self.subset}


def evaluate_benchmark(
    data: BenchmarkData,
    output: str | Path,
    *,
    policy: str | None = None,
    prm: Any = None,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    form: PolicyForm = PolicyForm(),  # noqa: B008 (frozen)
    options: Mapping[str, Any],
    aggregation: str = "min",
    batch_size: int = 8,
    progress: bool = True,
) -> dict[str, Any]:
    """Solve a benchmark's problems and write its results; candidates and ``config.json`` lie beside them.

    Problems whose candidates lie beside the results already are not solved again.

    Args:
        data: The problems.
        output: The results file.
        policy, servers: As in `rerank_problems`.
        prm: Path or hub id; or any scorer with ``score_many(problems, candidates)``, see `PRMScorer.score_many`, which
            results name by its class.
        options: Options of the pipeline's call: ``num_candidates``, ``temperature``, ``top_p``, ``max_new_tokens``,
            ``seed``.
        aggregation: Step scores to one number; the candidates file keeps step scores, so that any may be tried later.
        batch_size: Problems that are solved together.
        progress: Show bars.

    Returns:
        Results with ``best_of_n``, ``curves`` and ``diagnosis``; ``rows`` counts what could not be used, by reason.

    Raises:
        ValueError: for an unknown benchmark, or options or problems other than those of the folder.
    """
    check_served_prm(prm, servers)
    output = Path(output)
    if options.get("strategy") in GUIDED_SEARCHES:
        raise ValueError(
            f"Found strategy={options['strategy']!r}. A best-of-N table needs independent candidates; searches that "
            "the PRM guides are compared by `mmprm rerank --data`."
        )
    problems = _open(data, output)
    settings = {**data.settings(aggregation), **model_settings(policy, prm, servers), **form.settings, **options}
    call = {"strategy": "best_of_n", "aggregation": aggregation, **options}  # whatever was saved with the policy

    def open_source() -> CandidateSource:
        return PipelineSource(open_pipeline(policy, prm, servers, form), call, batch_size, _question)

    return _evaluate(problems, output, settings, open_source, batch_size, progress)


def rescore_benchmark(
    data: BenchmarkData,
    candidates: str | Path,
    output: str | Path,
    *,
    prm: Any = None,
    aggregation: str = "min",
    batch_size: int = 8,
    progress: bool = True,
) -> dict[str, Any]:
    """Score another run's candidates of a benchmark with a PRM, judge them again, and write the results.

    Args:
        data: The problems.
        candidates: A candidates file of the same problems.
        output, prm, aggregation, batch_size, progress: As in `evaluate_benchmark`.

    Returns:
        Results as of `evaluate_benchmark`.

    Raises:
        ValueError: for an unknown benchmark, settings or problems other than those of the folder, or candidates that
            are not of these problems.
    """
    candidates, output = Path(candidates), Path(output)
    problems = _open(data, output)
    rows_by_id = _rows_by_id(read_evaluated_rows(candidates), problems.ids)
    settings = {
        **data.settings(aggregation),
        "prm": prm_name(prm) or "nano PRM (shipped)",
        "prm_content": checkpoint_fingerprint(prm),
        **_settings_of_policy(candidates),
        "candidates": data_name(candidates),
        "candidates_stamp": hashlib.sha256(candidates.read_bytes()).hexdigest(),
    }

    def open_source() -> CandidateSource:
        scorer = prm if hasattr(prm, "score_many") else PRMScorer.from_pretrained(prm or PRM_PATH)
        return RescoredSource(rows_by_id, scorer, aggregation)

    return _evaluate(problems, output, settings, open_source, batch_size, progress)


def _open(data: BenchmarkData, output: Path) -> Any:
    """The benchmark's problems, after checking that the output is a results file."""
    if output.is_dir() or output.suffix != ".json":
        hint = output / "results.json" if output.is_dir() or not output.suffix else output.with_suffix(".json")
        raise ValueError(f"Found the output {output}. Name the results file, such as {hint}.")
    has_candidates = (output.parent / "candidates.jsonl").exists()
    if check_results_file(output) and not has_candidates:
        notes.info("%s is replaced; -o names another file.", output)
    if (output.parent / "config.json").exists() and not has_candidates:
        raise ValueError(
            f"{output.parent} holds a config.json and no candidates.jsonl: the settings of the run would replace it. "
            "Choose another output folder."
        )
    check_outside(output.parent, data.data)
    options = {"split": data.split, "subset": data.subset, "num_rows": data.num_problems, "rules": data.rules}
    options["columns"] = data.columns
    return load_benchmark(data.benchmark, data.data, **options)


def _evaluate(
    problems: Problems,
    output: Path,
    settings: Mapping[str, Any],
    open_source: Callable[[], CandidateSource],
    batch_size: int,
    progress: bool,
) -> dict[str, Any]:
    """Write the candidates beside the results, then the results."""
    folder = output.parent
    path = folder / "candidates.jsonl"
    with lock_folder(folder):
        write_candidates(problems, folder, settings, open_source, batch_size, shown_as=_question, progress=progress)
        results = table_of_rows(
            read_jsonl(path)[: len(problems)],
            settings["benchmark"],
            result_settings(read_settings(folder) or {}),
            where=str(path),
            aggregation=settings["aggregation"],
            with_diagnosis=True,
            with_curves=True,
        )
        write_json(output, results)
    return results


def _question(problem: Problem) -> str:
    """A benchmark's question is shown as it is: the benchmark's wording has the options."""
    return problem.question


def _settings_of_policy(candidates: Path) -> dict[str, Any]:
    """The policy and its sampling, from the ``config.json`` beside a candidates file."""
    config = result_settings(read_settings(candidates.parent) or {})
    names = ("policy", "engine", "num_candidates", "temperature", "top_p", "top_k", "max_new_tokens", "seed")
    return {name: config[name] for name in names if name in config}


def _rows_by_id(rows: Sequence[Mapping[str, Any]], ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Candidate rows by their problem's id, the first of each.

    Raises:
        ValueError: if a problem has none.
    """
    rows_by_id = {str(row.get("problem_id")): row for row in reversed(rows)}
    for index, name in enumerate(ids):
        if name not in rows_by_id:
            raise ValueError(
                f"The candidates have no problem {name!r}, row {index} of the benchmark. Give the candidates of all "
                "its problems, or ask for fewer problems."
            )
    return rows_by_id


@dataclasses.dataclass(frozen=True)
class RescoredSource:
    """Candidates of another run with a scorer's step scores and choice, verdicts made again.

    A problem that the scorer cannot be shown gets a row without candidates, with the reason.

    Args:
        rows_by_id: The other run's rows.
        scorer: Anything with ``score_many(problems, candidates)``.
        aggregation: One of `selection.AGGREGATIONS`.
    """

    rows_by_id: Mapping[str, Mapping[str, Any]]
    scorer: Any
    aggregation: str

    def facts(self, first: Callable[[], list[Problem]], before: Mapping[str, Any]) -> Mapping[str, Any]:
        return {}

    def rows(self, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        for problem in problems:
            question = self.rows_by_id[problem.id]["question"]
            if question not in (None, problem.question):
                raise ValueError(
                    f"Problem {problem.id!r} has another text in the candidates ({question!r:.100}) than in the "
                    f"benchmark ({problem.question!r:.100}). Candidates of another wording cannot be compared; "
                    "generate them again."
                )
        start = time.perf_counter()
        results = each_or_error(self._score, problems)
        seconds = (time.perf_counter() - start) / max(len(problems), 1)
        return [self._row(problem, result, seconds) for problem, result in zip(problems, results, strict=True)]

    def _score(self, problems: Sequence[Problem]) -> list[list[Candidate]]:
        candidates = [
            [
                dataclasses.replace(Candidate.from_dict(row), step_scores=None, score=None)
                for row in self.rows_by_id[problem.id]["candidates"]
            ]
            for problem in problems
        ]
        return self.scorer.score_many(problems, candidates)

    def _row(self, problem: Problem, scored: Sequence[Candidate] | ValueError, seconds: float) -> dict[str, Any]:
        row = self.rows_by_id[problem.id]
        about_problem = {"problem_id": problem.id, "question": problem.question, "answer": problem.answer}
        if isinstance(scored, ValueError):
            return {**EMPTY_ROW, **about_problem, "error": str(scored)}
        if not scored:
            return {**row, **about_problem}
        check_step_scores(candidate.step_scores or () for candidate in scored)
        ranked = scored_candidates(scored, self.aggregation)
        chosen = winner_index(ranked, "best_of_n", self.aggregation)
        return {
            **row,
            **about_problem,
            "outcome": "no_complete_candidate" if chosen is None else "answered",
            "chosen": chosen,
            "candidates": [judged_row(candidate, problem) for candidate in ranked],
            "seconds": {**(row.get("seconds") or {}), "score": seconds},
        }
