"""Steps as text: no text writes a marker or an image placeholder, with special, plain and ordinary tokens alike."""

from __future__ import annotations

import json

import pytest
import torch
import transformers as hf
from support.backbone_parts import llama3_tokenizer, make_template
from support.tiny_models import make_figure, make_processor, make_tokenizer
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

from mmprm_hf.models import MMPRMProcessor

TEMPLATE = "{images}{question}\n"


def with_plain_image_token(folder):
    """The tiny processor whose `<image>` is an added token that is not special."""
    make_processor(with_marker=True).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        path = folder / name
        settings = json.loads(path.read_text())
        for token in settings.get("added_tokens", []):
            token["special"] = token["special"] and token["content"] != "<image>"
        if "extra_special_tokens" in settings:
            settings["extra_special_tokens"] = [t for t in settings["extra_special_tokens"] if t != "<image>"]
        path.write_text(json.dumps(settings))
    base = hf.LlavaProcessor.from_pretrained(folder)
    entry = next(t for t in base.tokenizer.added_tokens_decoder.values() if t.content == "<image>")
    assert not entry.special
    return base


def word_tokenizer(as_added: bool):
    """Words and characters; the marker "ки" is an ordinary word, as in Math-Shepherd (`as_added`: added as well)."""
    words = ["<pad>", "<unk>", "Yes", "No", "ки", *map(chr, range(32, 127)), "\n", "к", "и"]
    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"Yes|No|ки|[\s\S]"), "isolated")
    backend.normalizer = normalizers.Replace("КИ", "ки")
    tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", unk_token="<unk>")
    if as_added:
        tokenizer.add_special_tokens({"extra_special_tokens": ["ки"]})
    return tokenizer


@pytest.mark.parametrize("joined", [False, True])
def test_an_image_token_that_is_not_special_is_read_as_text(joined, tmp_path):
    base = with_plain_image_token(tmp_path)
    processor = MMPRMProcessor(
        base, prompt_template=TEMPLATE, step_separator="\n" if joined else "", join_before_tokenizing=joined
    )
    steps = ["see <image> and <image><image>", "b<prm>"]
    first, second = processor.encode_steps(steps, "as_text")
    assert processor.tokenizer.convert_ids_to_tokens(first) == [*steps[0], "<prm>"]
    assert processor.tokenizer.convert_ids_to_tokens(second) == [*("\n" if joined else ""), *steps[1], "<prm>"]
    batch = processor(images=make_figure(0), text="q", steps=steps, control_tokens="as_text")
    assert (batch["input_ids"] == base.image_token_id).sum() == 16


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("as_added", [False, True])
def test_a_marker_that_is_an_ordinary_word(as_added, joined):
    processor = MMPRMProcessor(
        word_tokenizer(as_added), marker_token="ки", prompt_template=TEMPLATE, join_before_tokenizing=joined
    )
    assert processor.marker_is_word
    (ids,) = processor.encode_steps(["aкиb"], "as_text")
    assert processor.tokenizer.convert_ids_to_tokens(ids) == ["a", "к", "и", "b", "ки"]
    with pytest.raises(ValueError, match="step_index 1"):
        processor.encode_steps(["a", "bки"])
    for control_tokens in ("refuse", "as_text"):  # the normalizer writes it
        with pytest.raises(ValueError, match="step_index 1 writes 'ки', an ordinary word of the vocabulary"):
            processor.encode_steps(["a", "bКИ"], control_tokens)


@pytest.mark.parametrize("joined", [False, True])
def test_a_marker_of_one_character_cannot_be_read_as_text(joined):
    processor = MMPRMProcessor(
        make_tokenizer(), marker_token="+", prompt_template=TEMPLATE, join_before_tokenizing=joined
    )
    assert processor.marker_is_word
    with pytest.raises(ValueError, match=r"step_index 0 writes '\+', an ordinary word"):
        processor.encode_steps(["1 + 1"], "as_text")


@pytest.mark.parametrize("with_marker", [False, True])
def test_an_added_marker_is_no_word(with_marker, tmp_path):
    assert not MMPRMProcessor.from_policy(make_tokenizer(with_marker)).marker_is_word
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["<prm>"])  # added, not special
    processor = MMPRMProcessor(tokenizer)
    assert not processor.marker_is_word
    (ids,) = processor.encode_steps(["a<prm>"], "as_text")
    assert processor.tokenizer.convert_ids_to_tokens(ids) == [*"a<prm>", "<prm>"]


def test_text_without_pad_token_is_encoded_one_by_one():
    padded = MMPRMProcessor.from_policy(make_processor())
    arguments = {"text": ["q", "qqq"], "steps": [["a"], ["b", "c"]]}
    expected = padded(**arguments)
    for base in (make_processor(), make_tokenizer()):
        tokenizer = getattr(base, "tokenizer", base)
        tokenizer.pad_token = None
        processor = MMPRMProcessor.from_policy(base)
        batch = processor(**arguments)
        assert torch.equal(batch["attention_mask"], expected["attention_mask"])
        real = expected["attention_mask"].bool()
        assert torch.equal(batch["input_ids"][real], expected["input_ids"][real])
        if base is not tokenizer:
            with pytest.raises(ValueError, match="no pad token"):
                processor(images=[make_figure(0), None], **arguments)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match=r"Found no questions \(text=\[\]\)"):
        MMPRMProcessor.from_policy(make_tokenizer())(text=[], steps=[])


def test_images_that_are_read_by_cross_attention_are_refused():
    template = make_template("<|start_header_id|>", "<|eot_id|>", "<|end_header_id|>", "<|image|>")
    special = ("<|start_header_id|>", "<|end_header_id|>", "<|image|>", "<|python_tag|>")
    image_processor = hf.MllamaImageProcessorPil(size={"height": 32, "width": 32}, max_image_tiles=2)
    base = hf.MllamaProcessor(image_processor, llama3_tokenizer(template, False, special), chat_template=template)
    processor = MMPRMProcessor.from_policy(base)
    with pytest.raises(ValueError, match="MllamaProcessor belongs to a backbone that reads images by cross-attention"):
        processor(images=make_figure(0), text="q", steps=["a"])
    assert processor(text="q", steps=["a"])["input_ids"].shape[0] == 1
