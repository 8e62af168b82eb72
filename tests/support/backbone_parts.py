"""Parts of the tiny policies in `backbones.py`: tokenizers, settings, weights that are large enough to matter."""

from __future__ import annotations

from typing import Any

CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
WIDTH = 32  # hidden width of all text models and vision towers
SLIDING_WINDOW = 24  # tokens; the tests' texts are longer
NUM_PADDING_ROWS = 8  # embedding rows beyond the tokenizer, as the released Qwen checkpoints have
SEED = 7  # chosen so that each policy's scores spread: standard deviation above 0.02 over texts and over figures
LOUDNESS = 10.0  # factor on all matrices but the embeddings: what a marker attends to counts more than its own row
EMBEDDING_LOUDNESS = 2.0


def make_tokenizer(
    pad: str,
    eos: str,
    bos: str | None = None,
    adds_bos: bool = False,
    special: tuple[str, ...] = (),
    named: dict[str, str] | None = None,
    template: str | None = None,
    with_marker: bool = False,
) -> Any:
    """Character tokenizer with Yes and No as whole tokens; `named` are special tokens that become attributes."""
    import transformers as hf
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from tokenizers.decoders import Fuse
    from tokenizers.processors import TemplateProcessing

    named = named or {}
    extra = [*special, *(["<prm>"] if with_marker else [])]
    known = [pad, eos, *([bos] if bos else []), "<unk>", *named.values(), *extra, "Yes", "No", *CHARACTERS]
    vocab = {token: index for index, token in enumerate(known)}
    assert len(vocab) == len(known), "a token is listed twice"
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("Yes|No|[\\s\\S]"), "isolated")
    backend.decoder = Fuse()
    if adds_bos:
        backend.post_processor = TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, vocab[bos])])
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=pad,
        eos_token=eos,
        bos_token=bos,
        unk_token="<unk>",
        extra_special_tokens=extra,
        model_specific_special_tokens=named,
        chat_template=template,
        padding_side="left",
    )


def make_template(user: str, end: str, assistant: str, image: str = "", start: str = "") -> str:
    """Chat template: `start`, then per message its opening, its text with `image` for each image, and `end`."""
    return (
        f"{{{{ {start!r} }}}}{{% for message in messages %}}"
        f"{{% if message['role'] == 'assistant' %}}{{{{ {assistant!r} }}}}{{% else %}}{{{{ {user!r} }}}}{{% endif %}}"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{{{{ {image!r} }}}}{{% else %}}{{{{ part['text'] }}}}{{% endif %}}"
        "{% endfor %}{% endif %}"
        f"{{{{ {end!r} }}}}{{% endfor %}}{{% if add_generation_prompt %}}{{{{ {assistant!r} }}}}{{% endif %}}"
    )


def chatml_template(image: str = "") -> str:
    return make_template("<|im_start|>user\n", "<|im_end|>\n", "<|im_start|>assistant\n", image)


def chatml_tokenizer(template: str, with_marker: bool, special: tuple[str, ...] = (), **named: str) -> Any:
    """As Qwen's: no BOS, turns end in <|im_end|>."""
    return make_tokenizer(
        "<|endoftext|>", "<|im_end|>", None, False, ("<|im_start|>", *special), named, template, with_marker
    )


def llama3_tokenizer(template: str, with_marker: bool, special: tuple[str, ...]) -> Any:
    return make_tokenizer(
        "<|finetune_right_pad_id|>", "<|eot_id|>", "<|begin_of_text|>", True, special, None, template, with_marker
    )


def gemma_tokenizer(with_marker: bool, image: str = "", **named: str) -> Any:
    """As Gemma's: the tokenizer adds <bos>, and so does the chat template."""
    template = make_template("<start_of_turn>user\n", "<end_of_turn>\n", "<start_of_turn>model\n", image, "<bos>")
    special = ("<start_of_turn>", "<end_of_turn>")
    return make_tokenizer("<pad>", "<eos>", "<bos>", True, special, named, template, with_marker)


# Configurations


def text_settings(tokenizer: Any, num_layers: int = 2, num_padding_rows: int = 0) -> dict[str, Any]:
    """What all text configurations share: grouped heads of width 8, untied head, ids of the tokenizer."""
    return {
        "vocab_size": len(tokenizer) + num_padding_rows,
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": num_layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": False,
    }


def gemma_settings(tokenizer: Any, layer_types: list[str] | None = None) -> dict[str, Any]:
    settings = {**text_settings(tokenizer, len(layer_types) if layer_types else 2), "head_dim": 8}
    if layer_types:
        settings |= {"layer_types": layer_types, "sliding_window": SLIDING_WINDOW, "query_pre_attn_scalar": 8}
    return settings


def vision_settings(patch_size: int, image_size: int = 32) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": image_size,
        "patch_size": patch_size,
    }


def make_policy(model_class: Any, config: Any) -> Any:
    """Seeded float32 policy in which every weight matters and scores differ clearly between texts and images.

    Matrices are made louder. Those that start at zero (Gemma 3's projector, which would hide the image; InternVL's
    position embeddings) become random, and biases and norms leave 0 and 1.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(SEED)
        policy = model_class(config).float()
        embeddings = policy.get_input_embeddings().weight
        for parameter in policy.parameters():
            if parameter.ndim < 2:
                parameter.add_(0.1 * torch.randn_like(parameter))
                continue
            if not parameter.any():
                parameter.normal_(std=0.02)
            parameter.mul_(EMBEDDING_LOUDNESS if parameter is embeddings else LOUDNESS)
    return policy.eval()
