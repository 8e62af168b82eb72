"""Loading and reading a PRM as other libraries do: offloaded weights, config names, adapters made by hand."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import ClassVar

import peft
import pytest
import torch
from accelerate.utils.deepspeed import HfDeepSpeedConfig
from support.conformance import SOLUTIONS, TOLERANCE, batch_of, batch_scores, make_case, oracle, scored
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, pipeline
from transformers.integrations.deepspeed import HfTrainerDeepSpeedConfig

from mmprm_hf.data import Problem
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.models import MMPRMModel, model_fingerprint
from mmprm_hf.rerank import GenerateAndRerankPipeline
from mmprm_hf.scoring import PRMScorer

FAMILIES = ("llama", "llava", "gemma3")
PLACES = {
    "the head on disk": {"device_map": {"vlm": "cpu", "score": "disk"}},
    "the backbone on disk": {"device_map": {"vlm": "disk", "score": "cpu"}},
    "everything on disk": {"device_map": {"": "disk"}},
    "as much in memory as fits": {"device_map": "auto", "max_memory": {"cpu": 60_000}},
    "all in memory": {"device_map": "auto"},
    "by an old flag": {"low_cpu_mem_usage": True},
}


@pytest.mark.parametrize("name", ["llama", "llava"])
@pytest.mark.parametrize("place", PLACES)
def test_weights_may_lie_elsewhere(name, place, tmp_path):
    case = make_case(name)
    options = {} if place == "by an old flag" else {"offload_folder": tmp_path / "offloaded"}
    model = AutoModel.from_pretrained(case.prm_dir, **options, **PLACES[place])
    assert model.device == torch.device("cpu") and model_fingerprint(model) == model_fingerprint(case.model)
    batch = batch_of(case).to(model.device)
    torch.testing.assert_close(batch_scores(model, batch), batch_scores(case.model, batch), atol=TOLERANCE, rtol=0)
    torch.testing.assert_close(scored(case, model), oracle(name), atol=TOLERANCE, rtol=0)
    model.save_pretrained(tmp_path / "again")
    assert torch.equal(MMPRMModel.from_pretrained(tmp_path / "again").score.weight, case.model.score.weight)


def test_scorer_and_pipeline_take_the_same_options(tmp_path):
    case = make_case("llama")
    elsewhere = {"device_map": "auto", "max_memory": {"cpu": 60_000}, "offload_folder": str(tmp_path)}
    scorer = PRMScorer.from_pretrained(case.prm_dir, **elsewhere)
    assert "disk" in scorer.model.hf_device_map.values()
    case.processor.save_pretrained(case.prm_dir)
    device_map = elsewhere.pop("device_map")
    score = pipeline("process-reward", model=case.prm_dir, device_map=device_map, model_kwargs=elsewhere)
    assert "disk" in score.model.hf_device_map.values()
    (candidate,) = scorer.score(case.problems[0], [SOLUTIONS[0]])
    found = score(text=case.problems[0].question, steps=list(SOLUTIONS[0]))["step_scores"]
    assert found == pytest.approx(candidate.step_scores, abs=TOLERANCE)


def test_a_policy_whose_weights_lie_elsewhere_writes_the_same_and_is_reranked(tmp_path):
    case = make_case("llama")
    folder = f"{case.prm_dir.removesuffix('prm')}policy"
    tokenizer, written = AutoTokenizer.from_pretrained(folder), []
    offloaded = {"device_map": {"": "disk"}, "offload_folder": tmp_path}
    for options in ({}, offloaded):
        policy = AutoModelForCausalLM.from_pretrained(folder, **options)
        engine = TransformersEngine(policy, tokenizer, sampling=SamplingConfig(max_new_tokens=6), step_format="lines")
        written.append(asyncio.run(engine.generate([RolloutRequest(Problem("p", "What is x?"))])))
    assert written[0] == written[1]
    prm = MMPRMModel.from_pretrained(case.prm_dir, **offloaded)
    rerank = GenerateAndRerankPipeline.from_pretrained(
        folder, prm=prm, prm_processor=case.processor, step_format="lines", max_new_tokens=4
    )
    assert len(rerank(text="What is x?", num_candidates=2, return_candidates=True)["candidates"]) == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_the_config_has_the_names_that_other_libraries_read(name, tmp_path):
    case = make_case(name)
    config, text = case.model.config, case.model.config.vlm_config.get_text_config()
    assert config.text_config is text
    for key in (
        "hidden_size",
        "intermediate_size",
        "max_position_embeddings",
        "num_attention_heads",
        "num_hidden_layers",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
    ):
        assert getattr(config, key) == getattr(text, key), key
    assert hasattr(config, "vision_config") == (name != "llama") and not hasattr(config, "hidden_sizes")
    written = config.to_dict()  # each number stands in one place
    assert not {"hidden_size", "text_config", "vision_config"} & set(written)
    assert type(config).from_dict(written).to_dict() == written
    with pytest.raises(AttributeError, match="'MMPRMConfig' object has no attribute 'hidden_sise'"):
        _ = config.hidden_sise


class DeepSpeedConfig(HfDeepSpeedConfig):
    """What transformers' Trainer makes of Accelerate's class where DeepSpeed is installed."""

    mismatches: ClassVar[list[str]] = []
    is_auto = HfTrainerDeepSpeedConfig.is_auto
    fill_match = HfTrainerDeepSpeedConfig.fill_match
    fill_only = HfTrainerDeepSpeedConfig.fill_only
    trainer_config_finalize = HfTrainerDeepSpeedConfig.trainer_config_finalize


def test_deepspeed_finds_its_automatic_sizes():
    case = make_case("llava")
    names = ("reduce_bucket_size", "stage3_prefetch_bucket_size", "stage3_param_persistence_threshold")
    config = DeepSpeedConfig({"zero_optimization": {"stage": 3, **dict.fromkeys(names, "auto")}})
    args = SimpleNamespace(learning_rate=1e-3, get_warmup_steps=lambda steps: 0)
    config.trainer_config_finalize(args, case.model, 10)
    hidden_size = case.model.config.hidden_size
    found = [config.get_value(f"zero_optimization.{name}") for name in names]
    assert found == [hidden_size**2, int(0.9 * hidden_size**2), 10 * hidden_size]


@pytest.mark.parametrize("task_type", [None, "CAUSAL_LM", "FEATURE_EXTRACTION", "SEQ_CLS", "TOKEN_CLS"])
@pytest.mark.parametrize("name", ["llama", "llava"])
def test_an_adapter_made_by_hand_trains_under_any_task_type(name, task_type, tmp_path):
    case = make_case(name)
    batch = batch_of(case)
    labels = torch.where(batch["input_ids"] == case.processor.marker_token_id, 1.0, -100.0)
    config = peft.LoraConfig(task_type=task_type, target_modules=["q_proj", "v_proj"], r=2)
    model = peft.get_peft_model(MMPRMModel.from_pretrained(case.prm_dir), config)
    expected = case.model(**batch).logits
    torch.testing.assert_close(model(**batch).logits, expected, atol=TOLERANCE, rtol=0)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
    for _ in range(2):  # the first step moves B, which begins at zero
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    trained = model(**batch).logits
    assert (trained - expected).abs().max() > 1e-3
    model.save_pretrained(tmp_path)
    again = peft.PeftModel.from_pretrained(MMPRMModel.from_pretrained(case.prm_dir), tmp_path)
    torch.testing.assert_close(again(**batch).logits, trained, atol=TOLERANCE, rtol=0)


def test_a_prm_writes_no_text():
    model = make_case("llama").model
    assert not model.can_generate()
    with pytest.raises(TypeError, match="scores steps and writes no text. Generate with the policy"):
        model.prepare_inputs_for_generation(torch.tensor([[1]]))
