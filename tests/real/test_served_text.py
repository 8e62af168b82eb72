"""SmolLM2 behind vLLM: samples, seeds, stops, step formats and prefixes. Run with `make test-real`."""

from __future__ import annotations

import asyncio

import pytest
from support.real_server import rollouts_of, word_problems

from mmprm_hf.engines import ChatClient, EndpointEngine, RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.steps import LINES, NUMBERED, PARAGRAPHS, STEP_END, read_step_format

pytestmark = pytest.mark.real

GREEDY = SamplingConfig(temperature=0, max_new_tokens=64)
PROBLEMS = word_problems()
PREFIXES = {
    PARAGRAPHS: (
        ("Each box holds 12 pencils.",),
        ("There are 5 boxes with 12 pencils each.", "5 * 12 = 60"),
        ("We compute\n$$\n5 \\times 12\n$$", "This is **60**."),
    ),
    LINES: (("5 * 12 = 60",), ("There are 5 boxes.", "Each box holds 12 pencils!", "5 x 12 = 60 pencils")),
    NUMBERED: (("Each box holds 12 pencils.",), ("Each box holds 12 pencils.", "Multiply: 5 * 12 = 60.")),
    read_step_format({"name": "numbered", "header": "{n}. ", "separator": "\n"}): (
        ("Each box holds 12 pencils.",),
        ("Each box holds 12 pencils.", "5 * 12 = 60"),
    ),
}


def client(server):
    return ChatClient(server.url, server.name, max_attempts=3)


def served(server, sampling=GREEDY, **options):
    return EndpointEngine(client(server), sampling=sampling, **options)


def test_samples_of_a_request_differ_and_equal_seeds_give_equal_samples(text_server):
    sampling = SamplingConfig(max_new_tokens=32)
    requests = [RolloutRequest(PROBLEMS[0], num_samples=8, seed=seed) for seed in (1, 1, 2)]
    requests.append(RolloutRequest(PROBLEMS[0], num_samples=3, seed=1))
    first, equal, other, fewer = (
        [rollout.text for rollout in rollouts]
        for rollouts in rollouts_of(served(text_server, sampling, step_format=LINES), requests)
    )
    assert first == equal and first[:3] == fewer
    assert len({*first, *other}) > 12  # a short answer may come twice


def test_the_server_tells_a_stop_string_from_a_natural_end(text_server):
    async def choice(stop_strings, max_new_tokens=64):
        messages = [{"role": "user", "content": "Say hello and nothing else."}]
        chat = client(text_server)
        reply = await chat.complete(messages, stop_strings=stop_strings, max_new_tokens=max_new_tokens)
        return reply.choices[0]

    whole = asyncio.run(choice(()))
    assert (whole.finish_reason, whole.stopped_at) == ("stop", "") and whole.num_tokens > 2
    end = whole.text.rstrip()[-1]
    stopped = asyncio.run(choice((end,)))
    assert (stopped.finish_reason, stopped.stopped_at) == ("stop", end)
    assert stopped.text == whole.text[: whole.text.index(end)]
    cut = asyncio.run(choice((), 2))
    assert (cut.finish_reason, cut.stopped_at) == ("length", "")


def is_written_so(step_format, whole):
    """Whether a complete solution has several steps, written as its format does (no blank lines between lines, say)."""
    if not whole.complete or len(whole.steps) < 2:
        return False
    has_early_answer = any("Answer:" in step for step in whole.steps[:-1])  # it ends a solution written by steps
    return not has_early_answer and whole.text.startswith(step_format.render_prefix(whole.steps).rstrip())


def test_steps_one_by_one_are_those_of_the_whole_solution(text_server):
    """A step stop is not taken for the end of the solution, nor the end for a step stop."""
    sampling = SamplingConfig(temperature=0, max_new_tokens=200)
    for step_format in (PARAGRAPHS, LINES):
        engine = served(text_server, sampling, step_format=step_format, instruct="always")
        requests = [RolloutRequest(problem) for problem in PROBLEMS]
        wholes = [rollout for (rollout,) in rollouts_of(engine, requests)]
        index = next(i for i, whole in enumerate(wholes) if is_written_so(step_format, whole))
        steps, reasons = (), []
        while len(steps) < len(wholes[index].steps):
            ((rollout,),) = rollouts_of(engine, [RolloutRequest(PROBLEMS[index], steps, one_step=True)])
            assert rollout.steps, rollout
            steps += rollout.steps
            reasons.append((rollout.finish_reason, rollout.complete))
        assert steps == wholes[index].steps
        # What follows the last step is the answer's line, or nothing: the rollout after it ends the solution.
        if reasons[-1] == (STEP_END, False):
            ((end,),) = rollouts_of(engine, [RolloutRequest(PROBLEMS[index], steps, one_step=True)])
            reasons.append((end.finish_reason, end.complete))
        assert reasons == [(STEP_END, False)] * (len(reasons) - 1) + [("stop", True)]


def test_prefixes_continue_token_for_token_as_in_this_process(text_server, text_model):
    """float32 on both sides, greedy: vLLM's kernels round in another order, which decides no token here."""
    model, tokenizer = text_model
    for step_format, prefixes in PREFIXES.items():
        options = {"step_format": step_format, "instruct": "always"}
        requests = [RolloutRequest(PROBLEMS[0], prefix) for prefix in ((), *prefixes)]
        remote = rollouts_of(served(text_server, **options), requests)
        local = rollouts_of(TransformersEngine(model, tokenizer, sampling=GREEDY, **options), requests)
        for request, (far,), (near,) in zip(requests, remote, local, strict=True):
            if far.finish_reason == "other_prefix":
                # The server shows less of the separator than this process, and the policy does not write the rest.
                assert request.prefix and step_format.step_separator == "\n\n", request
                continue
            length = min(far.num_tokens, near.num_tokens)
            assert length > 1 and far.num_prompt_tokens > 0
            assert far.text[:40] == near.text[:40], (step_format, request.prefix)
            num_hidden = near.num_prompt_tokens - far.num_prompt_tokens
            assert num_hidden in (0, 1)
            if far.finish_reason == near.finish_reason == "stop":
                assert (far.text, far.num_tokens - num_hidden) == (near.text, near.num_tokens)
            else:
                assert near.text.startswith(far.text) or far.text.startswith(near.text)


def test_the_step_format_is_found(text_server):
    engine = served(text_server, SamplingConfig(max_new_tokens=128))
    asyncio.run(engine.settle(PROBLEMS[:4]))
    assert engine.step_format is not None
    again = served(text_server, SamplingConfig(max_new_tokens=128))
    asyncio.run(again.settle(PROBLEMS[:4], engine.identity))
    assert (again.step_format, again.identity) == (engine.step_format, {**engine.identity, "prefill": "auto"})
