"""Policies that read text alone (a causal language model and a tokenizer) go wherever a vision-language policy goes."""

from __future__ import annotations

import asyncio
import json

import pytest
import torch
from support.mixture_policy import mixture_policy
from support.stub_server import StubServer
from support.tiny_models import make_figure
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase, pipeline
from typer.testing import CliRunner

from mmprm_hf.cli.program import app
from mmprm_hf.data import Problem
from mmprm_hf.engines import RolloutRequest, TransformersEngine, load_policy
from mmprm_hf.files import read_json, read_jsonl
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.rerank.shared_base import share_base
from mmprm_hf.stages import (
    BenchmarkData,
    LabelOptions,
    PolicyForm,
    Servers,
    evaluate_benchmark,
    label,
    rerank_problems,
    train,
)
from mmprm_hf.steps import PARAGRAPHS, read_step_format
from mmprm_hf.training.starting import with_adapter

peft = pytest.importorskip("peft")

TASK = "generate-and-rerank"
QUESTIONS = [f"How much is {n} + 3?" for n in range(1, 5)]
OFF = {"enable_thinking": False}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "problems.jsonl"
    rows = [{"id": str(n), "question": question, "answer": str(n + 4)} for n, question in enumerate(QUESTIONS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


@pytest.fixture(scope="module")
def prm(tiny_text_policy_dir, tmp_path_factory):
    """A PRM made of the text policy."""
    folder = tmp_path_factory.mktemp("prm")
    processor = MMPRMProcessor.from_policy(tiny_text_policy_dir)
    MMPRMModel.from_policy(tiny_text_policy_dir, processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def text_rerank(policy, prm=None, **options):
    return pipeline(TASK, model=policy, prm=prm, max_new_tokens=12, step_format="paragraphs", **options)


def test_a_folder_is_loaded_with_its_tokenizer_or_its_processor(tiny_text_policy_dir, tiny_policy_dir):
    model, tokenizer = load_policy(tiny_text_policy_dir)
    assert isinstance(model, LlamaForCausalLM) and isinstance(tokenizer, PreTrainedTokenizerBase)
    model, processor = load_policy(tiny_policy_dir)
    assert processor.tokenizer is not processor and hasattr(model.config, "vision_config")


def test_a_pipeline_of_a_text_policy_is_saved_and_loaded_with_its_template_options(tiny_text_policy_dir, prm, tmp_path):
    rerank = text_rerank(tiny_text_policy_dir, prm, template_options=OFF)
    output = rerank(text=QUESTIONS[0], num_candidates=3, return_candidates=True)
    assert len(output["candidates"]) == 3
    rerank.save_pretrained(tmp_path)
    assert read_json(tmp_path / "config.json")["custom_pipelines"][TASK]["pt"] == ["AutoModelForCausalLM"]
    again = pipeline(TASK, model=str(tmp_path))
    assert again.template_options == OFF and again.step_format == PARAGRAPHS
    assert again.engine({}).identity["template_options"] == OFF
    repeated = again(text=QUESTIONS[0], num_candidates=3, return_candidates=True)
    assert [row["text"] for row in repeated["candidates"]] == [row["text"] for row in output["candidates"]]
    assert pipeline(TASK, model=str(tmp_path), template_options={}).template_options == {}


def test_figures_for_a_text_policy_are_refused_in_one_sentence(tiny_text_policy_dir, prm):
    rows = [{"images": [make_figure()], "text": "What is x?"}, {"text": QUESTIONS[0]}]
    refused, answered = text_rerank(tiny_text_policy_dir, prm)(rows, on_error="return", num_candidates=1)
    assert "text-only" in refused["error"] and "error" not in answered
    engine = TransformersEngine(*load_policy(tiny_text_policy_dir), step_format="paragraphs")
    with pytest.raises(ValueError, match="it has figures, and the policy, which has a tokenizer and no processor"):
        asyncio.run(engine.generate([RolloutRequest(Problem("p", "x?", (make_figure(),)))]))


def test_questions_without_figures_go_to_a_vision_language_policy(tiny_policy_dir, tiny_prm_dir):
    rerank = text_rerank(tiny_policy_dir, tiny_prm_dir)
    rows = [{"text": QUESTIONS[0]}, {"images": [make_figure()], "text": "What is x?"}]
    outputs = rerank(rows, num_candidates=2, return_candidates=True)
    assert [len(output["candidates"]) for output in outputs] == [2, 2]


def test_a_text_policy_and_its_adapter_share_their_weights_and_are_saved(tiny_text_policy_dir, tmp_path):
    processor = MMPRMProcessor.from_policy(tiny_text_policy_dir)
    prm = MMPRMModel.from_policy(tiny_text_policy_dir, processor)
    adapted = with_adapter(prm, peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2, modules_to_save=["score"]))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.add_(0.2 * torch.randn_like(parameter))
    adapted.save_pretrained(tmp_path / "adapter")
    processor.save_pretrained(tmp_path / "adapter")
    batch = processor(text=QUESTIONS[0], steps=["a = 1", "b = 2"])
    policy = AutoModelForCausalLM.from_pretrained(tiny_text_policy_dir)
    ids = AutoTokenizer.from_pretrained(tiny_text_policy_dir)(QUESTIONS[0], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        scores, logits = adapted.get_base_model()(**batch).step_scores()[0], policy(input_ids=ids).logits
        shared = share_base(policy, str(tmp_path / "adapter"), processor)
        # The same float32 operations; a hundred roundings of numbers around 1.
        torch.testing.assert_close(shared.prm(**batch).step_scores()[0], scores, atol=1e-5, rtol=0)
        torch.testing.assert_close(shared.policy(input_ids=ids).logits, logits, atol=1e-5, rtol=0)
    rerank = text_rerank(tiny_text_policy_dir, str(tmp_path / "adapter"))
    assert rerank.shared is not None
    rerank.save_pretrained(tmp_path / "saved")
    again = pipeline(TASK, model=str(tmp_path / "saved"))
    assert again.shared is not None
    outputs = [p(text=QUESTIONS[0], num_candidates=2, return_candidates=True) for p in (rerank, again)]
    assert outputs[0]["candidates"] == outputs[1]["candidates"]


def test_labels_of_a_text_policy_train_a_prm_from_one(data, tiny_text_policy_dir, tmp_path, monkeypatch):
    texts = {
        question: [
            PARAGRAPHS.render((f"{n + 1} + 3 = {total}", "That is all."), str(total)) for total in (n + 4, n + 5)
        ]
        for n, question in enumerate(QUESTIONS)
    }
    monkeypatch.setattr("mmprm_hf.stages.label_stage.load_policy", lambda name: mixture_policy(texts))
    config = {"num_rollouts": 4, "max_rollouts": 16, "max_new_tokens": 60}
    options = {"data": data, "config": config, "form": PolicyForm(template_options=OFF)}
    report = label(LabelOptions("by heart", tmp_path / "labels", **options))
    assert report["ledger"]["num_trees"] == len(QUESTIONS)
    engine = read_json(tmp_path / "labels" / "run.json")["engine"]
    assert engine["step_format"] == PARAGRAPHS.identity and engine["template_options"] == OFF
    settings = {"max_steps": 1, "per_device_train_batch_size": 2, "learning_rate": 1e-3}
    train(tiny_text_policy_dir, tmp_path / "labels" / "paths", tmp_path / "prm", config=settings, eval_share=0.0)
    assert MMPRMModel.from_pretrained(tmp_path / "prm").config.vlm_config.model_type == "llama"


def test_a_folder_is_reranked_and_evaluated_with_a_text_policy(data, tiny_text_policy_dir, prm, tmp_path):
    form = PolicyForm("paragraphs", template_options=OFF)
    run = {"policy": tiny_text_policy_dir, "prm": prm, "form": form, "progress": False}
    run["options"] = {"num_candidates": 2, "max_new_tokens": 8}
    summary = rerank_problems(data, tmp_path / "rerank", **run)
    assert summary["num_problems"] == len(QUESTIONS) and summary["outcomes"]["not_shown"] == 0
    assert read_json(tmp_path / "rerank" / "config.json")["template_options"] == OFF
    evaluate_benchmark(BenchmarkData("own", data), tmp_path / "evaluate" / "results.json", **run)
    assert len(read_jsonl(tmp_path / "evaluate" / "candidates.jsonl")) == len(QUESTIONS)


def test_options_of_the_template_are_given_as_flags_and_in_yaml_and_reach_a_server(data, prm, tmp_path):
    solution = PARAGRAPHS.render(("One step.", "Another."), "4")
    (tmp_path / "options.yaml").write_text("template_options:\n  enable_thinking: false\n  effort: low\n")
    given = {**OFF, "effort": "low"}
    flags = ["--template-options", "enable_thinking=false", "--template-options", "effort=low"]
    with StubServer(lambda messages, seed: solution) as server:
        common = ["--prm", prm, "--engine", server.url, "--num-candidates", "2", "--num-problems", "1"]
        for number, how in enumerate((flags, ["--config", str(tmp_path / "options.yaml")])):
            folder = tmp_path / f"out {number}"
            result = CliRunner().invoke(app, ["rerank", "--data", data, "-o", str(folder), *common, *how])
            assert result.exit_code == 0, result.output
            assert read_json(folder / "config.json")["template_options"] == given
        asked = [body for body in server.bodies if "messages" in body]
        assert asked and all(body["chat_template_kwargs"] == given for body in asked)


def test_a_step_format_with_a_header_of_its_own_is_named_in_yaml_and_as_a_flag(data, prm, tmp_path):
    given = {"name": "numbered", "header": "## Step {n}: "}
    (tmp_path / "options.yaml").write_text('step_format:\n  name: numbered\n  header: "## Step {n}: "\n')
    solutions = [read_step_format(given).render(("One step.", "Another."), answer) for answer in ("2", "4")]
    with StubServer(lambda messages, seed: solutions[seed % 2]) as server:
        flag, yaml = ["--step-format", json.dumps(given)], ["--config", str(tmp_path / "options.yaml")]
        for verb in (["label"], ["rerank", "--prm", prm]):
            for how in (flag, yaml):
                folder = tmp_path / f"{verb[0]} {how[0]}"
                limit = [] if verb == ["label"] else ["--num-candidates", "2"]
                arguments = [*verb, "--data", data, "-o", str(folder), "--engine", server.url, "--num-problems", "1"]
                result = CliRunner().invoke(app, [*arguments, *limit, *how])
                assert result.exit_code == 0, result.output
                is_label = verb == ["label"]
                facts = read_json(folder / "run.json")["engine"] if is_label else read_json(folder / "config.json")
                assert read_step_format(facts["step_format"]) == read_step_format(given)
    result = CliRunner().invoke(
        app, ["rerank", "--data", data, "-o", str(tmp_path / "x"), "--step-format", "{name: numbered}"]
    )
    assert result.exit_code and "is not JSON" in result.output


def test_a_server_needs_a_prm_said_before_anything_is_asked(data, tmp_path):
    sentence = "Found a server of the policy and no PRM: a server brings none. Name the PRM"
    with StubServer(lambda messages, seed: "x", counts_lists=True) as server:
        engine = ["--engine", server.url]
        for verb in (
            ["evaluate", "answers", "--benchmark", "own", "--data", data, "-o", str(tmp_path / "a" / "results.json")],
            ["rerank", "--data", data, "-o", str(tmp_path / "b")],
            ["rerank", "--question", "How much is 1 + 1?"],
        ):
            result = CliRunner().invoke(app, [*verb, *engine])
            assert result.exit_code and sentence in f"{result.output}{result.exception}"
        assert not server.bodies and not list(tmp_path.iterdir())
        with pytest.raises(ValueError, match="Name the PRM that scores its candidates"):
            rerank_problems(data, tmp_path / "c", policy=None, prm=None, servers=Servers(server.url), options={})


def test_a_served_pipeline_sends_options_of_the_template(prm):
    with StubServer(lambda messages, seed: PARAGRAPHS.render(("One.", "Two."), "4")) as server:
        rerank = pipeline(TASK, model=server.url, prm=prm, template_options=OFF)
        assert rerank(text=QUESTIONS[0], num_candidates=2)["answer"] == "4"
        asked = [body for body in server.bodies if "messages" in body]
        assert asked and all(body["chat_template_kwargs"] == OFF for body in asked)
    assert rerank.engine({}).identity["chat"]["extra_body"] == {"chat_template_kwargs": OFF}
