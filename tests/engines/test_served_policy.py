"""``pipeline("generate-and-rerank", model="http://...")``: the policy runs behind a server, the PRM here."""

import functools
import re

import pytest
from stub_server import StubServer
from transformers import pipeline

import mmprm_hf  # noqa: F401 - registers the task
from mmprm_hf.engines import EngineUnavailableError
from mmprm_hf.nano import PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.served_policy import ServedPolicy

TASK = "generate-and-rerank"
NANO = make_problem("rectangle", 4)
CALL = {"images": NANO.figure(), "text": NANO.question, "num_candidates": 4, "return_candidates": True}


def policy(messages, seed):
    """Three steps, of which a seed may get the second one wrong; goes on with an opened turn."""
    opened = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    steps = ["A=7", f"B={seed % 2 + 5}", "A+B=13"]
    done = len(re.findall("</step>", opened))
    return "".join(f"<step>{step}</step>" for step in steps[done:]) + f"<answer>{seed % 3}</answer>"


@pytest.fixture
def served():
    with StubServer(policy) as server:
        yield server, pipeline(TASK, model=server.url, prm=str(PRM_PATH))


def test_served_solutions_are_scored_and_the_best_one_wins(served):
    server, rerank = served
    output = rerank(temperature=0.7, top_p=0.9, max_new_tokens=50, **CALL)
    assert len(output["candidates"]) == 4 and all(row["complete"] for row in output["candidates"])
    assert {row["steps"][1] for row in output["candidates"]} == {"B=5", "B=6"}
    scores = [row["score"] for row in output["candidates"]]
    assert output["score"] == max(scores) and output["chosen"] == scores.index(max(scores))
    body = server.bodies[-1]
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.7, 0.9, 50)
    assert body["messages"][-1]["content"][0]["type"] == "image_url"


@pytest.mark.parametrize("strategy", ["beam_search", "dvts", "beam_annealing"])
def test_a_guided_search_goes_on_from_the_served_steps(served, strategy):
    server, rerank = served
    output = rerank(strategy=strategy, **CALL)
    assert output["steps"] in (["A=7", "B=5", "A+B=13"], ["A=7", "B=6", "A+B=13"])
    bodies = [body for body in server.bodies if "messages" in body]
    assert all("</step>" in body["stop"] for body in bodies)
    prefixes = [body["messages"][-1]["content"] for body in bodies if body["messages"][-1]["role"] == "assistant"]
    assert "<step>A=7</step>" in prefixes and any(prefix.count("</step>") == 3 for prefix in prefixes)


def test_name_key_and_system_prompt_reach_the_server():
    with StubServer(policy, models=("small", "large")) as server:
        rerank = pipeline(TASK, model=server.url, prm=str(PRM_PATH), served_model="large", api_key="secret-key")
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": NANO.question}]
        rerank(chat, num_candidates=1)
        body = [body for body in server.bodies if "messages" in body][-1]
        assert body["model"] == "large" and body["messages"][0] == {"role": "system", "content": "Be brief."}
        keys = [{name.lower(): value for name, value in headers.items()}["authorization"] for headers in server.headers]
        assert set(keys) == {"Bearer secret-key"}
        other = pipeline(TASK, model=ServedPolicy(server.url, "small"), prm=str(PRM_PATH))
        assert other(chat, num_candidates=1)["answer"] is not None


def test_a_server_that_fails_is_no_answer():
    with StubServer(policy, faults=lambda *_: "401") as server:
        rerank = pipeline(TASK, model=server.url, prm=str(PRM_PATH))
        for on_error in ("raise", "return"):  # no problem is at fault: nothing may become a row's error
            with pytest.raises((EngineUnavailableError, ValueError), match="401"):
                rerank([{"images": CALL["images"], "text": CALL["text"]}], num_candidates=1, on_error=on_error)


def test_what_belongs_to_servers_is_refused_for_checkpoints(tiny_policy_dir, tiny_prm_dir):
    make = functools.partial(pipeline, TASK, model=tiny_policy_dir, prm=tiny_prm_dir)
    for option in ({"served_model": "x"}, {"api_key": "x"}):
        with pytest.raises(ValueError, match="served_model and api_key are for a policy behind a server"):
            make(**option)
