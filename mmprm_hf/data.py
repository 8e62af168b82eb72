"""Data types that all rooms share: problem, rollout, node, tree, labelled path, candidate, verdict.

All are frozen dataclasses that turn into plain dicts and back (``to_dict`` / ``from_dict``), so a stage
can write what the next one reads. A solution is always a *tuple of step strings*; tagged text exists only
in ``steps/``. Counts are kept (k of n), never only their ratio.

Standard library only.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import hashlib
import json
from typing import Any

SCHEMA_VERSION = 2
MAX_QUESTION_CHARS = 100_000
"""The most characters of a question; a PRM reads it with every solution."""


class Verdict(enum.StrEnum):
    """What a verifier says of an answer. ``UNDECIDED`` is never counted as wrong."""

    CORRECT = "correct"
    INCORRECT = "incorrect"
    UNDECIDED = "undecided"


def content_hash(*parts: Any, length: int = 16) -> str:
    """Hex digest (sha256, `length` digits) of JSON-serialisable parts; equal content gives equal ids on any machine."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:length]


def _as_tuple(values: Any, owner: str, name: str, example: str, only_texts: bool = True) -> tuple[Any, ...]:
    """A tuple or list as a tuple; a text, which would be read letter by letter, or any other value is refused."""
    is_right = isinstance(values, (tuple, list))
    if not is_right or (only_texts and not all(isinstance(value, str) for value in values)):
        rule = "a tuple or list of texts" if only_texts else "a tuple or list"
        raise ValueError(f"{owner} has {name}={values!r:.80}. It must be {rule}, such as {example}.")
    return tuple(values)


def _check_texts(owner: str, **texts: Any) -> None:
    """Raise unless each value is a text that a file can hold."""
    for name, text in texts.items():
        if not isinstance(text, str):
            raise ValueError(f"{owner} has {name}={text!r:.80}, a {type(text).__name__}. It must be a text.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"{owner} has half a character (a lone surrogate) in its {name}, {text!r:.80}. Write the text again."
            ) from error


@dataclasses.dataclass(frozen=True)
class Problem:
    """One question with its figures.

    Args:
        id: Stable identifier; results are keyed by it.
        question: The text shown to policy and PRM. Not empty, and at most `MAX_QUESTION_CHARS` long. Placeholders such
            as ``<image1>`` are the places of figures, see `models.split_question`.
        images: Figures in reading order or as the placeholders number them, in any form that `models.load_image` takes;
            empty for a text-only problem.
        answer: The gold answer, or None where there is none (verdicts are then undecided).
        answer_type: "number", "choice" or "text".
        options: Choices in letter order (A, B, ...), empty for free-form questions.
        meta: Everything else a source tells (subject, grade, source, license, split_group, ...).

    Raises:
        ValueError: if a value has another type, or the question is empty or too long.
    """

    id: str
    question: str
    images: tuple[Any, ...] = ()
    answer: str | None = None
    answer_type: str = "number"
    options: tuple[str, ...] = ()
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.question, str) or not self.question.strip():
            raise ValueError(
                f"Problem {self.id!r} has an empty question ({self.question!r}). A problem needs a non-empty text; "
                "drop the row or fill its question."
            )
        owner = f"Problem {self.id!r:.80}"
        if len(self.question) > MAX_QUESTION_CHARS:
            raise ValueError(
                f"{owner} has a question of {len(self.question)} characters, more than {MAX_QUESTION_CHARS}. Shorten "
                "it or drop the row."
            )
        images = _as_tuple(self.images, owner, "images", "('figure.png',)", only_texts=False)
        options = _as_tuple(self.options, owner, "options", "('4', '5')")
        answer = {} if self.answer is None else {"answer": self.answer}
        texts = {f"option {index}": option for index, option in enumerate(options)}
        _check_texts(owner, id=self.id, question=self.question, answer_type=self.answer_type, **answer, **texts)
        object.__setattr__(self, "images", images)
        object.__setattr__(self, "options", options)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict; JSON-serialisable where the images are paths."""
        return {**vars(self), "images": list(self.images), "options": list(self.options), "meta": dict(self.meta)}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Problem:
        """Inverse of `to_dict`."""
        return cls(**{**row, "images": tuple(row["images"]), "options": tuple(row["options"])})


@dataclasses.dataclass(frozen=True)
class Rollout:
    """One sampled continuation of a prefix.

    Args:
        steps: The steps it *adds* to the prefix (the prefix is not repeated).
        answer: The text of the answer block, None where there is none.
        complete: True only if the text was parsed whole: every tag closed, an answer present, not cut.
        finish_reason: "stop" or "length", as the engine reports it; "step" where it was to write one step and did
            (`steps` then holds it, and the rollout is not complete); "control_token" where a token of the model's own
            (an image's place, say) stands among the words.
        num_tokens: Tokens generated.
        num_prompt_tokens: Tokens it continues (system, question, figures, prefix); all samples of one request share
            them. 0 where the engine does not know.
        verdict: Filled by the search once a verifier has judged the answer.
        text: The raw response. Trees keep it only of incomplete rollouts: of complete ones the steps say it all.
        fault: Why it is not complete, one of `steps.FAULTS`; "" for a complete one.
    """

    steps: tuple[str, ...]
    answer: str | None = None
    complete: bool = True
    finish_reason: str = "stop"
    num_tokens: int = 0
    num_prompt_tokens: int = 0
    verdict: Verdict = Verdict.UNDECIDED
    text: str = ""
    fault: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable dict; `fault` only where there is one."""
        row = {**vars(self), "steps": list(self.steps), "verdict": str(self.verdict)}
        return row if self.fault else {name: value for name, value in row.items() if name != "fault"}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Rollout:
        """Inverse of `to_dict`."""
        return cls(**{**row, "steps": tuple(row["steps"]), "verdict": Verdict(row["verdict"])})


@dataclasses.dataclass(frozen=True)
class Node:
    """A prefix in a search tree: its parent's prefix plus the `steps` (segment) it adds.

    Args:
        id: Content hash of the whole prefix and the problem id.
        parent: Index of the parent in `SearchTree.nodes`, None for the root.
        steps: The segment: steps added to the parent's prefix; empty only for the root.
        num_correct: Decided rollouts from this prefix whose answer was right.
        num_decided: Decided rollouts from this prefix (undecided and incomplete ones are not counted here).
        num_visits: How often the search selected this node.
        judge_verdict: What a step judge says of the steps up to and including this node's: CORRECT if all are right;
            None where no judge was asked (see `labelling/consensus.py`).
    """

    id: str
    parent: int | None
    steps: tuple[str, ...]
    num_correct: int
    num_decided: int
    num_visits: int = 0
    judge_verdict: Verdict | None = None

    @property
    def mc_estimate(self) -> float | None:
        """Monte Carlo estimate ``num_correct / num_decided`` in [0, 1]; None while nothing was decided."""
        return self.num_correct / self.num_decided if self.num_decided else None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable dict."""
        verdict = None if self.judge_verdict is None else str(self.judge_verdict)
        return {**vars(self), "steps": list(self.steps), "judge_verdict": verdict}

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Node:
        """Inverse of `to_dict`."""
        verdict = None if row["judge_verdict"] is None else Verdict(row["judge_verdict"])
        return cls(**{**row, "steps": tuple(row["steps"]), "judge_verdict": verdict})


@dataclasses.dataclass(frozen=True)
class SearchTree:
    """All that one search learned of one problem, as a flat node list (parents before children; node 0 is the root).

    Args:
        problem_id: The problem searched.
        nodes: Flat list with parent indices.
        rollouts: ``(node index, rollout)`` for every rollout drawn, in order.
        config: The search's configuration as a plain dict.
        engine: What wrote the rollouts (name, checkpoint, sampling settings).
        num_undecided: Complete rollouts that no verifier could judge.
        num_incomplete: Rollouts that were cut or could not be parsed.
        problem_key: Content hash of the problem (`rows.problem_key`), set by the driver; empty outside a run.
    """

    problem_id: str
    nodes: tuple[Node, ...]
    rollouts: tuple[tuple[int, Rollout], ...] = ()
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    engine: dict[str, Any] = dataclasses.field(default_factory=dict)
    num_undecided: int = 0
    num_incomplete: int = 0
    problem_key: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def id(self) -> str:
        """Content hash of problem, search configuration and nodes."""
        return content_hash(self.problem_id, self.config, [node.id for node in self.nodes])

    @property
    def num_rollouts(self) -> int:
        """Rollouts drawn in all."""
        return len(self.rollouts)

    def prefix(self, index: int) -> tuple[str, ...]:
        """All steps from the root up to and including node `index`."""
        segments = []
        cursor: int | None = index
        while cursor is not None:
            segments.append(self.nodes[cursor].steps)
            cursor = self.nodes[cursor].parent
        return tuple(step for segment in reversed(segments) for step in segment)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable dict."""
        row = {**vars(self), "config": copy.deepcopy(self.config), "engine": copy.deepcopy(self.engine)}
        row["nodes"] = [node.to_dict() for node in self.nodes]
        row["rollouts"] = [[index, rollout.to_dict()] for index, rollout in self.rollouts]
        return row

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> SearchTree:
        """Inverse of `to_dict`.

        Raises:
            ValueError: if the row was written under another schema version.
        """
        if row.get("schema_version") != SCHEMA_VERSION:
            raise ValueError(
                f"Found schema_version {row.get('schema_version')!r} in a search tree, expected {SCHEMA_VERSION}. "
                "Label the problems again with this version, or read the file with the version that wrote it."
            )
        nodes = tuple(Node.from_dict(node) for node in row["nodes"])
        rollouts = tuple((index, Rollout.from_dict(rollout)) for index, rollout in row["rollouts"])
        return cls(**{**row, "nodes": nodes, "rollouts": rollouts})


@dataclasses.dataclass(frozen=True)
class LabelledPath:
    """One root-to-leaf path of a tree with a label count for every step.

    Args:
        problem_id, tree_id, path_id: Where it comes from; `path_id` is a content hash.
        steps: The path's steps, in order.
        label_counts: ``(num_correct, num_decided)`` per step; ``(0, 0)`` where nothing is known of the step.
        label_sources: Per step, where its counts come from (see `labelling/labels.py`).
    """

    problem_id: str
    tree_id: str
    path_id: str
    steps: tuple[str, ...]
    label_counts: tuple[tuple[int, int], ...]
    label_sources: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.steps) == len(self.label_counts) == len(self.label_sources):
            raise ValueError(
                f"Path {self.path_id} has {len(self.steps)} steps but {len(self.label_counts)} label counts and "
                f"{len(self.label_sources)} label sources. Each step needs one (num_correct, num_decided) pair and "
                "one source."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable dict."""
        counts = [list(pair) for pair in self.label_counts]
        return {
            **vars(self),
            "steps": list(self.steps),
            "label_counts": counts,
            "label_sources": list(self.label_sources),
        }

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> LabelledPath:
        """Inverse of `to_dict`."""
        counts = tuple((num_correct, num_decided) for num_correct, num_decided in row["label_counts"])
        sources = tuple(row["label_sources"])
        return cls(**{**row, "steps": tuple(row["steps"]), "label_counts": counts, "label_sources": sources})


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One complete parsed solution at inference.

    Args:
        steps: Its steps; empty where nothing could be parsed.
        answer: Its answer, None where there is none.
        complete: As in `Rollout`; an incomplete candidate is never selected before a complete one.
        text: The policy's raw response.
        step_scores: P(step correct) in [0, 1], one per step; None until scored.
        score: The aggregate of `step_scores`; None until scored, ``-inf`` for an empty or incomplete candidate.
        num_tokens: Tokens generated.
        fault: Why it is not complete, one of `steps.FAULTS`; "" for a complete one.

    Raises:
        ValueError: if `steps` are not a tuple or list of texts, or another value has the wrong type.
    """

    steps: tuple[str, ...]
    answer: str | None = None
    complete: bool = True
    text: str = ""
    step_scores: tuple[float, ...] | None = None
    score: float | None = None
    num_tokens: int = 0
    fault: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", _as_tuple(self.steps, "A candidate", "steps", "('A=22', 'B=61')"))
        if not isinstance(self.answer, str | None):
            raise ValueError(f"A candidate has answer={self.answer!r:.80}. It must be a text or None.")
        if self.step_scores is not None:
            scores = _as_tuple(self.step_scores, "A candidate", "step_scores", "(0.9, 0.2)", only_texts=False)
            object.__setattr__(self, "step_scores", scores)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-serialisable dict (`score` of ``-inf`` becomes None: JSON has no infinities; no empty `fault`)."""
        row = dataclasses.asdict(self)
        row["steps"] = list(self.steps)
        row["step_scores"] = None if self.step_scores is None else list(self.step_scores)
        row["score"] = None if self.score is None or self.score == float("-inf") else self.score
        if not self.fault:
            del row["fault"]
        return row

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Candidate:
        """A candidate from what `to_dict` gives; a missing key takes its default, an unknown one is ignored.

        A score of None stays None: the ``-inf`` of an incomplete candidate is not told from "not scored".
        """
        names = [field.name for field in dataclasses.fields(cls) if field.name in row]
        scores = row.get("step_scores")
        return cls(
            **{
                **{name: row[name] for name in names},
                "steps": tuple(row.get("steps") or ()),
                "step_scores": None if scores is None else tuple(scores),
            }
        )
