"""Chat client: every fault alone and in a storm, seeds, bounds, connections, and what goes on the wire."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
import warnings

import pytest
from support.stub_server import FAULTS, StubAnswer, StubServer

from mmprm_hf.engines import ChatClient
from mmprm_hf.errors import EngineUnavailableError, RequestRefusedError

MESSAGES = [{"role": "user", "content": "1 + 1 = ?"}]
SEEDS = tuple(range(100, 106))


def policy(messages, seed):
    return f"<step>{messages[-1]['content']} {seed}</step><answer>{seed % 7}</answer>"


def client(server, **arguments):
    return ChatClient(server.url, **{"model": "stub", "backoff_seconds": 0.005, **arguments})


def complete(chat, **arguments):
    return asyncio.run(chat.complete(MESSAGES, **{"seeds": SEEDS, "temperature": 1.0, **arguments}))


@pytest.fixture(scope="module")
def expected():
    with StubServer(policy) as server:
        return complete(client(server))


def test_a_seed_per_sample_in_order(expected):
    assert [choice.text for choice in expected.choices] == [policy(MESSAGES, seed) for seed in SEEDS]
    assert {choice.finish_reason for choice in expected.choices} == {"stop"}


def test_one_fault_is_retried_and_changes_nothing(expected):
    for fault in FAULTS:
        with StubServer(policy, faults=[None, fault]) as server:
            chat = client(server)
            assert complete(chat) == expected, fault
        assert chat.usage["retries"] == 1 and chat.usage["requests"] == len(SEEDS) + 1 == len(server.bodies), fault
        assert chat.usage["completion_tokens"] == sum(choice.num_tokens for choice in expected.choices) > 0, fault


def test_a_storm_of_faults_changes_nothing():
    rng, seeds = random.Random(0), range(300)
    with StubServer(policy, faults=lambda *_: rng.choice(FAULTS) if rng.random() < 0.3 else None) as server:
        chat = client(server, max_attempts=20, backoff_seconds=0.001)
        reply = complete(chat, seeds=seeds)
    assert [choice.text for choice in reply.choices] == [policy(MESSAGES, seed) for seed in seeds]
    assert 60 < chat.usage["retries"] == len(server.bodies) - 300


def test_retries_end_and_say_what_was_seen():
    with StubServer(policy, faults=["500", "cut", "500", "reset", None]) as server:
        message = r"no usable answer to 4 attempts; the last met \w+Error. Seen: HTTP 500 \(2x\).*start again"
        with pytest.raises(EngineUnavailableError, match=message):
            complete(client(server, max_attempts=4), seeds=(1,))
        assert len(server.bodies) == 4


def test_a_server_that_is_gone():
    with StubServer(policy) as server:
        url = server.url
    chat = ChatClient(url, "stub", max_attempts=3, backoff_seconds=0.001)
    with pytest.raises(EngineUnavailableError, match=r"3 attempts.*ConnectError \(3x\)"):
        complete(chat)


def test_a_refused_request_is_its_own_fault():
    for status in (400, 413, 422):
        with StubServer(policy, faults=[str(status)]) as server:
            with pytest.raises(RequestRefusedError, match=f"HTTP {status}: stub says {status}") as caught:
                complete(client(server), seeds=(1,))
            assert len(server.bodies) == 1 and caught.value.status == status


def test_a_lasting_refusal_stops_at_once():
    for status in (401, 403, 404, 405):
        with StubServer(policy, faults=[str(status)] * 9) as server:
            with pytest.raises(EngineUnavailableError, match=f"HTTP {status} .stub says.*Check the key"):
                complete(client(server), seeds=(1,))
            assert len(server.bodies) == 1


def test_retry_after_is_honoured_and_wins_over_a_shorter_wait():
    with StubServer(policy, faults=["429"], retry_after="0.3") as server:
        complete(client(server, backoff_seconds=0.0), seeds=(1,))
    assert 0.3 <= server.times[1] - server.times[0] < 2


def test_retry_after_is_capped(monkeypatch):
    monkeypatch.setattr("mmprm_hf.engines.chat_client._MAX_WAIT_SECONDS", 0.05)
    for value in ("9999", "Fri, 31 Dec 2999 23:59:59 GMT", "soon"):
        with StubServer(policy, faults=["429"], retry_after=value) as server:
            complete(client(server), seeds=(1,))
        assert server.times[1] - server.times[0] < 2


def test_waits_double(monkeypatch):
    monkeypatch.setattr("mmprm_hf.engines.chat_client.random.uniform", lambda *_: 1.0)
    with StubServer(policy, faults=["500"] * 3) as server:
        complete(client(server, backoff_seconds=0.05), seeds=(1,))
    waits = [end - start for start, end in zip(server.times[:-1], server.times[1:], strict=True)]
    assert all(wait >= 0.05 * 2**i for i, wait in enumerate(waits)) and sum(waits) < 2


def test_a_slow_answer_is_asked_for_again(expected):
    with StubServer(policy, faults=["slow"], slow_seconds=1.5) as server:
        start, chat = time.monotonic(), client(server, timeout_seconds=0.3)
        assert complete(chat) == expected
        assert time.monotonic() - start < 1.4 and chat.usage["retries"] == 1
        message = r"2 attempts; the last met a timeout"
        server.faults = ["slow"] * 99
        with pytest.raises(EngineUnavailableError, match=message):
            complete(client(server, timeout_seconds=0.1, max_attempts=2), seeds=(1,))


def test_an_answer_that_trickles_in_is_cut_off_too(expected):
    with StubServer(policy, faults=["trickle"], slow_seconds=3) as server:
        start, chat = time.monotonic(), client(server, timeout_seconds=0.5)
        assert complete(chat) == expected
        assert time.monotonic() - start < 2.5 and chat.usage["retries"] == 1


def test_a_redirect_is_not_followed_and_stops_at_once():
    with (
        StubServer(policy, faults=lambda *_: "redirect") as server,
        pytest.raises(EngineUnavailableError, match="HTTP 30., a redirect to .*, which is not followed"),
    ):
        complete(client(server), seeds=(1,))


def test_a_whole_answer_may_hold_no_text():
    for reason in ("length", "content_filter", "stop"):
        with StubServer(lambda *_, reason=reason: StubAnswer(None, reason, 9)) as server:
            chat = client(server)
            (choice,) = complete(chat, seeds=(1,)).choices
        assert (choice.text, choice.num_tokens, chat.usage["retries"]) == ("", 9, 0), reason


def test_requests_in_flight_are_bounded_and_connections_kept():
    with StubServer(policy, seconds=0.02) as server:
        complete(client(server, max_concurrency=5), seeds=range(60))
        assert server.max_simultaneous == 5 and server.num_connections <= 5


def test_more_requests_can_be_in_flight_than_an_http_client_has_connections_by_default():
    everyone = threading.Barrier(120)

    def wait_for_the_others(messages, seed):
        everyone.wait(timeout=20)
        return policy(messages, seed)

    with StubServer(wait_for_the_others) as server:
        complete(client(server, max_concurrency=120, max_attempts=1), seeds=range(120))
        assert server.max_simultaneous == 120


def test_the_first_error_cancels_the_other_samples():
    with StubServer(policy, faults=["400"], seconds=0.05) as server:
        with pytest.raises(RequestRefusedError, match="HTTP 400"):
            complete(client(server, max_concurrency=2), seeds=range(50))
        assert len(server.bodies) < 10


@pytest.fixture
def small_heap():
    """All that is loaded is left out of garbage collections, which take seconds otherwise."""
    gc.freeze()
    yield
    gc.unfreeze()


def test_two_loops_in_a_row_leave_no_connection_open(expected, small_heap):
    async def use(chat, closes):
        reply = await chat.complete(MESSAGES, seeds=SEEDS, temperature=1.0)
        if closes:  # else the loop's end closes them
            await chat.close()
            assert server.wait_until_closed()
        return reply

    for closes in (True, False):
        with StubServer(policy) as server, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            chat = client(server)
            assert [asyncio.run(use(chat, closes)) for _ in range(2)] == [expected] * 2
            assert server.wait_until_closed()
            del chat
            gc.collect()
        assert not [str(warning.message) for warning in caught if warning.category is ResourceWarning]


def test_a_client_that_nobody_keeps_closes_its_connections(expected, small_heap):
    async def use(server):
        reply = await client(server).complete(MESSAGES, seeds=SEEDS, temperature=1.0)
        gc.collect()  # the client goes while the loop still runs
        return reply

    with StubServer(policy) as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert asyncio.run(use(server)) == expected
        gc.collect()
        assert server.wait_until_closed()
    assert not [str(warning.message) for warning in caught if warning.category is ResourceWarning]


def test_one_loop_can_go_on_after_close(expected):
    async def use(chat):
        first = await chat.complete(MESSAGES, seeds=SEEDS, temperature=1.0)
        await chat.close()
        return first, await chat.complete(MESSAGES, seeds=SEEDS, temperature=1.0)

    with StubServer(policy) as server:
        assert asyncio.run(use(client(server))) == (expected, expected)


@pytest.mark.parametrize(
    ("server_options", "options"),
    [({"seconds": 0.2}, {"max_concurrency": 1}), ({"faults": lambda *_: "500"}, {"max_attempts": 99})],
    ids=["requests that wait for their turn", "requests between attempts"],
)
def test_closing_amid_requests_says_so(server_options, options):
    async def use(chat):
        call = asyncio.create_task(chat.complete(MESSAGES, seeds=SEEDS, temperature=1.0))
        await asyncio.sleep(0.1)
        await chat.close()
        with pytest.raises(EngineUnavailableError, match="closed while requests.*once they are answered"):
            await asyncio.wait_for(call, 5)

    with StubServer(policy, **server_options) as server:
        asyncio.run(use(client(server, **options)))


def test_what_goes_on_the_wire():
    with StubServer(policy) as server:
        complete(client(server, extra_body={"min_p": 0.1}), seeds=(7,), top_p=0.9, max_new_tokens=20)
        complete(client(server), seeds=(8,), top_k=5, stop_strings=("</s>",), continue_final_message=True)
    plain, full = server.bodies
    assert plain == {
        "model": "stub",
        "messages": MESSAGES,
        "max_tokens": 20,
        "temperature": 1.0,
        "top_p": 0.9,
        "seed": 7,
        "stream": False,
        "min_p": 0.1,
    }
    own = {name: full[name] for name in ("top_k", "stop", "continue_final_message", "add_generation_prompt")}
    assert own == {"top_k": 5, "stop": ["</s>"], "continue_final_message": True, "add_generation_prompt": False}


def test_the_key_is_sent_and_never_the_users_hub_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with StubServer(policy, counts_lists=True) as server:
        complete(client(server, api_key="sesame"), seeds=(1,))
        complete(client(server), seeds=(1,))
        complete(ChatClient(server.url), seeds=(1,))
    sent = [headers.get("Authorization", headers.get("authorization")) for headers in server.headers]
    assert sent == ["Bearer sesame", "Bearer none", "Bearer none", "Bearer none"]
    assert "hf_secret" not in str(server.headers)


def test_identity_names_the_model_and_no_place_or_key():
    chat = ChatClient("http://somewhere:8123", "stub", api_key="sesame", extra_body={"min_p": 0.1})
    assert chat.identity == {"model": "stub", "samples_per_request": 1, "extra_body": {"min_p": 0.1}}


def test_at_temperature_zero_one_request_serves_all_samples():
    with StubServer(policy) as server:
        reply = complete(client(server), temperature=0.0)
        assert len(server.bodies) == 1 and server.bodies[0]["temperature"] == 0
    assert [choice.text for choice in reply.choices] == [policy(MESSAGES, SEEDS[0])] * len(SEEDS)


def test_whatever_is_not_a_natural_end_counts_as_cut():
    with StubServer(lambda messages, seed: StubAnswer("x", ["content_filter", None, "stop"][seed], 1)) as server:
        reply = complete(client(server), seeds=(0, 1, 2))
    assert [choice.finish_reason for choice in reply.choices] == ["length", "length", "stop"]


def test_usage_may_be_absent():
    with StubServer(policy, faults=["no_usage"]) as server:
        reply = complete(client(server), seeds=(1,))
    assert reply.num_prompt_tokens == reply.choices[0].num_tokens == 0


def test_counts_below_zero_are_not_believed():
    with StubServer(lambda *_: StubAnswer("x", "stop", -5)) as server:
        assert complete(client(server), seeds=(1,)).choices[0].num_tokens == 0


def test_the_only_model_of_a_server_needs_no_name():
    with StubServer(policy, faults=["500"], counts_lists=True) as server:
        chat = client(server, model=None)
        asyncio.run(chat.prepare())
        assert chat.model == chat.identity["model"] == "stub"
        complete(chat)
        assert [body.get("path") for body in server.bodies] == ["/v1/models"] * 2 + [None] * len(SEEDS)
    with (
        StubServer(policy, models=("a", "b")) as server,
        pytest.raises(EngineUnavailableError, match=r"lists 2 \(a, b\). Name one"),
    ):
        complete(client(server, model=None))


def test_numbers_out_of_range():
    for name in ("max_concurrency", "max_attempts"):
        with pytest.raises(ValueError, match=f"{name}=0 in ChatClient; it must be at least 1"):
            ChatClient("http://x", "stub", **{name: 0})


def test_bad_arguments():
    for url in ("localhost:8000", "http://[bad", "http://host:port", "http://"):
        with pytest.raises(ValueError, match="must start with http"):
            ChatClient(url, "stub")
    with pytest.raises(ValueError, match="api_key holds a character that no HTTP header can carry") as caught:
        ChatClient("http://x", "stub", api_key="schl\u00fcssel")
    assert "ssel" not in str(caught.value)
    with pytest.raises(ValueError, match=r"extra_body names \['seed'\]"):
        ChatClient("http://x", "stub", extra_body={"seed": 1})
    with pytest.raises(ValueError, match="timeout_seconds=0"):
        ChatClient("http://x", "stub", timeout_seconds=0)


def test_a_list_of_models_that_is_none_is_asked_for_again():
    for bad in ("nan", "deep", "not_a_dict", "text_for_message"):
        with StubServer(policy, faults=[bad, None]) as server:
            chat = client(server, model=None)
            complete(chat)
            assert chat.model == "stub" and chat.usage["retries"] == 1, bad
