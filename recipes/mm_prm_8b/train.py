"""Trains the PRM on several GPUs, in full or with an adapter: `mmprm train` under `accelerate launch`.

accelerate launch --config_file recipes/mm_prm_8b/accelerate_zero1.yaml recipes/mm_prm_8b/train.py \
    --model out/start --data out/labels/paths --output out/prm --config recipes/mm_prm_8b/prm.yaml
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from mmprm_hf.stages import train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder that start.py wrote, or any PRM")
    parser.add_argument("--data", type=Path, required=True, help="label rows: labels/paths of a label folder")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--config", type=Path, required=True, help="YAML: options of PRMConfig and LoraOptions")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    metrics = train(args.model, args.data, args.output, config=args.config, seed=args.seed)
    if int(os.environ.get("RANK", 0)) == 0:
        print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
