"""Both rewards in a real, very short `GRPOTrainer` run on the nano policy, figures and all."""

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import GRPOConfig, GRPOTrainer

from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.nano.world import make_problem
from mmprm_hf.rewards import AnswerReward, ProcessReward


@pytest.fixture
def rows():
    """Two problems as `recipes/grpo_with_prm` gives them to the trainer."""
    problems = [make_problem(family, 1) for family in ("rectangle", "triangle_angle")]
    return Dataset.from_list(
        [
            {
                "prompt": [{"role": "user", "content": nano.question}],
                "images": [nano.figure()],
                "answer": nano.answer,
            }
            for nano in problems
        ]
    )


def test_both_rewards_train_a_vision_language_policy(rows, tmp_path):
    policy = AutoModelForImageTextToText.from_pretrained(POLICY_PATH, dtype="float32")
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    config = GRPOConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=8,
        num_generations=4,
        max_completion_length=96,
        max_steps=2,
        learning_rate=1e-4,
        reward_weights=[0.5, 1.0],
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
    )
    process = ProcessReward(PRM_PATH)
    trainer = GRPOTrainer(
        model=policy,
        processing_class=AutoProcessor.from_pretrained(POLICY_PATH),
        reward_funcs=[process, AnswerReward()],
        args=config,
        train_dataset=rows,
    )
    trainer.train()
    logs = [row for row in trainer.state.log_history if "reward" in row]
    assert len(logs) == 2
    for row in logs:
        process_mean, answer_mean = row["rewards/process_reward/mean"], row["rewards/answer_reward/mean"]
        assert 0 < process_mean < 1 and 0 <= answer_mean <= 1
        # TRL logs float32 means of eight rewards each: a few roundings of numbers below 2.
        assert row["reward"] == pytest.approx(0.5 * process_mean + answer_mean, abs=1e-5)
        assert row["process_reward/num_steps"] > 2
        assert row["process_reward/unscorable"] == 0
    assert (process.num_rows, process.num_unscorable) == (16, 0)
    assert any(not torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
