"""Candidates of many problems as lines of a file: solved with policy and PRM, or scored anew with another PRM.

A file is gone on with: a problem that is in it is not solved again. No problem is left out in silence: each has a row
with its outcome, also one that could not be shown to the models.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from tqdm.auto import tqdm
from transformers import pipeline

from ..answers import RuleVerifier
from ..data import Candidate, Problem, Verdict
from ..files import append_line, drop_torn_line, iter_jsonl, write_json
from ..nano import POLICY_PATH, PRM_PATH
from .options import Servers

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


def address(servers: Servers) -> str | None:
    """The address of the policy's server as it may be written down, without credentials; None without one."""
    if servers.engine is None:
        return None
    parts = urllib.parse.urlsplit(servers.engine)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


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
    """Solve the problems of a source into ``folder/candidates.jsonl``, going on where a run was cut off.

    Args:
        source: The problems.
        folder: Made if absent; ``config.json`` in it holds the settings.
        settings: All that the rows depend on; other ones than the folder's are refused.
        make_pipeline: Gives ``pipeline("generate-and-rerank")``.
        options: Of the pipeline's call.
        batch_size: Problems that are solved together.
        shown_as: A problem's text as the models read it.
        progress: Show a bar.

    Returns:
        The pipeline.

    Raises:
        ValueError: if the folder was made with other settings or of other problems.
    """
    path = folder / "candidates.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    drop_torn_line(path)
    num_done = _num_done(path, source, shown_as)
    if num_done:
        _check_same_settings(folder / "config.json", settings)
    write_json(folder / "config.json", settings)
    rerank = make_pipeline()
    with tqdm(desc="solving", unit="problem", total=len(source), initial=num_done, disable=not progress) as bar:
        for start in range(num_done, len(source), batch_size):
            read = [_read(source, index) for index in range(start, min(start + batch_size, len(source)))]
            texts = [shown_as(problem) if isinstance(problem, Problem) else None for problem in read]
            shown = [
                {"text": text, "images": list(problem.images)}
                for problem, text in zip(read, texts, strict=True)
                if isinstance(problem, Problem)
            ]
            results = iter(rerank(shown, batch_size=batch_size, on_error="return", return_candidates=True, **options))
            rows = [
                _solved_row(problem, text, next(results)) if isinstance(problem, Problem) else {**EMPTY_ROW, **problem}
                for problem, text in zip(read, texts, strict=True)
            ]
            append_line(path, *rows)
            bar.update(len(rows))
    return rerank


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
    known = [(row["problem_id"], row["question"]) for row in iter_jsonl(path)] if path.exists() else []
    read = [_read(source, index) for index in range(min(len(known), len(source)))]
    shown = [
        (source.ids[index], shown_as(problem) if isinstance(problem, Problem) else None)
        for index, problem in enumerate(read)
    ]
    if known[: len(shown)] != shown:
        raise ValueError(
            f"{path} holds other problems than the first {len(known)} of the data. The data has changed since; choose "
            "another output folder."
        )
    return len(known)


def _check_same_settings(path: Path, settings: Mapping[str, Any]) -> None:
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = sorted(name for name in {*before, *settings} if before.get(name) != settings.get(name))
        if changed:
            raise ValueError(
                f"{path.parent} was begun with other settings ({', '.join(changed)}). Its rows would not belong "
                "together; choose another output folder, or the same settings."
            )


def _solved_row(problem: Problem, question: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``candidates.jsonl``: a row of `best_of_n_report` with its outcome."""
    shown = {"problem_id": problem.id, "question": question, "answer": problem.answer}
    shown["figures"] = [image for image in problem.images if isinstance(image, str)]
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
