"""Reranking: what one base for both roles saves, what scoring costs beside generating, when `mmprm --help` is there.

    python recipes/bench/rerank_bench.py

Memory: resident memory that loading the pipeline and solving one problem add, each in a process of its own; a policy of
the nano shape made wide (random weights, float32) and its PRM, once as an adapter on it, once as a whole checkpoint.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HIDDEN_SIZE, NUM_LAYERS = 768, 10  # 95 million parameters
NUM_PROBLEMS, NUM_CANDIDATES = 32, 16


def wide_models(folder: Path) -> None:
    """Write ``policy``, ``adapter`` (a PRM on it) and ``prm`` (the same PRM, merged) into a folder."""
    import peft
    import torch
    from transformers import AutoConfig, AutoProcessor, LlamaConfig, LlavaForConditionalGeneration

    from mmprm_hf.models import MMPRMModel, MMPRMProcessor
    from mmprm_hf.nano import POLICY_PATH

    processor = AutoProcessor.from_pretrained(POLICY_PATH)
    config = AutoConfig.from_pretrained(POLICY_PATH)
    text = config.text_config.to_dict() | {"hidden_size": HIDDEN_SIZE, "num_hidden_layers": NUM_LAYERS}
    text |= {"intermediate_size": 4 * HIDDEN_SIZE, "num_attention_heads": 12, "num_key_value_heads": 12}
    text.pop("head_dim", None)
    config.text_config = LlamaConfig.from_dict(text)
    torch.manual_seed(0)
    policy = LlavaForConditionalGeneration(config)
    policy.generation_config.pad_token_id = processor.tokenizer.pad_token_id
    policy.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    policy.save_pretrained(folder / "policy")
    processor.save_pretrained(folder / "policy")
    prm_processor = MMPRMProcessor.from_policy(folder / "policy")
    prm = MMPRMModel.from_policy(folder / "policy", prm_processor)
    prm.config._name_or_path = ""  # its base is the policy
    settings = peft.LoraConfig(
        r=8,
        target_modules=["q_proj", "v_proj"],
        modules_to_save=["score"],
        trainable_token_indices={"embed_tokens": [prm_processor.marker_token_id]},
        init_lora_weights=False,
    )
    adapted = peft.get_peft_model(prm, settings)
    adapted.save_pretrained(folder / "adapter")
    prm_processor.save_pretrained(folder / "adapter")
    adapted.merge_and_unload().save_pretrained(folder / "prm")
    prm_processor.save_pretrained(folder / "prm")


def resident_mib() -> float:
    """Resident memory of this process (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def added_mib(folder: Path, prm: str) -> dict[str, float]:
    """MiB that the pipeline adds in this process, and the bytes of its distinct parameters; run in a process alone."""
    from transformers import AutoProcessor, pipeline
    from transformers.models.llava import modeling_llava  # noqa: F401 - what is imported anyhow is no part of a model

    import mmprm_hf.rerank.pipeline  # noqa: F401
    from mmprm_hf.nano import make_problem

    AutoProcessor.from_pretrained(folder / "policy")
    problem = make_problem("rectangle", 1)
    before = resident_mib()
    rerank = pipeline("generate-and-rerank", model=str(folder / "policy"), prm=str(folder / prm))
    assert (rerank.shared is not None) == (prm == "adapter")
    rerank(images=problem.figure(), text=problem.question, num_candidates=2, max_new_tokens=4)
    parameters = {p.data_ptr(): p.nbytes for model in (rerank.model, rerank.prm) for p in model.parameters()}
    return {"resident": resident_mib() - before, "parameters": sum(parameters.values()) / 2**20}


def memory_row() -> dict:
    """One base in two roles against two models."""
    with tempfile.TemporaryDirectory() as folder:
        wide_models(Path(folder))
        measured = {}
        for prm in ("adapter", "prm"):
            command = [sys.executable, __file__, "--memory", prm, "--folder", folder]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            measured[prm] = json.loads(printed.splitlines()[-1])
    ours, baseline = measured["adapter"], measured["prm"]
    return {
        "name": "shared_base_memory",
        "ours": round(ours["resident"], 1),
        "baseline": round(baseline["resident"], 1),
        "ratio": round(baseline["resident"] / ours["resident"], 3),
        "unit": "MiB",
        "detail": "resident, pipeline with policy and PRM; baseline: two models; distinct parameters "
        f"{ours['parameters']:.0f} and {baseline['parameters']:.0f} MiB",
    }


def share_row() -> dict:
    """Scoring against generating, on the shipped models; medians of rounds."""
    from mmprm_hf.nano import nano_problems
    from mmprm_hf.stages import load_models
    from mmprm_hf.stages.demo_stage import solve_nano

    models, nano = load_models(), nano_problems("test", NUM_PROBLEMS)
    solve_nano(nano[:2], models, NUM_CANDIDATES, progress=False)  # warm up
    rounds = [solve_nano(nano, models, NUM_CANDIDATES, progress=False).seconds for _ in range(3)]
    share = statistics.median(seconds["score"] / seconds["generate"] for seconds in rounds)
    return {
        "name": "score_share",
        "ours": round(share, 4),
        "baseline": 0.2,
        "ratio": round(0.2 / share, 3),
        "unit": "",
        "detail": f"scoring / generating, {NUM_PROBLEMS} problems x {NUM_CANDIDATES} candidates; baseline: the limit",
    }


def help_row() -> dict:
    """`mmprm --help` as a whole, interpreter included, against the 0.5 s that a person does not notice."""
    command = [sys.executable, "-m", "mmprm_hf", "--help"]

    def once() -> float:
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    once()
    seconds = statistics.median(once() for _ in range(5))
    return {
        "name": "help_seconds",
        "ours": round(seconds, 4),
        "baseline": 0.5,
        "ratio": round(0.5 / seconds, 3),
        "unit": "s",
        "detail": "mmprm --help, the whole process; baseline: the limit",
    }


def rerank_rows() -> list[dict]:
    """All rows of this file."""
    return [help_row(), share_row(), memory_row()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", choices=("adapter", "prm"), help="Measure one way in this process.")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    if args.memory:
        print(json.dumps(added_mib(args.folder, args.memory)))
    else:
        for row in rerank_rows():
            print(json.dumps(row))


if __name__ == "__main__":
    main()
