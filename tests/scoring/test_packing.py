"""Packed prefix trees: what goes in, what comes out, and that a model cannot tell packed from unpacked."""

import random
from types import SimpleNamespace

import pytest
import torch
from support.tiny_models import PlainTreeKernel
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from mmprm_hf.models import pad_rows
from mmprm_hf.scoring import pack_prefix_tree
from mmprm_hf.scoring.packing import additive_mask, block_mask, stack_masks

TREES = [
    [[5, 6, 7], [5, 6, 8, 9], [5, 6, 7, 1, 2], [5, 3], [5, 6, 8, 4]],
    [[1, 2, 3], [1, 2], [1, 2, 3]],
    [[4]],
    [[1, 2, 3, 4, 5, 6]],
]


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


def check_contract(sequences, window):
    """The whole contract, spelled without the layout: token by token, sequence by sequence."""
    tree = pack_prefix_tree(sequences)
    mask = tree.attention_mask(window)
    assert len(tree) == len({tuple(s[: i + 1]) for s in sequences for i in range(len(s))})
    for sequence, index in zip(sequences, tree.token_index, strict=True):
        assert tree.input_ids[index].tolist() == sequence
        for position, row in enumerate(index.tolist()):
            first = 0 if window is None else max(0, position + 1 - window)
            assert mask[row].nonzero()[:, 0].tolist() == sorted(index[first : position + 1].tolist())
            assert tree.position_ids[row] == position
            assert tree.parents[row] == (index[position - 1] if position else -1)


def test_every_token_sees_its_own_sequence_and_nothing_else():
    for sequences in TREES:
        for window in (None, 2):
            check_contract(sequences, window)
    rng = random.Random(0)
    for _ in range(50):
        sequences = [[0, *rng.choices([1, 2], k=rng.randint(0, 6))] for _ in range(rng.randint(1, 8))]
        check_contract(sequences, rng.choice([None, 1, 3]))


def test_tree_rows_feed_trls_tree_attention(monkeypatch):
    """TRL's own gather, with a plain stand-in for the fused kernel, equals attention under our mask."""
    trl_packing = pytest.importorskip("trl.experimental.async_grpo.packing", reason="this trl has no tree attention")
    monkeypatch.setattr(trl_packing, "_flash_attn", lambda: PlainTreeKernel)
    torch.manual_seed(0)
    for tree in map(pack_prefix_tree, TREES):
        query, key, value = torch.randn(3, 1, 2, len(tree), 8)
        rows, module = tree.tree_rows(), torch.nn.Linear(1, 1)
        module.config = SimpleNamespace(dtype=torch.float32)
        output, _ = trl_packing.tree_attention(
            module,
            query,
            key,
            value,
            None,
            tree_kv_index=rows["tree_kv_index"],
            tree_cu_seqlens_q=rows["tree_cu_seqlens_q"],
            tree_cu_seqlens_k=rows["tree_cu_seqlens_k"],
            tree_max_seqlen_q=rows["tree_max_seqlens"][0],
            tree_max_seqlen_k=rows["tree_max_seqlens"][1],
        )
        expected = scaled_dot_product_attention(query, key, value, attn_mask=tree.attention_mask()).transpose(1, 2)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=0)  # float32, sums of at most 12 terms near 1


def test_tree_rows_of_a_chain_are_those_that_trl_makes():
    """With nothing to branch, TRL's trie and ours are the same row."""
    trl_packing = pytest.importorskip("trl.experimental.async_grpo.packing", reason="this trl has no tree attention")
    row = trl_packing.TreeRow()
    ones = torch.ones(4)
    row.add(
        {"input_ids": torch.tensor([5, 6, 7, 8]), "completion_mask": ones, "old_log_probs": ones}
        | {"advantage": 0.0, "group_id": 0}
    )
    theirs, ours = row.pack(), pack_prefix_tree([[5, 6, 7, 8]]).tree_rows()
    for name, value in ours.items():
        assert theirs[name].tolist() == value.tolist() and theirs[name].dtype == value.dtype


def test_block_masks_for_flex_attention_are_the_boolean_ones():
    trees = [pack_prefix_tree(sequences) for sequences in TREES]
    mask = stack_masks(trees, window=3)
    width = mask.shape[-1]
    blocks = block_mask(mask)
    assert blocks.shape == (len(trees), 1, width, width)
    index = torch.arange(width)
    for row in range(len(trees)):
        attends = blocks.mask_mod(torch.tensor(row), torch.tensor(0), index[:, None], index[None, :])
        assert torch.equal(attends, mask[row, 0])
    torch.manual_seed(0)
    query, key, value = torch.randn(3, len(trees), 2, width, 16)
    expected = scaled_dot_product_attention(query, key, value, attn_mask=mask)
    torch.testing.assert_close(flex_attention(query, key, value, block_mask=blocks), expected, atol=1e-5, rtol=0)


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


def test_masks_are_padded_on_the_right_and_padding_sees_only_itself():
    trees = [pack_prefix_tree([[1, 2, 3]]), pack_prefix_tree([[4]])]
    assert torch.equal(stack_masks(trees)[:, 0], torch.stack([torch.ones(3, 3).tril(), torch.eye(3)]).bool())
    assert torch.equal(stack_masks(trees, length=4)[1, 0], torch.eye(4).bool())


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_a_model_computes_the_same_packed_and_unpacked(tiny_policy, attention):
    """Also the negative case: without the tree mask the branches see each other and differ."""
    model = tiny_policy.model.language_model
    before = model.config._attn_implementation
    model.set_attn_implementation(attention)
    try:
        sequences = [[3, 4, 5, 6, 7], [3, 4, 5, 8], [3, 4, 5, 6, 9, 10]]
        tree = pack_prefix_tree(sequences)
        mask = stack_masks([tree], length=len(tree) + 2)
        batch = {name: pad_rows([[*getattr(tree, name).tolist(), 0, 0]], 0) for name in ("input_ids", "position_ids")}
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
