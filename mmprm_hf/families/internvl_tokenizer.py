"""Tokenizer of an original InternVL folder, without running its remote code.

transformers reads `tokenizer.json` and Qwen2's `vocab.json`. InternLM2's folder may contain only a sentencepiece model,
whose BPE is rebuilt here and compared with sentencepiece before it is used. sentencepiece is imported only then.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.tokenization_utils_base import generate_merges

_REMEDY = (
    "Give a folder with tokenizer.json (or vocab.json and merges.txt, or tokenizer.model), or pass `tokenizer=`: any "
    "tokenizer of transformers with the checkpoint's ids."
)
_SAMPLES = (
    "Question: If $x + 3 = 7$, find $\\frac{x}{2}$.\nProcess: Subtract 3:  x = 4.\n\n",
    "  two spaces,\ttab and trailing space ",
    "由图可知，角度 α = 60°，√2 ≈ 1.414。",
    "Yes",
    "No, 12! \U0001f600",
)


def load_original_tokenizer(source: str | os.PathLike) -> PreTrainedTokenizerBase:
    """Return the tokenizer of an original folder, with all its added tokens.

    Raises:
        ValueError: if the folder has no known tokenizer file, or the tokenizer cannot be rebuilt exactly.
        ImportError: if the folder has only a sentencepiece model and sentencepiece is not installed.
    """
    folder = Path(source)
    if (folder / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    elif (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        tokenizer = Qwen2Tokenizer.from_pretrained(folder)
    elif (folder / "tokenizer.model").is_file():
        tokenizer = _build_from_sentencepiece(folder)
    else:
        raise ValueError(f"{str(source)!r} has no tokenizer. {_REMEDY}")
    for name in ("auto_map", "name_or_path"):  # neither remote code nor a machine's path belongs in a checkpoint
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer


def _build_from_sentencepiece(folder: Path) -> PreTrainedTokenizerFast:
    """Return InternLM2's tokenizer from `tokenizer.model`, `tokenizer_config.json` and `added_tokens.json`.

    It is that of InternLM2's own fast tokenizer: BPE with byte fallback, spaces as "▁", a leading "▁" only if the model
    was trained with one, and "<s>" first unless `add_bos_token` is false.

    Raises:
        ValueError: if ids of added tokens have gaps, or sample texts get other ids than from sentencepiece.
        ImportError: if sentencepiece is not installed.
    """
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError as error:
        raise ImportError(
            f"{folder} has only a sentencepiece model. Install sentencepiece (`pip install sentencepiece`), or pass "
            "`tokenizer=`."
        ) from error
    pieces = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    settings = _read(folder / "tokenizer_config.json")
    added = _added_tokens(settings, _read(folder / "added_tokens.json"))
    backend = _backend(pieces, added)
    special = {name: _content(settings.get(name)) for name in ("bos_token", "eos_token", "unk_token", "pad_token")}
    special = {name: content for name, content in special.items() if content is not None}
    bos = special.get("bos_token", "<s>")
    if settings.get("add_bos_token", True):
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A",
            pair=f"{bos} $A $B",
            special_tokens=[(bos, backend.token_to_id(bos))],
        )
    for text in _SAMPLES:
        ours, theirs = backend.encode(text, add_special_tokens=False).ids, pieces.encode(text)
        if ours != theirs:
            raise ValueError(
                f"The rebuilt tokenizer reads {text!r} as {ours}, sentencepiece as {theirs}; it must be the same BPE "
                f"model. {_REMEDY}"
            )
    return PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **special)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _content(token: Any) -> str | None:
    return token["content"] if isinstance(token, dict) else token


def _added_tokens(settings: dict[str, Any], in_own_file: dict[str, int]) -> dict[int, AddedToken]:
    """Added tokens by id, all special: steps and questions must not contain them."""
    contents = {index: content for content, index in in_own_file.items()}
    contents |= {int(index): token["content"] for index, token in settings.get("added_tokens_decoder", {}).items()}
    return {index: AddedToken(contents[index], special=True, normalized=False) for index in sorted(contents)}


def _backend(pieces: Any, added: dict[int, AddedToken]) -> Tokenizer:
    """The BPE of a sentencepiece model; an added token replaces the piece with its id."""
    names = [pieces.id_to_piece(index) for index in range(len(pieces))]
    unk = names[pieces.unk_id()]
    scores = {
        name: pieces.get_score(index)
        for index, name in enumerate(names)
        if not (pieces.is_control(index) or pieces.is_unknown(index) or pieces.is_byte(index) or index in added)
    }
    names = [added[index].content if index in added else name for index, name in enumerate(names)]
    vocab = {name: index for index, name in enumerate(names)}
    merged = {name: vocab[name] for name in scores}
    model = models.BPE(vocab, generate_merges(merged, scores), unk_token=unk, fuse_unk=True, byte_fallback=True)
    backend = Tokenizer(model)
    has_prefix = pieces.encode("x", out_type=str)[0].startswith("▁")
    spaces = normalizers.Replace(" ", "▁")
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), spaces]) if has_prefix else spaces
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend.decoder = decoders.Sequence(parts + ([decoders.Strip(" ", 1, 0)] if has_prefix else []))
    backend.add_special_tokens(list(added.values()))
    moved = {token.content: index for index, token in added.items() if backend.token_to_id(token.content) != index}
    if moved:
        raise ValueError(
            f"Added tokens {moved} would get other ids: there must be no gap after the {len(names)} pieces. {_REMEDY}"
        )
    return backend
