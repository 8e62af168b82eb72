"""Copy a finished run's policy and PRM into the package, with a note of how they were made.

    python recipes/nano/ship.py --run out/nano

Weights are saved in float32 safetensors. The PRM's remote-code files are left out: the package that ships the
checkpoint holds the same code.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

from transformers import AutoModelForImageTextToText, AutoProcessor

from mmprm_hf.files import write_json
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH, PRM_PATH
from mmprm_hf.stages.demo_stage import MAX_NEW_TOKENS

COMMANDS = {
    "base": "python recipes/nano/pretrain_base.py --output out/nano/base --steps {steps}",
    "policy": "python recipes/nano/train_policy.py --base out/nano/base --output out/nano/policy",
    "labels": "mmprm label --policy out/nano/policy --output out/nano/labels --num-problems {num_problems} "
    "--config recipes/nano/label.yaml",
    "judge": "cp -r out/nano/base out/nano/judge && python recipes/nano/pretrain_base.py --output out/nano/judge "
    "--steps {judge_steps} --decay-share 0.119 --learning-rate 1e-3 "
    "--favour clock pictogram number_line bar_chart grid_path",
    "prm": "mmprm train --model out/nano/judge --data out/nano/labels/paths --output out/nano/prm "
    "--config recipes/nano/prm.yaml",
}


def drop_remote_code(folder: Path) -> None:
    """Remove code files and every `auto_map` that points to them."""
    for path in folder.glob("*.py"):
        path.unlink()
    for path in folder.glob("*.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(content, dict) and content.pop("auto_map", None) is not None:
            write_json(path, content)


def last_step(folder: Path) -> int:
    """The step at which a pretraining run ended."""
    return json.loads((folder / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])["step"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("out/nano"))
    parser.add_argument("--note", default=None, help="What the commands do not tell.")
    parser.add_argument("--compute", default=None, help="Hardware and time, in words.")
    args = parser.parse_args()
    run = args.run
    for folder in (POLICY_PATH, PRM_PATH):
        shutil.rmtree(folder, ignore_errors=True)
    policy = AutoModelForImageTextToText.from_pretrained(run / "policy", dtype="float32")
    policy.generation_config.max_new_tokens = MAX_NEW_TOKENS
    policy.save_pretrained(POLICY_PATH)
    AutoProcessor.from_pretrained(run / "policy").save_pretrained(POLICY_PATH)
    MMPRMModel.from_pretrained(run / "prm", dtype="float32").save_pretrained(PRM_PATH)
    MMPRMProcessor.from_pretrained(run / "prm").save_pretrained(PRM_PATH)
    drop_remote_code(PRM_PATH)
    labels = json.loads((run / "labels" / "summary.json").read_text(encoding="utf-8"))
    numbers = {
        "steps": last_step(run / "base"),
        "judge_steps": last_step(run / "judge"),
        "num_problems": labels["num_problems"],
    }
    commands = {stage: command.format(**numbers) for stage, command in COMMANDS.items()}
    data = "procedural nano problems of the train split; no content of the test split (nano/world.py)"
    common = {"seed": 0, "data": data, "compute": args.compute, "note": args.note}
    policy_stages = {stage: commands[stage] for stage in ("base", "policy")}
    write_json(POLICY_PATH / "made_by.json", {**common, "commands": policy_stages})
    write_json(PRM_PATH / "made_by.json", {**common, "commands": commands, "labels": labels})


if __name__ == "__main__":
    main()
