"""Trains the nano policy with GRPO: rewarded for the answer alone, or with the PRM beside it. A run can be resumed.

    python recipes/grpo_with_prm/train.py --arm prm_and_answer --seed 0 --output out/grpo/prm_and_answer-0

The arms differ only in the weight of the PRM; at weight 0 its reward is logged all the same. The problems are train
problems that neither the policy's corpus nor the PRM's labels use. About half of them were in the stream that the base
of both was pretrained on (`recipes/nano/results/without_twins.json`).
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from pathlib import Path

from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor, set_seed
from transformers.trainer_utils import get_last_checkpoint
from trl import GRPOConfig, GRPOTrainer

from mmprm_hf.files import write_json
from mmprm_hf.nano import POLICY_PATH, PRM_PATH, NanoProblem, nano_problems
from mmprm_hf.rewards import AnswerReward, ProcessReward
from mmprm_hf.stages import read_config

NUM_KNOWN = 10_000  # the policy's corpus is the first 10,000 train problems, the PRM's labels the first 1,000
CONFIG = Path(__file__).parent / "nano.yaml"


@dataclasses.dataclass(frozen=True)
class RewardOptions:
    """Options of the rewards.

    Args:
        aggregation, shape, min_steps, max_solution_steps, answer_in_last_step: As in `ProcessReward`, whose `max_steps`
            is `max_solution_steps` here. The shortest right solution of a nano problem has 3 steps, the longest 6.
        process_weight: In the arm prm_and_answer, weight of the PRM's reward; the answer's is 1.
        num_problems: Number of train problems to draw from.
    """

    aggregation: str = "min"
    shape: str = "outcome"
    min_steps: int = 2
    max_solution_steps: int = 12
    answer_in_last_step: bool = True
    process_weight: float = 0.5
    num_problems: int = 1_500


# Weights of (PRM, answer); None: `process_weight`.
ARMS: dict[str, tuple[float | None, float]] = {"answer": (0.0, 1.0), "prm_and_answer": (None, 1.0), "prm": (1.0, 0.0)}


def grpo_rows(train_problems: list[NanoProblem]) -> Dataset:
    """Return rows as `GRPOTrainer` takes them for a vision-language policy, with the gold answer."""
    return Dataset.from_list(
        [
            {"prompt": [{"role": "user", "content": nano.question}], "images": [nano.figure()], "answer": nano.answer}
            for nano in train_problems
        ]
    )


def train(arm: str, seed: int, output: Path, config: Path = CONFIG, prm: str | Path = PRM_PATH) -> None:
    """Train one policy, and save it and its log in ``output``; an unfinished run is resumed."""
    trainer_options, reward_options = read_config(config, GRPOConfig, RewardOptions)
    options = RewardOptions(**reward_options)
    process_weight, answer_weight = ARMS[arm]
    process_weight = options.process_weight if process_weight is None else process_weight
    args = GRPOConfig(
        output_dir=str(output / "trainer"),
        seed=seed,
        reward_weights=[process_weight, answer_weight],
        **trainer_options,
    )
    set_seed(seed)
    process_reward = ProcessReward(
        prm,
        aggregation=options.aggregation,
        shape=options.shape,
        min_steps=options.min_steps,
        max_steps=options.max_solution_steps,
        answer_in_last_step=options.answer_in_last_step,
    )
    processor = AutoProcessor.from_pretrained(POLICY_PATH)
    folder = output / "trainer"
    checkpoint = get_last_checkpoint(folder) if folder.exists() else None
    # transformers 5.24 resumes by load_state_dict(strict=False), which skips a LLaVA's decoder (it has other names on
    # disk). So the model itself is loaded from the checkpoint.
    model = AutoModelForImageTextToText.from_pretrained(checkpoint or POLICY_PATH, dtype="float32")
    trainer = GRPOTrainer(
        model=model,
        processing_class=processor,
        reward_funcs=[process_reward, AnswerReward()],
        args=args,
        train_dataset=grpo_rows(nano_problems("train", NUM_KNOWN + options.num_problems)[NUM_KNOWN:]),
    )
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.model.save_pretrained(output)
    processor.save_pretrained(output)
    log = [row for row in trainer.state.log_history if "reward" in row]
    write_json(output / "log.json", {"arm": arm, "seed": seed, "options": dataclasses.asdict(options), "log": log})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm", choices=list(ARMS), required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--prm", default=str(PRM_PATH))
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    train(args.arm, args.seed, args.output, args.config, args.prm)


if __name__ == "__main__":
    main()
