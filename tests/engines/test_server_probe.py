"""What the engine asks a server before it relies on it: does it continue an opened turn, would it refuse everything."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest
from support.stub_server import StubServer, is_probe

from mmprm_hf.answers.verifier import RuleVerifier
from mmprm_hf.data import Problem
from mmprm_hf.engines import ChatClient, EndpointEngine, RolloutRequest, SamplingConfig
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.labelling import EngineFailedError, LabelRun, label_problems, omegaprm
from mmprm_hf.labelling.omegaprm import OmegaPRMConfig
from mmprm_hf.steps import TaggedFormat

PROBLEM = Problem("p", "Q?", answer="9")
REQUEST = RolloutRequest(PROBLEM, ("A=4",), num_samples=2)


def policy(messages, seed):
    return f"<step>{'C' if messages[-1]['role'] == 'assistant' else 'A'}={seed}</step><answer>9</answer>"


def anything(messages, seed):
    """A policy whose continuation of a half-written step is no evidence."""
    return "<step> 7" if messages[-1]["role"] == "assistant" else "well"


def no_usage(_):
    return "no_usage"


def engine_for(server, **arguments):
    chat = ChatClient(server.url, arguments.pop("model", "stub"), backoff_seconds=0.002, max_attempts=2)
    return EndpointEngine(chat, **{"step_format": "tagged", **arguments})


def prepared(server, **arguments):
    engine = engine_for(server, **arguments)
    asyncio.run(engine.prepare())
    return engine


def resolved(num_probes=None, **options):
    with StubServer(policy, **options) as server:
        engine = prepared(server)
        assert engine.identity["prefill"] == engine.prefill and ("prompt" in engine.identity) == (
            engine.prefill == "user"
        )
        assert num_probes is None or len(server.probes) == num_probes
    return engine.prefill


def test_a_server_that_continues_is_asked_to_continue(caplog):
    with caplog.at_level(logging.WARNING):
        assert resolved(continues="asked", num_probes=3) == "continue"
    assert not caplog.records


def test_a_server_that_ignores_it_is_shown_prefixes_in_the_users_turn(caplog):
    assert resolved(continues="never", num_probes=3) == "user"
    assert "answers as if the opened turn were closed" in caplog.text and "another distribution" in caplog.text


def test_a_server_that_refuses_it_is_shown_prefixes_in_the_users_turn(caplog):
    assert resolved(continues="refused") == "user"
    assert "refuses the request with HTTP 422: stub says 422" in caplog.text


def test_a_server_that_continues_unasked_is_told_by_one_token():
    assert resolved(continues="always", num_probes=4) == "continue"


def test_a_policy_that_writes_anything_does_not_mislead():
    assert resolved(continues="asked", probe_policy=anything) == "continue"
    assert resolved(continues="never", probe_policy=anything) == "user"


def test_a_server_that_refuses_such_a_turn_unless_it_is_to_be_continued():
    def faults(body):
        is_closed = body["messages"][-1]["role"] == "assistant" and "continue_final_message" not in body
        return "400" if is_closed else None

    assert resolved(probe_faults=faults) == "continue"


def test_without_counts_of_tokens_the_greedy_texts_decide():
    """One that continues unasked cannot be told from one that ignores the question: the careful reading is taken."""
    for continues, prefill in (("asked", "continue"), ("never", "user"), ("always", "user"), ("refused", "user")):
        assert resolved(continues=continues, probe_faults=no_usage) == prefill, continues


def test_without_counts_two_equal_texts_are_those_of_a_server_that_ignores_it():
    assert resolved(continues="never", probe_faults=no_usage, probe_policy=lambda *_: "Five.") == "user"


def test_an_echo_of_the_opened_turn_is_no_fresh_step():
    def echoes(messages, seed):
        opened = messages[-1]["content"] if messages[-1]["role"] == "assistant" else "<step>Adding them"
        return f"{opened} gives 5"

    assert resolved(probe_policy=echoes, probe_faults=no_usage) == "continue"
    assert resolved(probe_policy=echoes, num_probes=3) == "continue"


def test_continue_needs_a_server_that_can():
    for continues in ("never", "refused"):
        with StubServer(policy, continues=continues) as server:
            with pytest.raises(EngineUnavailableError, match='cannot continue an assistant.*prefill="user" or "auto"'):
                prepared(server, prefill="continue")
            assert not server.bodies


def test_a_server_that_breaks_at_it_is_not_taken_for_one_that_ignores_it():
    """Else a server that went down just then would be given the other mode for the whole run."""
    faults = {"probe_faults": lambda body: "500" if "continue_final_message" in body else None}
    with StubServer(policy, **faults) as server:
        with pytest.raises(EngineUnavailableError, match=r'HTTP 500 \(2x\).*when asked to continue.*prefill="user"'):
            prepared(server)
        assert prepared(server, prefill="user").prefill == "user"


def test_the_question_has_the_engines_tags_system_turn_and_sampling():
    sampling = SamplingConfig(temperature=0.7, top_p=0.9, top_k=5, max_new_tokens=300, stop_strings=("END",))
    tags = TaggedFormat("[[", "]]", "((", "))")
    with StubServer(policy, probe_policy=lambda *_: " gives 5") as server:
        prepared(server, sampling=sampling, step_format=tags, system_prompt="Be brief.")
    fresh, opened, closed = server.probes
    roles = [message["role"] for message in opened["messages"]]
    assert roles == ["system", "user", "assistant"] and opened["messages"] == closed["messages"]
    assert opened["messages"][-1]["content"].startswith("[[") and "]]" not in opened["messages"][-1]["content"]
    assert opened["continue_final_message"] and "continue_final_message" not in closed
    sent = {name: fresh[name] for name in ("temperature", "top_p", "top_k", "stop", "seed", "max_tokens")}
    assert sent == {"temperature": 0.7, "top_p": 0.9, "top_k": 5, "stop": ["END"], "seed": 0, "max_tokens": 16}


def test_it_is_asked_once_whoever_comes_first():
    async def use(engine):
        await asyncio.gather(*(engine.generate([REQUEST]) for _ in range(5)), *(engine.prepare() for _ in range(5)))

    with StubServer(policy) as server:
        engine = engine_for(server)
        asyncio.run(engine.generate([RolloutRequest(PROBLEM)]))
        assert not server.probes, "nothing depends on it before there is a prefix"
        for _ in range(2):  # two loops
            asyncio.run(use(engine))
        assert len(server.probes) == 3 and engine.identity["prefill"] == "continue"


def test_rollouts_without_prepare_follow_what_the_server_can():
    for continues, num_turns, beginning in (("asked", 2, "C="), ("never", 1, "A=")):
        with StubServer(policy, continues=continues) as server:
            ((first, _),) = asyncio.run(engine_for(server).generate([REQUEST]))
        assert [len(body["messages"]) for body in server.bodies] == [num_turns] * 2
        assert first.steps[0].startswith(beginning)


def test_what_every_request_would_meet_stops_the_run_at_once(tmp_path):
    messages = {
        "400": r"refuses even a short question without figures, with HTTP 400: stub says 400.*model's name.*\(seed",
        "422": r"HTTP 422.*knows what was sent \(seed, temperature, top_p, top_k\)",
        "404": "HTTP 404.*model's name",
    }

    def assert_stops(status, prefill):
        with StubServer(policy, faults=lambda *_: status, probe_faults=lambda _: status) as server:
            engine = engine_for(server, prefill=prefill, sampling=SamplingConfig(top_k=5))
            with pytest.raises(EngineFailedError, match=f"EndpointEngine is not ready: .*{messages[status]}"):
                label(tmp_path, engine)
            assert len(server.probes) == 1 and not server.bodies and not (tmp_path / "run.json").exists()

    for status in messages:
        assert_stops(status, "auto")
    for prefill in ("continue", "user"):
        assert_stops("400", prefill)


def label(folder, engine):
    config = OmegaPRMConfig(num_rollouts=2, max_rollouts=4)
    run = LabelRun(engine, RuleVerifier(), omegaprm.search, config, folder, progress=False)
    return label_problems([PROBLEM], run)


def test_a_run_holds_the_mode_found_and_refuses_a_server_of_another(tmp_path):
    with StubServer(policy) as server, StubServer(policy, continues="never") as other:
        label(tmp_path, engine_for(server))
        assert json.loads((tmp_path / "run.json").read_text())["engine"]["prefill"] == "continue"
        assert not any(is_probe(body) for body in server.bodies)
        label(tmp_path, engine_for(server, prefill="continue"))  # the same run
        with pytest.raises(ValueError, match="made with other settings"):
            label(tmp_path, engine_for(other))


class CountedChat:
    """A chat model with a template of tokens by the word: what it is told decides what stands in the prompt."""

    identity = {"model": "counted"}

    def __init__(self, *, closes, header=2, opening=0, reply="gives 5", echo=""):
        self.closes, self.header, self.opening, self.reply, self.echo = closes, header, opening, reply, echo

    async def complete(self, messages, *, continue_final_message=False, **settings):
        num_tokens, last = 10, messages[-1]
        if last["role"] == "assistant":
            num_tokens += self.header + len(last["content"].split())
            if not continue_final_message or self.closes == "always":
                num_tokens += 2 + self.header + self.opening
            elif self.closes == "without a header":
                num_tokens += 2
        else:
            num_tokens += self.header + self.opening
        return ChatReply((ChatChoice(self.reply, "stop", 4),), num_tokens)


def test_what_a_template_adds_tells_servers_apart():
    for chat, prefill in (
        (CountedChat(closes="unasked"), "continue"),
        (CountedChat(closes="always", reply="<step>A"), "user"),
        # Reads `add_generation_prompt` alone: the prompt is shorter, and the model writes the role itself.
        (CountedChat(closes="without a header", reply="assistant\n<step>A"), "user"),
        # Opens fresh turns with more than a header, and its policy likes to open steps.
        (CountedChat(closes="unasked", opening=2, reply="<step>A"), "continue"),
    ):
        engine = EndpointEngine(chat, step_format="tagged")
        asyncio.run(engine.prepare())
        assert engine.prefill == prefill, vars(chat)
