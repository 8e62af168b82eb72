"""One conformance test for every family of backbones: the same scores however they are computed, and the policy's.

The table of largest differences is printed after the run. Families whose stock processor needs torchvision skip,
saying so, unless `MMPRM_EXTRAS` names a folder that holds it (`make test-extras`).
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import subprocess
import sys
import tempfile

import pytest
import torch
from conftest import EQUIVALENCE, PlainTreeKernel, make_figure
from support.backbones import BACKBONES, save, why_unavailable
from support.layout import ROOT
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import backbones as product
from mmprm_hf.scoring.backbones import packed_inputs, why_not_packed
from mmprm_hf.scoring.packing import pack_prefix_tree
from mmprm_hf.scoring.scorer import PRMScorer

# The bounds hold for float32 on a CPU; a shared prefix whose state is a long recurrence rounds differently.
MAX_DIFFERENCE, MEAN_DIFFERENCE = 1e-5, 1e-6
SOLUTIONS = [
    ("x = 2", "so x + 1 = 3", "it is 7"),
    ("x = 2",),
    ("x = 2", "so x + 1 = 3"),
    ("a longer first step, with the angle", "y = 5"),
    ("x = 2", "no"),
]
QUESTIONS = ["What is x?", "And what is y, then, if the base is 6? Say it.", "z?"]
AVAILABLE = [name for name in BACKBONES if why_unavailable(name) is None]
CANNOT_PACK = {"qwen3_5"}


@dataclasses.dataclass(frozen=True)
class Case:
    """A family's PRM made from a tiny policy that knows the marker."""

    policy_dir: str
    prm_dir: str
    model: MMPRMModel
    processor: MMPRMProcessor
    problems: list[Problem]


@functools.cache
def make_case(name: str) -> Case:
    root = tempfile.mkdtemp()
    policy_dir, prm_dir = save(name, f"{root}/policy", with_marker=True), f"{root}/prm"
    processor = MMPRMProcessor.from_policy(policy_dir)
    model = MMPRMModel.from_policy(policy_dir, processor)
    model.save_pretrained(prm_dir)
    processor.save_pretrained(prm_dir)
    images = [(), (), ()]
    if BACKBONES[name].has_images:
        wide = make_figure(3).resize((96, 32))
        # PaliGemma is the one family that refuses a problem without figure.
        images = [(make_figure(0),), (make_figure(1),) if name == "paligemma" else (), (wide, make_figure(2))]
    problems = [Problem(id=str(i), question=q, images=images[i]) for i, q in enumerate(QUESTIONS)]
    return Case(policy_dir, prm_dir, model, processor, problems)


@pytest.fixture(params=BACKBONES)
def case(request) -> Case:
    reason = why_unavailable(request.param)
    if reason:
        pytest.skip(reason)
    return make_case(request.param)


def batch_of(case: Case, padding_side: str = "right", problems: list[Problem] | None = None):
    """Every solution of every problem as one padded batch."""
    problems = case.problems if problems is None else problems
    pairs = [(p, s) for p in problems for s in SOLUTIONS]
    images = [list(p.images) for p, _ in pairs]
    steps = [list(s) for _, s in pairs]
    return case.processor(images=images, text=[p.question for p, _ in pairs], steps=steps, padding_side=padding_side)


@torch.no_grad()
def scores_of(model: MMPRMModel, batch) -> torch.Tensor:
    return torch.cat(model(**batch).step_scores())


def scored(case: Case, model: MMPRMModel | None = None, **options) -> torch.Tensor:
    scorer = PRMScorer(model or case.model, case.processor, **options)
    found = scorer.score_many(case.problems, [[Candidate(steps=s) for s in SOLUTIONS] for _ in case.problems])
    return torch.tensor([score for row in found for c in row for score in c.step_scores])


@functools.cache
def oracle(name: str) -> torch.Tensor:
    """Scores of every solution by itself: a batch of one, no padding, no cache, no mask of our own."""
    return scored(make_case(name), layout="rows")


@pytest.fixture
def expected(request) -> torch.Tensor:
    return oracle(request.node.callspec.params["case"])


def test_before_training_scores_are_the_policys_yes_no_softmax(case, request):
    is_vision = BACKBONES[request.node.callspec.params["case"]].has_images
    auto_class = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
    policy = auto_class.from_pretrained(case.policy_dir).eval()
    batch = batch_of(case, "left")
    with torch.no_grad():
        logits = policy(**batch).logits[batch["input_ids"] == case.processor.marker_token_id]
    vocab = case.processor.tokenizer.get_vocab()
    theirs = logits[:, [vocab["Yes"], vocab["No"]]].softmax(-1)[:, 0]
    ours = scores_of(case.model, batch)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    assert ours.std() > 0.01  # they differ enough for the comparison to mean something


WAYS = {
    "right": lambda case: scores_of(case.model, batch_of(case, "right")),
    "left": lambda case: scores_of(case.model, batch_of(case, "left")),
    "packed": lambda case: scored(case, layout="packed"),
    "tree": lambda case: scored(case, layout="tree"),
    "tree, one by one": lambda case: scored(case, layout="tree", max_batch_problems=1, max_batch_tokens=1),
    "chain": lambda case: scored(case, layout="chain"),
    "auto": lambda case: scored(case),
    "reloaded": lambda case: scored(case, MMPRMModel.from_pretrained(case.prm_dir)),
    "eager": lambda case: scored(case, MMPRMModel.from_pretrained(case.prm_dir, attn_implementation="eager")),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_scoring_gives_the_same(case, expected, way, request):
    name = request.node.callspec.params["case"]
    if name in CANNOT_PACK and (way == "packed" or way.startswith("tree")):
        with pytest.raises(ValueError, match="would be wrong: .* has linear_attention layers"):
            WAYS[way](case)
        EQUIVALENCE[name][way] = None
        return
    difference = (WAYS[way](case) - expected).abs()
    EQUIVALENCE[name][way] = (difference.max().item(), difference.mean().item())
    assert difference.max() <= MAX_DIFFERENCE and difference.mean() <= MEAN_DIFFERENCE


@pytest.mark.parametrize("name", ["llama", "llava", "gemma3", "mistral", "idefics3"])
@pytest.mark.parametrize("layout", ["packed", "tree"])
def test_flex_attention_block_masks_give_the_same(name, layout):
    """Run without compiling: the numbers are those of the compiled kernel, and a minute is saved."""
    implementation: object = "flex_attention"
    if BACKBONES[name].has_images:
        implementation = {"vlm_config": {"text_config": "flex_attention", "vision_config": "sdpa"}}
    model = MMPRMModel.from_pretrained(make_case(name).prm_dir, attn_implementation=implementation)
    assert model.config.get_text_config()._attn_implementation == "flex_attention"
    with torch.compiler.set_stance("force_eager"):
        difference = (scored(make_case(name), model, layout=layout) - oracle(name)).abs()
    EQUIVALENCE[name]["flex"] = (difference.max().item(), difference.mean().item())
    assert difference.max() <= MAX_DIFFERENCE and difference.mean() <= MEAN_DIFFERENCE


@pytest.mark.parametrize("name", ["llama", "mistral", "llava"])
def test_trls_tree_kernel_gives_the_same(name, monkeypatch):
    """The packed row through TRL's attention function, with a plain stand-in for its FlashAttention 3 kernel."""
    trl_packing = pytest.importorskip("trl.experimental.async_grpo.packing", reason="this trl has no tree attention")
    monkeypatch.setattr(trl_packing, "_flash_attn", lambda: PlainTreeKernel)
    trl_packing.register_tree_attention()
    case = make_case(name)
    model = MMPRMModel.from_pretrained(case.prm_dir)
    language_model = model.vlm.language_model if BACKBONES[name].has_images else model.vlm
    language_model.config._attn_implementation = "tree_fa3"
    difference = (scored(case, model, layout="packed", max_batch_problems=1) - oracle(name)).abs()
    EQUIVALENCE[name]["tree_fa3"] = (difference.max().item(), difference.mean().item())
    assert difference.max() <= MAX_DIFFERENCE
    assert PRMScorer(model, case.processor).layout == "packed"
    with pytest.raises(ValueError, match="layout 'tree' would be wrong: tree_fa3 takes packed rows only"):
        PRMScorer(model, case.processor, layout="tree")
    prompts, extra = case.processor.encode_prompts(["a", "b"], [[], []])
    trees = [pack_prefix_tree([prompt]) for prompt in prompts]
    with pytest.raises(ValueError, match="Found 2 packed rows; tree_fa3 takes one at a time"):
        packed_inputs(model, trees, prompts, extra, 0)


def test_trls_tree_kernel_is_refused_where_layers_cannot_branch():
    model = MMPRMModel.from_pretrained(make_case("qwen3_5").prm_dir)
    model.vlm.config._attn_implementation = "tree_fa3"
    with pytest.raises(ValueError, match="'auto' would be wrong: .* has linear_attention layers"):
        PRMScorer(model, make_case("qwen3_5").processor)


def test_a_growing_search_is_scored_step_by_step(case, expected, request):
    """The longest solutions first, then others behind a part that was kept; every token once."""
    name, problem = request.node.callspec.params["case"], case.problems[0]
    lengths = [len(s) for s in SOLUTIONS]
    wanted = list(expected[: sum(lengths)].split(lengths))
    session = PRMScorer(case.model, case.processor).session(problem)
    first = session.score([SOLUTIONS[0][:1], SOLUTIONS[3][:1]])
    session.keep([SOLUTIONS[0][:1]])
    found = session.score(SOLUTIONS)
    difference = (torch.tensor([x for row in found for x in row]) - torch.cat(wanted)).abs()
    EQUIVALENCE[name]["session"] = (difference.max().item(), difference.mean().item())
    assert difference.max() <= MAX_DIFFERENCE and difference.mean() <= MEAN_DIFFERENCE
    assert first[0][0] == pytest.approx(wanted[0][0].item(), abs=MAX_DIFFERENCE)
    if name not in CANNOT_PACK:
        (rows,), _ = case.processor.encode_solutions([problem.question], [problem.images], [SOLUTIONS])
        tree = pack_prefix_tree([sum(pieces, []) for pieces in rows])
        forgotten = len(case.processor.encode_steps(SOLUTIONS[3][:1])[0])  # computed twice: it was not kept
        assert session.num_computed_tokens == len(tree) + forgotten


def test_packed_gradients_are_unpacked_gradients(case, request):
    """One packed row per problem and one padded row per solution, with every distinct marker labelled once."""
    if request.node.callspec.params["case"] in CANNOT_PACK:
        assert "linear_attention" in why_not_packed(case.model)
        return
    model, problem = case.model, case.problems[0]
    (rows,), extra = case.processor.encode_solutions([problem.question], [problem.images], [SOLUTIONS])
    tree = pack_prefix_tree([sum(pieces, []) for pieces in rows])
    is_marker = tree.input_ids == case.processor.marker_token_id
    packed_labels = torch.full(tree.input_ids.shape, -100.0)
    packed_labels[is_marker] = torch.linspace(0.05, 0.95, int(is_marker.sum()))
    batch = batch_of(case, problems=[problem])
    labels = torch.full(batch["input_ids"].shape, -100.0)
    seen: set[int] = set()
    for row, index in enumerate(tree.token_index):
        for column, token in enumerate(index.tolist()):
            if is_marker[token] and token not in seen:
                seen.add(token)
                labels[row, column] = packed_labels[token]
    prompts = [rows[0][0]]
    packed = packed_inputs(model, [tree], prompts, extra, case.processor.pad_token_id)
    gradients, losses = [], []
    for inputs in ({**batch, "labels": labels}, {**packed, "labels": packed_labels[None]}):
        model.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    model.zero_grad()
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    error = (gradients[0] - gradients[1]).norm() / gradients[0].norm()
    EQUIVALENCE[request.node.callspec.params["case"]]["gradient"] = (error.item(), error.item())
    assert error < 1e-4 and gradients[0].norm() > 1e-3


def test_remote_code_gives_the_same_without_the_package(tmp_path):
    """All families in one process where importing the package fails."""
    cases = {name: make_case(name) for name in AVAILABLE}
    inputs = {}
    for name, case in cases.items():
        images = []
        for index, image in enumerate(case.problems[2].images):
            image.save(tmp_path / f"{name}{index}.png")
            images.append(str(tmp_path / f"{name}{index}.png"))
        inputs[name] = {"folder": case.prm_dir, "images": images}
    script = f"""
import json, os, sys
sys.path.insert(0, {str(ROOT / "tests")!r})
sys.modules["mmprm_hf"] = None  # any import of the package fails
from support.backbones import enable_torchvision
enable_torchvision(os.environ.get("MMPRM_EXTRAS"))
import torch
from transformers import AutoModel, AutoProcessor
for name, case in json.loads(sys.stdin.read()).items():
    model = AutoModel.from_pretrained(case["folder"], trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(case["folder"], trust_remote_code=True)
    images = case["images"] or None
    with torch.no_grad():
        output = model(**processor(images=images, text={QUESTIONS[2]!r}, steps={list(SOLUTIONS[0])!r}))
    print("SCORES", json.dumps([name, output.step_scores()[0].tolist()]))
"""
    env = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], input=json.dumps(inputs), capture_output=True, text=True, env=env, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = dict(json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("SCORES "))
    assert set(found) == set(AVAILABLE)
    start = 2 * sum(map(len, SOLUTIONS))  # the third problem's first solution
    for name, scores in found.items():
        difference = (torch.tensor(scores) - oracle(name)[start : start + len(scores)]).abs()
        EQUIVALENCE[name]["remote"] = (difference.max().item(), difference.mean().item())
        assert difference.max() <= MAX_DIFFERENCE, name


def test_a_window_that_is_not_masked_would_show(monkeypatch):
    """The negative case: packed under full attention, a sliding-window backbone gives other scores."""
    case = make_case("mistral")
    assert product.attention_windows(case.model) == {"sliding_attention": 24}
    monkeypatch.setattr(product, "attention_windows", lambda model: {"sliding_attention": None})
    assert (scored(case, layout="packed") - oracle("mistral")).abs().max() > 1e-3


def test_image_tokens_that_see_only_backwards_would_show(monkeypatch):
    """The negative case: packed without the blocks in which Gemma 3's image tokens see each other."""
    case = make_case("gemma3_full")
    monkeypatch.setattr(product, "image_blocks", lambda model, types: torch.full((len(types),), -1))
    assert (scored(case, layout="packed") - oracle("gemma3_full")).abs().max() > 1e-3


def test_a_processor_that_needs_torchvision_says_so(tmp_path):
    if why_unavailable("internvl") is None:
        pytest.skip("torchvision is installed")
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (tmp_path / "preprocessor_config.json").write_text(
        '{"processor_class": "Qwen2_5_VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"}'
    )
    case = make_case("qwen2")
    case.processor.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ImportError, match="needs torchvision, which is not installed"):
        MMPRMProcessor.from_policy(tmp_path)
