"""Candidates of many problems as lines of a file: solved with policy and PRM, or scored again with another PRM.

An existing file is resumed: a problem that is in it is not solved again. No problem is left out in silence: each has a
row with its outcome, also one that could not be shown to the models.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from transformers import pipeline

from ..answers import RuleVerifier
from ..data import Candidate, Problem, Verdict
from ..errors import CheckpointError
from ..files import append_line, open_log, read_jsonl, read_records, sealed, write_jsonl
from ..models import image_format
from ..nano import POLICY_PATH, PRM_PATH
from ..progress import progress_bar
from ..rerank import FORMAT_OPTIONS, ServedPolicy
from ..rows import problem_key, shown_question, stored_figure
from .options import PolicyForm, Servers
from .run_settings import read_settings, refuse_other_settings, write_settings

notes = logging.getLogger("mmprm_hf.notes")  # what `mmprm` prints beside its results
_NUM_FIRST = 8  # rows in which problems are looked for that show the policy's step format
OUTCOMES: dict[str, str] = {
    "answered": "a complete solution was chosen",
    "no_complete_candidate": "all solutions were cut or malformed",
    "not_shown": "the problem cannot be shown to the models",
}
"""What a row's ``outcome`` can be."""

EMPTY_ROW = {"question": None, "answer": None, "figures": [], "outcome": "not_shown", "candidates": []}
"""A row of a problem that was not shown to the models."""


class Problems(Protocol):
    """Problems by index, each read when it is asked for; a row that is not a problem raises ValueError."""

    ids: list[str]

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Problem: ...


class CandidateSource(Protocol):
    """What makes candidate rows, its models loaded; its `facts` are kept with the settings."""

    def facts(self, first: Callable[[], list[Problem]], before: Mapping[str, Any]) -> Mapping[str, Any]:
        """What is known only with the models loaded.

        `first` reads some problems, if they are needed; `before` holds the facts of the run that is resumed.
        """

    def rows(self, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        """One row per problem, in their order."""


@dataclasses.dataclass(frozen=True)
class PipelineSource:
    """Candidates that a policy writes and a PRM scores.

    Args:
        pipeline: ``pipeline("generate-and-rerank")``.
        options: Options of the pipeline's call.
        batch_size: Problems that are solved together.
        shown_as: A problem's text as the models read it.
    """

    pipeline: Any
    options: Mapping[str, Any]
    batch_size: int
    shown_as: Callable[[Problem], str]

    def facts(self, first: Callable[[], list[Problem]], before: Mapping[str, Any]) -> Mapping[str, Any]:
        """How tokens are drawn, and the policy's step format."""
        sampling = self.pipeline.sampling({**self.pipeline.options, **self.options})
        facts = {name: getattr(sampling, name) for name in ("temperature", "top_p", "top_k", "max_new_tokens")}
        known = {name: before[name] for name in FORMAT_OPTIONS if name in before}
        found = self.pipeline.settle((), known, self.options)
        if self.pipeline.step_format is None:
            shown = [_as_shown(problem, self.shown_as) for problem in first()]
            found = self.pipeline.settle(shown, known, self.options)
        return {**facts, **found}

    def rows(self, problems: Sequence[Problem]) -> list[dict[str, Any]]:
        inputs = [{"text": self.shown_as(problem), "images": list(problem.images)} for problem in problems]
        call = {"batch_size": self.batch_size, "on_error": "return", "return_candidates": True, **self.options}
        call["allow_urls"] = False  # the reader of the data has fetched what may be fetched
        results = self.pipeline(inputs, **call)
        return [
            _solved_row(problem, entry["text"], result)
            for problem, entry, result in zip(problems, inputs, results, strict=True)
        ]


def check_served_prm(prm: Any, servers: Servers) -> None:
    """Refuse the policy of a server without a PRM, before anything is read or asked of the server.

    Raises:
        ValueError: naming the remedy.
    """
    if servers.engine is not None and prm is None:
        raise ValueError(
            "Found a server of the policy and no PRM: a server brings none. Name the PRM that scores its candidates, "
            "such as --prm PATH."
        )


def open_pipeline(
    policy: str | None,
    prm: Any,
    servers: Servers = Servers(),  # noqa: B008 (frozen)
    form: PolicyForm = PolicyForm(),  # noqa: B008 (frozen)
) -> Any:
    """Return ``pipeline("generate-and-rerank")`` by paths, hub ids or the server's URL.

    Without policy and PRM it has the shipped nano models; a policy alone brings the PRM that was saved with it.

    Raises:
        ValueError: for a server without a PRM.
    """
    check_served_prm(prm, servers)
    if prm is None and policy is None and servers.engine is None:
        prm = str(PRM_PATH)  # another policy brings its own, or has none
    if servers.engine is not None:
        served = ServedPolicy(servers.engine, policy, api_key=servers.api_key, timeout_seconds=servers.timeout_seconds)
        return pipeline("generate-and-rerank", model=served, prm=prm, **vars(form))
    name = str(policy or POLICY_PATH)
    try:
        return pipeline("generate-and-rerank", model=name, prm=prm, **vars(form))
    except CheckpointError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        first = str(error).strip().split("\n")[0]
        raise CheckpointError(
            f"The policy {name!r} with the PRM {str(prm)!r} cannot be loaded: {first:.300} Give folders or hub ids of "
            "whole checkpoints."
        ) from error


def judged_row(candidate: Candidate | Mapping[str, Any], problem: Problem) -> dict[str, Any]:
    """Return the candidate as a dict with its verdict; an incomplete one has no answer to judge and is wrong."""
    row = candidate.to_dict() if isinstance(candidate, Candidate) else dict(candidate)
    if not row["complete"]:
        return {**row, "verdict": str(Verdict.INCORRECT)}
    rules = {"answer_type": problem.answer_type, "options": problem.options, "precision": problem.meta.get("precision")}
    return {**row, "verdict": str(RuleVerifier().verify(row["answer"], problem.answer, **rules))}


def write_candidates(
    problems: Problems,
    folder: Path,
    settings: Mapping[str, Any],
    open_source: Callable[[], CandidateSource],
    batch_size: int = 8,
    *,
    shown_as: Callable[[Problem], str] = shown_question,
    progress: bool = True,
) -> CandidateSource:
    """Write a row for every problem to ``folder/candidates.jsonl``, resuming where a run was cut off.

    A row of the file whose problem could not be read then, and can be now, is made again.

    Args:
        problems: The problems.
        folder: A folder that the caller holds (`files.lock_folder`), until what it makes of the rows is written too.
            ``config.json`` in it holds the settings.
        settings: All that the rows depend on; a folder with other ones is refused before loading.
        open_source: Loads what makes the rows.
        batch_size: Problems that are handed to the source together.
        shown_as: A problem's text as the models read it.
        progress: Show a bar.

    Returns:
        What `open_source` returned.

    Raises:
        ValueError: if the folder was made with other settings or of other problems, figures or gold answers, or a row
            was changed since.
    """
    path = folder / "candidates.jsonl"
    open_log(path)
    if path.stat().st_size:
        refuse_other_settings(folder, settings)
    num_done, mended = _done(path, problems, shown_as)
    if num_done:
        num_solved = min(num_done, len(problems)) - len(mended)
        notes.info("Resuming %s: %d of %d problems are solved there.", path, num_solved, len(problems))
    if num_done > len(problems):
        words = "%s has %d problems; the results are now those of the first %d. The others stay in that file."
        notes.info(words, path, num_done, len(problems))
    source = open_source()
    _keep_settings(problems, folder, settings, source, is_resumed=num_done > 0)
    parts = mended, range(num_done, len(problems))
    batches = [part[start : start + batch_size] for part in parts for start in range(0, len(part), batch_size)]
    shown = {"desc": "solving", "unit": "problem", "total": len(problems)}
    with progress_bar(**shown, initial=len(problems) - sum(map(len, parts)), is_shown=progress) as bar:
        for indices in batches:
            rows = _batch_rows([_read(problems, index) for index in indices], source, folder)
            if indices[0] < num_done:
                before = read_jsonl(path)
                for index, row in zip(indices, rows, strict=True):
                    before[index] = row
                write_jsonl(path, map(sealed, before))
            else:
                append_line(path, *map(sealed, rows))
            bar.update(len(indices))
    return source


def _batch_rows(
    batch: Sequence[Problem | Mapping[str, Any]], source: CandidateSource, folder: Path
) -> list[dict[str, Any]]:
    """A row for each problem of a batch, and for each row of the data that is not a problem."""
    rows = iter(source.rows([entry for entry in batch if isinstance(entry, Problem)]))
    return [
        {**next(rows), **_content(entry, folder)}
        if isinstance(entry, Problem)
        else {**EMPTY_ROW, **entry, "problem_key": None}
        for entry in batch
    ]


def _content(problem: Problem, folder: Path) -> dict[str, Any]:
    """What a row has of its problem's content: its key, and paths of its figures.

    Figures are copied into the folder, so that a report shows them and a training run reads the same pixels wherever
    the folder goes. If one cannot be read there is no key, and the row says why.
    """
    key = _key(problem)
    images = problem.images if key is not None else ()
    figures = [_write_figure(image, folder, f"{key}_{index}") for index, image in enumerate(images)]
    return {"subject": problem.meta.get("subject"), "figures": figures, "problem_key": key}


def _write_figure(image: Any, folder: Path, stem: str) -> str:
    """Write a figure without loss, its original bytes where there are any, else PNG; return its path in the folder."""
    content = stored_figure(image)["bytes"]
    image_type = image_format(content)
    name = f"figures/{stem}.{ {'JPEG': 'jpg', 'MPO': 'jpg'}.get(image_type, image_type.lower()) }"
    (folder / "figures").mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return name


def _key(problem: Problem) -> str | None:
    """The problem's content: text, pixels, gold answer, options; None where a figure cannot be read."""
    try:
        return problem_key(problem)
    except ValueError:
        return None


def _read(problems: Problems, index: int) -> Problem | dict[str, Any]:
    """The problem, or the id and the fault of a row that is not one."""
    try:
        return problems[index]
    except ValueError as error:
        return {"problem_id": problems.ids[index], "error": str(error)}


def _keep_settings(
    problems: Problems, folder: Path, settings: Mapping[str, Any], source: CandidateSource, is_resumed: bool
) -> None:
    """Write what the rows depend on, with what is known only now that the models are loaded."""
    before = (read_settings(folder) or {}).get("sampling", {}) if is_resumed else {}
    write_settings(folder, settings, source.facts(lambda: _first(problems), before))


def _first(problems: Problems) -> list[Problem]:
    """Those of the first rows that are problems."""
    entries = [_read(problems, index) for index in range(min(_NUM_FIRST, len(problems)))]
    return [entry for entry in entries if isinstance(entry, Problem)]


def _as_shown(problem: Problem, shown_as: Callable[[Problem], str]) -> Problem:
    return dataclasses.replace(problem, question=shown_as(problem))


def _done(path: Path, problems: Problems, shown_as: Callable[[Problem], str]) -> tuple[int, list[int]]:
    """How many problems a file has already, and which of them could not be read then and can be now.

    Its rows stand in the order of the problems, and ids need not be unique.

    Raises:
        ValueError: if they are other problems.
    """
    num_done, mended = 0, []
    for num_done, row in enumerate(read_records(path, "problem_id", "question"), start=1):
        if num_done > len(problems):
            continue
        problem = _read(problems, num_done - 1)
        is_problem = isinstance(problem, Problem)
        question, key = (shown_as(problem), _key(problem)) if is_problem else (None, None)
        # Rows of texts that no model could be shown have none.
        is_same = row["problem_id"] == problems.ids[num_done - 1] and row["question"] in (question, None)
        if is_same and key is not None and row.get("problem_key") is None and row.get("error"):
            mended.append(num_done - 1)
        elif not is_same or row.get("problem_key") != key:
            raise ValueError(
                f"Row {num_done} of {path} is problem {row['problem_id']!r} with another text, figure or gold answer "
                f"than row {num_done} of the data, {problems.ids[num_done - 1]!r}. The data has changed since; choose "
                "another output folder (`mmprm evaluate answers --candidates` judges candidates for the same texts "
                "and figures again)."
            )
    return num_done, mended


def _solved_row(problem: Problem, question: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """One line of ``candidates.jsonl``: a row of `best_of_n_report` with its outcome."""
    about_problem = {"problem_id": problem.id, "question": question, "answer": problem.answer}
    if "error" in result:
        return {**EMPTY_ROW, **about_problem, "error": result["error"]}
    return {
        **about_problem,
        "outcome": "no_complete_candidate" if result["chosen"] is None else "answered",
        "chosen": result["chosen"],
        "greedy": None,
        "candidates": [judged_row(candidate, problem) for candidate in result["candidates"]],
        "num_tokens": result["num_tokens"],
        "seconds": result["seconds"],
    }
