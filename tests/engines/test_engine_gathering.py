"""How the in-process engine joins callers: batches, bounds, order, errors, cancellation; stop strings, prefill."""

from __future__ import annotations

import asyncio
import copy
import logging
import threading
import time

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from mmprm_hf.data import Problem
from mmprm_hf.engines import RolloutRequest, SamplingConfig, TransformersEngine
from mmprm_hf.engines.batch_decoding import PendingRollout
from mmprm_hf.engines.gathering import Gatherer
from mmprm_hf.engines.prompts import PromptWriter
from mmprm_hf.engines.stop_strings import StopStrings
from mmprm_hf.errors import EngineUnavailableError, ProblemInputError
from mmprm_hf.nano import POLICY_PATH
from mmprm_hf.steps import TAGGED

SAMPLING = SamplingConfig(temperature=1.0, max_new_tokens=12)


def batches_of(engine):
    """Every batch of pending rollouts that the engine decodes from now on."""
    batches = []
    decode = engine.decoder.decode

    def recording(batch, is_stopped):
        batches.append(list(batch))
        return decode(batch, is_stopped)

    engine.decoder.decode = recording
    return batches


def problem(name, question="What is x?", images=()):
    return Problem(name, question, tuple(images))


def together(engine, groups):
    async def all_at_once():
        return await asyncio.gather(*(engine.generate(requests) for requests in groups), return_exceptions=True)

    return asyncio.run(all_at_once())


def test_callers_share_batches_and_get_their_own(tiny_policy, tiny_processor, figures):
    groups = [[RolloutRequest(problem(f"p{i}", images=figures[:1]), num_samples=3, seed=i)] for i in range(6)]
    alone = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, step_format="tagged")
    expected = [asyncio.run(alone.generate(requests)) for requests in groups]
    engine = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, step_format="tagged")
    seen = batches_of(engine)
    assert together(engine, groups) == expected
    assert [len(batch) for batch in seen] == [18]
    assert together(engine, groups) == expected, "a second event loop"


def test_batches_keep_to_both_bounds_and_to_similar_lengths(tiny_policy, tiny_processor, figures):
    groups = [[RolloutRequest(problem(f"p{i}", "x " * (1 + 9 * (i % 4))), num_samples=4, seed=i)] for i in range(12)]
    expected = together(
        TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, step_format="tagged"), groups
    )
    for bounds in ({"max_batch_size": 10}, {"max_batch_tokens": 300}):
        engine = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, **bounds, step_format="tagged")
        seen = batches_of(engine)
        assert together(engine, groups) == expected
        assert len(seen) > 3
        spreads = []
        for batch in seen:
            lengths = [rollout.prompt.num_tokens for rollout in batch]
            spreads.append(max(lengths) - min(lengths))
            assert len(batch) <= engine.max_batch_size
            prompts = {id(rollout.prompt) for rollout in batch}
            num_cached = len(prompts) * max(lengths) + len(batch) * SAMPLING.max_new_tokens
            assert num_cached <= engine.max_batch_tokens
        assert sum(spread < 30 for spread in spreads) > len(spreads) / 2
    with_figures = [[RolloutRequest(problem(f"f{i}", images=figures[:1]), num_samples=2, seed=i)] for i in range(6)]
    engine = TransformersEngine(
        tiny_policy, tiny_processor, sampling=SAMPLING, max_batch_tokens=180, step_format="tagged"
    )
    seen = batches_of(engine)
    together(engine, with_figures)
    assert {len(batch) for batch in seen} == {6}, "a figure's tokens count: 3 prompts of 28 tokens, 6 x 12 new ones"
    tight = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, max_batch_tokens=1, step_format="tagged")
    assert together(tight, groups[:2]) == expected[:2], "what fits nowhere is decoded alone"


def test_a_problem_at_fault_fails_only_its_caller(tiny_policy, tiny_processor):
    engine = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, step_format="tagged")
    good, bad = [RolloutRequest(problem("good"))], [RolloutRequest(problem("bad", images=("missing.png",)))]
    first, second = together(engine, [good, bad])
    assert len(first[0]) == 1
    assert isinstance(second, ProblemInputError) and second.problem_id == "bad"


def test_a_failing_model_fails_everybody_who_waits_for_it(tiny_policy, tiny_processor):
    engine = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, step_format="tagged")
    for raised in (RuntimeError("no kernel"), AttributeError("no kernel")):
        engine.prompts.encode = lambda prompts, raised=raised: (_ for _ in ()).throw(raised)
        errors = together(engine, [[RolloutRequest(problem("a"))], [RolloutRequest(problem("b"), num_samples=2)]])
        for error in errors:
            assert isinstance(error, EngineUnavailableError)
            assert f"failed on a batch of 3 rollouts with {type(raised).__name__}: no kernel" in str(error)


def test_a_batch_that_does_not_fit_is_halved(tiny_policy, tiny_processor, caplog):
    groups = [[RolloutRequest(problem(f"p{i}"), num_samples=8, seed=i)] for i in range(2)]
    expected = together(
        TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, step_format="tagged"), groups
    )
    engine = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, step_format="tagged")
    decode = engine.decoder.decode

    def out_of_memory(batch, is_stopped):
        if len(batch) > 5:
            for rollout in batch:  # what a half-done batch leaves behind must not show
                rollout.start()
                rollout.token_ids.append(int(rollout.rng.random()))
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(batch, is_stopped)

    engine.decoder.decode = out_of_memory
    with caplog.at_level(logging.WARNING):
        assert together(engine, groups) == expected
    assert engine.max_batch_size == 4
    assert "out of memory with 16 rollouts; 8 at a time from now on" in caplog.text
    engine.decoder.decode = lambda *args: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    (error,) = together(engine, [[RolloutRequest(problem("a"))]])
    assert isinstance(error, EngineUnavailableError) and "One rollout does not fit into memory" in str(error)


def test_a_cancelled_caller_leaves_the_others_alone(tiny_policy, tiny_processor):
    engine = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, max_batch_size=2, step_format="tagged")
    seen = batches_of(engine)

    async def run():
        kept = asyncio.create_task(engine.generate([RolloutRequest(problem("kept"), num_samples=4)]))
        dropped = asyncio.create_task(engine.generate([RolloutRequest(problem("dropped"), num_samples=40)]))
        await asyncio.sleep(0)
        dropped.cancel()
        rollouts = await kept
        with pytest.raises(asyncio.CancelledError):
            await dropped
        await asyncio.sleep(0.3)  # time enough to decode what nobody waits for any more
        return rollouts

    (rollouts,) = asyncio.run(run())
    assert len(rollouts) == 4
    assert sum(map(len, seen)) <= 6


def test_a_rollout_that_nobody_waits_for_leaves_the_batch(tiny_policy, tiny_processor):
    model = copy.deepcopy(tiny_policy)
    model.generation_config.eos_token_id = [2]
    engine = TransformersEngine(model, tiny_processor, sampling=SAMPLING, step_format="tagged")
    prompt = engine.prompts.write(problem("p"), ())
    kept, dropped = (
        PendingRollout(prompt, stops=StopStrings(engine.prompts.tokenizer, ()), seed="kept"),
        PendingRollout(prompt, stops=StopStrings(engine.prompts.tokenizer, ()), seed="dropped"),
    )

    async def cancelled():
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        return future

    dropped.future = asyncio.run(cancelled())
    engine.decoder.decode([kept, dropped], lambda: False)
    assert len(dropped.token_ids) == 1 < len(kept.token_ids)


class Task:
    """A piece of work with a number."""

    def __init__(self, number):
        self.number, self.future = number, None


def test_the_loop_stays_alive_and_ctrl_c_does_not_wait_for_the_batch():
    stopped = []

    def run(batch, is_stopped):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not is_stopped():
            time.sleep(0.002)
        stopped.append(is_stopped())
        return []

    async def main():
        gatherer = Gatherer(lambda waiting: list(waiting), run)
        waiter = asyncio.create_task(gatherer.do([Task(1)]))
        ticks = 0
        for _ in range(20):
            await asyncio.sleep(0.005)
            ticks += 1
        waiter.cancel()
        return ticks

    started = time.monotonic()
    assert asyncio.run(main()) == 20
    deadline = time.monotonic() + 10
    while not stopped and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stopped == [True]
    assert time.monotonic() - started < 10


def test_after_an_error_the_rest_of_the_callers_work_is_not_run():
    ran = []

    def run(batch, is_stopped):
        ran.extend(work.number for work in batch)
        if ran == [1]:
            raise ValueError("broken")
        return []

    async def main():
        gatherer = Gatherer(lambda waiting: list(waiting)[:1], run)
        with pytest.raises(ValueError, match="broken"):
            await gatherer.do([Task(1), Task(2), Task(3)])
        await gatherer.do([Task(4)])

    asyncio.run(main())
    # Perhaps one more piece was begun before the caller had the error.
    assert ran in ([1, 4], [1, 2, 4])


def test_nobody_waits_for_a_batch_that_cannot_be_cut():
    def broken(waiting):
        raise KeyError("cut")

    async def main():
        return await asyncio.gather(*(Gatherer(broken, None).do([Task(i)]) for i in range(2)), return_exceptions=True)

    assert [type(error) for error in asyncio.run(main())] == [KeyError, KeyError]


def test_work_waits_for_no_barrier_and_the_oldest_goes_first():
    order, threads = [], set()

    def run(batch, is_stopped):
        threads.add(threading.current_thread().name)
        order.append([work.number for work in batch])
        return []

    async def main():
        gatherer = Gatherer(lambda waiting: list(waiting)[:2], run)

        async def caller(name):
            for turn in range(3):
                await gatherer.do([Task((name, turn))])

        await asyncio.gather(*map(caller, "abcd"))

    asyncio.run(main())
    assert sorted(number for batch in order for number in batch) == [(n, t) for n in "abcd" for t in range(3)]
    assert order[0] == [("a", 0), ("b", 0)] and order[1][0] == ("c", 0)
    assert len(threads) == 1 and not threads & {threading.main_thread().name}


def test_stop_strings_cut_the_text_across_tokens(tiny_policy, tiny_processor):
    plain = TransformersEngine(
        tiny_policy, tiny_processor, sampling=SamplingConfig(max_new_tokens=30), step_format="tagged"
    )
    request = RolloutRequest(problem("p"), num_samples=20)
    (free,) = asyncio.run(plain.generate([request]))
    long = [rollout.text for rollout in free if len(rollout.text) > 12]
    stops = (long[0][5:8], long[1][3:4], "never written")
    engine = TransformersEngine(
        tiny_policy,
        tiny_processor,
        sampling=SamplingConfig(max_new_tokens=30, stop_strings=stops),
        step_format="tagged",
    )
    (stopped,) = asyncio.run(engine.generate([request]))
    num_cut = 0
    for before, after in zip(free, stopped, strict=True):
        places = [before.text.find(stop) for stop in stops if stop in before.text]
        assert after.text == (before.text[: min(places)] if places else before.text)
        if after.finish_reason == "control_token":  # one stands before the stop string, or there is none
            assert before.finish_reason == "control_token"
        else:
            assert after.finish_reason == ("stop" if places else before.finish_reason)
        num_cut += bool(places)
        assert after.num_tokens <= before.num_tokens
    assert num_cut > 5
    assert engine.identity != plain.identity
    ending = copy.deepcopy(tiny_policy)
    ending.generation_config.eos_token_id = [2, 7]
    assert TransformersEngine(ending, tiny_processor, sampling=SAMPLING, step_format="tagged").identity[
        "end_token_ids"
    ] == [2, 7]
    with pytest.raises(ValueError, match=r"stop_strings=\('',\).*non-empty"):
        SamplingConfig(stop_strings=("",))


def byte_tokenizer():
    """Every byte a token, a few longer ones; a character outside ASCII takes two to four tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocab = {byte: index for index, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = [("b", "Ġ"), (">", "<"), ("s", "t"), ("Ġ", "="), ("1", "2")]
    for left, right in merges:
        vocab[left + right] = len(vocab)
    backend = Tokenizer(models.BPE(vocab, merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend)


@pytest.mark.parametrize("make", ["characters", "bytes"])
def test_a_stop_string_is_found_at_its_last_token(tiny_processor, make):
    """The search in the last tokens says at every length what a search in the whole text says."""
    tokenizer = byte_tokenizer() if make == "bytes" else tiny_processor.tokenizer
    stops = ("</step><", "b =", " and ", "12<", "步骤二结束", "🙂", "ends\n")
    text = "<step>a = 12</step><step>b = 3</step> and so on, ends\n 第一步骤二, 步骤二结束 é🙃🙂 b  = 12 <"
    if make == "characters":
        text = "".join(character for character in text if character.isascii())
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    num_cut = 0
    for chosen in [*((stop,) for stop in stops), stops[::2], stops]:
        finder = StopStrings(tokenizer, chosen)
        for start in range(0, len(ids), 7):
            for length in range(1, len(ids) - start + 1):
                whole = tokenizer.decode(ids[start : start + length])
                places = [whole.find(stop) for stop in chosen if stop in whole]
                cut = finder.cut(ids[start : start + length])
                assert (cut and cut[0]) == (whole[: min(places)] if places else None)
                num_cut += bool(places)
                if places:
                    break
    assert num_cut > 30


@pytest.fixture(scope="module")
def nano_policy():
    from transformers import AutoModelForImageTextToText, AutoProcessor

    return AutoModelForImageTextToText.from_pretrained(POLICY_PATH), AutoProcessor.from_pretrained(POLICY_PATH)


def test_a_prefix_is_read_as_the_policy_wrote_it(nano_policy):
    """The prompt with a prefix has the ids of the prompt without it, followed by those that the policy drew."""
    from mmprm_hf.nano.world import nano_problems

    model, processor = nano_policy
    engine = TransformersEngine(model, processor, sampling=SamplingConfig(max_new_tokens=96), step_format="tagged")
    seen = batches_of(engine)
    requests = [RolloutRequest(p.to_problem(), num_samples=4, seed=1) for p in nano_problems("train", 6, 5)]
    drawn = asyncio.run(engine.generate(requests))
    tokenizer = processor.tokenizer
    pending = [rollout for batch in seen for rollout in batch]
    own = {tokenizer.decode(rollout.response_ids): rollout.response_ids for rollout in pending}
    num_exact = num_prefixes = 0
    for request, rollouts in zip(requests, drawn, strict=True):
        start = tokenizer(engine.prompts.write(request.problem, ()).text)["input_ids"]
        for rollout in rollouts:
            for length in range(1, len(rollout.steps)):
                prefix = rollout.steps[:length]
                ids = tokenizer(engine.prompts.write(request.problem, prefix, TAGGED).text)["input_ids"]
                assert ids[: len(start)] == start
                num_prefixes += 1
                num_exact += ids[len(start) :] == own[rollout.text][: len(ids) - len(start)]
    assert num_prefixes > 50
    assert num_exact == num_prefixes


def test_a_tokenizer_that_joins_blocks_is_reported(nano_policy, tiny_processor, caplog):
    with caplog.at_level(logging.WARNING):
        PromptWriter(nano_policy[1]).write(problem("p"), ("a",), TAGGED)
    assert not caplog.text
    vocabulary = [*sorted(set("<step>answer</step>What is x?x a")), "><"]
    joining = BPE({token: i for i, token in enumerate(vocabulary)}, [(">", "<")])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(joining), chat_template="{{ messages[0]['content'] }} "
    )
    assert "><" in tokenizer.tokenize("<step>a</step><step>")
    with caplog.at_level(logging.WARNING):
        PromptWriter(tokenizer).write(problem("p"), ("a",), TAGGED)
    assert "joins the end of a step with what follows into one token" in caplog.text


def test_prompts_are_written_while_others_are_encoded(tiny_processor):
    """A fast tokenizer's padding is a state of the tokenizer; two threads on one lose it within a few hundred calls."""
    writer = PromptWriter(tiny_processor)
    prompts = [writer.write(problem(f"p{i}", "x " * (1 + i)), ()) for i in range(8)]
    errors = []

    def encode():
        try:
            for _ in range(300):
                assert writer.encode(prompts)["input_ids"].shape[0] == 8
        except Exception as error:  # noqa: BLE001 (whatever it is, the test names it)
            errors.append(error)

    thread = threading.Thread(target=encode)
    thread.start()
    while thread.is_alive():
        writer.write(problem("p", "short"), ())
    thread.join()
    assert not errors


def test_prompt_tokens_count_the_figure(tiny_policy, tiny_processor, figures):
    engine = TransformersEngine(tiny_policy, tiny_processor, sampling=SAMPLING, step_format="tagged")
    target = problem("p", images=figures[:1])
    inputs = engine.prompts.encode([engine.prompts.write(target, ())])
    ((rollout,),) = asyncio.run(engine.generate([RolloutRequest(target)]))
    assert rollout.num_prompt_tokens == inputs["input_ids"].shape[1] > 16
