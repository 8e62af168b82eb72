"""Mean pass@1 of a policy on problems, at temperature 1, judged by rules on the whole response: no steps, no PRM.

python recipes/smollm2/measure.py --model out/smollm2/policy --data out/smollm2/problems/dev.jsonl
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mmprm_hf.answers import RuleVerifier, extract_answer
from mmprm_hf.data import Verdict
from mmprm_hf.metrics import bootstrap_ci


def responses(model: Any, tokenizer: Any, questions: list[str], num_samples: int, max_new_tokens: int) -> list[str]:
    """Return `num_samples` sampled responses to each question, those of one question side by side."""
    chats = [[{"role": "user", "content": question}] for question in questions]
    inputs = tokenizer.apply_chat_template(
        chats, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
    )
    options = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    written = model.generate(**inputs, **options, num_return_sequences=num_samples, max_new_tokens=max_new_tokens)
    return tokenizer.batch_decode(written[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True, help=".jsonl with question and answer")
    parser.add_argument("--num-samples", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=40, help="problems of a batch")
    parser.add_argument("--max-new-tokens", type=int, default=160)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="JSON file to write")
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.data.read_text(encoding="utf-8").splitlines()]
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(args.model, padding_side="left")
    torch.manual_seed(args.seed)
    verifier, begin, shares = RuleVerifier(), time.perf_counter(), []
    for start in range(0, len(rows), args.batch_size):
        batch = rows[start : start + args.batch_size]
        texts = responses(model, tokenizer, [row["question"] for row in batch], args.num_samples, args.max_new_tokens)
        for index, row in enumerate(batch):
            own = texts[index * args.num_samples : (index + 1) * args.num_samples]
            verdicts = [verifier.verify(extract_answer(text), row["answer"]) for text in own]
            shares.append(sum(verdict is Verdict.CORRECT for verdict in verdicts) / len(verdicts))
    low, high = bootstrap_ci(shares)
    result = {
        "num_problems": len(rows),
        "num_samples": args.num_samples,
        "pass_at_1": sum(shares) / len(shares),
        "interval": [low, high],
        "seconds": time.perf_counter() - begin,
    }
    print(json.dumps(result))
    if args.output:
        args.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
