"""Writes the weights and the tokenizer of a GGUF file as an ordinary bf16 checkpoint.

python recipes/real/dequantise.py model.gguf out/model      (needs accelerate and gguf)
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    source = {"pretrained_model_name_or_path": str(args.gguf.parent), "gguf_file": args.gguf.name}
    loaded = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    # The loaded model remembers that it was quantised, and refuses to be saved (transformers 5.19).
    config = loaded.config
    del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.save_pretrained(args.output)
    AutoTokenizer.from_pretrained(**source).save_pretrained(args.output)


if __name__ == "__main__":
    main()
