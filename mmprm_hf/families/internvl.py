"""Converter of original InternVL chat checkpoints (the MM-PRM-8B layout) into `MMPRMModel` and `MMPRMProcessor`.

The backbone becomes transformers' own `InternVLModel`. Weights are renamed and split, never computed, so scores are
those of the original. Of the language-model head, only the rows of the positive and the negative token are kept. What
our model cannot represent is refused by name. No remote code is run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    InternVLConfig,
    InternVLVisionConfig,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
)

from ..errors import CheckpointError
from ..files import read_json
from ..models import MMPRMConfig, MMPRMModel, MMPRMProcessor, MMPRMTiledProcessor, tiling_image_processor
from .internvl_tokenizer import load_original_tokenizer
from .internvl_weights import HEAD_KEYS, Checkpoint, convert_weights

_TEMPLATE = "internvl2_5"  # the chat template whose text `PROMPT_FORMATS` spell out
_QK_NORM_EPS = 1e-6  # transformers' InternVL fixes it at this value; the original uses layer_norm_eps
_VISION_ENTRIES = (
    "hidden_size num_hidden_layers num_attention_heads intermediate_size hidden_act norm_type layer_norm_eps "
    "image_size patch_size num_channels"
)
_TEXT_ENTRIES = (
    "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads num_key_value_heads hidden_act "
    "max_position_embeddings rms_norm_eps"
)


def convert_internvl(
    source: str | os.PathLike,
    output: str | os.PathLike,
    prompt_format: str = "train",
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> dict[str, Any]:
    """Write the PRM of an original checkpoint, model and processor, into a folder.

    Args:
        source: Folder with `config.json`, safetensors and a tokenizer.
        output: Folder to write to; must not be `source`.
        prompt_format: Prompt format of the saved processor, "train" or "reference_eval" (see `PROMPT_FORMATS`).
        tokenizer: Replaces the folder's own tokenizer.

    Returns:
        Facts about the PRM: `backbone`, `dtype`, `num_parameters`, `marker_token_id`, `prompt_format`.

    Raises:
        ValueError: if the layout is unknown, keys or shapes of the weights do not fit, or a token is missing.

    Example:
        >>> convert_internvl("path/to/MM-PRM-8B", "out/mm-prm-8b")["prompt_format"]  # doctest: +SKIP
        'train'
    """
    if Path(source).resolve() == Path(output).resolve():
        raise ValueError(f"Source and output are the same folder, {str(source)!r}. Choose another output.")
    try:
        processor = convert_internvl_processor(source, prompt_format, tokenizer)
    except (KeyError, TypeError, AttributeError) as error:  # an entry that is missing, or has another type
        raise CheckpointError(
            f"{str(source)!r} is not an original InternVL checkpoint: its files lack or misuse {error}. Fetch it again."
        ) from error
    ids = {
        "marker": processor.marker_token_id,
        "positive": processor.positive_token_id,
        "negative": processor.negative_token_id,
        "image": processor.base_processor.image_token_id,
    }
    model = convert_internvl_model(source, ids)
    model.save_pretrained(output)
    processor.save_pretrained(output)
    backbone = model.config.vlm_config
    return {
        "backbone": f"{backbone.model_type} with {backbone.text_config.model_type}",
        "dtype": str(model.dtype).removeprefix("torch."),
        "num_parameters": model.num_parameters(),
        "marker_token_id": processor.marker_token_id,
        "prompt_format": prompt_format,
    }


def convert_internvl_processor(
    source: str | os.PathLike, prompt_format: str = "train", tokenizer: PreTrainedTokenizerBase | None = None
) -> MMPRMProcessor:
    """Return the processor of an original checkpoint; arguments and errors are those of `convert_internvl`."""
    original = read_original_config(source)
    for name, supported in {"template": (_TEMPLATE,), "use_thumbnail": (True,), "pad2square": (False, None)}.items():
        if original.get(name) not in supported:
            raise ValueError(
                f"Found {name} = {original.get(name)!r} in {str(source)!r}, supported is {supported[0]!r}. Convert the "
                "weights with convert_internvl_model and write a processor for this prompt and tiling."
            )
    tokenizer = load_original_tokenizer(source) if tokenizer is None else tokenizer
    if MMPRMConfig.marker_token not in tokenizer.get_vocab():
        raise ValueError(
            f"The tokenizer of {str(source)!r} lacks the step marker {MMPRMConfig.marker_token!r}: this is not a PRM. "
            "Use the checkpoint of a trained PRM, or pass its `tokenizer=`."
        )
    num_rows = original["llm_config"]["vocab_size"]
    if len(tokenizer) > num_rows:
        raise ValueError(
            f"The tokenizer has {len(tokenizer)} tokens, the embedding {num_rows} rows. Use the tokenizer that was "
            "saved with these weights."
        )
    images = tiling_image_processor(
        original["vision_config"]["image_size"],
        min_tiles=original["min_dynamic_patch"],
        max_tiles=original["max_dynamic_patch"],
        dynamic=original["dynamic_image_size"],
    )
    base = MMPRMTiledProcessor(images, tokenizer, image_seq_length=_tokens_per_tile(original))
    return MMPRMProcessor(base, prompt_format=prompt_format)


def convert_internvl_model(source: str | os.PathLike, token_ids: Mapping[str, int]) -> MMPRMModel:
    """Return the PRM of an original checkpoint, in the checkpoint's dtype and in eval mode.

    Args:
        source: Folder with `config.json` and `model.safetensors` (or shards with `model.safetensors.index.json`).
        token_ids: Ids by role: "marker", "positive", "negative", "image", each below the number of embedding rows.

    Returns:
        A model whose marker logits are the original's rows [positive, negative].

    Raises:
        ValueError: if the layout is unknown, a key is missing, extra or of another shape, or dtypes differ.

    Example:
        >>> ids = {"marker": 604, "positive": 282, "negative": 281, "image": 597}
        >>> convert_internvl_model("path/to/MM-PRM-8B", ids).config.marker_token_id  # doctest: +SKIP
        604
    """
    original = read_original_config(source)
    config = _prm_config(original, token_ids)
    with torch.device("meta"):
        targets = {name: value.shape for name, value in MMPRMModel(config).state_dict().items()}
    state, dtype = convert_weights(Checkpoint(source), original, config, targets, token_ids)
    config.dtype = dtype
    return MMPRMModel.from_pretrained(None, config=config, state_dict=state, dtype=dtype).eval()


def read_original_config(source: str | os.PathLike) -> dict[str, Any]:
    """Return the original's `config.json`, checked for everything that our model cannot represent.

    Raises:
        ValueError: naming the entry, its value and what is supported.
    """
    path = Path(source, "config.json")
    if not path.is_file():
        raise ValueError(f"{str(source)!r} has no config.json. Give the folder of an original InternVL checkpoint.")
    original = read_json(path)
    if not isinstance(original, dict):
        raise ValueError(f"{path} is a {type(original).__name__}, expected an object. Fetch the checkpoint again.")
    if original.get("model_type") != "internvl_chat":
        raise ValueError(
            f"{str(source)!r} is not an InternVL checkpoint: its model_type is {original.get('model_type')!r}, "
            "expected 'internvl_chat'. A model of transformers starts a PRM with MMPRMModel.from_policy."
        )
    vision, text, _ = _entries(original, "config.json", "vision_config llm_config downsample_ratio").values()
    eps = vision.get("layer_norm_eps") if vision.get("qk_normalization") else _QK_NORM_EPS
    checks = {
        "llm_config.architectures": ((text.get("architectures") or [None])[0], tuple(HEAD_KEYS)),
        "ps_version": (original.get("ps_version"), ("v2",)),
        "select_layer": (original.get("select_layer"), (-1,)),
        "use_llm_lora": (original.get("use_llm_lora", 0), (0,)),
        "use_backbone_lora": (original.get("use_backbone_lora", 0), (0,)),
        "force_image_size": (original.get("force_image_size") or vision.get("image_size"), (vision.get("image_size"),)),
        "vision_config.layer_norm_eps (of the query and key norm)": (eps, (_QK_NORM_EPS,)),
    }
    for name, (value, supported) in checks.items():
        if value not in supported:
            raise ValueError(
                f"Found {name} = {value!r} in {path}, supported is {' or '.join(map(repr, supported))}. Merge adapters "
                "first; another layout needs its own converter."
            )
    return original


def _prm_config(original: Mapping[str, Any], token_ids: Mapping[str, int]) -> MMPRMConfig:
    """Our configuration for an original `config.json`."""
    vision = _entries(original["vision_config"], "vision_config", f"{_VISION_ENTRIES} qkv_bias qk_normalization")
    vision_config = InternVLVisionConfig(
        attention_bias=vision.pop("qkv_bias"),
        use_qk_norm=vision.pop("qk_normalization"),
        **vision,
        use_mean_pooling=True,  # no norm after the last layer
    )
    vlm_config = InternVLConfig(
        vision_config=vision_config,
        text_config=_text_config(original["llm_config"]),
        image_token_id=token_ids["image"],
        image_seq_length=_tokens_per_tile(original),
        downsample_ratio=original["downsample_ratio"],
        vision_feature_layer=-1,
        tie_word_embeddings=False,
    )
    return MMPRMConfig(vlm_config=vlm_config, marker_token_id=token_ids["marker"])


def _text_config(text: Mapping[str, Any]) -> PreTrainedConfig:
    """InternLM2 is Llama with fused weights; Qwen2 is transformers' own."""
    rope = dict(text.get("rope_scaling") or {})
    rope["rope_type"] = rope.pop("type", None) or rope.get("rope_type", "default")
    settings = {
        **_entries(text, "llm_config", _TEXT_ENTRIES),
        "rope_parameters": {**rope, **_entries(text, "llm_config", "rope_theta")},
        "tie_word_embeddings": False,  # the head has its own two rows
        **{name: text.get(name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
    }
    if text["architectures"][0] == "InternLM2ForCausalLM":
        bias = _entries(text, "llm_config", "bias")["bias"]
        return LlamaConfig(**settings, attention_bias=bias, mlp_bias=False)
    sliding = ("use_sliding_window", "sliding_window", "max_window_layers")
    return Qwen2Config(**settings, **{name: text[name] for name in sliding if text.get(name) is not None})


def _tokens_per_tile(original: Mapping[str, Any]) -> int:
    """Image tokens of one tile: patches times the squared downsampling ratio (256 for 448 px)."""
    vision = original["vision_config"]
    return int((vision["image_size"] // vision["patch_size"]) ** 2 * original["downsample_ratio"] ** 2)


def _entries(config: Mapping[str, Any], where: str, names: str) -> dict[str, Any]:
    """The entries of a config with these names, separated by spaces; all must be there."""
    missing = [name for name in names.split() if name not in config]
    if missing:
        raise ValueError(f"{where} lacks {missing}. Their defaults are not guessed: add them to config.json.")
    return {name: config[name] for name in names.split()}
