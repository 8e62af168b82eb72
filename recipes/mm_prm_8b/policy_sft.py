"""Supervised fine-tuning of the policy on tagged steps with TRL's `SFTTrainer`; the vision tower is frozen.

accelerate launch --config_file recipes/mm_prm_8b/accelerate_zero1.yaml recipes/mm_prm_8b/policy_sft.py \
    --model OpenGVLab/InternVL3_5-8B-HF --data out/corpus --output out/policy --config recipes/mm_prm_8b/policy_sft.yaml
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from datasets import load_dataset
from start import limit_tiles
from transformers import AutoModelForImageTextToText, AutoProcessor
from trl import SFTConfig, SFTTrainer

from mmprm_hf.stages import read_config
from mmprm_hf.training.starting import set_dropout_to_zero


def freeze_vision(model: Any) -> None:
    """Freeze the vision tower, whose features are then the same during training and afterwards.

    Raises:
        ValueError: if transformers does not know which part it is.
    """
    tower = model.get_encoder(modality="image")
    if tower in (model, model.base_model):
        raise ValueError(f"Found no vision tower in {type(model).__name__}. Freeze it in this script by hand.")
    tower.requires_grad_(False)
    # Differs from MM-PRM: its frozen tower drops paths at random while training (trap T3 of its PRM's script).
    set_dropout_to_zero(tower)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="path or hub id of a policy that transformers loads")
    parser.add_argument("--data", type=Path, required=True, help="folder of `mmprm restructure`, with train.parquet")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True, help="YAML: options of TRL's SFTConfig")
    parser.add_argument("--max-tiles", type=int, help="the most tiles of a figure, beside its thumbnail")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    (options,) = read_config(args.config, SFTConfig)
    states = args.output / "trainer"
    config = SFTConfig(output_dir=str(states), seed=args.seed, **options)
    processor = AutoProcessor.from_pretrained(args.model)
    if args.max_tiles is not None:
        limit_tiles(processor, args.max_tiles)
    model = AutoModelForImageTextToText.from_pretrained(args.model)
    freeze_vision(model)
    rows = load_dataset("parquet", data_files=str(args.data / "train.parquet"), split="train")
    names = [name for name in ("prompt", "completion", "images") if name in rows.column_names]
    trainer = SFTTrainer(model=model, args=config, train_dataset=rows.select_columns(names), processing_class=processor)
    trainer.train(resume_from_checkpoint=any(states.glob("checkpoint-*")))
    trainer.save_model(str(args.output))


if __name__ == "__main__":
    main()
