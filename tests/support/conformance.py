"""The families' PRMs with a few problems, scored in any way; what the conformance tests compare with."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from typing import Any

import torch

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import PRMScorer, pack_prefix_tree, packed_inputs
from support.backbones import BACKBONES
from support.equivalence import EQUIVALENCE
from support.tiny_models import make_figure

# Float32 on a CPU. A score comes out of some hundred dot products of 32 to 200 terms, each rounded to 6e-8 of its size,
# and the tiny policies' weights are ten times larger than usual. They differ by up to 1e-6 on several kinds of CPU, so
# this is ten times that. A recurrence keeps the rounding of each token in the state of all later ones: ten times more.
TOLERANCE, RECURRENT_TOLERANCE = 1e-5, 1e-4
RECURRENT = {"qwen3_5"}
SOLUTIONS = [
    ("x = 2", "so x + 1 = 3", "it is 7"),
    ("x = 2",),
    ("x = 2", "so x + 1 = 3"),
    ("a longer first step, with the angle", "y = 5"),
    ("x = 2", "no"),
]
QUESTIONS = ["What is x?", "And what is y, then, if the base is 6? Say it.", "z?"]


@dataclasses.dataclass(frozen=True)
class Case:
    """A family's PRM, made from a saved tiny policy that knows the marker, and saved."""

    name: str
    policy: Any
    prm_dir: str
    model: MMPRMModel
    processor: MMPRMProcessor
    problems: list[Problem]


@functools.cache
def make_case(name: str) -> Case:
    root = tempfile.mkdtemp()
    policy, base = BACKBONES[name].build(with_marker=True)
    for part in (policy, base):
        part.save_pretrained(f"{root}/policy")
    processor = MMPRMProcessor.from_policy(f"{root}/policy")
    model = MMPRMModel.from_policy(f"{root}/policy", processor)
    for part in (model, processor):
        part.save_pretrained(f"{root}/prm")
    images = [(), (), ()]
    if BACKBONES[name].has_images:
        wide = make_figure(3).resize((96, 32))
        # PaliGemma is the one family that refuses a problem without a figure.
        images = [(make_figure(0),), (make_figure(1),) if name == "paligemma" else (), (wide, make_figure(2))]
    problems = [Problem(id=str(i), question=q, images=images[i]) for i, q in enumerate(QUESTIONS)]
    return Case(name, policy, f"{root}/prm", model, processor, problems)


def batch_of(case: Case, padding_side: str = "right", problems: list[Problem] | None = None):
    """Every solution of every problem as one padded batch."""
    pairs = [(p, s) for p in problems or case.problems for s in SOLUTIONS]
    images, questions = [list(p.images) for p, _ in pairs], [p.question for p, _ in pairs]
    return case.processor(images=images, text=questions, steps=[list(s) for _, s in pairs], padding_side=padding_side)


def labelled_rows(model: MMPRMModel, processor: MMPRMProcessor, problem: Problem, solutions: list) -> tuple[dict, dict]:
    """Inputs and labels of one problem as one padded row per solution, and as one packed row.

    Every distinct marker is labelled once, so that both have one loss.
    """
    (rows,), extra = processor.encode_solutions([problem.question], [problem.images], [solutions])
    tree = pack_prefix_tree([sum(pieces, []) for pieces in rows])
    is_marker = tree.input_ids == processor.marker_token_id
    packed_labels = torch.full(tree.input_ids.shape, -100.0)
    packed_labels[is_marker] = torch.linspace(0.05, 0.95, int(is_marker.sum()))
    images = [list(problem.images) for _ in solutions]
    padded = processor(images=images, text=[problem.question] * len(solutions), steps=[list(s) for s in solutions])
    labels = torch.full(padded["input_ids"].shape, -100.0)
    seen: set[int] = set()
    for row, index in enumerate(tree.token_index):
        for column, token in enumerate(index.tolist()):
            if is_marker[token] and token not in seen:
                seen.add(token)
                labels[row, column] = packed_labels[token]
    packed = packed_inputs(model, [tree], [rows[0][0]], extra, processor.pad_token_id)
    return {**padded, "labels": labels}, {**packed, "labels": packed_labels[None]}


def loss_and_gradient(model: MMPRMModel, inputs: dict[str, Any]) -> tuple[float, torch.Tensor]:
    """The loss of a batch and its gradient by all weights, as one vector in float32."""
    model.zero_grad()
    loss = model(**inputs).loss
    loss.backward()
    gradient = torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])
    model.zero_grad()
    return loss.item(), gradient


@torch.no_grad()
def batch_scores(model: MMPRMModel, batch) -> torch.Tensor:
    """All step scores of a batch, one after the other."""
    return torch.cat(model(**batch).step_scores())


def scored(case: Case, model: MMPRMModel | None = None, **options) -> torch.Tensor:
    """All step scores of all problems by a scorer with these options, one after the other."""
    scorer = PRMScorer(model or case.model, case.processor, **options)
    candidates = [[Candidate(steps=s) for s in SOLUTIONS] for _ in case.problems]
    rows = scorer.score_many(case.problems, candidates)
    return torch.tensor([score for row in rows for c in row for score in c.step_scores])


@functools.cache
def oracle(name: str) -> torch.Tensor:
    """Scores of every solution by itself: a batch of one, no padding, no cache, no mask of our own."""
    return scored(make_case(name), layout="rows")


def assert_equivalent(name: str, way: str, scores: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare scores within the family's tolerance, and note the difference for the table."""
    difference = (scores - expected).abs().max().item()
    EQUIVALENCE[name][way] = difference
    tolerance = RECURRENT_TOLERANCE if name in RECURRENT else TOLERANCE
    assert difference <= tolerance, f"{name} differs by {difference:.1e} under {way!r}, allowed {tolerance:.0e}"
