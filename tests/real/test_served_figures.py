"""A LLaVA of random weights behind vLLM: figures, special tokens, and the server's limit. Run with `make test-real`."""

from __future__ import annotations

import asyncio

import pytest
import torch
from support.real_server import mmprm, rollouts_of

from mmprm_hf.engines import (
    ChatClient,
    EndpointEngine,
    RolloutRequest,
    SamplingConfig,
    TransformersEngine,
    load_policy,
)
from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.nano.world import nano_problems

pytestmark = pytest.mark.real

GREEDY = SamplingConfig(temperature=0, max_new_tokens=24)


@pytest.fixture(scope="module")
def problems():
    return [problem.to_problem() for problem in nano_problems("test", 4)]


@pytest.fixture(scope="module")
def local(llava):
    model, processor = load_policy(llava, dtype=torch.float32)
    return TransformersEngine(model, processor, sampling=GREEDY, step_format="tagged")


def served(server, sampling=GREEDY, **options):
    # The tags are special tokens of this tokenizer, which vLLM leaves out of the text otherwise.
    chat = ChatClient(server.url, server.name, extra_body={"skip_special_tokens": False}, max_attempts=2)
    return EndpointEngine(chat, sampling=sampling, step_format="tagged", **options)


def test_figures_arrive_as_they_do_in_this_process(figure_server, local, problems):
    """As many tokens before the first own one, and token for token what this process writes; with prefixes, too."""
    requests = [RolloutRequest(p, prefix) for p in problems for prefix in ((), ("a = 3",), ("a = 3", "b = 4 + 3"))]
    for (far,), (near,) in zip(rollouts_of(served(figure_server), requests), rollouts_of(local, requests), strict=True):
        assert far.num_prompt_tokens == near.num_prompt_tokens > 0
        assert (far.text, far.num_tokens) == (near.text, near.num_tokens)


def test_figures_are_seen(figure_server, problems):
    first, second = problems[0], problems[1]
    swapped = type(first)(first.id, first.question, second.images, first.answer)
    sampled = SamplingConfig(max_new_tokens=24)
    requests = [RolloutRequest(problem, num_samples=4, seed=5) for problem in (first, swapped)]
    seen, other = rollouts_of(served(figure_server, sampled), requests)
    assert [r.text for r in seen] != [r.text for r in other]


def test_a_limit_that_nobody_named_fits_to_the_server(figure_server):
    engine = served(figure_server, SamplingConfig(max_new_tokens=1024), fits_to_server=True)
    asyncio.run(engine.prepare())
    assert engine.sampling.max_new_tokens == 256


def test_a_limit_that_is_too_large_is_one_error_at_the_start(figure_server, tmp_path):
    with pytest.raises(EngineUnavailableError, match="The server holds 512 tokens.*max_new_tokens is 1024"):
        asyncio.run(served(figure_server, SamplingConfig(max_new_tokens=1024)).prepare())
    flags = ["--policy", "llava", "--engine", figure_server.url, "--prm", "nano", "--max-new-tokens", "1024"]
    code, printed = mmprm("rerank", "--data", "nano", "--num-problems", "3", "-o", str(tmp_path / "out"), *flags)
    assert code != 0 and printed.count("The server holds 512 tokens") == 1, printed
