"""One base, two roles: policy and PRM out of one set of weights give what two separate models give."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.shared_base import adapter_config, share_base
from mmprm_hf.training.starting import with_adapter

peft = pytest.importorskip("peft")

TASK = "generate-and-rerank"
# Of the tiny policy: the marker gets a row of its own, or one of those that its embeddings have to spare; and the head
# is its own, or the embeddings.
KINDS = ("added", "spare", "added tied", "spare tied")
# The same float32 operations on equal weights that lie elsewhere in memory, where kernels may round otherwise: a
# hundred roundings of scores and logits around 1.
ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Trained:
    """A policy's folder, and an adapter on it as `PRMTrainer` saves one, with the processor beside it."""

    policy_dir: str
    adapter: str

    def policy(self) -> Any:
        return AutoModelForImageTextToText.from_pretrained(self.policy_dir)

    @property
    def processor(self) -> MMPRMProcessor:
        return MMPRMProcessor.from_pretrained(self.adapter)

    def separate_prm(self, head_type: str = "two_token") -> MMPRMModel:
        """The PRM on a base of its own."""
        prm = MMPRMModel.from_policy(self.policy_dir, self.processor, head_type)
        peft.PeftModel.from_pretrained(prm, self.adapter)
        return prm.eval()


def save_adapter(folder: Path, prm: MMPRMModel, processor: MMPRMProcessor, *, with_row: bool = True) -> str:
    """An adapter with head and marker row, all of it moved; returns its path."""
    settings = peft.LoraConfig(target_modules=r".*language_model.*\.(q_proj|v_proj)", r=2, modules_to_save=["score"])
    adapted = with_adapter(prm, settings) if with_row else peft.get_peft_model(prm, settings)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    adapted.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def train(policy_dir: str, folder: Path, head_type: str = "two_token") -> Trained:
    processor = MMPRMProcessor.from_policy(policy_dir)
    prm = MMPRMModel.from_policy(policy_dir, processor, head_type)
    return Trained(policy_dir, save_adapter(folder, prm, processor))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_policy, tiny_processor):
    """A trained adapter by kind, made once."""
    made = {}

    def get(kind: str) -> Trained:
        if kind not in made:
            folder, config = tmp_path_factory.mktemp("shared"), copy.deepcopy(tiny_policy.config)
            config.text_config.vocab_size += 8 if "spare" in kind else 0
            config.tie_word_embeddings = config.text_config.tie_word_embeddings = "tied" in kind
            torch.manual_seed(0)
            policy = type(tiny_policy)(config)
            with torch.no_grad():
                for parameter in policy.parameters():
                    parameter.mul_(3.0 if parameter.ndim > 1 else 1.0)
            policy.save_pretrained(folder / "policy")
            tiny_processor.save_pretrained(folder / "policy")
            made[kind] = train(str(folder / "policy"), folder / "adapter")
        return made[kind]

    return get


def rows_of(processor: MMPRMProcessor) -> tuple[dict[str, Any], dict[str, Any]]:
    """A solution for the PRM; and for the policy a text without markers."""
    solution = dict(
        processor(images=Image.new("RGB", (32, 32), (200, 40, 90)), text="What is x?", steps=["x = 2 + 3", "so x = 5"])
    )
    ids = solution["input_ids"]
    return solution, {**solution, "input_ids": ids.masked_fill(ids == processor.marker_token_id, 9)}


def num_bytes(*models: Any) -> int:
    """Of all weights, each piece of memory once."""
    tensors = [tensor for model in models for tensor in (*model.parameters(), *model.buffers())]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())


@torch.no_grad()
def assert_like_separate(shared, policy, prm, processor) -> None:
    """Turn about, each role gives what a model of its own gives."""
    solution, text = rows_of(processor)
    scores, logits = prm(**solution).step_scores()[0], policy(**text).logits
    for role in "policy", "prm", "prm", "policy", "policy", "prm":
        if role == "policy":
            torch.testing.assert_close(shared.policy(**text).logits, logits, atol=ROUNDING, rtol=0)
        else:
            torch.testing.assert_close(shared.prm(**solution).step_scores()[0], scores, atol=ROUNDING, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_each_role_gives_what_a_model_of_its_own_gives(trained, kind, tmp_path):
    one = trained(kind)
    policy, prm = one.policy(), one.separate_prm()
    shared = share_base(one.policy(), one.adapter, one.processor)
    assert_like_separate(shared, policy, prm, one.processor)
    unadapted = MMPRMModel.from_policy(one.policy_dir, one.processor)
    solution, _ = rows_of(one.processor)
    with torch.no_grad():
        moved = (unadapted(**solution).step_scores()[0] - prm(**solution).step_scores()[0]).abs().max()
    assert moved > 0.01, "the adapter changes nothing"
    shared.save_policy(tmp_path)
    saved = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert saved.config.text_config.vocab_size == policy.config.text_config.vocab_size
    weights = saved.state_dict()
    assert weights.keys() == policy.state_dict().keys()
    for name, tensor in policy.state_dict().items():
        assert torch.equal(weights[name], tensor), name


@pytest.mark.parametrize("kind", KINDS)
def test_the_weights_are_those_of_one_model(trained, kind):
    one = trained(kind)
    shared = share_base(one.policy(), one.adapter, one.processor)
    together, policy, prm = num_bytes(shared.policy, shared.prm), num_bytes(one.policy()), num_bytes(one.separate_prm())
    assert together < 0.6 * (policy + prm)
    head = 0 if "tied" in kind else policy - num_bytes(one.policy().model)
    assert together <= prm + head, "a part of the base is there twice"


@pytest.mark.parametrize("head_type", ["sigmoid", "mlp"])
def test_a_head_of_another_type_comes_with_the_adapter(trained, head_type, tmp_path):
    one = train(trained("added").policy_dir, tmp_path / "adapter", head_type)
    shared = share_base(one.policy(), one.adapter, one.processor)
    assert shared.prm.config.head_type == head_type
    assert_like_separate(shared, one.policy(), one.separate_prm(head_type), one.processor)


@pytest.mark.parametrize(("kind", "with_row"), [("added", True), ("spare tied", True), ("spare tied", False)])
def test_an_adapter_on_a_prm_with_the_policys_weights_is_shared(trained, kind, with_row, tmp_path):
    """The PRM's own head and marker row may differ."""
    one = trained(kind)
    prm = MMPRMModel.from_policy(one.policy_dir, one.processor)
    with torch.no_grad():
        prm.get_input_embeddings().weight[prm.config.marker_token_id] += 0.3
        prm.score.weight.add_(0.2)
    prm.save_pretrained(tmp_path / "prm")
    base = MMPRMModel.from_pretrained(tmp_path / "prm")
    adapter = save_adapter(tmp_path / "adapter", base, one.processor, with_row=with_row)
    assert adapter_config(adapter)["base_model_name_or_path"] == str(tmp_path / "prm")
    shared = share_base(one.policy(), adapter, one.processor)
    separate = MMPRMModel.from_pretrained(adapter)
    assert_like_separate(shared, one.policy(), separate, one.processor)
    assert num_bytes(shared.policy, shared.prm) < 0.6 * (num_bytes(one.policy()) + num_bytes(separate))
    shared.save_adapter(tmp_path / "saved")
    named = adapter_config(tmp_path / "saved")["base_model_name_or_path"]
    assert named == (None if with_row else str(tmp_path / "prm")), "what the adapter lacks, its own base has"


def test_an_adapter_on_another_model_is_loaded_by_itself(trained, tmp_path):
    one = trained("added")
    prm = MMPRMModel.from_policy(one.policy_dir, one.processor)
    with torch.no_grad():
        prm.vlm.language_model.layers[0].mlp.up_proj.weight[0, 0] += 1e-3
    prm.save_pretrained(tmp_path / "prm")
    adapter = save_adapter(tmp_path / "adapter", MMPRMModel.from_pretrained(tmp_path / "prm"), one.processor)
    policy = one.policy()
    assert share_base(policy, adapter, one.processor) is None
    assert not any("lora" in name for name in policy.state_dict()), "the policy was touched"
    rerank = pipeline(TASK, model=one.policy_dir, prm=adapter)
    assert rerank.shared is None
    solution, _ = rows_of(one.processor)
    with torch.no_grad():
        scores = rerank.prm(**solution).step_scores()[0]
        expected = MMPRMModel.from_pretrained(adapter)(**solution).step_scores()[0]
    torch.testing.assert_close(scores, expected, atol=ROUNDING, rtol=0)


def test_what_is_no_adapter_of_a_prm_is_refused(trained, tmp_path):
    one = trained("added")
    with pytest.raises(ValueError, match="holds no adapter_config.json"):
        share_base(one.policy(), one.policy_dir, one.processor)
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "base_model_name_or_path": one.policy_dir})
    )
    one.processor.save_pretrained(tmp_path)
    assert share_base(one.policy(), tmp_path, one.processor) is None
    with pytest.raises(ValueError, match="is not a PRM: its model_type is 'llava'"):
        pipeline(TASK, model=one.policy_dir, prm=str(tmp_path))


# --- The pipeline, with a policy whose text is no noise --------------------------------------------------------------


@pytest.fixture(scope="module")
def nano(tmp_path_factory) -> Trained:
    return train(str(POLICY_PATH), tmp_path_factory.mktemp("nano_shared") / "adapter")


def solve(rerank, **options):
    """All about the candidates of one problem, but for the times."""
    problem = make_problem("triangle_angle", 1)
    settings = {"num_candidates": 4, "max_new_tokens": 96, "return_candidates": True, **options}
    output = rerank(images=problem.figure(), text=problem.question, **settings)
    scores = [score for row in output["candidates"] for score in row.pop("step_scores") or ()]
    rows = [{name: row[name] for name in ("text", "answer", "complete", "num_tokens")} for row in output["candidates"]]
    return (rows, output["num_tokens"], output["chosen"]), scores


def test_the_pipeline_shares_saves_and_loads_again(nano, tmp_path):
    shared = pipeline(TASK, model=nano.policy_dir, prm=nano.adapter)
    separate = pipeline(TASK, model=nano.policy_dir, prm=nano.separate_prm(), prm_processor=nano.processor)
    assert shared.shared is not None and separate.shared is None
    assert num_bytes(shared.model, shared.prm) < 0.6 * num_bytes(separate.model, separate.prm)
    outcome, scores = solve(shared, strategy="beam_search")
    expected, expected_scores = solve(separate, strategy="beam_search")
    assert outcome == expected
    assert scores == pytest.approx(expected_scores, abs=ROUNDING) and len(scores) >= 8
    shared.save_pretrained(tmp_path)
    assert sorted(path.name for path in (tmp_path / "prm").glob("*.safetensors")) == ["adapter_model.safetensors"]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    again = pipeline(TASK, model=str(moved))
    assert again.shared is not None
    outcome, scores = solve(again, strategy="beam_search")
    assert outcome == expected
    assert scores == pytest.approx(expected_scores, abs=ROUNDING)
    original = AutoModelForImageTextToText.from_pretrained(nano.policy_dir).state_dict()
    saved = AutoModelForImageTextToText.from_pretrained(moved).state_dict()
    assert all(torch.equal(saved[name], tensor) for name, tensor in original.items())
    assert AutoProcessor.from_pretrained(moved).tokenizer.get_vocab() == shared.processor.tokenizer.get_vocab()


def test_a_policy_is_shared_once(nano):
    """A second pipeline would put its adapter into the first one's."""
    policy, processor = nano.policy(), AutoProcessor.from_pretrained(nano.policy_dir)
    first = pipeline(TASK, model=policy, processor=processor, prm=nano.adapter)
    outcome = solve(first)
    with pytest.raises(ValueError, match="The policy carries an adapter already.*give its path instead"):
        pipeline(TASK, model=policy, processor=processor, prm=nano.adapter)
    assert solve(first) == outcome


def test_a_whole_prm_saved_over_an_adapter_is_the_one_that_is_loaded(nano, tmp_path):
    shared = pipeline(TASK, model=nano.policy_dir, prm=nano.adapter)
    shared.save_pretrained(tmp_path)
    separate = pipeline(TASK, model=nano.policy_dir, prm=str(PRM_PATH))
    separate.save_pretrained(tmp_path)
    again = pipeline(TASK, model=str(tmp_path))
    assert again.shared is None and solve(again) == solve(separate)
    shared.save_pretrained(tmp_path)
    assert pipeline(TASK, model=str(tmp_path)).shared is not None


def test_what_was_trainable_of_the_policy_stays_so_whoever_runs(nano):
    policy = nano.policy()
    policy.requires_grad_(True)
    trainable = {id(parameter) for parameter in policy.parameters()}
    shared = share_base(policy, nano.adapter, nano.processor)
    solution, text = rows_of(nano.processor)
    for run in (lambda: None, lambda: policy(**text), lambda: shared.prm(**solution)):
        run()
        assert trainable == {id(parameter) for parameter in policy.parameters() if parameter.requires_grad}
