"""Parts of the tiny policies in `backbones.py`: tokenizers, settings, weights that are large enough to matter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n"]
WIDTH = 32  # hidden width of all text models and vision towers
SLIDING_WINDOW = 24  # tokens; the tests' texts are longer
CUTS = ("characters", "gpt2", "llama3", "gemma", "llama2")
_cut = "characters"
_WORDS = ("Yes", "No", "Step", "The", "Answer", " is", " answer", " =", " 12", "step", "answer")
_LLAMA3_PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
NUM_PADDING_ROWS = 8  # embedding rows beyond the tokenizer, as the released Qwen checkpoints have
SEED = 7  # chosen so that each policy's scores spread: standard deviation above 0.02 over texts and over figures
LOUDNESS = 10.0  # factor on all matrices but the embeddings: what a marker attends to counts more than its own row
EMBEDDING_LOUDNESS = 2.0


@contextlib.contextmanager
def cut_as(kind: str) -> Iterator[None]:
    """Let `make_tokenizer` cut text as a family's real tokenizer does, one of `CUTS`.

    What matters at the end of a step: "gpt2" joins two line breaks at the end of a text but not before a word; "llama3"
    (and Qwen) joins a full stop with the line breaks behind it; "gemma" joins line breaks everywhere; "llama2" has no
    token for them (bytes), and puts a blank before every text.
    """
    global _cut
    before, _cut = _cut, kind
    try:
        yield
    finally:
        _cut = before


def make_backend(special: list[str], kind: str) -> Any:
    """A tokenizer of the `tokenizers` package: special tokens first, then characters, then what merges make of them."""
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    if kind == "characters":
        vocab = {token: index for index, token in enumerate([*special, "Yes", "No", *CHARACTERS])}
        backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
        backend.pre_tokenizer = pre_tokenizers.Split(Regex("Yes|No|[\\s\\S]"), "isolated")
        backend.decoder = decoders.Fuse()
        return backend
    is_bytes = kind in ("gpt2", "llama3")
    spelled = str.maketrans({" ": "Ġ", "\n": "Ċ"} if is_bytes else {" ": "▁"})
    line_break = "<0x0A>" if kind == "llama2" else "\n".translate(spelled)
    characters = [line_break if c == "\n" else c.translate(spelled) for c in CHARACTERS]
    merges = [(word[:end], word[end]) for word in (w.translate(spelled) for w in _WORDS) for end in range(1, len(word))]
    if kind != "llama2":
        merges.append((line_break, line_break))
    if kind == "llama3":
        merges += [(mark, breaks) for mark in ".:)]" for breaks in (line_break, line_break * 2)]
    merges = list(dict.fromkeys(merges))
    tokens = dict.fromkeys([*special, *characters, *("".join(pair) for pair in merges)])
    vocab = {token: index for index, token in enumerate(tokens)}
    backend = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", byte_fallback=kind == "llama2"))
    if is_bytes:
        split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=kind == "gpt2")
        if kind == "llama3":
            split = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(_LLAMA3_PIECES), "isolated"), split])
        backend.pre_tokenizer, backend.decoder = split, decoders.ByteLevel()
        return backend
    blanks = [normalizers.Replace(" ", "▁")]
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if kind == "llama2":
        blanks, parts = [normalizers.Prepend("▁"), *blanks], [*parts, decoders.Strip(" ", 1, 0)]
    backend.normalizer, backend.decoder = normalizers.Sequence(blanks), decoders.Sequence(parts)
    return backend


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
    """Tokenizer with Yes and No as whole tokens; `named` are special tokens that become attributes.

    It cuts text into characters, or as `cut_as` says.
    """
    import transformers as hf
    from tokenizers.processors import TemplateProcessing

    named = named or {}
    extra = [*special, *(["<prm>"] if with_marker else [])]
    known = [pad, eos, *([bos] if bos else []), "<unk>", *named.values(), *extra]
    backend = make_backend(known, _cut)
    vocab = backend.get_vocab()
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
