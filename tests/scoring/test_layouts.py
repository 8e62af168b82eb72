"""Layouts: which one a backbone gets, and which ones are refused, with the reason."""

from __future__ import annotations

import pytest
import torch
from support.tiny_models import make_tokenizer
from transformers import Gemma3TextConfig, GPTNeoConfig, LlamaConfig

from mmprm_hf.models import MMPRMConfig, MMPRMModel, MMPRMProcessor
from mmprm_hf.scoring import LAYOUTS, PRMScorer, choose_layout

SIZES = {"vocab_size": 120, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}


def prm(config):
    """A random PRM on a text decoder of this configuration."""
    torch.manual_seed(0)
    return MMPRMModel(MMPRMConfig(vlm_config=config, marker_token_id=7)).eval()


def llama():
    return prm(LlamaConfig(**SIZES, num_attention_heads=4))


def test_every_layout_is_right_for_full_attention(caplog):
    model = llama()
    assert [choose_layout(model, layout) for layout in LAYOUTS] == list(LAYOUTS)
    assert choose_layout(model) == "auto" and not caplog.text
    with pytest.raises(ValueError, match="Unknown layout 'row'. Did you mean 'rows'"):
        choose_layout(model, "row")


def test_a_backbone_that_sees_what_follows_is_refused_whatever_the_layout():
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    model = prm(Gemma3TextConfig(**SIZES, **heads, use_bidirectional_attention=True))
    for layout in ("rows", "auto"):
        with pytest.raises(ValueError, match="Gemma3TextModel is not causal: a step's score would depend on later"):
            choose_layout(model, layout)


def test_attention_with_an_unknown_limit_is_scored_row_by_row(caplog):
    """A short probe cannot see what GPT-Neo's local attention forgets in long texts."""
    sizes = {"vocab_size": 120, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "window_size": 16}
    model = prm(GPTNeoConfig(**sizes, attention_types=[[["global", "local"], 1]]))
    assert choose_layout(model) == "rows"
    assert "Scoring with layout 'rows': GPTNeoModel limits its attention by attention_types, window_size" in caplog.text
    for layout in ("tree", "chain", "packed"):
        with pytest.raises(ValueError, match=f"layout '{layout}' would be wrong: GPTNeoModel limits its attention"):
            choose_layout(model, layout)


class MisplacedLlama(type(llama().vlm)):
    """Counts its positions from the cache and ignores those that it is given, so that branches are misplaced."""

    def forward(self, input_ids=None, position_ids=None, **kwargs):
        return super().forward(input_ids=input_ids, position_ids=None, **kwargs)


class ForgetfulLlama(type(llama().vlm)):
    """Takes no cache."""

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, use_cache=False):
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)


def test_the_probe_finds_what_no_rule_knows(caplog):
    model = llama()
    model.vlm.__class__ = MisplacedLlama
    assert choose_layout(model) == "chain"
    assert "MisplacedLlama gives other numbers under tree (relative error" in caplog.text
    with pytest.raises(ValueError, match="'tree' would be wrong: MisplacedLlama gives other numbers under tree"):
        choose_layout(model, "tree")
    model.vlm.__class__ = ForgetfulLlama
    assert choose_layout(model) == "rows"
    assert "ForgetfulLlama does not take chain inputs (TypeError" in caplog.text


class UnsteadyLlama(MisplacedLlama):
    """Gives other numbers in a batch than alone, so that everything would be within its rounding."""

    def forward(self, input_ids=None, **kwargs):
        output = super().forward(input_ids=input_ids, **kwargs)
        if len(input_ids) > 1:
            output.last_hidden_state = output.last_hidden_state + torch.randn_like(output.last_hidden_state)
        return output


def test_a_backbone_that_differs_from_itself_excuses_no_wrong_layout():
    model = llama()
    model.vlm.__class__ = UnsteadyLlama
    with pytest.raises(ValueError, match="UnsteadyLlama gives other numbers under tree"):
        choose_layout(model, "tree")


def test_the_scorer_has_the_layout_that_was_chosen():
    processor = MMPRMProcessor(make_tokenizer(with_marker=True))
    model = llama()
    model.config.marker_token_id = processor.marker_token_id
    assert PRMScorer(model, processor).layout == "auto"
    assert PRMScorer(model, processor, layout="chain").layout == "chain"
