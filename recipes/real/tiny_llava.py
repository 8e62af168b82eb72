"""Builds a nano-sized LLaVA that vLLM serves on a CPU: random weights, the nano policy's processor and chat template.

The nano policy itself has heads of size 24, which vLLM's attention for CPUs does not take; these have size 32.

python recipes/real/tiny_llava.py out/tiny_llava
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoProcessor, LlavaForConditionalGeneration

from mmprm_hf.nano import POLICY_PATH

HEAD_SIZE = 32
NUM_HEADS = 4


def build_model(seed: int) -> LlavaForConditionalGeneration:
    """Return a randomly initialised LLaVA (float32) of the nano policy's shape, but for the size of its heads."""
    config = AutoConfig.from_pretrained(POLICY_PATH)
    text = config.text_config
    text.head_dim, text.hidden_size = HEAD_SIZE, HEAD_SIZE * NUM_HEADS
    text.num_attention_heads = text.num_key_value_heads = NUM_HEADS
    torch.manual_seed(seed)
    return LlavaForConditionalGeneration(config)


def name_in_vllm(name: str) -> str:
    """Return what vLLM 0.32.0 calls a weight; transformers 5.23 and later save a SigLIP tower without `vision_model`.

    Example:
        >>> name_in_vllm("vision_tower.embeddings.patch_embedding.bias")
        'vision_tower.vision_model.embeddings.patch_embedding.bias'
        >>> name_in_vllm("language_model.lm_head.weight")
        'language_model.lm_head.weight'
    """
    head, _, rest = name.partition("vision_tower.")
    return name if not rest or rest.startswith("vision_model.") else f"{head}vision_tower.vision_model.{rest}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    build_model(args.seed).save_pretrained(args.output)
    AutoProcessor.from_pretrained(POLICY_PATH).save_pretrained(args.output)
    weights = args.output / "model.safetensors"
    save_file({name_in_vllm(name): tensor for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    print(args.output)


if __name__ == "__main__":
    main()
