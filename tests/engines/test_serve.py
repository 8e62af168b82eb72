"""Smoke test against a real `transformers serve` on loopback, with the nano policy. Run it with `make test-serve`."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time

import pytest
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.engines import ChatClient, EndpointEngine, RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.errors import EngineUnavailableError, ProblemInputError
from mmprm_hf.nano import POLICY_PATH
from mmprm_hf.nano.world import nano_problems

SERVE = os.environ.get("MMPRM_SERVE")
pytestmark = pytest.mark.skipif(
    not SERVE, reason="MMPRM_SERVE names no folder with what `transformers serve` needs: use `make test-serve`"
)
GREEDY = SamplingConfig(temperature=0, max_new_tokens=96)
START_SECONDS = 180


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Address of a server pinned to the nano policy, in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [SERVE, os.environ.get("PYTHONPATH")])),
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path_factory.mktemp("hub")),
    }
    program = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", program, "serve", str(POLICY_PATH), "--port", str(port), "--host", "127.0.0.1"]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen([*command, "--device", "cpu"], env=environment, stdout=output, stderr=output)
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            assert server.poll() is None and time.monotonic() < end, log.read_text()[-3000:]
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def shown():
    return [problem.to_problem() for problem in nano_problems("test", 4)]


@pytest.fixture(scope="module")
def local(shown):
    """Greedy rollouts of the in-process engine."""
    model = AutoModelForImageTextToText.from_pretrained(POLICY_PATH)
    engine = TransformersEngine(
        model, AutoProcessor.from_pretrained(POLICY_PATH), sampling=GREEDY, step_format="tagged"
    )
    return asyncio.run(engine.generate([RolloutRequest(problem) for problem in shown]))


def rollouts(url, requests, **arguments):
    engine = EndpointEngine(
        ChatClient(url, str(POLICY_PATH), max_attempts=2), **{"sampling": GREEDY, **arguments}, step_format="tagged"
    )
    return asyncio.run(engine.generate(requests))


def test_greedy_rollouts_equal_the_in_process_engine_token_for_token(url, shown, local):
    remote = rollouts(url, [RolloutRequest(problem) for problem in shown])
    for (far,), (near,) in zip(remote, local, strict=True):
        assert (far.text, far.steps, far.answer, far.complete) == (near.text, near.steps, near.answer, near.complete)
        assert far.num_tokens == near.num_tokens and far.num_prompt_tokens > 0


def test_a_prefix_in_the_users_turn_gives_rollouts(url, shown, local):
    requests = [RolloutRequest(p, r.steps[:1]) for p, (r,) in zip(shown, local, strict=True)]
    # Steps and an answer are read; whole solutions are not to be had of a policy that never saw such a prompt.
    for (rollout,) in rollouts(url, requests, prefill="user"):
        assert rollout.steps and rollout.answer is not None and rollout.finish_reason == "stop"


def test_sampling_is_asked_for_by_generation_config(url, shown):
    chat = ChatClient(url, str(POLICY_PATH), extra_body={"generation_config": '{"do_sample": true, "top_k": 0}'})
    engine = EndpointEngine(chat, sampling=SamplingConfig(temperature=1.0, max_new_tokens=96), step_format="tagged")
    (sampled,) = asyncio.run(engine.generate([RolloutRequest(shown[0], num_samples=12)]))
    assert len({rollout.text for rollout in sampled}) > 1


def test_continuing_a_turn_is_refused_with_the_remedy(url, shown):
    with pytest.raises(EngineUnavailableError, match=r'HTTP 422.*continue_final_message.*prefill="user"'):
        rollouts(url, [RolloutRequest(shown[0], ("a=1",))], prefill="continue")


def test_this_server_is_found_to_continue_no_turn(url):
    engine = EndpointEngine(ChatClient(url, str(POLICY_PATH), max_attempts=2), sampling=GREEDY, step_format="tagged")
    asyncio.run(engine.prepare())
    assert engine.identity["prefill"] == "user"


def test_the_wrong_model_name_is_refused(url, shown):
    chat = ChatClient(url, "another-model")
    with pytest.raises(ProblemInputError, match="HTTP 400.*pinned to"):
        asyncio.run(EndpointEngine(chat, step_format="tagged").generate([RolloutRequest(shown[0])]))
    with pytest.raises(EngineUnavailableError, match="HTTP 400.*pinned to.*Check the model's name"):
        asyncio.run(EndpointEngine(chat, step_format="tagged").prepare())
