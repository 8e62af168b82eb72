"""Packed prefix trees: what goes in, what comes out, and that a model cannot tell packed from unpacked."""

import pytest
import torch

from mmprm_hf.packing import additive_mask, pack_prefix_tree, stack_packed


def test_two_sequences_and_the_exact_tensors():
    tree = pack_prefix_tree([[5, 6, 7], [5, 6, 8, 9]])
    assert tree.input_ids.tolist() == [5, 6, 7, 8, 9]
    assert tree.position_ids.tolist() == [0, 1, 2, 2, 3]
    assert tree.parents.tolist() == [-1, 0, 1, 1, 3]
    assert [index.tolist() for index in tree.token_index] == [[0, 1, 2], [0, 1, 3, 4]]
    assert tree.attention_mask().int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [1, 1, 0, 1, 1],
    ]


def test_equal_sequences_share_every_token_and_prefixes_may_end_inside():
    tree = pack_prefix_tree([[1, 2, 3], [1, 2], [1, 2, 3]])
    assert len(tree) == 3
    assert [index.tolist() for index in tree.token_index] == [[0, 1, 2], [0, 1], [0, 1, 2]]


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="Found 0 sequences"):
        pack_prefix_tree([])
    with pytest.raises(ValueError, match="one of them empty"):
        pack_prefix_tree([[1], []])
    with pytest.raises(ValueError, match="start with different tokens"):
        pack_prefix_tree([[1, 2], [2, 1]])
    with pytest.raises(ValueError, match="longer than length=2"):
        stack_packed([pack_prefix_tree([[1, 2, 3]])], pad_token_id=0, length=2)


def test_stacking_pads_on_the_right_and_padding_sees_only_itself():
    batch = stack_packed([pack_prefix_tree([[1, 2, 3]]), pack_prefix_tree([[4]])], pad_token_id=0, length=4)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 0], [4, 0, 0, 0]]
    assert batch["attention_mask"][1, 0].int().tolist() == torch.eye(4).int().tolist()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_computes_the_same_packed_and_unpacked(tiny_policy, attention):
    """Also the negative case: without the tree mask the branches see each other and differ."""
    model = tiny_policy.model.language_model
    before = model.config._attn_implementation
    model.set_attn_implementation(attention)
    try:
        sequences = [[3, 4, 5, 6, 7], [3, 4, 5, 8], [3, 4, 5, 6, 9, 10]]
        tree = pack_prefix_tree(sequences)
        batch = stack_packed([tree], pad_token_id=0, length=len(tree) + 2)
        mask = batch["attention_mask"]
        batch["attention_mask"] = additive_mask(mask, torch.float32) if attention == "eager" else mask
        with torch.no_grad():
            packed = model(**batch).last_hidden_state[0]
            causal = torch.ones_like(mask).tril()
            leaky = model(
                input_ids=batch["input_ids"],
                position_ids=batch["position_ids"],
                attention_mask=additive_mask(causal, torch.float32) if attention == "eager" else causal,
            ).last_hidden_state[0]
            for sequence, index in zip(sequences, tree.token_index, strict=True):
                alone = model(input_ids=torch.tensor([sequence])).last_hidden_state[0]
                assert (packed[index] - alone).abs().max() < 1e-5
            assert (leaky[tree.token_index[1]] - packed[tree.token_index[1]]).abs().max() > 1e-3
    finally:
        model.set_attn_implementation(before)
