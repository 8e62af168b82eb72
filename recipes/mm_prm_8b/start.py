"""Builds the PRM before training: a policy's backbone, a head from its Yes and No rows, prompt format and tiles.

Run it once, in one process. Training starts from what it saves, so that adapters name a base that exists, and no
process of a sharded training builds a PRM out of shards.

python recipes/mm_prm_8b/start.py --policy out/policy --output out/start --max-tiles 6
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer

from mmprm_hf.models import MMPRMModel, MMPRMProcessor, MMPRMTiledProcessor, tiling_image_processor

MARKER = "<prm>"


def limit_tiles(processor: Any, max_tiles: int) -> None:
    """Set the most tiles of a figure, without the thumbnail, in a stock processor of transformers.

    Raises:
        ValueError: if it does not cut figures into tiles.
    """
    image_processor = getattr(processor, "image_processor", None)
    if not hasattr(image_processor, "max_patches"):
        raise ValueError(
            f"{type(image_processor).__name__} does not cut figures into tiles. Leave --max-tiles out, and limit "
            "the tokens of a figure in the policy's own processor."
        )
    image_processor.crop_to_patches = True
    image_processor.max_patches = max_tiles


def make_processor(policy: str, max_tiles: int | None, separator: str, prompt_format: str | None) -> MMPRMProcessor:
    """Return the PRM's processor, with the policy's own prompt or, for InternVL, the one of published MM-PRM."""
    if prompt_format is None:
        processor = MMPRMProcessor.from_policy(policy, marker_token=MARKER, step_separator=separator)
        if max_tiles is not None:
            limit_tiles(processor.base_processor, max_tiles)
        return processor
    config = AutoConfig.from_pretrained(policy)
    if config.model_type != "internvl":
        raise ValueError(
            f"Found --prompt-format with model_type {config.model_type!r}. That prompt is InternVL's; leave it out."
        )
    tokenizer = AutoTokenizer.from_pretrained(policy)
    is_new = MARKER not in tokenizer.get_vocab()
    tokenizer.add_special_tokens({"extra_special_tokens": [MARKER]}, replace_extra_special_tokens=False)
    size = config.vision_config.image_size
    images = tiling_image_processor(size if isinstance(size, int) else size[0], max_tiles=max_tiles or 6)
    base = MMPRMTiledProcessor(images, tokenizer, image_seq_length=config.image_seq_length)
    return MMPRMProcessor(base, marker_token=MARKER, prompt_format=prompt_format, marker_added=is_new)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", required=True, help="path or hub id of a policy that transformers loads")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--max-tiles", type=int, help="the most tiles of a figure, beside its thumbnail (MM-PRM: 6)")
    # Published MM-PRM trains on "<prm>\n\n" between steps (traverse.py:41).
    parser.add_argument("--step-separator", default="\n\n", help="text between a marker and the next step")
    parser.add_argument(
        "--prompt-format", choices=["train"], help="published MM-PRM's training prompt, and tiles without torchvision"
    )
    args = parser.parse_args()
    processor = make_processor(args.policy, args.max_tiles, args.step_separator, args.prompt_format)
    MMPRMModel.from_policy(args.policy, processor).save_pretrained(args.output)
    processor.save_pretrained(args.output)
    print(f"wrote {args.output}")


if __name__ == "__main__":
    main()
