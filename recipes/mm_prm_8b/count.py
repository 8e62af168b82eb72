"""Prints how many paths, packed rows and tokens label rows have, and the accumulation that makes 512 paths a step.

python recipes/mm_prm_8b/count.py --model out/start --data out/labels/paths --config recipes/mm_prm_8b/prm_packed.yaml
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import datasets

from mmprm_hf.models import MMPRMProcessor
from mmprm_hf.stages import read_config
from mmprm_hf.training import LoraOptions, PRMConfig
from mmprm_hf.training.rows import RowLimits, TokenCounter, check_rows
from mmprm_hf.training.tree_groups import group_rows


def count(model: str, data: Path, config: Path, num_processes: int, paths_a_step: int) -> dict[str, Any]:
    """Return what the trainer would make of the rows; the processor is read, not the weights."""
    options, _ = read_config(config, PRMConfig, LoraOptions)
    limits = {name: options.get(name, getattr(PRMConfig, name)) for name in ("max_length", "max_packed_length")}
    batch = options.get("per_device_train_batch_size", PRMConfig.per_device_train_batch_size)
    rows, processor = datasets.load_dataset(str(data), split="train"), MMPRMProcessor.from_pretrained(model)
    checked = check_rows(rows, processor, limits=RowLimits(limits["max_length"]), on_bad_row="drop", quiet=False)
    groups = group_rows(checked.rows, TokenCounter(processor), limits["max_packed_length"], quiet=False)
    paths_a_row = len(checked.rows) / len(groups)
    return {
        "paths": len(checked.rows),
        "dropped": dict(checked.dropped),
        "tokens": sum(checked.lengths),
        "longest_path": max(checked.lengths),
        "packed_rows": len(groups),
        "packed_tokens": sum(group.num_tokens for group in groups),
        "paths_a_packed_row": round(paths_a_row, 2),
        "gradient_accumulation_steps": {
            "packing: false": max(1, round(paths_a_step / (batch * num_processes))),
            "packed": max(1, round(paths_a_step / (batch * num_processes * paths_a_row))),
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder that start.py wrote, or any PRM")
    parser.add_argument("--data", type=Path, required=True, help="label rows: labels/paths of a label folder")
    parser.add_argument("--config", type=Path, required=True, help="YAML of a training")
    parser.add_argument("--num-processes", type=int, default=8, help="processes (GPUs) of the training")
    parser.add_argument("--paths-a-step", type=int, default=512, help="paths that an optimizer step should have")
    args = parser.parse_args()
    print(json.dumps(count(args.model, args.data, args.config, args.num_processes, args.paths_a_step), indent=2))


if __name__ == "__main__":
    main()
