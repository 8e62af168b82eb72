"""A question such as "In <image1> and <image2>, what is x?" is read with its figures in place by every room."""

from __future__ import annotations

import asyncio
import re

import datasets
import pytest
from support.tiny_models import make_figure
from transformers import pipeline
from trl.data_utils import prepare_multimodal_messages

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.engines import EndpointEngine, RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.engines.chat import ChatChoice, ChatReply
from mmprm_hf.errors import ProblemInputError
from mmprm_hf.evaluation.step_runner import score_samples
from mmprm_hf.evaluation.step_samples import load_visual_process_bench
from mmprm_hf.files import write_jsonl
from mmprm_hf.labelling import ChatStepJudge
from mmprm_hf.rerank.inputs import read_problem
from mmprm_hf.restructuring import FreeFormRow, ReplyJournal, restructure, write_corpus
from mmprm_hf.rewards import ProcessReward
from mmprm_hf.rows import ProblemSource
from mmprm_hf.training.collators import PRMCollator
from mmprm_hf.training.rows import check_rows

QUESTION = "In <image1> and <image2>, what is x?"
SWAPPED = "In <image2> and <image1>, what is x?"
NOT_PLACED = "In  and , what is x?"
STEPS = ("x = 2", "x = 3")
TAGGED = "<step>x = 2</step><step>x = 3</step><answer>3</answer>"
FIGURES = [make_figure(0), make_figure(5)]
GREEDY = {"temperature": 0.0, "max_new_tokens": 12}


class Chat:
    """Keeps the messages it is asked, and answers with one text."""

    identity = {"model": "chat"}

    def __init__(self, answer=TAGGED):
        self.answer, self.asked = answer, []

    async def complete(self, messages, **settings):
        self.asked.append(messages[-1]["content"] if messages[-1]["role"] == "user" else messages)
        return ChatReply(tuple(ChatChoice(self.answer, "stop") for _ in settings.get("seeds", (0,))))


@pytest.fixture(scope="module")
def rooms(tiny_policy, tiny_processor, tiny_policy_dir, tiny_prm_dir, tiny_scorer, prm_processor):
    """By room, a function of question and figures that gives what depends on how they were read."""
    engine = TransformersEngine(tiny_policy, tiny_processor, sampling=SamplingConfig(**GREEDY))
    rerank = pipeline("generate-and-rerank", model=tiny_policy_dir, prm=tiny_prm_dir)
    score = pipeline("process-reward", model=tiny_prm_dir)

    def served(problem, prefill):
        chat = Chat()
        served_engine = EndpointEngine(chat, prefill=prefill, step_format="tagged")
        prefix = STEPS[:1] if prefill == "user" else ()
        asyncio.run(served_engine.generate([RolloutRequest(problem, prefix)]))
        return chat.asked

    def judged(problem):
        chat = Chat("\\boxed{-1}")
        asyncio.run(ChatStepJudge(chat).judge_steps(problem, [STEPS]))
        return chat.asked

    def trained_on(question, figures):
        row = {"prompt": question, "images": figures, "completions": list(STEPS), "labels": [1.0, 0.0]}
        (length,) = check_rows([row], prm_processor).lengths
        batch = PRMCollator(prm_processor)([row])
        assert batch["input_ids"].shape[1] == length
        return batch["input_ids"].tolist(), batch["pixel_values"].tolist()

    return {
        "scorer": lambda q, f: tiny_scorer.score(Problem("p", q, f), [Candidate(STEPS)])[0].step_scores,
        "policy": lambda q, f: asyncio.run(engine.generate([RolloutRequest(Problem("p", q, f))])),
        "served policy": lambda q, f: served(Problem("p", q, f), "continue"),
        "served policy after a step": lambda q, f: served(Problem("p", q, f), "user"),
        "step judge": lambda q, f: judged(Problem("p", q, f)),
        "pipeline": lambda q, f: rerank(images=f, text=q, num_candidates=1, return_candidates=True, **GREEDY)[
            "candidates"
        ],
        "scores": lambda q, f: score(images=f, text=q, steps=list(STEPS)),
        "training": trained_on,
        "reward": lambda q, f: ProcessReward(tiny_scorer)([q], [TAGGED], images=[f]),
    }


def test_every_room_reads_each_figure_at_its_place(rooms):
    """The numbers say which: figures and numbers swapped together are the same problem, in other places another."""
    for name, read in rooms.items():
        placed = read(QUESTION, FIGURES)
        assert placed == read(SWAPPED, FIGURES[::-1]), name
        assert placed == read("In <image> and <image>, what is x?", FIGURES), name
        assert placed != read(QUESTION, FIGURES[::-1]), name
        assert placed != read(NOT_PLACED, FIGURES), name


def test_every_room_names_both_counts_where_they_differ(rooms):
    for name, read in rooms.items():
        if name == "reward":
            assert read(QUESTION, FIGURES[:1]) == [None], "a row without a reward, never the end of a training"
            continue
        for question, figures, message in (
            (QUESTION, FIGURES[:1], "Found 2 placeholders .'<image1>', '<image2>'. in the question but 1 figure"),
            ("Is <image> one?", FIGURES, "Found 1 placeholder .'<image>'. in the question but 2 figures"),
            ("What is the tag <image> for?", [], "Found 1 placeholder .'<image>'. in the question but 0 figures"),
        ):
            with pytest.raises(ValueError, match=message) as caught:
                read(question, figures)
            if "policy" in name or "judge" in name:
                assert isinstance(caught.value, ProblemInputError) and caught.value.problem_id == "p"


def test_a_served_model_gets_text_and_figures_in_reading_order(rooms):
    (content,) = rooms["served policy"](SWAPPED, FIGURES)
    assert [part.get("text", "#") for part in content] == ["In ", "#", " and ", "#", ", what is x?"]
    (content,) = rooms["served policy after a step"](QUESTION, FIGURES)
    assert content[-1]["text"].startswith(", what is x?\n\nThe solution so far:\n<step>x = 2</step>")
    (content,) = rooms["step judge"](QUESTION, FIGURES)
    assert [part["type"] for part in content] == ["text", "image_url", "text", "image_url", "text"]
    assert content[0]["text"].endswith("Problem:\nIn ") and "[1] x = 3" in content[-1]["text"]
    (content,) = rooms["step judge"](NOT_PLACED, FIGURES)
    assert [part["type"] for part in content] == ["image_url", "image_url", "text"]


def test_figures_between_the_texts_of_a_chat_keep_their_places(rooms, tiny_scorer):
    parts = [{"type": "image", "image": figure} for figure in FIGURES]
    texts = [{"type": "text", "text": text} for text in ("In ", " and ", ", what is x?")]
    content = [texts[0], parts[0], texts[1], parts[1], texts[2]]
    chat = [{"role": "user", "content": content}]
    problem, _ = read_problem(chat)
    expected = rooms["scorer"](QUESTION, FIGURES)
    assert tiny_scorer.score(problem, [Candidate(STEPS)])[0].step_scores == expected
    assert ProcessReward(tiny_scorer)([chat], [TAGGED]) == rooms["reward"](QUESTION, FIGURES)
    without_figures = [{"role": "user", "content": [{**part, "image": None} for part in content]}]
    assert rooms["training"](without_figures, FIGURES) == rooms["training"](QUESTION, FIGURES)


def test_rows_that_cannot_be_placed_are_left_out_and_the_others_are_used(tmp_path, tiny_scorer):
    for index, figure in enumerate(FIGURES):
        figure.save(tmp_path / f"{index}.png")
    names = ["0.png", "1.png"]
    rows = [
        {"id": "good", "question": QUESTION, "images": names, "answer": "3"},
        {"id": "bad", "question": QUESTION, "images": names[:1], "answer": "3"},
    ]
    write_jsonl(tmp_path / "rows.jsonl", rows)
    problems, faults = ProblemSource(tmp_path / "rows.jsonl").readable()
    assert [problem.id for problem in problems] == ["good"] and list(faults) == ["bad"]
    assert "2 placeholders" in faults["bad"] and "1 figure" in faults["bad"]
    response = {"steps": list(STEPS), "process_correctness": [1, -1]}
    write_jsonl(tmp_path / "test.jsonl", [{**row, "image": row["images"], "response": response} for row in rows])
    samples, counts = load_visual_process_bench(tmp_path)
    assert len(samples) == 2 and counts["problems"] == {}, "one figure with two names is MathVision's form"
    assert None not in score_samples(tiny_scorer, samples)


def test_restructuring_shows_the_figures_in_place_and_rejects_what_cannot_be_placed(tmp_path):
    chat = Chat()
    rows = [
        FreeFormRow("good", QUESTION, "x = 2, x = 3", images=tuple(FIGURES)),
        FreeFormRow("bad", QUESTION, "x = 2, x = 3", images=tuple(FIGURES[:1])),
    ]
    with ReplyJournal(tmp_path / "replies.jsonl") as journal:
        outcomes = asyncio.run(restructure(rows, chat, journal, show_figure=True))
    assert [part["type"] for part in chat.asked[0]] == ["text", "image_url", "text", "image_url", "text"]
    assert outcomes[1].rejection.reason == "unreadable_row"
    assert re.search("2 placeholders .* 1 figure", outcomes[1].rejection.detail)
    with ReplyJournal(tmp_path / "text.jsonl") as journal:
        asyncio.run(restructure(rows, chat, journal))
    assert QUESTION in chat.asked[-1], "without figures placeholders are text"


def test_a_corpus_for_trl_has_its_figures_where_the_questions_have_them(tmp_path):
    """A figure before the text needs no mark there; one inside makes all prompts lists of parts."""
    leading = FreeFormRow("leading", "<image>\nWhat is x?", "First x = 2. Then x = 3. Answer: 3", (FIGURES[0],), "3")
    inner = FreeFormRow("inner", SWAPPED, leading.solution, tuple(FIGURES), "3")
    text = FreeFormRow("text", "What is x?", leading.solution, (), "3")

    answer = "<step>First x = 2.</step><step>Then x = 3.</step><answer>3</answer>"

    def corpus(rows):
        class Rows(list):
            def row_id(self, index):
                return self[index].id

        with ReplyJournal(tmp_path / "replies.jsonl") as journal:
            outcomes = asyncio.run(restructure(rows, Chat(answer), journal))
            assert [outcome.rejection for outcome in outcomes] == [None] * len(rows)
            write_corpus(Rows(rows), outcomes, journal, tmp_path / "out")
        return datasets.load_dataset("parquet", data_files=str(tmp_path / "out" / "train.parquet"), split="train")

    plain = corpus([leading, text])
    assert [row["prompt"][0]["content"] for row in plain] == ["\nWhat is x?", "What is x?"]
    placed = corpus([leading, inner, text])
    shown = []
    for row in placed:
        (turn,) = prepare_multimodal_messages(row["prompt"], row["images"])
        shown.append([part["text"] if part["type"] == "text" else part["image"] for part in turn["content"]])
    (figure, after), (before, second, between, first, end), (alone,) = shown
    assert (after, before, between, end, alone) == ("\nWhat is x?", "In ", " and ", ", what is x?", "What is x?")
    assert [image.tobytes() for image in (figure, first, second)] == [FIGURES[i].tobytes() for i in (0, 0, 1)]
