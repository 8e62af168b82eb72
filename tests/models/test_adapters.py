"""PEFT adapters with head and marker row: what trains, and the same scores after every way of loading."""

from __future__ import annotations

import json

import pytest
import torch
from support.tiny_prms import CASES, assert_same_scores, scores_of, tiny_prm
from transformers import AutoModel

from mmprm_hf.models import MMPRMModel, model_fingerprint

peft = pytest.importorskip("peft")


def train(model, prm):
    """The model under an adapter after three optimizer steps."""
    settings = peft.LoraConfig(
        target_modules=["q_proj", "v_proj"],
        modules_to_save=["score"],
        trainable_token_indices={"embed_tokens": [prm.processor.marker_token_id]},
        r=2,
    )
    adapted = peft.get_peft_model(model, settings)
    optimizer = torch.optim.AdamW([p for p in adapted.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        adapted(**prm.batch, labels=prm.labels()).loss.backward()
        optimizer.step()
    return adapted


@pytest.mark.parametrize("family, head_type", CASES)
def test_head_and_marker_row_train_and_every_way_of_loading_gives_the_same(family, head_type, tmp_path):
    prm = tiny_prm(family)
    base, adapter = prm.saved(tmp_path / "prm", head_type), tmp_path / "adapter"
    start = MMPRMModel.from_pretrained(base)
    model = MMPRMModel.from_pretrained(base)
    fingerprint = model_fingerprint(model)
    adapted = train(model, prm)
    scores = scores_of(adapted, prm)
    assert (scores - scores_of(start, prm)).abs().max() > 0.01
    adapted.save_pretrained(adapter)
    other = MMPRMModel.from_pretrained(base)
    other.load_adapter(str(adapter))
    for loaded in (
        peft.PeftModel.from_pretrained(MMPRMModel.from_pretrained(base), adapter),
        AutoModel.from_pretrained(adapter),
        MMPRMModel.from_pretrained(adapter),
        other,
    ):
        assert_same_scores(scores_of(loaded, prm), scores)
    merged = adapted.merge_and_unload()
    assert type(merged) is MMPRMModel
    assert_same_scores(scores_of(merged, prm), scores)
    rows, old_rows = merged.get_input_embeddings().weight, start.get_input_embeddings().weight
    assert (rows != old_rows).any(-1).nonzero().flatten().tolist() == [prm.processor.marker_token_id]
    for name, parameter in merged.score.named_parameters():
        assert not torch.equal(parameter, start.score.get_parameter(name)), name
    merged.save_pretrained(tmp_path / "merged")
    assert_same_scores(scores_of(AutoModel.from_pretrained(tmp_path / "merged"), prm), scores_of(merged, prm))
    assert model_fingerprint(merged) != fingerprint


@pytest.mark.parametrize("head_type", ["two_token", "sigmoid"])
def test_an_adapter_trained_straight_from_a_policy_is_loaded_onto_it(head_type, tmp_path):
    """Its folder does not name a base, which was never saved; loading it alone is an error that says so."""
    prm = tiny_prm("llava")
    adapted = train(prm.model(head_type), prm)
    adapted.save_pretrained(tmp_path)
    loaded = peft.PeftModel.from_pretrained(prm.model(head_type), tmp_path)
    assert_same_scores(scores_of(loaded, prm), scores_of(adapted, prm))
    with pytest.raises(ValueError, match="does not name the PRM or the policy that it belongs to.*from_policy"):
        MMPRMModel.from_pretrained(tmp_path)


def test_an_adapter_of_a_policy_is_refused(tmp_path):
    """The policy's config, read as a PRM's, would make a random backbone of the default size: seven billion weights."""
    prm = tiny_prm("llama")
    settings = {"peft_type": "LORA", "base_model_name_or_path": prm.policy_dir}
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    with pytest.raises(ValueError, match="is not a PRM: its model_type is 'llama'"):
        MMPRMModel.from_pretrained(tmp_path)
