"""The in-process engine writes what `generate` writes, greedily, for every family of policies that reads images.

Families whose stock processor needs torchvision skip, saying so, unless `MMPRM_EXTRAS` names a folder that holds it
(`make test-extras`).
"""

from __future__ import annotations

import asyncio

import pytest
import torch
from backbones import BACKBONES, why_unavailable
from conftest import make_figure

from mmprm_hf.data import Problem
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.steps import render_prefix

WITH_IMAGES = [name for name, backbone in BACKBONES.items() if backbone.has_images]
NUM_TOKENS = 10


@pytest.fixture(scope="module", params=WITH_IMAGES)
def policy(request):
    reason = why_unavailable(request.param)
    if reason:
        pytest.skip(reason)
    model, processor = BACKBONES[request.param].build()
    if getattr(processor, "chat_template", None) is None:
        pytest.skip(f"{request.param} has no chat template")
    return model, processor


def problems():
    sizes = [(48, 40), (40, 64), (64, 32)]
    figures = [make_figure(seed).resize(size) for seed, size in enumerate(sizes)]
    questions = ["Area?", "How long is the side AB of the triangle, in centimetres?", "What is x?"]
    return [Problem(f"p{i}", q, (f,)) for i, (q, f) in enumerate(zip(questions, figures, strict=True))]


def stock_greedy(model, processor, problem, prefix):
    content = [{"type": "image"}, {"type": "text", "text": problem.question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    bos = processor.tokenizer.bos_token
    extra = {"add_special_tokens": False} if bos and text.startswith(bos) else {}
    inputs = processor(images=[list(problem.images)], text=[text + render_prefix(prefix)], return_tensors="pt", **extra)
    output = model.generate(**inputs, do_sample=False, max_new_tokens=NUM_TOKENS)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


def without_end(engine, ids):
    return ids[:-1] if ids and ids[-1] in engine.end_token_ids else ids


def test_greedy_equals_generate_with_figures_and_prefixes(policy):
    model, processor = policy
    engine = TransformersEngine(model, processor, sampling=SamplingConfig(temperature=0, max_new_tokens=NUM_TOKENS))
    prefixes = [(), ("first step",), ("a", "much longer second step of text")]
    requests = [RolloutRequest(p, s, 3) for p, s in zip(problems(), prefixes, strict=True)]
    requests.append(RolloutRequest(problems()[0], ("other",), 1))
    with torch.inference_mode():
        expected = [stock_greedy(model, processor, r.problem, r.prefix) for r in requests]
    for request, rollouts, ids in zip(requests, asyncio.run(engine.generate(requests)), expected, strict=True):
        text = processor.tokenizer.decode(without_end(engine, ids), clean_up_tokenization_spaces=False)
        assert [rollout.text for rollout in rollouts] == [text] * request.num_samples
        assert all(rollout.num_prompt_tokens > 10 for rollout in rollouts)


def test_samples_do_not_depend_on_the_batch(policy):
    model, processor = policy
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=NUM_TOKENS)
    requests = [RolloutRequest(problem, (), 5, seed=7) for problem in problems()]
    together = asyncio.run(TransformersEngine(model, processor, sampling=sampling).generate(requests))
    engine = TransformersEngine(model, processor, sampling=sampling, max_batch_size=3)
    assert [asyncio.run(engine.generate([request]))[0] for request in requests] == together
    assert len({rollout.text for rollout in together[0]}) > 1
