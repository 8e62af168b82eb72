"""`ProcessReward`: what it reads, what it gives, what it costs, and what becomes of failures."""

import dataclasses
import logging
import pickle

import pytest
from PIL import Image
from support.reward_cases import DEFAULT, answer_of, chat, completions_of, nano_rows, scripted

from mmprm_hf.data import Candidate, Problem
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rewards.completions import completion_problem, response_text
from mmprm_hf.rewards.process_reward import ProcessReward
from mmprm_hf.rewards.shapes import PADDING_PROOF, outcome_reward, step_reward
from mmprm_hf.scoring.scorer import PRMScorer
from mmprm_hf.selection import AGGREGATIONS, aggregate
from mmprm_hf.steps import TAGGED


@pytest.fixture(scope="module")
def nano_scorer():
    return PRMScorer.from_pretrained(PRM_PATH)


@pytest.fixture
def encoded_figures(nano_scorer):
    """Figures that the PRM's vision tower has encoded, as a growing list."""
    seen = []

    def count(module, args, kwargs):
        seen.extend(kwargs["pixel_values"] if "pixel_values" in kwargs else args[0])

    (tower,) = (m for n, m in nano_scorer.model.named_modules() if n.endswith("vision_tower"))
    handle = tower.register_forward_pre_hook(count, with_kwargs=True)
    yield seen
    handle.remove()


# --- The number ---------------------------------------------------------------------------------------------------


def test_outcome_is_bounded_and_orders_as_the_aggregation_does():
    rows = [[0.0], [1.0], [0.9, 0.5], [0.5, 0.9], [1.0, 0.0], [0.2] * 9, [0.999999] * 30]
    for method in AGGREGATIONS:
        rewards = [outcome_reward(row, method) for row in rows]
        assert all(0 <= reward <= 1 for reward in rewards), method
        aggregates = [aggregate(row, method) for row in rows]
        order = sorted(range(len(rows)), key=aggregates.__getitem__)
        assert [rewards[i] for i in order] == sorted(rewards), method


def test_step_reward_is_the_share_of_steps_before_the_first_error():
    assert step_reward([0.9, 0.5, 0.49, 0.9], 0.5) == 0.5
    assert step_reward([0.1, 0.9], 0.5) == 0.0
    assert step_reward([0.9, 0.9], 0.5) == 1.0


def test_a_broken_prm_is_no_reward(tiny_scorer):
    for shape in ("outcome", "step"):
        reward = ProcessReward(scripted(tiny_scorer, {"A=47": float("nan")}), shape=shape, max_steps=9)
        with pytest.raises(ValueError, match="Step score 0 is nan"):
            reward([chat("What is A?")], [DEFAULT])


def test_a_padding_proof_aggregation_never_gains_by_a_step():
    for method in PADDING_PROOF:
        for scores in ([0.9], [0.3, 0.8], [0.0, 1.0]):
            for added in (0.0, 0.5, 1.0):
                assert outcome_reward([*scores, added], method) <= outcome_reward(scores, method), method


def test_the_reward_is_the_scorers_minimum_or_share(nano_scorer):
    prompts, columns, problems = nano_rows(2, 3)
    completions = completions_of(problems, 3)
    rewards = ProcessReward(nano_scorer)(prompts, completions, **columns)
    shares = ProcessReward(nano_scorer, shape="step", threshold=0.8, max_steps=9)(prompts, completions, **columns)
    for index, (reward, share) in enumerate(zip(rewards, shares, strict=True)):
        nano = problems[index // 3]
        steps = answer_of(completions[index]).steps
        (scored,) = nano_scorer.score(nano.to_problem(), [Candidate(steps=steps)])
        # float32 in a batch of another size: a hundred roundings of numbers below 1.
        assert reward == pytest.approx(min(scored.step_scores), abs=1e-5)
        assert share == step_reward(scored.step_scores, 0.8)
    assert len(set(shares)) > 1
    assert rewards[0] > max(rewards[1:3]) and rewards[3] > max(rewards[4:])  # the first of each problem is right


# --- What TRL passes ----------------------------------------------------------------------------------------------

FIGURE = Image.new("RGB", (4, 4))
TEXT = {"type": "text", "text": "What is A?"}


WITH_PLACE = [{"role": "user", "content": [{"type": "image"}, TEXT]}]


def test_prompts_as_trl_passes_them():
    for prompt, columns, images in (
        ("What is A?", {}, ()),
        ([{"role": "system", "content": "Be brief."}, *chat("What is A?")], {}, ()),
        ([{"role": "user", "content": [{"type": "image", "image": FIGURE}, TEXT]}], {}, (FIGURE,)),
        (WITH_PLACE, {"images": [[FIGURE]]}, (FIGURE,)),
        (WITH_PLACE, {"image": [FIGURE]}, (FIGURE,)),
        (chat("Use tags. What is A?"), {"question": ["What is A?"], "images": [None]}, ()),
        (chat("One.") + [{"role": "assistant", "content": "1"}] + chat("What is A?"), {}, ()),
    ):
        problem = completion_problem(prompt, columns, 0)
        assert (problem.question, problem.images) == ("What is A?", images), prompt


def test_completions_as_trl_passes_them():
    assert response_text("text") == response_text([{"role": "assistant", "content": "text"}]) == "text"
    assert response_text([{"role": "assistant", "content": [{"type": "text", "text": "text"}]}]) == "text"
    assert response_text([{"role": "assistant", "content": None}]) == response_text([{}]) == ""


def test_a_placeholder_without_a_figure_is_refused():
    with pytest.raises(ValueError, match="1 placeholders for figures but 0 figures"):
        completion_problem(WITH_PLACE, {}, 0)


# --- Cost ---------------------------------------------------------------------------------------------------------


def test_one_figure_is_encoded_once_and_nothing_twice(nano_scorer, encoded_figures):
    """TRL repeats a problem's row, and datasets decodes its figure anew each time: other objects, equal pixels."""
    prompts, columns, problems = nano_rows(3, 4)
    completions = completions_of(problems, 4)
    assert columns["images"][0][0] is not columns["images"][1][0]
    reward = ProcessReward(nano_scorer)
    first = reward(prompts, completions, **columns)
    assert len(encoded_figures) == 3
    assert reward(prompts, completions, **columns) == first
    assert len(encoded_figures) == 3
    ProcessReward(nano_scorer, cache_size=0)(prompts, completions, **columns)
    assert len(encoded_figures) == 6
    assert nano_scorer.store is None  # a scorer that is handed in is left as it is


def test_the_cache_is_bounded(nano_scorer):
    prompts, columns, problems = nano_rows(2, 3)
    reward = ProcessReward(nano_scorer, cache_size=2)
    reward(prompts, completions_of(problems, 3), **columns)
    assert len(reward.scorer.store) == 2


# --- Failures -----------------------------------------------------------------------------------------------------


def test_the_policys_faults_earn_the_lowest_reward(tiny_scorer):
    reward = ProcessReward(scripted(tiny_scorer, {}))
    for text in (
        "",
        "A=47",
        "<step>A=47</step>",
        "<step>A=47</step><step>B=5",
        "<step>A=47</step><answer>47",
        "<step>A=47</step><answer>47</answer> and more",
        "<step>A=47</step><step> \n</step><answer>47</answer>",
        "<answer>47</answer>",
        "<step>A=47 <prm></step><answer>47</answer>",
    ):
        assert reward([chat("What is A?")], [text]) == [0.0], text
        assert reward([chat("What is A?")], [DEFAULT]) == [0.5]


def test_what_cannot_be_shown_gets_none_and_takes_nobody_along(tiny_scorer, tmp_path, caplog):
    (tmp_path / "torn.png").write_bytes(b"no image")
    prompts = [chat("What is A?"), chat("What is B?"), chat("What is <prm>?"), chat("What is D?"), chat("What is E?")]
    images = [[FIGURE], [str(tmp_path / "torn.png")], [FIGURE], [FIGURE], [str(tmp_path / "missing.png")]]
    reward = ProcessReward(tiny_scorer)
    rewards = reward(prompts, [DEFAULT] * 5, images=images)
    assert [value is None for value in rewards] == [False, True, True, False, True]
    assert rewards[0] == ProcessReward(tiny_scorer)(prompts[:1], [DEFAULT], images=images[:1])[0]
    assert (reward.num_rows, reward.num_unscorable) == (5, 3)
    assert "torn.png" in caplog.text and "missing.png" in caplog.text and "<prm>" in caplog.text


def test_a_solution_that_cannot_be_written_is_the_policys_fault(tiny_scorer):
    prompts = [chat("What is A?")] * 2
    broken = TAGGED.render(("A=\ud800",), "1")
    rewards = ProcessReward(tiny_scorer)(prompts, [DEFAULT, broken], images=[[FIGURE]] * 2)
    assert rewards[0] > 0 and rewards[1] == 0.0


def test_a_run_without_rewards_does_not_go_on(tiny_scorer):
    prompts, images = [chat("What is A?")] * 64, [["missing.png"]] * 33 + [[FIGURE]] * 31
    with pytest.raises(RuntimeError, match="33 of 64 completions could not be scored"):
        ProcessReward(tiny_scorer)(prompts, [DEFAULT] * 64, images=images)
    rewards = ProcessReward(tiny_scorer, max_unscorable_share=0.6)(prompts, [DEFAULT] * 64, images=images)
    assert rewards.count(None) == 33


def test_a_format_that_never_arrives_is_said(tiny_scorer, caplog):
    """TRL decodes with ``skip_special_tokens``: tags that are special tokens are gone."""
    reward = ProcessReward(tiny_scorer)
    assert reward([chat("What is A?")] * 2, ["A=4747"] * 2) == [0.0, 0.0]
    assert "None of 2 completions can be read in the step format" in caplog.text
    caplog.clear()
    reward([chat("What is A?")], [DEFAULT])
    reward([chat("What is A?")], ["A=4747"])
    assert not caplog.records


def test_metrics_reach_trls_log(tiny_scorer):
    logged = {}
    texts = [DEFAULT, "cut", "<step>.</step><answer>1</answer>", TAGGED.render(("A=1", "a = 1.", "B=2"), "2")]
    ProcessReward(tiny_scorer)([chat("What is A?")] * 4, texts, log_metric=logged.__setitem__)
    assert logged == {
        "process_reward/malformed": 0.25,
        "process_reward/empty_steps": 0.25,
        "process_reward/wrong_length": 0.0,
        "process_reward/answer_not_derived": 0.0,
        "process_reward/unscorable": 0.0,
        "process_reward/num_steps": 1.25,
        "process_reward/num_repeats": 0.25,
    }


# --- Options, names, pickling -------------------------------------------------------------------------------------


def test_wrong_options_fail_before_any_work(tiny_scorer, tiny_prm_dir):
    for options, match in (
        ({"shape": "steps"}, "Unknown shape 'steps'"),
        ({"aggregation": "minimum"}, "Unknown aggregation 'minimum'"),
        ({"threshold": 2.0}, "threshold=2.0"),
        ({"min_steps": 0}, "min_steps=0"),
        ({"min_steps": 3, "max_steps": 2}, "min_steps=3, max_steps=2"),
        ({"processor": tiny_scorer.processor}, "scorer, which has its own processor"),
    ):
        with pytest.raises(ValueError, match=match):
            ProcessReward(tiny_scorer, **options)
    with pytest.raises(ValueError, match="a path or scorer, which has its own processor"):
        ProcessReward(tiny_prm_dir, tiny_scorer.processor)


def test_a_setting_that_pays_for_length_warns(tiny_scorer, caplog):
    for options, warns in (({}, False), ({"aggregation": "mean"}, True), ({"shape": "step"}, True)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            ProcessReward(tiny_scorer, **options)
            ProcessReward(tiny_scorer, max_steps=8, **options)
        assert [("writing more steps" in record.message) for record in caplog.records] == [True] * warns


def test_paths_models_and_scorers_give_the_same_and_survive_pickling(tiny_scorer, tiny_prm_dir):
    arguments = ([chat("What is A?")], [DEFAULT])
    (expected,) = ProcessReward(tiny_scorer)(*arguments)
    models = [MMPRMModel.from_pretrained(tiny_prm_dir) for _ in range(2)]
    scorer = PRMScorer(models[1], tiny_scorer.processor, layout="rows")  # no probe: no forward yet
    for prm in (tiny_prm_dir, models[0], scorer):
        reward = ProcessReward(prm, name="prm")
        copied = pickle.loads(pickle.dumps(reward))  # models hold hooks that do not pickle from their first forward on
        assert copied.__name__ == "prm"
        for reward_function in (copied, reward):
            # float32 by another layout ("rows"): a hundred roundings of a number below 1.
            assert reward_function(*arguments) == pytest.approx([expected], abs=1e-5)
    used = ProcessReward(tiny_prm_dir)
    assert used(*arguments) == [expected]
    data = pickle.dumps(used)  # of a path, the path
    assert len(data) < 10_000 and pickle.loads(data)(*arguments) == [expected]


def test_a_model_built_in_memory_needs_its_processor(tiny_policy_dir):
    processor = MMPRMProcessor.from_policy(tiny_policy_dir)
    model = MMPRMModel.from_policy(tiny_policy_dir, processor)
    model.name_or_path = ""
    with pytest.raises(ValueError, match="without its processor"):
        ProcessReward(model)
    assert 0 < ProcessReward(model, processor)([chat("What is A?")], [DEFAULT])[0] < 1


def test_problems_differ_by_their_figures(nano_scorer):
    """Equal questions with other figures are other problems."""
    first, second = (make_problem("bar_chart", seed) for seed in (1, 2))
    problems = [dataclasses.replace(p.to_problem(), question="What is A?") for p in (first, second)]
    assert isinstance(problems[0], Problem)
    completion = TAGGED.render(("A=47",), "47")
    rewards = ProcessReward(nano_scorer)(
        [chat("What is A?")] * 2, [completion] * 2, images=[problem.images for problem in problems]
    )
    assert rewards[0] != rewards[1]
