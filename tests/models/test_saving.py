"""Saved PRMs: shards, devices, dtypes, code files, refusals."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from support.tiny_prms import CASES, FAMILIES, assert_same_scores, scores_of, tiny_prm
from transformers import AutoModel

from mmprm_hf.models import MMPRMModel, model_fingerprint


@pytest.mark.parametrize("family, head_type", CASES)
def test_shards_give_the_same_bits_and_can_be_saved_again(family, head_type, tmp_path):
    prm = tiny_prm(family)
    model = prm.model(head_type)
    fingerprint = model_fingerprint(model)
    model.save_pretrained(tmp_path / "first", max_shard_size="50KB")
    shards = sorted((tmp_path / "first").glob("model-*-of-*.safetensors"))
    index = json.loads((tmp_path / "first" / "model.safetensors.index.json").read_text())
    assert len(shards) > 1 and set(index["weight_map"].values()) == {path.name for path in shards}
    loaded = AutoModel.from_pretrained(tmp_path / "first")
    loaded.save_pretrained(tmp_path / "second")
    again = MMPRMModel.from_pretrained(tmp_path / "second")
    for other in (loaded, again):
        assert other.config.head_type == head_type
        state = other.state_dict()
        assert state.keys() == model.state_dict().keys()
        assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
        assert_same_scores(scores_of(other, prm), scores_of(model, prm))
        assert model_fingerprint(other) == fingerprint
    with torch.no_grad():
        next(again.score.parameters()).add_(1e-3)
    assert model_fingerprint(again) != fingerprint


def test_device_map(tmp_path):
    prm = tiny_prm("llava")
    folder, expected = prm.saved(tmp_path), scores_of(prm.model(), prm)
    for device_map in ("cpu", "auto", {"": "cpu"}):
        assert_same_scores(scores_of(AutoModel.from_pretrained(folder, device_map=device_map), prm).cpu(), expected)
    assert_same_scores(scores_of(prm.model(device_map="auto"), prm).cpu(), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_dtypes(family, dtype, tmp_path):
    """Half precision is kept on disk and by default; the head is in float32."""
    prm = tiny_prm(family)
    model = prm.model(dtype=dtype)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        on_disk = {str(weights.get_tensor(name).dtype).removeprefix("torch.") for name in weights.keys()}  # noqa: SIM118
    assert on_disk == {dtype, "float32"}
    default, wide = AutoModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path, dtype=torch.float32)
    for narrow in (model, default):
        assert narrow.vlm.dtype == getattr(torch, dtype)
        assert narrow.score.weight.dtype == torch.float32
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
    assert_same_scores(scores_of(default, prm), scores_of(model, prm))
    # Each of the few hundred sums behind a score rounds by 4e-3 (bfloat16) or 5e-4 (float16), and weights are large.
    tolerance = 0.1 if dtype == "bfloat16" else 0.03
    torch.testing.assert_close(scores_of(default, prm), scores_of(wide, prm), atol=tolerance, rtol=0)
    torch.testing.assert_close(scores_of(wide, prm), scores_of(prm.model(), prm), atol=tolerance, rtol=0)


def test_scores_of_a_half_precision_model_do_not_tie():
    """Logits near 20, where bfloat16 knows eighths only, that differ by less."""
    model = tiny_prm("llama").model(dtype="bfloat16")
    with torch.no_grad():
        model.score.weight.fill_(0.0)
        model.score.weight[0, 0] = 20.0
        model.score.weight[1, 1] = 20.0
    states = torch.zeros(3, model.score.in_features, dtype=torch.bfloat16)
    states[:, :2] = torch.tensor([[1.0, 1.0], [1.0, 1.0078125], [1.0078125, 1.0]])
    logits = model.marker_logits(states)
    assert logits.dtype == torch.float32
    assert (logits[:, 0] - logits[:, 1]).tolist() == [0.0, -0.15625, 0.15625]


def siblings(path: Path) -> set[str]:
    """Modules beside a code file that it imports when it is imported."""
    nodes = ast.parse(path.read_text()).body
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level == 1}


def test_code_files_name_every_sibling_that_their_siblings_need(tmp_path):
    """Loading copies the direct siblings of the file in `auto_map`, and no others."""
    prm = tiny_prm("llama")
    (tmp_path / "model").mkdir()
    prm.model().save_pretrained(tmp_path / "model")
    prm.processor.save_pretrained(tmp_path / "processor")
    for folder, config, classes in (
        ("model", "config.json", {"AutoConfig", "AutoModel"}),
        ("processor", "processor_config.json", {"AutoProcessor"}),
    ):
        auto_map = json.loads((tmp_path / folder / config).read_text())["auto_map"]
        assert set(auto_map) == classes
        for module in {name.split(".")[0] for name in auto_map.values()}:
            copied = siblings(tmp_path / folder / f"{module}.py")
            for sibling in copied:
                assert siblings(tmp_path / folder / f"{sibling}.py") <= copied | {module}, (module, sibling)


def test_a_checkpoint_without_its_head_is_refused(tmp_path):
    """A random head would give random scores."""
    for head_type, name in (("two_token", r"score\.weight"), ("mlp", r"score\.0\.")):
        policy = tiny_prm("llama").policy_dir
        model = MMPRMModel.from_policy(policy, head_type=head_type)
        state = {key: value for key, value in model.state_dict().items() if not key.startswith("score.")}
        model.save_pretrained(tmp_path / head_type, state_dict=state)
        for load in (MMPRMModel.from_pretrained, AutoModel.from_pretrained):
            with pytest.raises(ValueError, match=f"weights of the head are missing in .*{name}.*Save the PRM again"):
                load(tmp_path / head_type)


def test_a_policy_is_not_loaded_as_a_prm():
    prm = tiny_prm("llama")
    with pytest.raises(ValueError, match="is not a PRM: its model_type is 'llama'"):
        MMPRMModel.from_pretrained(prm.policy_dir)
    with pytest.raises(ValueError, match=r"weights of the backbone are missing .*vlm\."):
        MMPRMModel.from_pretrained(prm.policy_dir, config=prm.model().config)
