"""Engines: scripted order and counting, greedy equality with `model.generate`, seeded sampling, bad input."""

from __future__ import annotations

import asyncio
import copy
import math
from collections import Counter

import pytest
import torch
from support.scripted_engine import ScriptedEngine

from mmprm_hf.data import Problem, Rollout
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine, batch_decoding
from mmprm_hf.engines.decoding import draw
from mmprm_hf.errors import ProblemInputError
from mmprm_hf.steps import TAGGED

GREEDY = SamplingConfig(temperature=0, max_new_tokens=12)


def run(engine, requests):
    return asyncio.run(engine.generate(requests))


@pytest.fixture
def problems(figures):
    questions = ["Area?", "How long is the side AB of the triangle?", "3 + 4 = ?", "What is x?"]
    return [Problem(f"p{i}", question, (figures[i],)) for i, question in enumerate(questions)]


def reference_text(model, processor, problem, prefix, max_new_tokens=12):
    """Greedy continuation by `model.generate`, one prompt at a time, without padding."""
    content = [{"type": "image"} for _ in problem.images] + [{"type": "text", "text": problem.question}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    images = list(problem.images) or None
    inputs = processor(images=images, text=text + TAGGED.render_prefix(prefix), return_tensors="pt")
    output = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens)[0, inputs["input_ids"].shape[1] :]
    ids = output.tolist()
    is_ended = ids[-1] in model.generation_config.eos_token_id
    return processor.tokenizer.decode(ids[:-1] if is_ended else ids)


def ending_policy(policy):
    """A policy for which every tenth token ends a response, so that sequences end at different lengths."""
    ending = copy.deepcopy(policy)
    ending.generation_config.eos_token_id = list(range(2, ending.config.text_config.vocab_size, 10))
    return ending


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_greedy_equals_generate_on_a_mixed_batch(tiny_policy, tiny_processor, problems, attention):
    model = copy.deepcopy(tiny_policy)
    model.set_attn_implementation(attention)
    text_only = Problem("t", "2 + 2 = ?")
    prefixes = [(), ("first step",), ("a", "much longer second step of text"), ()]
    requests = [RolloutRequest(p, s, 3) for p, s in zip(problems, prefixes, strict=True)]
    requests += [RolloutRequest(text_only, (), 2), RolloutRequest(problems[0], ("x",), 1)]
    # What the first and the fourth prompt write at places of their own ends a response from now on.
    free = run(TransformersEngine(model, tiny_processor, sampling=GREEDY, step_format="tagged"), requests)
    first, fourth = (tiny_processor.tokenizer(free[i][0].text)["input_ids"] for i in (0, 3))
    model.generation_config.eos_token_id = [2, first[2], fourth[-1]]
    results = run(TransformersEngine(model, tiny_processor, sampling=GREEDY, step_format="tagged"), requests)
    lengths = set()
    for request, rollouts in zip(requests, results, strict=True):
        expected = reference_text(model, tiny_processor, request.problem, request.prefix)
        assert [rollout.text for rollout in rollouts] == [expected] * request.num_samples
        lengths.add(rollouts[0].num_tokens)
    assert len(lengths) > 2, "every sequence ended at once: the test would not see a mixed batch"


def test_row_per_sequence_equals_shared_rows(tiny_policy, tiny_processor, problems):
    model = ending_policy(tiny_policy)
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=20)
    requests = [RolloutRequest(problem, (), 19, seed=3) for problem in problems]
    shared = TransformersEngine(model, tiny_processor, sampling=sampling, step_format="tagged")
    plain = TransformersEngine(model, tiny_processor, sampling=sampling, step_format="tagged")
    assert shared.decoder.row_width == 16
    plain.decoder.row_width = 1
    assert run(shared, requests) == run(plain, requests)


def test_samples_do_not_depend_on_the_batch(tiny_policy, tiny_processor, problems):
    model = ending_policy(tiny_policy)
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=16)
    requests = [RolloutRequest(problem, (), 5, seed=7) for problem in problems]
    together = run(TransformersEngine(model, tiny_processor, sampling=sampling, step_format="tagged"), requests)
    engine = TransformersEngine(model, tiny_processor, sampling=sampling, max_batch_size=3, step_format="tagged")
    assert [run(engine, [request])[0] for request in requests] == together
    assert len({rollout.text for rollout in together[0]}) > 1, "samples of one request must differ"
    assert run(engine, [RolloutRequest(problems[0], (), 5, seed=8)])[0] != together[0]


def test_finish_reason_and_token_count(tiny_policy, tiny_processor, problems):
    model = ending_policy(tiny_policy)
    sampling = SamplingConfig(temperature=1.0, max_new_tokens=20)
    rollouts = run(
        TransformersEngine(model, tiny_processor, sampling=sampling, step_format="tagged"),
        [RolloutRequest(problems[0], (), 40)],
    )
    by_reason = Counter(rollout.finish_reason for rollout in rollouts[0])
    assert set(by_reason) == {"stop", "length", "control_token"}, "this policy draws tokens at random"
    for rollout in rollouts[0]:
        assert "</s>" not in rollout.text
        assert not rollout.complete
        if rollout.finish_reason == "length":
            assert rollout.num_tokens == 20


def test_a_rollout_with_a_control_token_is_not_complete_and_says_why(
    tiny_policy, tiny_processor, problems, monkeypatch
):
    for written, stop_strings, reason, complete in (
        ("<step>ab</step><answer>1</answer></s>", (), "stop", True),
        ("<step>a<image>b</step><answer>1</answer></s>", (), "control_token", False),
        ("<step>ab</step><answer>1</answer><|user|></s>", (), "control_token", False),
        ("<step>a<image>b", (), "control_token", False),
        ("<step>ab", (), "length", False),
        ("<step>ab</step>", ("</step>",), "stop", False),
        ("<step>a<image>b</step>", ("</step>",), "control_token", False),
    ):
        ids = tiny_processor.tokenizer(written, add_special_tokens=False)["input_ids"]
        drawn = iter(ids)
        monkeypatch.setattr(batch_decoding, "draw", lambda *_, drawn=drawn: torch.tensor([[next(drawn)] * 2]))
        sampling = SamplingConfig(max_new_tokens=len(ids), stop_strings=stop_strings)
        engine = TransformersEngine(tiny_policy, tiny_processor, sampling=sampling, step_format="tagged")
        (rollouts,) = run(engine, [RolloutRequest(problems[0], (), 2)])
        text = written.removesuffix("</s>")
        for stop in stop_strings:
            text = text.removesuffix(stop)
        for rollout in rollouts:
            assert (rollout.finish_reason, rollout.complete, rollout.num_tokens) == (reason, complete, len(ids))
            assert rollout.text == text, "what was drawn stands in the text, control tokens too"


def test_draw_follows_the_distribution():
    probs = torch.tensor([0.5, 0.0, 0.3, 0.2])
    logits = probs.log().expand(1, 1000, -1)
    draws = [[(i + 0.5) / 1000 for i in range(1000)]]
    counts = Counter(draw(logits, draws, SamplingConfig()).flatten().tolist())
    assert counts == {0: 500, 2: 300, 3: 200}
    assert set(draw(logits, draws, SamplingConfig(top_k=2)).flatten().tolist()) == {0, 2}
    top_p = Counter(draw(logits, draws, SamplingConfig(top_p=0.6)).flatten().tolist())
    assert top_p == {0: 625, 2: 375}
    cold = Counter(draw(logits, draws, SamplingConfig(temperature=0.5)).flatten().tolist())
    assert math.isclose(cold[0] / 1000, 0.25 / 0.38, abs_tol=0.002)


def test_identity_tells_checkpoints_apart(tiny_policy, tiny_processor):
    first = TransformersEngine(tiny_policy, tiny_processor, step_format="tagged").identity
    other = copy.deepcopy(tiny_policy)
    with torch.no_grad():
        other.lm_head.weight.mul_(1.01)
    assert first == TransformersEngine(tiny_policy, tiny_processor, step_format="tagged").identity
    assert first["weights"] != TransformersEngine(other, tiny_processor, step_format="tagged").identity["weights"]


def test_bad_problems_name_their_id(tiny_policy, tiny_processor, figures, tmp_path):
    engine = TransformersEngine(tiny_policy, tiny_processor, sampling=GREEDY, step_format="tagged")
    corrupt = tmp_path / "broken.png"
    corrupt.write_bytes(b"\x89PNG\r\n\x1a\n not a figure")
    truncated = tmp_path / "cut.png"
    figures[0].save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:-40])
    cases = {
        "does not exist": Problem("bad", "q", (tmp_path / "missing.png",)),
        "cannot be read": Problem("bad", "q", (str(corrupt),)),
        r"cannot be read \(.*trunc": Problem("bad", "q", (str(truncated),)),
        "Found an image of type int": Problem("bad", "q", (3,)),
        r"question contains the control token '<\|user\|>'": Problem("bad", "what is <|user|>?", (figures[0],)),
        r"Found 1 placeholder \('<image>'\) in the question but 0 figures": Problem("bad", "what is <image>?"),
    }
    for message, problem in cases.items():
        with pytest.raises(ProblemInputError, match=f"Problem 'bad': .*{message}") as caught:
            run(engine, [RolloutRequest(Problem("good", "q", (figures[0],))), RolloutRequest(problem)])
        assert caught.value.problem_id == "bad"
    with pytest.raises(ProblemInputError, match="its step 1 contains the control token '</s>'"):
        run(engine, [RolloutRequest(Problem("bad", "q"), ("a", "b</s>"))])


def test_settings_out_of_range_are_refused(tiny_policy, tiny_processor):
    for name, value in [("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.1), ("top_k", -1), ("max_new_tokens", 0)]:
        with pytest.raises(ValueError, match=f"{name}={value}.*must be"):
            SamplingConfig(**{name: value})
    with pytest.raises(ValueError, match="num_samples=0"):
        RolloutRequest(Problem("p", "q"), num_samples=0)
    with pytest.raises(ValueError, match="max_batch_size=0"):
        TransformersEngine(tiny_policy, tiny_processor, max_batch_size=0, step_format="tagged")


def test_scripted_engine_counts_calls_per_problem():
    engine = ScriptedEngine(lambda p, prefix, call, sample: Rollout((f"{p.id}{len(prefix)}{call}{sample}",), "1"))
    first, second = Problem("a", "q"), Problem("b", "q")
    results = run(engine, [RolloutRequest(first, ("s",), 2), RolloutRequest(second), RolloutRequest(first)])
    assert [[r.steps[0] for r in rollouts] for rollouts in results] == [["a100", "a101"], ["b000"], ["a010"]]
