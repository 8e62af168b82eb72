"""One conformance test for every family of backbones: the same scores however they are computed, and the policy's.

The table of largest differences is printed after the run. Families whose stock processor needs torchvision skip,
saying so, unless `MMPRM_EXTRAS` names a folder that holds it (`make test-extras`).
"""

from __future__ import annotations

import dataclasses

import pytest
import torch
from support.backbones import BACKBONES, missing_packages
from support.conformance import (
    SOLUTIONS,
    TOLERANCE,
    assert_equivalent,
    batch_of,
    batch_scores,
    labelled_rows,
    loss_and_gradient,
    make_case,
    oracle,
    scored,
)
from support.equivalence import EQUIVALENCE
from support.tiny_models import PlainTreeKernel

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import (
    PRMScorer,
    choose_layout,
    layouts,
    pack_prefix_tree,
    packed_inputs,
    packed_obstacle,
    prefix_cache,
)
from mmprm_hf.scoring import backbones as product

CANNOT_BRANCH = {"qwen3_5"}


@pytest.fixture(scope="module", params=BACKBONES)  # of a module, so that one family's tests run one after the other
def case(request):
    missing = missing_packages(request.param)
    if missing:
        pytest.skip(f"the stock processor of {request.param} needs {' and '.join(missing)}")
    return make_case(request.param)


def test_before_training_scores_are_the_policys_yes_no_softmax(case):
    batch = batch_of(case, "left")
    with torch.no_grad():
        logits = case.policy(**batch).logits[batch["input_ids"] == case.processor.marker_token_id]
    vocab = case.processor.tokenizer.get_vocab()
    expected = logits[:, [vocab["Yes"], vocab["No"]]].softmax(-1)[:, 0]
    scores = batch_scores(case.model, batch)
    torch.testing.assert_close(scores, expected, atol=TOLERANCE, rtol=0)
    assert scores.std() > 0.01  # they differ enough for the comparison to mean something


WAYS = {
    "right": lambda case: batch_scores(case.model, batch_of(case, "right")),
    "left": lambda case: batch_scores(case.model, batch_of(case, "left")),
    "packed": lambda case: scored(case, layout="packed"),
    "tree": lambda case: scored(case, layout="tree"),
    "one by one": lambda case: scored(case, layout="tree", max_batch_problems=1, max_batch_tokens=1),
    "chain": lambda case: scored(case, layout="chain"),
    "auto": lambda case: scored(case),
    "reloaded": lambda case: scored(case, MMPRMModel.from_pretrained(case.prm_dir)),
    "eager": lambda case: scored(case, MMPRMModel.from_pretrained(case.prm_dir, attn_implementation="eager")),
}


def test_every_way_of_scoring_gives_the_same(case):
    for way, score in WAYS.items():
        if case.name in CANNOT_BRANCH and way in ("packed", "tree", "one by one"):
            with pytest.raises(ValueError, match="would be wrong: .* has linear_attention layers"):
                score(case)
            EQUIVALENCE[case.name][way] = None
        else:
            assert_equivalent(case.name, way, score(case), oracle(case.name))


def test_a_growing_search_is_scored_step_by_step(case):
    """First steps, of which the later one is kept, then solutions behind it and others; every token once."""
    problem, expected = case.problems[0], oracle(case.name)
    session = PRMScorer(case.model, case.processor).session(problem)
    first = session.score([SOLUTIONS[3][:1], SOLUTIONS[0][:1]])
    session.keep([SOLUTIONS[0][:1]])
    scores = torch.tensor([score for row in session.score(SOLUTIONS) for score in row])
    assert_equivalent(case.name, "session", scores, expected[: len(scores)])
    assert first[1][0] == pytest.approx(expected[0].item(), abs=TOLERANCE)
    if case.name not in CANNOT_BRANCH:
        (rows,), _ = case.processor.encode_solutions([problem.question], [problem.images], [SOLUTIONS])
        tree = pack_prefix_tree([sum(pieces, []) for pieces in rows])
        forgotten = len(case.processor.encode_steps(SOLUTIONS[3][:1])[0])  # computed twice: it was not kept
        assert session.num_computed_tokens == len(tree) + forgotten


HALF_WAYS = ("right", "left", "packed", "tree", "chain")


def test_in_bfloat16_every_way_is_as_near_to_float32_as_rows_are(case):
    """Rounding moves every way by as much as scoring row by row, and sharing is not refused for it."""
    half, wide = MMPRMModel.from_pretrained(case.prm_dir, dtype=torch.bfloat16), oracle(case.name)
    rows = scored(case, half, layout="rows")
    own = (rows - wide).square().mean().sqrt().item()
    EQUIVALENCE[case.name]["bf16 rows"] = (rows - wide).abs().max().item()
    halved = dataclasses.replace(case, model=half)
    for way in HALF_WAYS:
        if case.name in CANNOT_BRANCH and way in ("packed", "tree"):
            continue
        scores = WAYS[way](halved)
        if way in ("packed", "tree", "chain"):
            EQUIVALENCE[case.name][f"bf16 {way}"] = (scores - wide).abs().max().item()
        # Of some forty steps: their own roundings, so the two means differ, by a third at most.
        assert (scores - wide).square().mean().sqrt().item() < 1.5 * own, way
    assert choose_layout(half) == ("chain" if case.name in CANNOT_BRANCH else "auto")


def plain_masks(trees, window=None):
    """Masks in which a solution sees those that stand before it in its row."""
    size = max(len(tree) for tree in trees)
    return torch.ones(len(trees), 1, size, size, dtype=torch.bool).tril()


def without_windows(model, make_mask):
    return product.attention_argument(model, lambda window: make_mask(None))


def without_positions(model, *args, **kwargs):
    """Positions counted along the row, as a model does by itself."""
    inputs = prefix_cache.suffix_inputs(model, *args, **kwargs)
    positions = inputs["position_ids"]
    start = positions[..., :1]
    return {**inputs, "position_ids": start + torch.arange(positions.shape[-1])}


def test_what_is_wrong_is_refused_in_bfloat16_too(case, monkeypatch):
    """Masks, positions or windows that are wrong show in the numbers of the probe, rounded as they are."""
    if case.name in CANNOT_BRANCH:
        assert choose_layout(case.model) == "chain"
        return
    wrong = [(layouts, "suffix_inputs", without_positions), (prefix_cache, "stack_masks", plain_masks)]
    if any(product.attention_windows(case.model).values()):
        wrong.append((prefix_cache, "attention_argument", without_windows))
    for model in (case.model, MMPRMModel.from_pretrained(case.prm_dir, dtype=torch.bfloat16)):
        for module, name, replacement in wrong:
            with monkeypatch.context() as patched:
                patched.setattr(module, name, replacement)
                with pytest.raises(ValueError, match="gives other numbers under tree"):
                    choose_layout(model, "tree")
        assert choose_layout(model, "tree") == "tree"


def test_packed_gradients_are_unpacked_gradients(case):
    """One packed row per problem and one padded row per solution, with every distinct marker labelled once."""
    if case.name in CANNOT_BRANCH:
        assert "linear_attention" in packed_obstacle(case.model)
        return
    model = case.model
    inputs = labelled_rows(model, case.processor, case.problems[0], SOLUTIONS)
    losses, gradients = zip(*(loss_and_gradient(model, each) for each in inputs), strict=True)
    error = ((gradients[0] - gradients[1]).norm() / gradients[0].norm()).item()
    EQUIVALENCE[case.name]["gradient"] = error
    # Relative, float32: backward sums the same numbers as forward in another order, and again for every layer.
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert error < 1e-4 and gradients[0].norm() > 1e-3


def test_flex_attention_block_masks_give_the_same():
    """Run without compiling: the numbers are those of the compiled kernel, and a minute is saved."""
    for name in ("mistral", "gemma3", "idefics3"):  # a window; windows and image blocks by layer type; full attention
        implementation: object = "flex_attention"
        if BACKBONES[name].has_images:
            implementation = {"vlm_config": {"text_config": "flex_attention", "vision_config": "sdpa"}}
        case = make_case(name)
        model = MMPRMModel.from_pretrained(case.prm_dir, attn_implementation=implementation)
        assert model.config.get_text_config()._attn_implementation == "flex_attention"
        for layout in ("packed", "tree"):
            with torch.compiler.set_stance("force_eager"):
                assert_equivalent(name, f"flex {layout}", scored(case, model, layout=layout), oracle(name))


def test_trls_tree_kernel_gives_the_same(monkeypatch):
    """The packed row through TRL's attention function, with a plain stand-in for its FlashAttention 3 kernel."""
    trl_packing = pytest.importorskip("trl.experimental.async_grpo.packing", reason="this trl has no tree attention")
    monkeypatch.setattr(trl_packing, "_flash_attn", lambda: PlainTreeKernel)
    trl_packing.register_tree_attention()
    for name in ("mistral", "llava"):
        case = make_case(name)
        model = MMPRMModel.from_pretrained(case.prm_dir)
        language_model = model.vlm.language_model if BACKBONES[name].has_images else model.vlm
        language_model.config._attn_implementation = "tree_fa3"
        assert_equivalent(name, "tree_fa3", scored(case, model, layout="packed"), oracle(name))
    assert PRMScorer(model, case.processor).layout == "packed"
    with pytest.raises(ValueError, match="layout 'tree' would be wrong: tree_fa3 takes packed rows only"):
        PRMScorer(model, case.processor, layout="tree")
    prompts, extra = case.processor.encode_prompts(["a", "b"], [[], []])
    trees = [pack_prefix_tree([prompt]) for prompt in prompts]
    with pytest.raises(ValueError, match="Found 2 packed rows; tree_fa3 takes one at a time"):
        packed_inputs(model, trees, prompts, extra, 0)
    model = MMPRMModel.from_pretrained(make_case("qwen3_5").prm_dir)
    model.vlm.config._attn_implementation = "tree_fa3"
    with pytest.raises(ValueError, match="'auto' would be wrong: .* has linear_attention layers"):
        PRMScorer(model, make_case("qwen3_5").processor)


def test_a_window_that_is_not_masked_would_show(monkeypatch):
    """The negative case: packed under full attention, a sliding-window backbone gives other scores, and is refused."""
    case = make_case("mistral")
    assert product.attention_windows(case.model) == {"sliding_attention": 24}
    expected = oracle("mistral")
    monkeypatch.setattr(product, "attention_windows", lambda model: {"sliding_attention": None})
    with pytest.raises(ValueError, match="'packed' would be wrong: MistralModel gives other numbers under tree"):
        scored(case, layout="packed")
    monkeypatch.setattr(layouts, "attention_windows", lambda model: {})  # a window too long for the probe
    assert (scored(case, layout="packed") - expected).abs().max() > 1e-3


def test_image_tokens_that_see_only_backwards_would_show(monkeypatch):
    """The negative case: packed without the blocks in which Gemma 3's image tokens see each other."""
    case = make_case("gemma3_full")
    monkeypatch.setattr(product, "image_blocks", lambda model, types: torch.full((len(types),), -1))
    assert (scored(case, layout="packed") - oracle("gemma3_full")).abs().max() > 1e-3


def test_a_processor_that_needs_torchvision_says_so(tmp_path):
    if not missing_packages("internvl"):
        pytest.skip("torchvision is installed")
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (tmp_path / "preprocessor_config.json").write_text(
        '{"processor_class": "Qwen2_5_VLProcessor", "image_processor_type": "Qwen2VLImageProcessor"}'
    )
    make_case("qwen2").processor.tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ImportError, match="needs torchvision, which is not installed"):
        MMPRMProcessor.from_policy(tmp_path)
