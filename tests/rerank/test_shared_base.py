"""One base, two roles: the outputs of two models, out of one set of weights, also after saving."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

import mmprm_hf  # noqa: F401 - registers the task
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.shared_base import share_base
from mmprm_hf.training.starting import with_adapter

peft = pytest.importorskip("peft")
TASK = "generate-and-rerank"
NANO = make_problem("clock", 2)
CALL = {"images": NANO.figure(), "text": NANO.question, "num_candidates": 4, "return_candidates": True}


def write_adapter(prm: MMPRMModel, processor: MMPRMProcessor, folder: Path) -> str:
    """A PRM adapter as the trainer writes it, with weights that change every score."""
    torch.manual_seed(0)
    adapted = with_adapter(prm, peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.05)
    adapted.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The nano policy; adapters on it, one that names no base and one that names a PRM; the PRM they make."""
    folder = tmp_path_factory.mktemp("shared")
    processor = MMPRMProcessor.from_policy(POLICY_PATH)
    MMPRMModel.from_policy(POLICY_PATH, processor).save_pretrained(folder / "base")
    processor.save_pretrained(folder / "base")
    prm = MMPRMModel.from_policy(POLICY_PATH, processor)
    write_adapter(prm, processor, folder / "bare")
    write_adapter(MMPRMModel.from_pretrained(folder / "base"), processor, folder / "named")
    return folder, prm, processor


@pytest.fixture(scope="module")
def two_models(world):
    _, prm, processor = world
    return pipeline(TASK, model=str(POLICY_PATH), prm=prm, prm_processor=processor)


def assert_same_output(output, expected):
    assert [c["text"] for c in output["candidates"]] == [c["text"] for c in expected["candidates"]]
    assert output["chosen"] == expected["chosen"]
    for ours, theirs in zip(output["candidates"], expected["candidates"], strict=True):
        assert (ours["step_scores"] is None) == (theirs["step_scores"] is None)
        assert ours["step_scores"] == pytest.approx(theirs["step_scores"], abs=1e-6)


@pytest.mark.parametrize("kind", ["bare", "named"])
def test_the_outputs_of_two_models_with_any_strategy_and_again(kind, world, two_models):
    one = pipeline(TASK, model=str(POLICY_PATH), prm=str(world[0] / kind))
    assert one.shared is not None and two_models.shared is None
    for strategy in ("best_of_n", "beam_search", "best_of_n"):
        assert_same_output(one(strategy=strategy, **CALL), two_models(strategy=strategy, **CALL))


def test_both_models_take_their_turn_by_themselves(world):
    """The policy's logits are those without the adapter, the PRM's scores those with it, in any order."""
    folder, prm, processor = world
    policy = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)
    inputs = AutoProcessor.from_pretrained(POLICY_PATH)(
        images=NANO.figure(), text="<image>" + NANO.question, return_tensors="pt"
    )
    scored = processor(images=NANO.figure(), text=NANO.question, steps=["A=1", "B=2"])
    with torch.no_grad():
        logits = policy(**inputs).logits
        scores = prm(**scored).step_scores()[0]
        base_scores = MMPRMModel.from_pretrained(folder / "base")(**scored).step_scores()[0]
        shared = share_base(policy, folder / "bare", processor)
        for _ in range(2):
            torch.testing.assert_close(policy(**inputs).logits, logits, atol=1e-5, rtol=0)
            torch.testing.assert_close(shared.prm(**scored).step_scores()[0], scores, atol=1e-6, rtol=0)
    assert (scores - base_scores).abs().max() > 0.01, "the adapter must matter for this test to say anything"


def test_the_base_is_held_once(world):
    one = pipeline(TASK, model=str(POLICY_PATH), prm=str(world[0] / "bare"))

    def num_bytes(*models):
        return sum({p.data_ptr(): p.nbytes for model in models for p in model.parameters()}.values())

    policy, both = num_bytes(AutoModelForImageTextToText.from_pretrained(POLICY_PATH)), num_bytes(one.model, one.prm)
    separate = policy + num_bytes(MMPRMModel.from_pretrained(world[0] / "named"))
    assert both < 1.1 * policy and both < 0.56 * separate
    assert not any(p.requires_grad for name, p in one.prm.named_parameters() if "lora" in name)


def test_another_base_is_not_shared_and_a_whole_prm_has_none(world, tmp_path):
    folder, _, processor = world
    other = MMPRMModel.from_pretrained(folder / "base")
    with torch.no_grad():
        next(other.vlm.parameters()).add_(0.01)
    other.save_pretrained(tmp_path / "other")
    processor.save_pretrained(tmp_path / "other")
    adapter = write_adapter(MMPRMModel.from_pretrained(tmp_path / "other"), processor, tmp_path / "adapter")
    one = pipeline(TASK, model=str(POLICY_PATH), prm=adapter)
    assert one.shared is None
    alone = MMPRMModel.from_pretrained(adapter)
    inputs = processor(images=NANO.figure(), text=NANO.question, steps=["A=1"])
    with torch.no_grad():
        torch.testing.assert_close(
            one.prm(**inputs).step_scores()[0], alone(**inputs).step_scores()[0], atol=1e-6, rtol=0
        )
    policy = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)
    with pytest.raises(ValueError, match="holds no adapter_config.json"):
        share_base(policy, folder / "base", processor)


def test_a_marker_that_the_policy_did_not_know_stays_out_of_it(tiny_policy_dir, tmp_path, figures):
    """The tiny policy's vocabulary has no marker: the shared base gets a row, the policy's outputs and files do not."""
    processor = MMPRMProcessor.from_policy(tiny_policy_dir)
    prm = MMPRMModel.from_policy(tiny_policy_dir, processor)
    adapter = write_adapter(prm, processor, tmp_path / "adapter")
    call = {"images": figures[0], "text": "What is A?", "num_candidates": 2, "max_new_tokens": 6}
    call["return_candidates"] = True
    one = pipeline(TASK, model=tiny_policy_dir, prm=adapter)
    assert one.shared is not None
    two = pipeline(TASK, model=tiny_policy_dir, prm=prm, prm_processor=processor)
    assert_same_output(one(**call), two(**call))
    one.save_pretrained(tmp_path / "saved")
    before = AutoModelForImageTextToText.from_pretrained(tiny_policy_dir).state_dict()
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "saved").state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    again = pipeline(TASK, model=str(tmp_path / "saved"))
    assert again.shared is not None
    inputs = processor(images=figures[0], text="What is A?", steps=["A=1"])
    with torch.no_grad():
        expected = two.prm(**inputs).step_scores()[0]
        torch.testing.assert_close(again.prm(**inputs).step_scores()[0], expected, atol=1e-6, rtol=0)


def test_saved_and_loaded_it_is_shared_again(world, two_models, tmp_path):
    one = pipeline(TASK, model=str(POLICY_PATH), prm=str(world[0] / "bare"), num_candidates=3)
    one.save_pretrained(tmp_path)
    assert not list((tmp_path / "prm").glob("model*.safetensors")), "the base is saved once, too"
    assert json.loads((tmp_path / "prm" / "adapter_config.json").read_text())["base_model_name_or_path"] is None
    again = pipeline(TASK, model=str(tmp_path))
    assert again.shared is not None
    assert_same_output(again(**CALL), two_models(**CALL))
    assert len(again(**{**CALL, "num_candidates": 2})["candidates"]) == 2
    call = {name: value for name, value in CALL.items() if name != "num_candidates"}
    assert len(again(**call)["candidates"]) == 3, "options are saved"
