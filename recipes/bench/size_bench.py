"""Memory and time of a PRM of a billion parameters: made from a policy, saved in shards, loaded, scored with.

    python recipes/bench/size_bench.py --output recipes/bench/size.json

Weights are random and in bfloat16. Every step runs in a process of its own. Its peak of memory is reported in units of
the weights' size, without what imports take: 1 is a model that is there once. Pages of a file that are mapped count as
well, although the system takes them back when it needs them; what is mapped and not read yet does not count.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mmprm_hf import PRMScorer
from mmprm_hf.data import Candidate, Problem
from mmprm_hf.files import write_json
from mmprm_hf.models import MMPRMModel, MMPRMProcessor
from mmprm_hf.nano import POLICY_PATH

SIZES = {"hidden_size": 2048, "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8}
STEPS = tuple(f"Step {i}: {' '.join(['word'] * 16)}." for i in range(8))


def peak_memory() -> int:
    """The largest resident memory of this process so far, in bytes (Linux; `ru_maxrss` begins at the parent's)."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


def make_policy(folder: Path, num_layers: int) -> None:
    """Save a random policy of text with the nano policy's vocabulary."""
    nano = MMPRMProcessor.from_policy(POLICY_PATH).tokenizer
    names = {"eos_token": nano.eos_token, "pad_token": nano.pad_token}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=nano.backend_tokenizer, **names)
    config = LlamaConfig(vocab_size=max(32_000, len(tokenizer)), num_hidden_layers=num_layers, **SIZES)
    torch.set_default_dtype(torch.bfloat16)
    LlamaForCausalLM(config).save_pretrained(folder / "policy", max_shard_size="500MB")
    tokenizer.save_pretrained(folder / "policy")


def make_prm(folder: Path) -> None:
    """Make the PRM from the policy's folder and save it in shards."""
    processor = MMPRMProcessor.from_policy(folder / "policy")
    model = MMPRMModel.from_policy(folder / "policy", processor, dtype=torch.bfloat16)
    model.save_pretrained(folder / "prm", max_shard_size="500MB")
    processor.save_pretrained(folder / "prm")


def load(folder: Path) -> None:
    """Load the PRM."""
    MMPRMModel.from_pretrained(folder / "prm")


def load_stock(folder: Path) -> None:
    """Load the policy with transformers alone, for comparison."""
    AutoModelForCausalLM.from_pretrained(folder / "policy", dtype="auto")


def score(folder: Path) -> None:
    """Load the PRM and score four candidates of eight steps."""
    scorer = PRMScorer.from_pretrained(folder / "prm")
    candidates = [Candidate(steps=(*STEPS[:-1], f"The answer is {i}.")) for i in range(4)]
    scored = scorer.score(Problem("p", "How many words are there?"), candidates)
    assert all(len(candidate.step_scores) == len(STEPS) for candidate in scored)


STAGES = {"load_stock": load_stock, "make_prm": make_prm, "load": load, "score": score}


def run_stage(folder: Path, name: str) -> dict[str, float]:
    """Run a step here and return its seconds and bytes beyond the imports."""
    before, start = peak_memory(), time.perf_counter()
    STAGES[name](folder)
    return {"seconds": time.perf_counter() - start, "bytes": peak_memory() - before}


def measure(num_layers: int) -> dict[str, Any]:
    """Return the results of all steps for a policy of so many layers."""
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        make_policy(folder, num_layers)
        size = sum(path.stat().st_size for path in (folder / "policy").glob("*.safetensors"))
        stages = {}
        for name in STAGES:
            command = [sys.executable, __file__, "--stage", name, "--folder", root]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            stages[name] = json.loads(printed.splitlines()[-1])
            if name == "make_prm":  # the backbone and a head of two rows; the language-model head is left behind
                size_of_prm = sum(path.stat().st_size for path in (folder / "prm").glob("*.safetensors"))
    for name, found in stages.items():
        # A PRM is made from a whole policy, whose language-model head is read with it.
        found["share"] = found["bytes"] / (size if name in ("load_stock", "make_prm") else size_of_prm)
    gigabytes = {"policy": size / 1e9, "prm": size_of_prm / 1e9}
    return {"num_layers": num_layers, "gigabytes": gigabytes, "stages": stages}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num-layers", type=int, default=14, help="of 67 million parameters each")
    parser.add_argument("--output", type=Path, default=Path("out/bench/size.json"))
    parser.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.stage:
        print(json.dumps(run_stage(args.folder, args.stage)))
        return
    results = measure(args.num_layers)
    write_json(args.output, results)
    for name, found in results["stages"].items():
        print(f"{name:12} {found['seconds']:6.1f} s  {found['share']:.2f} of the weights")


if __name__ == "__main__":
    main()
