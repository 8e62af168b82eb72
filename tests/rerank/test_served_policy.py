"""A policy behind an OpenAI-compatible server: candidates, guided searches, and what happens when the server fails."""

import logging
import re
import socket

import pytest
from support.stub_server import StubServer  # noqa: E402
from transformers import pipeline

import mmprm_hf  # noqa: F401 - registers the task
from mmprm_hf.data import Candidate, Problem
from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.models import MMPRMModel
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rerank.pipeline import GenerateAndRerankPipeline
from mmprm_hf.rerank.served_policy import ServedPolicy

TASK = "generate-and-rerank"
CLOCK = make_problem("clock", 2)
STEPS = ("A=22", "B=61", "C=83")


def solver(messages, seed):
    """The rest of a solution of three steps; one sample in three says another answer."""
    prefix = messages[-1]["content"] if messages[-1]["role"] == "assistant" else ""
    if messages[-1]["role"] == "user" and "The solution so far:" in str(messages[-1]["content"]):
        prefix = str(messages[-1]["content"])
    done = len(re.findall("<step>", prefix))
    return "".join(f"<step>{step}</step>" for step in STEPS[done:]) + f"<answer>{84 if seed % 3 == 0 else 83}</answer>"


def served(server, prm):
    return pipeline(TASK, model=server.url, prm=prm, step_format="tagged")


def asked(server):
    """Bodies of the questions for solutions."""
    return [body for body in server.bodies if "messages" in body]


@pytest.fixture(scope="module")
def prm():
    return MMPRMModel.from_pretrained(PRM_PATH)


@pytest.fixture
def impatient(monkeypatch):
    """Retries without waiting."""
    made = ServedPolicy.__init__

    def init(self, *args, **kwargs):
        made(self, *args, **kwargs)
        self.chat.backoff_seconds = 0.0

    monkeypatch.setattr(ServedPolicy, "__init__", init)


def test_served_texts_become_scored_candidates(prm):
    with StubServer(solver) as server:
        rerank = served(server, prm)
        call = {"num_candidates": 6, "max_new_tokens": 40, "temperature": 0.7, "return_candidates": True}
        output = rerank(images=CLOCK.figure(), text=CLOCK.question, **call)
        again = rerank(images=CLOCK.figure(), text=CLOCK.question, **call)
    rows = output["candidates"]
    bodies = asked(server)[:6]
    seeds = [body["seed"] for body in bodies]
    assert sorted(row["text"] for row in rows) == sorted(solver([{"role": "user", "content": ""}], s) for s in seeds)
    assert {row["answer"] for row in rows} == {"83", "84"} and len(set(seeds)) == 6
    assert all(tuple(row["steps"]) == STEPS and row["complete"] for row in rows)
    problem = Problem("a", CLOCK.question, (CLOCK.figure(),))
    (expected,) = rerank.scorer.score(problem, [Candidate(STEPS)])
    for row in rows:
        # float32 in a batch of another size: a hundred roundings of numbers below 1.
        assert row["step_scores"] == pytest.approx(expected.step_scores, abs=1e-5)
        assert row["score"] == min(row["step_scores"])
    assert output["text"] == rows[output["chosen"]]["text"]
    assert [row["text"] for row in again["candidates"]] == [row["text"] for row in rows]
    for body in bodies:
        assert body["temperature"] == 0.7 and body["max_tokens"] == 40 and body["model"] == "stub"
        figure, text = body["messages"][-1]["content"]
        assert figure["image_url"]["url"].startswith("data:image/png;base64,") and text["text"] == CLOCK.question


def test_name_and_key_go_to_the_server(prm):
    with StubServer(solver, models=("small", "large")) as server:
        options = {"served_model": "large", "api_key": "k-1", "num_candidates": 1}
        rerank = pipeline(TASK, model=server.url, prm=prm, **options)
        chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is A?"}]
        assert rerank(chat)["answer"] in ("83", "84")
        assert {body["model"] for body in asked(server)} == {"large"}
        assert [message["role"] for message in asked(server)[0]["messages"]] == ["system", "user"]
        assert {headers.get("Authorization", headers.get("authorization")) for headers in server.headers} == {
            "Bearer k-1"
        }
        with pytest.raises(EngineUnavailableError, match="the server lists 2 \\(small, large\\)"):
            served(server, prm)(text="What is A?", num_candidates=1)


@pytest.mark.parametrize(
    ("continues", "role", "strategy"), [("asked", "assistant", "beam_search"), ("refused", "user", "dvts")]
)
def test_a_guided_search_goes_on_step_by_step(prm, continues, role, strategy, caplog):
    with StubServer(solver, continues=continues) as server, caplog.at_level(logging.WARNING):
        rerank = served(server, prm)
        output = rerank(text="What is C?", strategy=strategy, num_candidates=4, return_candidates=True)
    assert tuple(output["steps"]) == STEPS and output["answer"] in ("83", "84")
    assert all(tuple(row["steps"]) == STEPS for row in output["candidates"])
    bodies = asked(server)
    assert all("</step>" in body["stop"] for body in bodies)
    later = [body for body in bodies if "<step>A=22</step>" in str(body["messages"][-1]["content"])]
    assert len(later) > 0 and {body["messages"][-1]["role"] for body in later} == {role}
    assert [body.get("continue_final_message", False) for body in later] == [role == "assistant"] * len(later)
    assert ("cannot continue an assistant's turn" in caplog.text) == (role == "user")


def test_a_server_that_keeps_failing_ends_the_run_whatever_on_error_says(prm, impatient):
    with StubServer(solver, faults=lambda number, body: "500" if "messages" in body else None) as server:
        rerank = pipeline(TASK, model=server.url, prm=prm, num_candidates=4)
        for strategy in ("best_of_n", "beam_search"):
            with pytest.raises(EngineUnavailableError, match="500"):
                rerank([{"text": "What is A?"}], on_error="return", strategy=strategy)


def test_nobody_listens(prm, impatient):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    rerank = pipeline(TASK, model=url, prm=prm)
    with pytest.raises(EngineUnavailableError, match="(?i)connect"):
        rerank(text="What is A?", num_candidates=1)


def test_passing_faults_change_nothing(prm, impatient):
    call = {"num_candidates": 4, "return_candidates": True}
    candidates = []
    for faults in ((), [None, "500", "429", "cut", None, "reset", "malformed"]):
        with StubServer(solver, faults=faults) as server:
            candidates.append(served(server, prm)(text="What is A?", **call)["candidates"])
    assert candidates[0] == candidates[1]


def test_a_problem_that_the_server_refuses_has_its_error(prm):
    def faults(number, body):
        return "400" if "too long" in str(body.get("messages")) else None

    with StubServer(solver, faults=faults) as server:
        rerank = pipeline(TASK, model=server.url, prm=prm, num_candidates=2)
        rows = [{"text": "What is A?"}, {"text": "too long"}, {"text": "What is B?"}]
        first, bad, last = rerank(rows, on_error="return")
        assert "refused it with HTTP 400: " in bad["error"] and first["answer"] and last["answer"]
        with pytest.raises(ValueError, match="refused it with HTTP 400"):
            rerank(rows)


def test_noise_is_no_answer(prm):
    with StubServer(lambda messages, seed: "I do not know.") as server:
        output = served(server, prm)(text="What is A?", num_candidates=2)
    assert output == dict.fromkeys(("text", "answer", "steps", "step_scores", "score"))


def test_a_served_policy_is_not_saved(prm, tmp_path):
    rerank = pipeline(TASK, model="http://127.0.0.1:9", prm=prm)
    with pytest.raises(ValueError, match="runs behind a server and is not here to be saved"):
        rerank.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_server_without_a_prm_is_refused():
    with pytest.raises(ValueError, match="needs prm="):
        pipeline(TASK, model="http://127.0.0.1:9")


def test_server_options_are_refused_for_a_policy_here(prm):
    for option in ({"served_model": "large"}, {"api_key": "k-1"}):
        with pytest.raises(ValueError, match="give its address as model"):
            pipeline(TASK, model="nobody/nothing", prm=prm, **option)  # before anything is fetched
        with pytest.raises(ValueError, match="give its address as model"):
            GenerateAndRerankPipeline(str(POLICY_PATH), str(PRM_PATH), **option)
