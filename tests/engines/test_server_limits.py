"""What a server can hold is asked for once, whatever else is known of it."""

from __future__ import annotations

import asyncio

import pytest
from support.stub_server import StubServer

from mmprm_hf.data import Problem
from mmprm_hf.engines import ChatClient, EndpointEngine, RolloutRequest, SamplingConfig
from mmprm_hf.errors import EngineUnavailableError

PROBLEM = Problem("p", "What is 2 + 3?", answer="5")


def engine_on(server, max_new_tokens, **options):
    # A format and a way of showing prefixes are named: nothing else is asked of the server before the first problem.
    sampling = SamplingConfig(max_new_tokens=max_new_tokens)
    return EndpointEngine(
        ChatClient(server.url, max_attempts=1), sampling=sampling, step_format="tagged", prefill="user", **options
    )


def policy(messages, seed):
    return "<step>2 + 3 = 5</step><answer>5</answer>"


def test_a_number_that_was_named_is_refused_before_the_first_problem():
    with StubServer(policy, max_model_len=512) as server:
        engine = engine_on(server, 1024)
        for _ in range(2):
            with pytest.raises(EngineUnavailableError, match="holds 512 tokens.*max_new_tokens is 1024.*below 512"):
                asyncio.run(engine.generate([RolloutRequest(PROBLEM)]))
        assert not server.bodies


def test_a_number_that_nobody_named_leaves_half_of_what_fits_to_the_problem():
    for limit, max_new_tokens in ((512, 256), (1100, 550), (2048, 1024), (None, 1024)):
        with StubServer(policy, max_model_len=limit) as server:
            engine = engine_on(server, 1024, fits_to_server=True)
            ((rollout,),) = asyncio.run(engine.generate([RolloutRequest(PROBLEM)]))
            assert rollout.complete and server.bodies[-1]["max_tokens"] == max_new_tokens
