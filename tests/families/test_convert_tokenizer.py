"""Original tokenizers without remote code: tokenizer.json, Qwen2's two files, InternLM2's sentencepiece model."""

from __future__ import annotations

import json
import sys

import pytest
from support.original_internvl import GOLDEN, INTERNVL_TOKENS
from support.tiny_models import make_tokenizer

from mmprm_hf.families.internvl_tokenizer import load_original_tokenizer

TEXTS = (
    "Question: If x + 3 = 7, find x. Process: Subtract 3, x = 4. Yes No Yes No",
    "The area is base * height / 2. So the area is 6 * 4 / 2 = 12. Yes No",
)


def train_sentencepiece(folder, add_dummy_prefix=False, remove_extra_whitespaces=False):
    """Write a model of 400 pieces, as InternLM2's: byte fallback, no normalisation, an unused piece for a token."""
    sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is a development dependency")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 20 + ("由图可知，角度 60°。",) * 3),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        add_dummy_prefix=add_dummy_prefix,
        remove_extra_whitespaces=remove_extra_whitespaces,
        normalization_rule_name="identity",
        character_coverage=0.98,
        user_defined_symbols=["[UNUSED_TOKEN_0]"],
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))


def write_settings(folder, pieces, **changes):
    """Write settings as InternLM2's: one token replaces an unused piece, the others follow the last."""
    added = dict(enumerate(["<unk>", "<s>", "</s>"]))
    added[pieces.piece_to_id("[UNUSED_TOKEN_0]")] = INTERNVL_TOKENS[0]
    added |= {len(pieces) + index: token for index, token in enumerate([*INTERNVL_TOKENS[1:], "<prm>"])}
    settings = {
        "added_tokens_decoder": {str(index): {"content": token, "special": True} for index, token in added.items()},
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>",
        "tokenizer_class": "InternLM2Tokenizer",
        "auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]},
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | changes))
    return {token: index for index, token in added.items()}


@pytest.mark.parametrize("add_dummy_prefix", [False, True])
def test_sentencepiece_ids_are_kept(tmp_path, add_dummy_prefix):
    pieces = train_sentencepiece(tmp_path, add_dummy_prefix)
    added = write_settings(tmp_path, pieces)
    tokenizer = load_original_tokenizer(tmp_path)
    text = ("Subtract 3:  x = 4.\n角", " and 角度 \U0001f600", "Yes")
    ids = tokenizer(f"{text[0]}<prm>{text[1]}<|im_start|>{text[2]}")["input_ids"]
    expected = [1, *pieces.encode(text[0]), added["<prm>"], *pieces.encode(text[1])]
    assert ids == [*expected, added["<|im_start|>"], *pieces.encode(text[2])]
    assert any(pieces.is_byte(index) for index in ids if index < len(pieces))  # the fallback was used
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert tokenizer.decode(tokenizer(text[0], add_special_tokens=False)["input_ids"]) == text[0]
    tokenizer.save_pretrained(tmp_path / "saved")
    again = load_original_tokenizer(tmp_path / "saved")
    assert again(f"{text[0]}<prm>")["input_ids"] == tokenizer(f"{text[0]}<prm>")["input_ids"]
    assert "auto_map" not in json.loads((tmp_path / "saved" / "tokenizer_config.json").read_text())


def test_bos_can_be_left_out_and_added_tokens_may_lie_in_their_own_file(tmp_path):
    pieces = train_sentencepiece(tmp_path)
    write_settings(tmp_path, pieces, added_tokens_decoder={}, add_bos_token=False)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<prm>": len(pieces)}))
    tokenizer = load_original_tokenizer(tmp_path)
    assert tokenizer("x = 4<prm>")["input_ids"] == [*pieces.encode("x = 4"), len(pieces)]


def test_a_tokenizer_that_cannot_be_rebuilt_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="has no tokenizer. Give a folder with tokenizer.json"):
        load_original_tokenizer(tmp_path)
    pieces = train_sentencepiece(tmp_path)
    write_settings(tmp_path, pieces, added_tokens_decoder={})
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<prm>": len(pieces) + 5}))
    with pytest.raises(ValueError, match=r"Added tokens \{'<prm>': 405\} would get other ids"):
        load_original_tokenizer(tmp_path)
    pieces = train_sentencepiece(tmp_path, remove_extra_whitespaces=True)
    write_settings(tmp_path, pieces)
    (tmp_path / "added_tokens.json").unlink()
    with pytest.raises(ValueError, match="The rebuilt tokenizer reads .* it must be the same BPE model"):
        load_original_tokenizer(tmp_path)
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(ImportError, match="pip install sentencepiece"):
        load_original_tokenizer(tmp_path)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden files are not at {GOLDEN}")
@pytest.mark.parametrize("name", ["internvl_internlm2", "internvl_qwen2"])
def test_tokenizer_json_gives_the_published_ids(name):
    tokenizer = load_original_tokenizer(GOLDEN / name)
    cases = json.loads((GOLDEN / name / "golden_scores.json").read_text())["cases"]
    assert len(cases) == 10
    assert all(tokenizer(case["full_text"])["input_ids"] == case["input_ids"] for case in cases)


@pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"the golden files are not at {GOLDEN}")
def test_qwen2_vocabulary_and_merges_give_the_same_ids(tmp_path):
    source = GOLDEN / "internvl_qwen2"
    whole = json.loads((source / "tokenizer.json").read_text())
    added = [token for token in whole["added_tokens"] if token["content"] not in whole["model"]["vocab"]]
    (tmp_path / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(whole["model"]["merges"]) + "\n")
    (tmp_path / "added_tokens.json").write_text(json.dumps({token["content"]: token["id"] for token in added}))
    settings = json.loads((source / "tokenizer_config.json").read_text()) | {"tokenizer_class": "Qwen2Tokenizer"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    ours, expected = load_original_tokenizer(tmp_path), load_original_tokenizer(source)
    # The golden files split numbers as GPT-2 does, Qwen2 digit by digit: words and added tokens only.
    for text in ("Yes the area is base times height", "<|im_start|>user No<prm>So the base</img>"):
        assert ours(text)["input_ids"] == expected(text)["input_ids"]
    assert ours.pad_token_id == expected.pad_token_id and len(ours) == len(expected)


def test_no_remote_code_is_left_in_a_saved_tokenizer(tmp_path):
    make_tokenizer().save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    remote = {"auto_map": {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings | remote))
    load_original_tokenizer(tmp_path).save_pretrained(tmp_path / "saved")
    saved = (tmp_path / "saved" / "tokenizer_config.json").read_text()
    assert "auto_map" not in saved and str(tmp_path) not in saved
