"""A prefix is continued behind the very tokens that the policy wrote: eight families, four ways of cutting text.

Families whose stock processor needs torchvision skip, saying so, unless `MMPRM_EXTRAS` names a folder that holds it
(`make test-extras`).
"""

from __future__ import annotations

import asyncio

import pytest
import torch
from support.backbone_parts import chatml_template, chatml_tokenizer, cut_as, make_template, make_tokenizer
from support.backbones import BACKBONES, missing_packages
from support.backbones_text import build_gemma3_text
from support.tiny_models import make_figure

from mmprm_hf.data import Problem
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.engines.prompts import PromptWriter
from mmprm_hf.engines.templates import tokenizer_of
from mmprm_hf.steps import LINES, NUMBERED, PARAGRAPHS, TAGGED, NumberedFormat

HEADINGS = NumberedFormat("## Step {n}:\n")
FORMATS = (TAGGED, PARAGRAPHS, LINES, NUMBERED, HEADINGS, NumberedFormat("{n}. ", "\n"))
# Each with the tokens that its released checkpoints have.
FAMILIES = {
    "llama": "llama3",
    "qwen3": "llama3",
    "gemma3_text": "gemma",
    "gemma3": "gemma",
    "llava": "llama2",
    "qwen2_5_vl": "llama3",
    "internvl": "llama3",
    "smolvlm": "gpt2",
}
STEPS = ("Tom has 3 boxes: 3 * 4 = 12.", "(a) The rest is 12 - 2 = 10", "$$x = 10$$", "So the answer is 10.")
NUM_TOKENS = 6


def own_tokens(processor, prompt, solution):
    """The tokens of a prompt, and behind them those of a solution as the policy writes it: one text, cut once."""
    tokenizer = tokenizer_of(processor)
    images = {"images": [list(prompt.images)]} if prompt.images else {}
    is_written = tokenizer.bos_token and prompt.text.startswith(tokenizer.bos_token)
    special = {"add_special_tokens": not is_written}
    whole = processor(text=[prompt.text + solution], **images, **special)["input_ids"][0]
    alone = processor(text=[prompt.text], **images, **special)["input_ids"][0]
    assert whole[: len(alone)] == alone
    return whole, len(alone)


def read_ids(inputs):
    """The ids of each row of a batch without its padding."""
    return [ids[mask.bool()].tolist() for ids, mask in zip(inputs["input_ids"], inputs["attention_mask"], strict=True)]


@pytest.fixture(scope="module", params=FAMILIES)
def policy(request):
    name = request.param
    if name in BACKBONES and (missing := missing_packages(name)):
        pytest.skip(f"the stock processor of {name} needs {' and '.join(missing)}")
    build = BACKBONES[name].build if name in BACKBONES else build_gemma3_text
    with cut_as(FAMILIES[name]):
        return build()


def problem_of(processor, name="p"):
    has_images = processor is not tokenizer_of(processor)
    return Problem(name, "How many are left?", (make_figure(1),) if has_images else ())


def test_a_family_reads_its_own_tokens_behind_every_prefix_of_every_format(policy, caplog):
    _, processor = policy
    writer, problem = PromptWriter(processor), problem_of(processor)
    for step_format in FORMATS:
        solution = step_format.render(STEPS, "10")
        assert step_format.parse(solution).steps == STEPS
        prompts = [writer.write(problem, STEPS[:length], step_format) for length in range(len(STEPS) + 1)]
        whole, num_prompt_tokens = own_tokens(processor, prompts[0], solution)
        rows = read_ids(writer.encode(prompts))  # with and without prefix, of many lengths
        assert len(rows[0]) == num_prompt_tokens
        for length, (prompt, ids) in enumerate(zip(prompts, rows, strict=True)):
            assert ids == whole[: len(ids)], (step_format, length)
            rest = tokenizer_of(processor).decode(whole[num_prompt_tokens : len(ids)])
            assert rest.strip() == step_format.render_prefix(STEPS[:length]).strip()
            assert prompt.num_tokens == len(ids)
    assert "joins the end of a step" not in caplog.text


def test_a_family_goes_on_as_from_its_own_tokens_whatever_shares_the_batch(policy):
    model, processor = policy
    sampling = SamplingConfig(temperature=0, max_new_tokens=NUM_TOKENS)
    for step_format in (PARAGRAPHS, NUMBERED):
        engine = TransformersEngine(model, processor, sampling=sampling, step_format=step_format)
        problem, solution = problem_of(processor), step_format.render(STEPS, "10")
        requests = [RolloutRequest(problem, STEPS[:length], 2) for length in (0, 1, 3)]
        for request, rollouts in zip(requests, asyncio.run(engine.generate(requests)), strict=True):
            prompt = engine.prompts.write(problem, request.prefix, step_format)
            whole, _ = own_tokens(processor, prompt, solution)
            inputs = engine.prompts.encode([prompt])
            inputs["input_ids"] = torch.tensor([whole[: prompt.num_tokens]])
            with torch.inference_mode():
                output = model.generate(**inputs, do_sample=False, max_new_tokens=NUM_TOKENS)[0].tolist()
            written = [token for token in output[prompt.num_tokens :] if token not in engine.decoder.end_token_ids]
            text = tokenizer_of(processor).decode(written, clean_up_tokenization_spaces=False)
            assert [rollout.text for rollout in rollouts] == [text] * 2


def test_every_way_of_cutting_text_keeps_the_end_of_a_step_and_of_the_prompt():
    """The template of the second tokenizer ends in two line breaks, which GPT-2's joins at the end of a text only."""
    for cut in ("gpt2", "llama3", "gemma", "llama2", "characters"):
        with cut_as(cut):
            header = make_template("User:\n\n", "\n\n", "Solution:\n\n")
            tokenizers = (
                chatml_tokenizer(chatml_template(), False),
                make_tokenizer("<pad>", "</s>", template=header),
            )
        for tokenizer in tokenizers:
            writer = PromptWriter(tokenizer)
            for step_format in FORMATS:
                plain = writer.write(Problem("p", "x?"), (), step_format)
                alone = tokenizer(plain.text, add_special_tokens=False)["input_ids"]
                for length in range(1, len(STEPS) + 1):
                    prompt = writer.write(Problem("p", "x?"), STEPS[:length], step_format)
                    (ids,) = read_ids(writer.encode([prompt]))
                    assert ids[: len(alone)] == alone and ids[len(alone) :] == list(prompt.prefix_ids)
                    text = step_format.render_prefix(STEPS[:length])
                    assert tokenizer.decode(prompt.prefix_ids, clean_up_tokenization_spaces=False) == text
                    if cut != "llama2":  # which puts a blank before a text that stands alone
                        own = tokenizer(step_format.render(STEPS, "10"), add_special_tokens=False)["input_ids"]
                        assert own[: len(prompt.prefix_ids)] == list(prompt.prefix_ids)


def test_a_tokenizer_that_joins_steps_is_warned_about_once(caplog):
    with cut_as("gemma"):
        tokenizer = chatml_tokenizer(chatml_template(), False)
    tokenizer.add_tokens(["\n\nThe", "\n\n1"])
    writer = PromptWriter(tokenizer)
    for _ in range(2):
        writer.write(Problem("p", "x?"), ("a",), PARAGRAPHS)
    assert caplog.text.count("joins the end of a step with what follows") == 1
