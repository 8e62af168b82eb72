"""Chat templates as they are found: without a system turn, without any template, opening a thought, with options."""

from __future__ import annotations

import asyncio

import pytest
from support.backbone_parts import chatml_template, chatml_tokenizer, cut_as, make_tokenizer
from support.mixture_policy import MixturePolicy, mixture_policy
from support.stub_server import StubServer

from mmprm_hf.data import Problem
from mmprm_hf.engines import ChatClient, EndpointEngine, RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.engines.prompts import PromptWriter
from mmprm_hf.errors import CheckpointError
from mmprm_hf.steps import PARAGRAPHS, STEP_END

PROBLEM = Problem("p", "How much is 3 + 4?")
SOLUTION = PARAGRAPHS.render(("3 + 4 = 7", "That is all."), "7")
RAISES = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + chatml_template()
)
DROPS = chatml_template().replace(
    "{% for message in messages %}", "{% for message in messages if message['role'] != 'system' %}"
)
# As Qwen 3's: thinking is on unless it is turned off, and then the thought is closed at once.
THINKS = chatml_template() + (
    "{% if add_generation_prompt and enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}"
)
OPENS = chatml_template() + "{% if add_generation_prompt %}{{ '<think>\\n' }}{% endif %}"


def tokenizer_with(template):
    with cut_as("gpt2"):
        tokenizer = chatml_tokenizer(template, False)
    tokenizer.chat_template = template
    return tokenizer


def engine_with(template, texts, **options):
    policy, tokenizer = mixture_policy({PROBLEM.question: texts})
    tokenizer.chat_template = template
    sampling = options.pop("sampling", SamplingConfig(max_new_tokens=120))
    return TransformersEngine(policy, tokenizer, sampling=sampling, step_format="paragraphs", **options)


def test_a_system_prompt_stands_before_the_question_where_a_template_refuses_or_drops_it():
    for template in (RAISES, DROPS):
        prompt = PromptWriter(tokenizer_with(template), "Be brief.").write(PROBLEM)
        assert prompt.text == "<|im_start|>user\nBe brief.\n\nHow much is 3 + 4?<|im_end|>\n<|im_start|>assistant\n"
    shown = PromptWriter(tokenizer_with(chatml_template()), "Be brief.").write(PROBLEM)
    assert shown.text.count("<|im_start|>user\n") == 2, "this template writes every turn that is not the assistant's"


def test_an_instruction_stands_behind_the_question_in_every_template():
    for template in (RAISES, DROPS, chatml_template()):
        prompt = PromptWriter(tokenizer_with(template), "Be brief.").write(PROBLEM, instruction="Write paragraphs.")
        assert "How much is 3 + 4?\n\nWrite paragraphs.<|im_end|>" in prompt.text


def test_a_base_model_reads_a_plain_prompt_said_once_and_stops_at_the_next_question(caplog):
    with cut_as("gpt2"):
        tokenizer = make_tokenizer("<pad>", "</s>", special=("<|im_start|>",))
    policy = MixturePolicy(
        tokenizer, {PROBLEM.question: [f"{SOLUTION}\nQuestion: How much is 9 + 9?\n\nSolution:\n18"]}
    )
    policy.turn_ids = tokenizer("\n\nSolution:\n")["input_ids"]
    policy.eval()
    options = {"sampling": SamplingConfig(max_new_tokens=120), "step_format": "paragraphs"}
    engine = TransformersEngine(policy, tokenizer, **options)
    assert engine.prompts.write(PROBLEM).text == "Question: How much is 3 + 4?\n\nSolution:\n"
    requests = [
        RolloutRequest(PROBLEM),
        RolloutRequest(PROBLEM, ("3 + 4 = 7",)),
        RolloutRequest(PROBLEM, one_step=True),
    ]
    (whole,), (rest,), (step,) = asyncio.run(engine.generate(requests))
    assert (whole.text, whole.answer, whole.complete) == (SOLUTION, "7", True)
    assert (rest.steps, rest.answer, rest.complete) == (("That is all.",), "7", True)
    assert step.steps == ("3 + 4 = 7",)
    assert caplog.text.count("has no chat template") == 1


def test_a_thought_that_the_template_opens_is_set_apart_and_closed_before_a_prefix():
    engine = engine_with(OPENS, ["Hm.\n\n3 + 4 = 8?\n</think>\n\n" + SOLUTION])
    engine.model.turn_ids = engine.model.tokenizer("<think>\n")["input_ids"]
    (whole,) = asyncio.run(engine.generate([RolloutRequest(PROBLEM)]))
    ((step,),) = asyncio.run(engine.generate([RolloutRequest(PROBLEM, one_step=True)]))
    assert step.steps == ("3 + 4 = 7",) and step.finish_reason == STEP_END
    assert whole[0].text.startswith("<think>\nHm") and whole[0].steps == ("3 + 4 = 7", "That is all.")
    opened = engine.prompts.write(PROBLEM, ("3 + 4 = 7",), PARAGRAPHS)
    assert opened.text.endswith("<think>\n\n</think>\n\n") and not opened.opened_thought


def test_a_thought_that_never_ends_is_incomplete():
    engine = engine_with(OPENS, ["3 + 4 = 7\n\nThe answer is 7."])
    engine.model.turn_ids = engine.model.tokenizer("<think>\n")["input_ids"]
    ((rollout,),) = asyncio.run(engine.generate([RolloutRequest(PROBLEM)]))
    assert rollout.finish_reason == "stop" and not rollout.complete and rollout.fault == "the thought never ends"


def test_options_of_the_template_reach_policies_here_and_at_a_server():
    off = {"enable_thinking": False}
    thinking, silent = (PromptWriter(tokenizer_with(THINKS), None, o).write(PROBLEM).text for o in (None, off))
    assert silent == thinking + "<think>\n\n</think>\n\n"
    engine = engine_with(THINKS, [SOLUTION], template_options=off)
    engine.model.turn_ids = engine.model.tokenizer("</think>\n\n")["input_ids"]
    requests = [RolloutRequest(PROBLEM), RolloutRequest(PROBLEM, ("3 + 4 = 7",))]
    (whole,), (rest,) = asyncio.run(engine.generate(requests))
    assert whole.complete and whole.text == SOLUTION and rest.complete
    assert engine.identity["template_options"] == off
    with StubServer(lambda messages, seed: SOLUTION) as server:
        chat = ChatClient(server.url, "stub", extra_body={"chat_template_kwargs": off})
        asyncio.run(EndpointEngine(chat, step_format="paragraphs").generate(requests[:1]))
        assert [body["chat_template_kwargs"] for body in server.bodies if "messages" in body] == [off]


def test_sampling_that_the_policys_config_suggests_is_noted_once_and_the_users_options_win(caplog):
    policy, tokenizer = mixture_policy({PROBLEM.question: [SOLUTION]})
    suggested = {"do_sample": True, "temperature": 0.6, "top_p": 1.0, "top_k": 20, "repetition_penalty": 1.05}
    for name, value in suggested.items():
        setattr(policy.generation_config, name, value)
    for temperature in (1.0, 0.7, 0.0):
        engine = TransformersEngine(policy, tokenizer, sampling=SamplingConfig(temperature=temperature))
        assert engine.sampling.temperature == temperature
    (note,) = [record.getMessage() for record in caplog.records if "suggests" in record.getMessage()]
    assert note == (
        "The policy's generation config suggests temperature 0.6, top_k 20, repetition_penalty 1.05; it is sampled "
        "with temperature 1.0, top_k 0, no repetition_penalty. Give temperature, top_k to sample as it suggests."
    )
    other, tokenizer = mixture_policy({PROBLEM.question: [SOLUTION]})
    other.generation_config.do_sample, other.generation_config.temperature = True, 0.7
    TransformersEngine(other, tokenizer, sampling=SamplingConfig(temperature=0.7))
    assert caplog.text.count("config suggests") == 1


def test_a_template_that_fails_is_the_checkpoints_fault():
    with pytest.raises(CheckpointError, match="chat template fails"):
        PromptWriter(tokenizer_with("{{ raise_exception('no') }}")).write(PROBLEM)
