"""The endpoint engine draws what the in-process engine draws: token for token if greedy, else in distribution.

The stub server answers with the same model through `model.generate`, from nothing but the messages it was sent.
"""

from __future__ import annotations

import asyncio
import base64
import io
import math
import threading
from collections import Counter

import pytest
import torch
from PIL import Image
from support.stub_server import StubAnswer, StubServer
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.data import Problem
from mmprm_hf.engines import ChatClient, EndpointEngine, RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.nano import POLICY_PATH
from mmprm_hf.nano.world import nano_problems

NUM_SAMPLES, NUM_TOKENS = 128, 40
# Two comparisons that should agree, each at half of it: a false alarm of the file once in 10,000 draws of seeds.
FALSE_ALARM = 1e-4 / 2


class Served:
    """A model as a stub server's policy. Sampled answers are drawn all at once and handed out one per request."""

    def __init__(self, model, processor, max_new_tokens, temperature=0.0, continues=True):
        self.model, self.processor, self.continues = model, processor, continues
        self.arguments = {"max_new_tokens": max_new_tokens, "do_sample": False}
        if temperature:
            self.arguments |= {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
            self.arguments["num_return_sequences"] = NUM_SAMPLES
        self.seeds, self.drawn, self.lock = [], [], threading.Lock()

    def __call__(self, messages, seed):
        with self.lock:
            self.seeds.append(seed)
            if not self.drawn:
                self.drawn = self.draw(messages)
            return self.drawn.pop()

    def draw(self, messages):
        content, images = [], []
        parts = messages[0]["content"]
        for part in [{"type": "text", "text": parts}] if isinstance(parts, str) else parts:
            if part["type"] == "image_url":
                images.append(Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].split(",")[1]))))
                content.append({"type": "image"})
            else:
                content.append(part)
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        if self.continues:
            text += "".join(message["content"] for message in messages[1:])
        inputs = self.processor(images=images or None, text=text, return_tensors="pt")
        torch.manual_seed(0)
        with torch.inference_mode():
            rows = self.model.generate(**inputs, **self.arguments)[:, inputs["input_ids"].shape[1] :].tolist()
        return [self.answer(row) for row in rows]

    def answer(self, ids):
        ends = self.model.generation_config.eos_token_id
        ends = ends if isinstance(ends, list) else [ends]
        length = next((i for i, token in enumerate(ids) if token in ends), None)
        text = self.processor.tokenizer.decode(ids[:length])
        return StubAnswer(text, "length", len(ids)) if length is None else StubAnswer(text, "stop", length + 1)


def endpoint_rollouts(served, requests, sampling):
    with StubServer(served) as server:
        return asyncio.run(
            EndpointEngine(ChatClient(server.url, "stub"), sampling=sampling, step_format="tagged").generate(requests)
        )


def facts(rollouts):
    return [(r.text, r.steps, r.answer, r.complete, r.finish_reason, r.num_tokens) for (r,) in rollouts]


def test_greedy_rollouts_of_random_weights_are_equal_token_for_token(tiny_policy, tiny_processor, figures):
    shown = [Problem(f"p{i}", f"Area of figure {i}?", (figures[i],)) for i in range(3)]
    requests = [RolloutRequest(problem, prefix) for problem in shown for prefix in ((), ("a=1",), ("a=1", "b 2"))]
    requests.append(RolloutRequest(Problem("none", "2 + 2 = ?"), ("x",)))
    sampling = SamplingConfig(temperature=0, max_new_tokens=12)
    local = asyncio.run(
        TransformersEngine(tiny_policy, tiny_processor, sampling=sampling, step_format="tagged").generate(requests)
    )
    remote = endpoint_rollouts(Served(tiny_policy, tiny_processor, 12), requests, sampling)
    assert facts(remote) == facts(local)
    assert len({rollout.text for (rollout,) in local}) > 5


@pytest.fixture(scope="module")
def nano():
    model = AutoModelForImageTextToText.from_pretrained(POLICY_PATH).eval()
    shown = {problem.id: problem.to_problem() for problem in nano_problems("test", 24)}
    return model, AutoProcessor.from_pretrained(POLICY_PATH), shown


def test_greedy_rollouts_of_the_nano_policy_are_equal_token_for_token(nano):
    model, processor, shown = nano
    first = list(shown.values())[:2]
    requests = [RolloutRequest(problem) for problem in first]
    sampling = SamplingConfig(temperature=0, max_new_tokens=96)
    engine = TransformersEngine(model, processor, sampling=sampling, step_format="tagged")
    fresh = asyncio.run(engine.generate(requests))
    requests += [RolloutRequest(p, r.steps[:2]) for p, (r,) in zip(first, fresh, strict=True)]
    local = asyncio.run(engine.generate(requests))
    assert facts(endpoint_rollouts(Served(model, processor, 96), requests, sampling)) == facts(local)
    assert all(rollout.complete for (rollout,) in local)


def p_value(first, second):
    """Chi-square test that two samples of answers come from one distribution: the four most common, and the rest."""
    common = [answer for answer, _ in Counter(first + second).most_common(4)]
    tables = [Counter(a if a in common else "rest" for a in answers) for answers in (first, second)]
    statistic = 0.0
    for name in [*common, "rest"]:
        expected = sum(table[name] for table in tables) / 2  # the samples are equally large
        assert expected >= 5, "too few for the chi-square law"
        statistic += sum((table[name] - expected) ** 2 / expected for table in tables)
    return math.exp(-statistic / 2) * (1 + statistic / 2)  # 4 degrees of freedom


def local_answers(nano, request, temperature=1.0):
    model, processor, _ = nano
    engine = TransformersEngine(
        model,
        processor,
        sampling=SamplingConfig(temperature=temperature, max_new_tokens=NUM_TOKENS),
        step_format="tagged",
    )
    (rollouts,) = asyncio.run(engine.generate([request]))
    return [rollout.answer for rollout in rollouts]


def remote_answers(nano, request, continues=True):
    model, processor, _ = nano
    served = Served(model, processor, NUM_TOKENS, temperature=1.0, continues=continues)
    (rollouts,) = endpoint_rollouts(served, [request], SamplingConfig(max_new_tokens=NUM_TOKENS))
    assert len(set(served.seeds)) == NUM_SAMPLES
    return [rollout.answer for rollout in rollouts]


def test_sampled_answers_have_one_distribution_and_a_colder_one_is_told_apart(nano):
    request = RolloutRequest(nano[2]["nano-bar_chart-988974004343"], num_samples=NUM_SAMPLES, seed=3)
    answers = remote_answers(nano, request)
    assert p_value(answers, local_answers(nano, request)) > FALSE_ALARM
    assert p_value(answers, local_answers(nano, request, temperature=0.5)) < FALSE_ALARM


def test_answers_after_a_wrong_step_have_one_distribution_and_a_dropped_turn_is_told_apart(nano):
    problem, prefix = nano[2]["nano-number_line-849744350740"], ("start=21", "gap=7")
    request = RolloutRequest(problem, prefix, num_samples=NUM_SAMPLES, seed=3)
    answers = remote_answers(nano, request)
    assert p_value(answers, local_answers(nano, request)) > FALSE_ALARM
    assert p_value(answers, remote_answers(nano, request, continues=False)) < FALSE_ALARM
