"""Candidates of many problems as lines of a file: solved with policy and PRM, or scored anew with another PRM.

A file is gone on with: a problem that is in it is not solved again. No problem is left out in silence: each has a row
with its outcome, also one that could not be shown to the models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm
from transformers import pipeline

from ..answers import RuleVerifier
from ..data import Candidate, Problem, Verdict
from ..files import append_line, drop_torn_line, iter_jsonl
from ..models import load_image
from ..nano import POLICY_PATH, PRM_PATH
from ..rows import problem_key
from .options import Servers
from .run_settings import refuse_other_settings, write_settings

OUTCOMES: dict[str, str] = {
    "answered": "a complete solution was chosen",
    "no_complete_candidate": "all solutions were cut or malformed",
    "not_shown": "the problem cannot be shown to the models",
}
"""What can become of a problem."""

EMPTY_ROW = {"question": None, "answer": None, "figures": [], "outcome": "not_shown", "candidates": []}
"""A row of a problem that was not shown to the models."""


class Problems(Protocol):
    """Problems by index, each read when it is asked for; a row that is no problem raises ValueError."""

    ids: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Problem: ...


def open_pipeline(policy: str | None, prm: Any, servers: Servers = Servers()) -> Any:  # noqa: B008 (frozen)
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


RowsOf = Callable[[Sequence[Problem]], list[dict[str, Any]]]
"""Rows of problems, one each, in their order."""


def write_rows(
    source: Problems,
    folder: Path,
    settings: Mapping[str, Any],
    open_rows: Callable[[], tuple[RowsOf, Mapping[str, Any]]],
    batch_size: int = 8,
    *,
    shown_as: Callable[[Problem], str] = shown_question,
    progress: bool = True,
) -> None:
    """Write a row for every problem of a source to ``folder/candidates.jsonl``, going on where a run was cut off.

    Args:
        source: The problems.
        folder: Made if absent; ``config.json`` in it holds the settings.
        settings: All that the rows depend on; other ones than the folder's are refused.
        open_rows: Loads what makes rows; also gives facts that are known only then, for ``config.json``.
        batch_size: Problems that are handed on together.
        shown_as: A problem's text as the models read it.
        progress: Show a bar.

    Raises:
        ValueError: if the folder was made with other settings or of other problems, figures or gold answers.
    """
    path = folder / "candidates.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    drop_torn_line(path)
    if path.stat().st_size:
        refuse_other_settings(folder, settings)
    num_done = _num_done(path, source, shown_as)
    rows_of, facts = open_rows()
    write_settings(folder, settings, facts)
    with tqdm(desc="solving", unit="problem", total=len(source), initial=num_done, disable=not progress) as bar:
        for start in range(num_done, len(source), batch_size):
            read = [_read(source, index) for index in range(start, min(start + batch_size, len(source)))]
            made = iter(rows_of([problem for problem in read if isinstance(problem, Problem)]))
            rows = [
                {**next(made), **_content(problem, folder)}
                if isinstance(problem, Problem)
                else {**EMPTY_ROW, **problem, "problem_key": None}
                for problem in read
            ]
            append_line(path, *rows)
            bar.update(len(rows))


def write_candidates(
    source: Problems,
    folder: Path,
    settings: Mapping[str, Any],
    make_pipeline: Callable[[], Any],
    options: Mapping[str, Any],
    batch_size: int = 8,
    *,
    shown_as: Callable[[Problem], str] = shown_question,
    progress: bool = True,
) -> Any:
    """Solve the problems of a source by `write_rows`, and return the pipeline.

    Args:
        source, folder, settings, batch_size, shown_as, progress: As in `write_rows`.
        make_pipeline: Gives ``pipeline("generate-and-rerank")``.
        options: Of the pipeline's call.
    """
    pipelines = []

    def open_rows() -> tuple[RowsOf, Mapping[str, Any]]:
        rerank = make_pipeline()
        pipelines.append(rerank)
        sampling = rerank.sampling({**rerank.options, **options})
        return solved, {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "max_new_tokens")}

    def solved(problems: Sequence[Problem]) -> list[dict[str, Any]]:
        texts = [shown_as(problem) for problem in problems]
        shown = [{"text": text, "images": list(problem.images)} for problem, text in zip(problems, texts, strict=True)]
        call = {"batch_size": batch_size, "on_error": "return", "return_candidates": True, **options}
        found = pipelines[0](shown, **call)
        return [_solved_row(*one) for one in zip(problems, texts, found, strict=True)]

    write_rows(source, folder, settings, open_rows, batch_size, shown_as=shown_as, progress=progress)
    return pipelines[0]


def _content(problem: Problem, folder: Path) -> dict[str, Any]:
    """What a row says of its problem's content: its key, and paths of its figures for a report.

    Figures that are files stand by their own paths; others are drawn small into the folder. Where one cannot be read
    there is no key, and the row says why.
    """
    key, names = _key(problem), []
    for index, image in enumerate(problem.images):
        if isinstance(image, str):
            names.append(image)
            continue
        if key is None:
            continue
        loaded = load_image(image)
        is_drawing = max(loaded.size) <= _SMALL
        name = f"figures/{key}_{index}.{'png' if is_drawing else 'jpg'}"
        loaded.thumbnail((_WIDEST, _WIDEST))
        (folder / "figures").mkdir(exist_ok=True)
        loaded.save(folder / name)
        names.append(name)
    return {"figures": names, "problem_key": key}


_SMALL, _WIDEST = 256, 640  # px: kept as they are; the longest side of larger ones


def _key(problem: Problem) -> str | None:
    """The problem's content: text, pixels, gold answer, options; None where a figure cannot be read."""
    try:
        return problem_key(problem)
    except ValueError:
        return None


def _read(source: Problems, index: int) -> Problem | dict[str, Any]:
    """The problem, or what a row says of one that is none."""
    try:
        return source[index]
    except ValueError as error:
        return {"problem_id": source.ids[index], "error": str(error)}


def _num_done(path: Path, source: Problems, shown_as: Callable[[Problem], str]) -> int:
    """Problems that a folder has already: rows stand in the order of the source, whose ids need not be unique.

    Raises:
        ValueError: if they are those of another source.
    """
    num_done = 0
    for num_done, row in enumerate(iter_jsonl(path), start=1):
        if num_done > len(source):
            continue
        problem = _read(source, num_done - 1)
        question = shown_as(problem) if isinstance(problem, Problem) else None
        key = _key(problem) if isinstance(problem, Problem) else None
        # Rows of texts that no model could be shown have none.
        is_same = row["problem_id"] == source.ids[num_done - 1] and row["question"] in (question, None)
        if not is_same or row.get("problem_key") != key:
            raise ValueError(
                f"Row {num_done} of {path} is problem {row['problem_id']!r} with another text, figure or gold answer "
                f"than row {num_done} of the data, {source.ids[num_done - 1]!r}. The data has changed since; choose "
                "another output folder (candidates for the same texts and figures are judged anew there by `mmprm "
                "evaluate --benchmark ... --candidates`)."
            )
    return num_done


def _solved_row(problem: Problem, question: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``candidates.jsonl``: a row of `best_of_n_report` with its outcome."""
    shown = {"problem_id": problem.id, "question": question, "answer": problem.answer}
    if "error" in result:
        return {**EMPTY_ROW, **shown, "error": result["error"]}
    return {
        **shown,
        "outcome": "no_complete_candidate" if result["chosen"] is None else "answered",
        "chosen": result["chosen"],
        "greedy": None,
        "candidates": [judged_row(candidate, problem) for candidate in result["candidates"]],
        "num_tokens": result["num_tokens"],
        "seconds": result["seconds"],
    }
