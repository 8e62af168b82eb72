"""A processor's fingerprint: all that its token ids depend on, and nothing that saving or calling changes."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
from support.tiny_models import make_processor, make_tokenizer
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers

from mmprm_hf.models import MMPRMProcessor, processor_fingerprint

BASES = {"text": make_tokenizer, "vision": make_processor}


@pytest.fixture(params=BASES)
def processor(request) -> MMPRMProcessor:
    return MMPRMProcessor.from_policy(BASES[request.param]())


def new_template(processor):
    processor.base_processor.chat_template = processor.chat_template.replace("assistant", "judge")


def new_normalizer(processor):
    processor.tokenizer.backend_tokenizer.normalizer = normalizers.Lowercase()


def new_pre_tokenizer(processor):
    processor.tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("Yes|[\\s\\S]"), "isolated")


def new_stripping(processor):
    processor.tokenizer.add_tokens([AddedToken("x", lstrip=True)])  # a token of the vocabulary: no new id


@pytest.mark.parametrize("change", [new_template, new_normalizer, new_pre_tokenizer, new_stripping])
def test_what_changes_the_ids_changes_the_fingerprint(processor, change):
    before, other = processor_fingerprint(processor), copy.deepcopy(processor)
    assert processor_fingerprint(other) == before
    change(other)
    assert processor_fingerprint(other) != before


def test_saving_and_calling_change_nothing(processor, tmp_path):
    before = processor_fingerprint(processor)
    processor(text=["q", "qq"], steps=[["a"], ["b", "c"]])
    processor.tokenizer(["a", "bcd"], padding=True, truncation=True, max_length=2)
    assert processor_fingerprint(processor) == before
    processor.save_pretrained(tmp_path)
    again = MMPRMProcessor.from_pretrained(tmp_path)
    assert processor_fingerprint(again) == before
    again(text=["q", "qq"])
    again.save_pretrained(tmp_path / "again")
    assert processor_fingerprint(MMPRMProcessor.from_pretrained(tmp_path / "again")) == before


def test_a_fingerprint_is_the_one_that_score_stores_have_had_from_the_start():
    """The prompt format was called "dialect" then."""
    settings = {"processor_class": "MMPRMProcessor", "mm_prm": {"marker_token": "<prm>", "prompt_format": "train"}}
    tokenizer = SimpleNamespace(added_tokens_decoder={7: "<prm>"}, get_vocab=lambda: {"a": 0, "<prm>": 7})
    processor = SimpleNamespace(to_dict=lambda: settings, chat_template="{{ x }}", tokenizer=tokenizer)
    assert processor_fingerprint(processor) == "c9044b55c56c496d"
