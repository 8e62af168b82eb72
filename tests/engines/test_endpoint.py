"""Endpoint engine: messages, prefixes, figures, seeds, whose fault it is; the client below it against a stub server."""

from __future__ import annotations

import asyncio
import base64
import io
import random
import threading

import pytest
from PIL import Image
from support.stub_server import FAULTS, StubServer

from mmprm_hf.data import Problem
from mmprm_hf.engines import ChatClient, EndpointEngine, FigureParts, RolloutRequest, SamplingConfig
from mmprm_hf.engines.images import image_parts
from mmprm_hf.errors import EngineUnavailableError, ProblemInputError, UnknownNameError
from mmprm_hf.steps import TaggedFormat

PREFIX = ("A=4", "B=5")
RENDERED = "<step>A=4</step><step>B=5</step>"


def policy(messages, seed):
    """A fresh solution, or what follows an opened one."""
    is_opened = messages[-1]["role"] == "assistant"
    return f"<step>{'C' if is_opened else 'A'}={seed}</step><answer>{seed % 5}</answer>"


def engine_for(server, chat=(), **arguments):
    client = ChatClient(server.url, "stub", **{"backoff_seconds": 0.002, **dict(chat)})
    return EndpointEngine(client, **{"step_format": "tagged", **arguments})


def run(engine, *requests):
    return asyncio.run(engine.generate(requests))


@pytest.fixture
def problems(figures):
    return [Problem(f"p{i}", f"Question {i}?", (figures[i],)) for i in range(4)]


@pytest.fixture
def requests(problems):
    fresh = [RolloutRequest(problem, num_samples=5, seed=1) for problem in problems]
    return [*fresh, *(RolloutRequest(problem, PREFIX, num_samples=3, seed=2) for problem in problems)]


@pytest.fixture
def expected(requests):
    with StubServer(policy) as server:
        return run(engine_for(server), *requests)


def test_rollouts_are_parsed_and_in_order(expected, requests):
    assert [len(rollouts) for rollouts in expected] == [request.num_samples for request in requests]
    for rollouts, request in zip(expected, requests, strict=True):
        for rollout in rollouts:
            (step,) = rollout.steps
            name, seed = step.split("=")
            assert name == ("C" if request.prefix else "A") and rollout.answer == str(int(seed) % 5)
            assert rollout.complete and rollout.finish_reason == "stop" and rollout.num_tokens == 1
            assert rollout.num_prompt_tokens > 0 and rollout.text.startswith("<step>")


def test_every_sample_has_a_seed_of_its_own_and_keeps_it(expected, requests):
    seeds = [rollout.steps[0].split("=")[1] for rollouts in expected for rollout in rollouts]
    assert len(set(seeds)) == len(seeds) and all(0 <= int(seed) < 2**31 for seed in seeds)
    with StubServer(policy) as server:
        assert run(engine_for(server), *requests[::-1]) == expected[::-1]
        (fewer,) = run(engine_for(server), RolloutRequest(requests[0].problem, num_samples=2, seed=1))
    assert fewer == expected[0][:2]


def test_seeds_differ_between_prefixes_of_one_problem():
    prefixes = ((), ("A=4",), PREFIX)
    with StubServer(policy) as server:
        run(engine_for(server), *(RolloutRequest(Problem("p", "Q?"), prefix, seed=1) for prefix in prefixes))
    assert len({body["seed"] for body in server.bodies}) == 3


def test_a_storm_of_faults_changes_no_rollout(requests, expected):
    rng = random.Random(1)
    with StubServer(policy, faults=lambda *_: rng.choice(FAULTS) if rng.random() < 0.3 else None) as server:
        engine = engine_for(server, {"max_attempts": 20})
        assert run(engine, *requests) == expected
        assert engine.usage["retries"] >= 1


def test_a_refused_request_is_the_problems_fault(problems):
    def faults(number, body):
        return "400" if "Question 2?" in str(body["messages"]) else None

    with StubServer(policy, faults=faults) as server:
        engine = engine_for(server)
        with pytest.raises(ProblemInputError, match="'p2': the server refused it with HTTP 400: stub says 400"):
            run(engine, *(RolloutRequest(problem) for problem in problems))
        with pytest.raises(ProblemInputError, match="shorten or drop the problem") as caught:
            run(engine, RolloutRequest(problems[2], PREFIX))
        assert caught.value.problem_id == "p2"
        assert len(run(engine, RolloutRequest(problems[1]))) == 1


def test_a_server_that_fails_for_good_is_no_problems_fault(problems):
    with StubServer(policy, faults=lambda *_: "503") as server:
        with pytest.raises(EngineUnavailableError, match=r"2 attempts; the last met HTTP 503"):
            run(engine_for(server, {"max_attempts": 2}), RolloutRequest(problems[0]))
        server.faults = lambda *_: "401"
        with pytest.raises(EngineUnavailableError, match="HTTP 401"):
            run(engine_for(server), RolloutRequest(problems[0]))


def test_the_first_error_cancels_the_other_requests(problems):
    with StubServer(policy, faults=["422"], seconds=0.05) as server:
        engine = engine_for(server, {"max_concurrency": 2})
        with pytest.raises(ProblemInputError, match="HTTP 422"):
            run(engine, *(RolloutRequest(problem, num_samples=10) for problem in problems))
        assert len(server.bodies) < 10


def test_figures_travel_as_png_and_keep_every_pixel(problems, tmp_path):
    path = tmp_path / "figure.png"
    problems[1].images[0].save(path)
    two = Problem("two", "Which?", (problems[0].images[0], str(path)))
    with StubServer(policy) as server:
        run(engine_for(server), RolloutRequest(two), RolloutRequest(Problem("none", "1 + 1 = ?")))
    contents = {len(body["messages"][0]["content"]): body["messages"][0]["content"] for body in server.bodies}
    *images, text = contents[3]
    assert text == {"type": "text", "text": "Which?"} and contents[len("1 + 1 = ?")] == "1 + 1 = ?"
    for part, original in zip(images, problems, strict=False):
        kind, data = part["image_url"]["url"].split(",")
        assert part["type"] == "image_url" and kind == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as sent:
            assert sent.tobytes() == original.images[0].tobytes()


def test_figures_are_encoded_once_per_problem(problems, monkeypatch):
    encoded = []
    original = image_parts
    monkeypatch.setattr("mmprm_hf.engines.images.image_parts", lambda p: encoded.append(p.id) or original(p))
    with StubServer(policy) as server:
        engine = engine_for(server)
        for index in (0, 1, 0, 1):
            run(engine, RolloutRequest(problems[index], num_samples=2))
        assert encoded == ["p0", "p1"]
        run(engine, RolloutRequest(Problem("p1", "Question 1?", problems[3].images)))  # another figure, the same id
    assert encoded[2:] == ["p1"]
    sent = [body["messages"][0]["content"][0] for body in server.bodies]
    assert sent[-1] != sent[-2]


def test_only_the_figures_of_the_problems_used_last_are_kept(problems, monkeypatch):
    encoded = []
    monkeypatch.setattr("mmprm_hf.engines.images.image_parts", lambda p: encoded.append(p.id) or [p.id])
    figures = FigureParts(max_problems=2)

    async def use():
        for index in (0, 1, 0, 2, 0, 1):  # 2 drives out 1, the last used before it
            assert await figures.parts(problems[index]) == [f"p{index}"]

    asyncio.run(use())
    assert encoded == ["p0", "p1", "p2", "p1"]


def test_encoding_figures_holds_up_no_other_request_and_happens_once(problems, monkeypatch):
    text, prompts = Problem("text", "1 + 1 = ?"), [problems[0], problems[0], problems[0]]
    encoded, may_go_on = [], threading.Event()

    def slow(problem):
        assert may_go_on.wait(5), "the loop did nothing meanwhile"
        encoded.append(problem.id)
        return [{"type": "image_url", "image_url": {"url": "data:,"}}]

    async def use(engine):
        shown = asyncio.create_task(engine.generate([RolloutRequest(p, seed=i) for i, p in enumerate(prompts)]))
        await asyncio.sleep(0)  # the figures come first
        await engine.generate([RolloutRequest(text)])
        may_go_on.set()
        return await shown

    monkeypatch.setattr("mmprm_hf.engines.images.image_parts", slow)
    with StubServer(policy) as server:
        assert len(asyncio.run(use(engine_for(server)))) == 3
    assert encoded == ["p0"]


def test_a_figure_that_is_missing_is_the_problems_fault():
    with StubServer(policy) as server, pytest.raises(ProblemInputError, match="'nowhere.png' does not exist"):
        run(engine_for(server), RolloutRequest(Problem("p", "?", ("nowhere.png",))))


def test_a_prefix_opens_the_assistants_turn():
    with StubServer(policy) as server:
        run(engine_for(server, system_prompt="Be brief."), RolloutRequest(Problem("p", "Q?"), PREFIX))
        run(engine_for(server), RolloutRequest(Problem("p", "Q?")))
    opened, fresh = server.bodies
    assert opened["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q?"},
        {"role": "assistant", "content": RENDERED},
    ]
    assert opened["continue_final_message"] is True and opened["add_generation_prompt"] is False
    assert fresh["messages"] == [{"role": "user", "content": "Q?"}] and "continue_final_message" not in fresh


def test_a_prefix_in_the_users_turn():
    with StubServer(policy) as server:
        engine = engine_for(server, prefill="user")
        run(engine, RolloutRequest(Problem("p", "Q {0}?"), PREFIX), RolloutRequest(Problem("q", "Q {0}?")))
    texts = sorted((body["messages"][0]["content"] for body in server.bodies), key=len)
    assert texts[0] == "Q {0}?"
    assert texts[1].startswith(f"Q {{0}}?\n\nThe solution so far:\n{RENDERED}\n\n") and "repeat nothing" in texts[1]
    assert all(len(body["messages"]) == 1 and "continue_final_message" not in body for body in server.bodies)


def test_an_echoed_prefix_is_stripped():
    def echo(messages, seed):
        return f"{RENDERED}<step>C=9</step><answer>9</answer>"

    with StubServer(echo) as server:
        for prefill in ("continue", "user"):
            ((rollout,),) = run(engine_for(server, prefill=prefill), RolloutRequest(Problem("p", "Q?"), PREFIX))
            assert rollout.text == "<step>C=9</step><answer>9</answer>"
            assert rollout.steps == ("C=9",) and rollout.complete


def test_a_policy_that_repeats_its_steps_keeps_them():
    def repeats_sometimes(messages, seed):
        return ("" if seed % 2 else RENDERED) + "<step>C=9</step><answer>9</answer>"

    with StubServer(repeats_sometimes) as server:
        (rollouts,) = run(engine_for(server), RolloutRequest(Problem("p", "Q?"), PREFIX, num_samples=12))
    assert {rollout.steps for rollout in rollouts} == {("C=9",), (*PREFIX, "C=9")}


def test_a_partial_repetition_is_kept():
    with StubServer(lambda *_: "<step>A=4</step><answer>9</answer>") as server:
        ((rollout,),) = run(engine_for(server), RolloutRequest(Problem("p", "Q?"), PREFIX))
    assert rollout.steps == ("A=4",)


def test_an_answer_alone_is_complete_only_after_a_prefix():
    with StubServer(lambda *_: "<answer>9</answer>") as server:
        requests = RolloutRequest(Problem("p", "Q?"), PREFIX), RolloutRequest(Problem("p", "Q?"))
        assert [rollout.complete for (rollout,) in run(engine_for(server), *requests)] == [True, False]


def test_cut_rollouts_and_stop_strings():
    with StubServer(lambda *_: "<step>one two three</step> END <answer>9</answer>") as server:
        cut = engine_for(server, sampling=SamplingConfig(max_new_tokens=2))
        stopped = engine_for(server, sampling=SamplingConfig(stop_strings=(" END",)))
        ((first,),) = run(cut, RolloutRequest(Problem("p", "Q?")))
        ((second,),) = run(stopped, RolloutRequest(Problem("p", "Q?")))
    assert (first.finish_reason, first.num_tokens, first.complete) == ("length", 2, False)
    assert (second.finish_reason, second.steps, second.complete) == ("stop", ("one two three",), False)


def test_other_tags():
    tags = TaggedFormat("[[", "]]", "((", "))")
    with StubServer(lambda *_: "[[C=9]]((9))") as server:
        engine = engine_for(server, step_format=tags)
        ((rollout,),) = run(engine, RolloutRequest(Problem("p", "Q?"), PREFIX))
    assert rollout.steps == ("C=9",) and rollout.answer == "9" and rollout.complete
    assert server.bodies[0]["messages"][-1]["content"] == "[[A=4]][[B=5]]"


def test_identity_tells_what_wrote_the_rollouts_and_not_where():
    chat = ChatClient("http://somewhere:8123", "stub", api_key="sesame")
    engines = [
        EndpointEngine(chat, prefill="continue", step_format="tagged"),
        EndpointEngine(chat, prefill="user", step_format="tagged"),
        EndpointEngine(chat, system_prompt="Be brief.", step_format="tagged"),
        EndpointEngine(chat, sampling=SamplingConfig(temperature=0.5), step_format="tagged"),
    ]
    identities = [str(engine.identity) for engine in engines]
    assert len(set(identities)) == 4 and "'model': 'stub'" in identities[0]
    assert not any(secret in identity for identity in identities for secret in ("somewhere", "8123", "sesame"))


def test_unknown_prefill():
    with pytest.raises(UnknownNameError, match="Unknown prefill 'assistant'. Choose one of auto, continue, user"):
        EndpointEngine(ChatClient("http://x", "stub"), prefill="assistant", step_format="tagged")


def test_an_address_is_not_a_chat_model():
    with pytest.raises(ValueError, match=r"Found 'http://x' as the chat model. Give a client, such as"):
        EndpointEngine("http://x", step_format="tagged")
