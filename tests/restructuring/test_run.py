"""The run over HTTP: attempts, reasons, a server that goes away, what a reply depends on."""

import asyncio
import json
import re

import pytest
from PIL import Image
from support.restructuring import BROKEN, ORIGINAL, QUESTION, free_form_row, policy, solution, solution_in, split
from support.stub_server import StubServer

from mmprm_hf.engines import ChatClient
from mmprm_hf.errors import EngineUnavailableError
from mmprm_hf.files import read_jsonl
from mmprm_hf.restructuring import (
    CheckConfig,
    FreeFormRow,
    FreeFormRows,
    ReplyJournal,
    RestructureConfig,
    restructure,
    write_corpus,
)


def client(server, **options):
    return ChatClient(server.url, **{"model": "stub", "backoff_seconds": 0.005, "max_attempts": 2, **options})


def run(rows, server, path, **options):
    with ReplyJournal(path) as journal:
        outcomes = asyncio.run(restructure(rows, client(server, **options.pop("client", {})), journal, **options))
        return outcomes, journal


def reasons(outcomes):
    return [outcome.rejection and outcome.rejection.reason for outcome in outcomes]


def test_the_first_attempt_is_greedy_and_a_second_one_is_sampled(tmp_path):
    rows = [free_form_row(0), free_form_row(1, "[once]"), free_form_row(2, "[added]"), free_form_row(3, "[cut]")]
    with StubServer(policy) as server:
        outcomes, journal = run(rows, server, tmp_path / "replies.jsonl", client={"max_concurrency": 1})
        sent = [(body["temperature"], body["seed"], body["max_tokens"]) for body in server.bodies]
    assert reasons(outcomes) == [None, None, "numbers_added", "format"]
    assert [outcome.num_attempts for outcome in outcomes] == [1, 2, 2, 2]
    assert sent == [(0.0, 0, 4096), *[(0.0, 0, 4096), (0.7, 1, 4096)] * 3]
    assert outcomes[2].rejection.detail == "13; then numbers_added"
    assert outcomes[3].rejection.detail.startswith("cut off at 9 tokens (max_new_tokens)")
    assert outcomes[0].num_steps == 2 and outcomes[0].tokens_out > 0 and len(journal) == 7


def test_every_reason_is_reached_over_http(tmp_path):
    rows = [FreeFormRow(name, QUESTION, f"{ORIGINAL[:-9]}[{name}]. Answer: 7", answer="7") for name in BROKEN]
    rows.append(FreeFormRow("original_wrong", QUESTION, ORIGINAL, answer="8"))
    rows.append(FreeFormRow("answer_undecided", QUESTION, f"{ORIGINAL[:-1]}triangle", answer="isosceles triangle"))
    rows += [FreeFormRow("no_question", " ", ORIGINAL), FreeFormRow("no_solution", QUESTION, "\n")]
    rows.append(FreeFormRow("unreadable_figure", QUESTION, ORIGINAL, images=(str(tmp_path / "gone.png"),)))
    rows.append(FreeFormRow("refused", QUESTION, "[refused] 7"))

    def broken(messages, seed):
        name = re.search(r"\[(\w+)\]", solution_in(messages))
        return BROKEN.get(name.group(1), "") if name else split(solution_in(messages))

    def faults(number, body):
        return "400" if "[refused]" in body["messages"][0]["content"] else None

    with StubServer(broken, faults=faults) as server:
        outcomes, _ = run(rows, server, tmp_path / "replies.jsonl")
        num_asked = len(server.bodies)
    assert reasons(outcomes) == [row.id for row in rows]
    # Two attempts each, but only one where no attempt can help and one that the server refuses.
    assert num_asked == 2 * (len(BROKEN) + 1) + 1 + 1
    assert "HTTP 400: stub says 400" in outcomes[-1].rejection.detail


def test_a_row_that_cannot_be_read_costs_only_itself(tmp_path):
    good = {"id": "good", "question": QUESTION, "solution": ORIGINAL, "answer": "7"}
    changes = (
        {"question": [QUESTION]},
        {"options": 5},
        {"images": ["../x.png"]},
        {"question": "half \ud800"},
        {"id": []},
    )
    rows = [good, *({**good, "id": str(number), **change} for number, change in enumerate(changes)), good]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = FreeFormRows(tmp_path / "rows.jsonl")
    with StubServer(policy) as server, ReplyJournal(tmp_path / "replies.jsonl") as journal:
        outcomes = asyncio.run(restructure(rows, client(server), journal))
        write_corpus(rows, outcomes, journal, tmp_path / "out")
    assert reasons(outcomes) == [None, *["unreadable_row"] * 4, None, None]
    rejected = read_jsonl(tmp_path / "out" / "rejected.jsonl")
    assert [row["id"] for row in rejected] == ["0", "1", "2", "3"]  # the rows' own
    assert "has the question" in rejected[0]["detail"] and "lies outside" in rejected[2]["detail"]


def test_a_server_that_is_gone_rejects_nothing_and_nothing_is_asked_twice(tmp_path):
    rows = [free_form_row(index, "[once]" if index % 3 == 0 else "") for index in range(12)]
    path = tmp_path / "replies.jsonl"
    with (
        StubServer(policy, faults=lambda number, _: "503" if number >= 7 else None) as server,
        pytest.raises(EngineUnavailableError, match=r"HTTP 503 \(2x\).*start again"),
    ):
        run(rows, server, path, client={"max_concurrency": 2})
    num_kept = len(path.read_bytes().splitlines())
    assert 5 <= num_kept <= 7
    path.write_bytes(path.read_bytes() + b'{"key": "torn')  # and the machine went down in the middle of a line
    with StubServer(policy) as server:
        outcomes, _ = run(rows, server, path)
        assert len(server.bodies) == 12 + 4 - num_kept
        again, _ = run(rows, server, path)
        assert len(server.bodies) == 12 + 4 - num_kept
    assert reasons(outcomes) == [None] * 12 and again == outcomes
    assert sum(outcome.num_attempts for outcome in outcomes) == 16


def test_what_a_reply_depends_on(tmp_path):
    path, figure = tmp_path / "replies.jsonl", Image.new("RGB", (8, 8), "white")
    with StubServer(policy) as server:
        run([free_form_row(0, images=(figure,))], server, path)
        for options, num_new in [
            ({}, 0),
            ({"checks": CheckConfig(min_steps=9), "config": RestructureConfig(max_attempts=1)}, 0),  # checks ask nobody
            ({"config": RestructureConfig(max_new_tokens=99)}, 1),
            ({"client": {"model": "another"}}, 1),
            ({"show_figure": True}, 1),
        ]:
            num_before = len(server.bodies)
            run([free_form_row(0, images=(figure,))], server, path, **options)
            assert len(server.bodies) - num_before == num_new, options
        num_before = len(server.bodies)
        run([free_form_row(0, images=(Image.new("RGB", (8, 8), "black"),))], server, path, show_figure=True)
        run(
            [FreeFormRow("another id", QUESTION, solution(), answer="8")], server, path
        )  # gold and id are not asked about
        assert len(server.bodies) - num_before == 1
        run([free_form_row(7), free_form_row(7), free_form_row(7)], server, path)  # equal rows share a reply
        assert len(server.bodies) - num_before == 2
