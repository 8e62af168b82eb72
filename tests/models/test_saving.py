"""Saved PRMs: shards, devices, dtypes, code files, remote code, refusals, and the Hub (a local stub)."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import make_figure
from safetensors import safe_open
from support.backbones import BACKBONES
from support.layout import SHARED
from support.tiny_prms import CASES, FAMILIES, QUESTION, STEPS, assert_same_scores, scores_of, tiny_prm
from transformers import AutoModel
from transformers.testing_utils import CaptureLogger
from transformers.utils import logging

from mmprm_hf.models import MMPRMModel
from mmprm_hf.models.fingerprints import model_fingerprint

FAKE_HUB = SHARED / "tools" / "fake_hub.py"


def run_script(script: str, folder: Path, **env: str) -> dict[str, list[float]]:
    """What a script prints as `RESULT <json>` lines of [name, value], run in a process of its own."""
    env = {**os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", **env}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env, cwd=folder
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.removeprefix("RESULT ") for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    return dict(json.loads(line) for line in lines)


WITHOUT_PACKAGE = f"""
import json, sys, torch
sys.modules["mmprm_hf"] = None  # any import of the package fails
from transformers import AutoModel, AutoProcessor
def score(name, place, figure):
    model = AutoModel.from_pretrained(place, trust_remote_code=True)
    processor = AutoProcessor.from_pretrained(place, trust_remote_code=True)
    with torch.no_grad():
        output = model(**processor(images=figure, text={QUESTION!r}, steps={STEPS!r}))
    print("RESULT", json.dumps([name, output.step_scores()[0].tolist()]))
"""


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


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}])
def test_device_map(device_map, tmp_path):
    prm = tiny_prm("llava")
    folder = prm.saved(tmp_path)
    expected = scores_of(prm.model(), prm)
    assert_same_scores(scores_of(AutoModel.from_pretrained(folder, device_map=device_map), prm).cpu(), expected)
    assert_same_scores(scores_of(prm.model(device_map=device_map), prm).cpu(), expected)


@pytest.mark.parametrize("dtype, head_dtype", [("bfloat16", "bfloat16"), ("float16", "float32")])
@pytest.mark.parametrize("family", FAMILIES)
def test_dtypes(family, dtype, head_dtype, tmp_path):
    """Half precision is kept on disk and by default; a float16 backbone has a float32 head."""
    prm = tiny_prm(family)
    model = prm.model(dtype=dtype)
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as weights:
        on_disk = {str(weights.get_tensor(name).dtype).removeprefix("torch.") for name in weights.keys()}  # noqa: SIM118
    assert on_disk == {dtype, head_dtype}
    default, wide = AutoModel.from_pretrained(tmp_path), AutoModel.from_pretrained(tmp_path, dtype=torch.float32)
    for narrow in (model, default):
        assert narrow.vlm.dtype == getattr(torch, dtype)
        assert narrow.score.weight.dtype == getattr(torch, head_dtype)
    assert {parameter.dtype for parameter in wide.parameters()} == {torch.float32}
    assert_same_scores(scores_of(default, prm), scores_of(model, prm))
    tolerance = 0.1 if dtype == "bfloat16" else 0.01
    torch.testing.assert_close(scores_of(default, prm), scores_of(wide, prm), atol=tolerance, rtol=0)
    torch.testing.assert_close(scores_of(wide, prm), scores_of(prm.model(), prm), atol=tolerance, rtol=0)


def test_a_folder_holds_every_code_file_that_its_auto_map_needs(tmp_path):
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
        waiting, seen = {name.split(".")[0] for name in auto_map.values()}, set()
        while waiting:
            module = waiting.pop()
            seen.add(module)
            tree = ast.parse((tmp_path / folder / f"{module}.py").read_text())
            siblings = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.level == 1}
            waiting |= siblings - seen


def test_remote_code_gives_the_same_scores_for_every_head(tmp_path):
    make_figure(1).save(tmp_path / "figure.png")
    expected, calls = {}, []
    for family, head_type in CASES:
        prm, name = tiny_prm(family), f"{family}-{head_type}"
        expected[name] = scores_of(prm.model(head_type), prm).tolist()
        figure = "figure.png" if BACKBONES[family].has_images else None
        calls.append(f"score({name!r}, {prm.saved(tmp_path / name, head_type)!r}, {figure!r})")
    found = run_script("\n".join([WITHOUT_PACKAGE, *calls]), tmp_path)
    assert found == {name: pytest.approx(scores, abs=1e-6) for name, scores in expected.items()}


def test_a_missing_head_is_random_and_said(tmp_path):
    prm = tiny_prm("llama")
    state = {name: value for name, value in prm.model().state_dict().items() if not name.startswith("score.")}
    prm.model().save_pretrained(tmp_path, state_dict=state)
    with CaptureLogger(logging.get_logger("transformers.modeling_utils")) as log:
        model, info = MMPRMModel.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == {"score.weight"}
    assert "score.weight" in log.out and "MISSING" in log.out
    assert model.score.weight.std().item() == pytest.approx(model.config.initializer_range, rel=0.3)


def test_a_policy_is_refused_with_and_without_a_prms_config():
    prm = tiny_prm("llama")
    with pytest.raises(ValueError, match="is not a PRM: its model_type is 'llama'"):
        MMPRMModel.from_pretrained(prm.policy_dir)
    with pytest.raises(ValueError, match=r"weights of the backbone are missing .*vlm\."):
        MMPRMModel.from_pretrained(prm.policy_dir, config=prm.model().config)


def test_pushed_to_the_hub_and_loaded_from_it(tmp_path):
    if not FAKE_HUB.exists():
        pytest.skip(f"{FAKE_HUB.name} is not there: shared/ is absent beside the repository")
    spec = importlib.util.spec_from_file_location("fake_hub", FAKE_HUB)
    hub = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hub)
    hub.H.disable_nagle_algorithm = True  # else every answer waits 40 ms for the client's acknowledgement
    server = hub.serve()
    env = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_address[1]}", "HF_TOKEN": "hf_none", "HF_HUB_OFFLINE": "0"}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}  # the stub does not know their addresses
    prm = tiny_prm("llava")
    folder = prm.saved(tmp_path / "prm", "sigmoid")
    make_figure(1).save(tmp_path / "figure.png")
    with_package = f"""
import json, torch
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from transformers import AutoModel, AutoProcessor
model, processor = MMPRMModel.from_pretrained({folder!r}), MMPRMProcessor.from_pretrained({folder!r})
model.push_to_hub("me/prm")
processor.push_to_hub("me/prm")
model.save_pretrained("by_saving", push_to_hub=True, repo_id="me/by-saving")
processor.save_pretrained("by_saving", push_to_hub=True, repo_id="me/by-saving", commit_message="Add the processor")
for place in ("me/prm", "me/by-saving"):
    loaded, its_processor = AutoModel.from_pretrained(place), AutoProcessor.from_pretrained(place)
    assert type(loaded) is MMPRMModel and type(its_processor) is MMPRMProcessor
    batch = its_processor(images="figure.png", text={QUESTION!r}, steps={STEPS!r})
    with torch.no_grad():
        print("RESULT", json.dumps([place, loaded(**batch).step_scores()[0].tolist()]))
"""
    call = "score('without the package', 'me/prm', 'figure.png')"
    try:
        found = run_script(with_package, tmp_path, **env)
        fresh = {**env, "HF_HOME": str(tmp_path / "other_hf")}
        found |= run_script(f"{WITHOUT_PACKAGE}\n{call}", tmp_path, **fresh)
    finally:
        server.shutdown()
    scores = pytest.approx(scores_of(prm.model("sigmoid"), prm).tolist(), abs=1e-6)
    assert found == dict.fromkeys(("me/prm", "me/by-saving", "without the package"), scores)
