"""Trains the PRM on several GPUs, in full or with an adapter: `mmprm train` under `accelerate launch`.

accelerate launch --config_file recipes/mm_prm_8b/accelerate_zero1.yaml recipes/mm_prm_8b/train.py \
    --model out/start --data out/labels/paths --output out/prm --config recipes/mm_prm_8b/prm.yaml
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import torch

from mmprm_hf.stages import read_config, train
from mmprm_hf.training import PRMConfig

# The decoder's linear layers; a vision tower may have layers of the same names.
DECODER_LAYERS = r"^(?!.*(vision|visual)).*\.(q|k|v|o|gate|up|down)_proj$"


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """Options of LoRA, under TRL's names; head and marker row are trained in full beside the adapter.

    Args:
        lora_r: Rank; 0 trains all weights, without an adapter.
        lora_alpha, lora_dropout: As in peft.
        lora_target_modules: Names or a regular expression; the default is the decoder's linear layers.
        lora_modules_to_save: Modules trained in full beside the adapter.
    """

    lora_r: int = 0
    lora_alpha: int = 16
    lora_dropout: float = 0.0
    lora_target_modules: str | list[str] = DECODER_LAYERS
    lora_modules_to_save: list[str] | None = None

    def peft_config(self) -> Any:
        """Return peft's configuration; None without an adapter."""
        if not self.lora_r:
            return None
        from peft import LoraConfig

        return LoraConfig(
            r=self.lora_r,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            target_modules=self.lora_target_modules,
            modules_to_save=self.lora_modules_to_save,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder that start.py wrote, or any PRM")
    parser.add_argument("--data", type=Path, required=True, help="label rows: labels/paths of a label folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True, help="YAML: options of PRMConfig and lora_*")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    options, adapter = read_config(args.config, PRMConfig, AdapterConfig)
    peft_config = AdapterConfig(**adapter).peft_config()
    metrics = train(args.model, args.data, args.output, config=options, seed=args.seed, peft_config=peft_config)
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(metrics, indent=2))
    if torch.distributed.is_initialized():  # a process that just exits may be torn down while its threads work
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
