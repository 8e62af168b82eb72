"""The in-process engine writes what `generate` writes, greedily, for every family of policies that reads images.

Families whose stock processor needs torchvision skip, saying so, unless `MMPRM_EXTRAS` names a folder that holds it
(`make test-extras`).
"""

from __future__ import annotations

import asyncio
import re

import pytest
import torch
from support.backbones import BACKBONES, missing_packages
from support.tiny_models import make_figure

from mmprm_hf.data import Problem
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.engines.prompts import PromptWriter
from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.steps import TAGGED

WITH_IMAGES = [name for name, backbone in BACKBONES.items() if backbone.has_images]
NUM_TOKENS = 10


@pytest.fixture(scope="module", params=WITH_IMAGES)
def policy(request):
    missing = missing_packages(request.param)
    if missing:
        pytest.skip(f"the stock processor of {request.param} needs {' and '.join(missing)}")
    model, processor = BACKBONES[request.param].build()
    if getattr(processor, "chat_template", None) is None:
        pytest.skip(f"{request.param} has no chat template")
    return model, processor


def problems():
    sizes = [(48, 40), (40, 64), (64, 32)]
    figures = [make_figure(seed).resize(size) for seed, size in enumerate(sizes)]
    questions = ["Area?", "How long is the side AB of the triangle, in centimetres?", "What is x?"]
    return [Problem(f"p{i}", q, (f,)) for i, (q, f) in enumerate(zip(questions, figures, strict=True))]


# Their processors write a newline behind the text, a prefix's end included.
NO_PREFIXES = ("paligemma",)


def stock_greedy(model, processor, problem, prefix):
    """Ids of the prompt and of its greedy continuation by `generate`, alone and without padding."""
    content = [{"type": "image"}, {"type": "text", "text": problem.question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    bos = processor.tokenizer.bos_token
    extra = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
    inputs = processor(
        images=[list(problem.images)], text=[text + TAGGED.render_prefix(prefix)], return_tensors="pt", **extra
    )
    output = model.generate(**inputs, do_sample=False, max_new_tokens=NUM_TOKENS)
    num_prompt_tokens = inputs["input_ids"].shape[1]
    return num_prompt_tokens, output[0, num_prompt_tokens:].tolist()


def without_end(engine, ids):
    return ids[:-1] if ids and ids[-1] in engine.decoder.end_token_ids else ids


def test_greedy_equals_generate_with_figures_and_prefixes(policy):
    model, processor = policy
    engine = TransformersEngine(
        model, processor, sampling=SamplingConfig(temperature=0, max_new_tokens=NUM_TOKENS), step_format="tagged"
    )
    prefixes = [(), ("first step",), ("a", "much longer second step of text")]
    if model.config.model_type in NO_PREFIXES:
        with pytest.raises(EngineUnavailableError, match="behind the text, so a policy cannot continue its own steps"):
            asyncio.run(engine.generate([RolloutRequest(problems()[0], ("a",))]))
        prefixes = [()] * 3
    requests = [RolloutRequest(p, s, 3) for p, s in zip(problems(), prefixes, strict=True)]
    requests.append(RolloutRequest(problems()[0], prefixes[1], 1))
    with torch.inference_mode():
        expected = [stock_greedy(model, processor, r.problem, r.prefix) for r in requests]
    results = asyncio.run(engine.generate(requests))
    for request, rollouts, (num_prompt_tokens, ids) in zip(requests, results, expected, strict=True):
        text = processor.tokenizer.decode(without_end(engine, ids), clean_up_tokenization_spaces=False)
        assert [rollout.text for rollout in rollouts] == [text] * request.num_samples
        assert {rollout.num_prompt_tokens for rollout in rollouts} == {num_prompt_tokens}


def test_samples_do_not_depend_on_the_batch(policy):
    model, processor = policy
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=NUM_TOKENS)
    requests = [RolloutRequest(problem, (), 5, seed=7) for problem in problems()]
    together = asyncio.run(
        TransformersEngine(model, processor, sampling=sampling, step_format="tagged").generate(requests)
    )
    engine = TransformersEngine(model, processor, sampling=sampling, max_batch_size=3, step_format="tagged")
    assert [asyncio.run(engine.generate([request]))[0] for request in requests] == together
    assert len({rollout.text for rollout in together[0]}) > 1


def test_positions_of_an_unknown_kind_are_refused():
    class Backbone(torch.nn.Module):
        def get_rope_index(self, input_ids, images_per_sample, attention_mask):
            raise AssertionError("not to be called")

    class Policy(torch.nn.Module):
        model = Backbone()

    with pytest.raises(
        ValueError,
        match="Policy computes its positions from input_ids, images_per_sample, attention_mask, which this engine",
    ):
        TransformersEngine(Policy(), None, step_format="tagged")


def test_figures_inside_a_question_keep_their_places(policy):
    model, processor = policy
    figures = tuple(problem.images[0] for problem in problems()[:2])
    placed = Problem("p", "In <image1> and <image2>, x?", figures)
    swapped = Problem("p", "In <image2> and <image1>, x?", figures[::-1])
    prompt = PromptWriter(processor).write(placed)
    between = re.search(r"In(.+)and(.+), x\?", prompt.text, re.DOTALL)
    assert between and all(text.strip() for text in between.groups()), prompt.text
    sampling = SamplingConfig(temperature=0, max_new_tokens=NUM_TOKENS)
    engine = TransformersEngine(model, processor, sampling=sampling, step_format="tagged")
    (first,), (second,) = (asyncio.run(engine.generate([RolloutRequest(problem)])) for problem in (placed, swapped))
    assert first == second and first[0].num_prompt_tokens == prompt.num_tokens
