"""Chunks of queries with the keys they need give what sdpa gives with the whole mask, and its gradients."""

from __future__ import annotations

import random

import pytest
import torch
from torch.nn import functional

from mmprm_hf.scoring.packing import additive_mask, pack_prefix_tree, stack_masks
from mmprm_hf.scoring.tree_attention import CHUNK, TreeMask, chunked


def trees(seed, count=3):
    """Packed rows of 20 solutions behind one prompt; each some hundred tokens long, none a multiple of a chunk."""
    rng = random.Random(seed)
    packed = []
    for _ in range(count):
        rows = [[0] * 30]
        while len(rows) < 20:
            shared = rng.choice(rows)
            cut = rng.randrange(30, len(shared) + 1)
            rows.append([*shared[:cut], *(rng.randrange(1, 1000) for _ in range(rng.randrange(20, 50)))])
        packed.append(pack_prefix_tree(rows[1:]))
    return packed


def attend(query, key, value, mask, **options):
    """Attention and the gradients of a weighted sum of it."""
    leaves = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    output = functional.scaled_dot_product_attention(*leaves, attn_mask=mask, **options)
    weights = torch.linspace(-1, 1, output.shape[2])[None, None, :, None]
    return output.detach(), torch.autograd.grad((output * weights).sum(), leaves)


@pytest.mark.parametrize("window", [None, 40])
def test_chunks_give_what_the_whole_mask_gives(window):
    """Of three rows; the prompt of one attends both ways, as images do."""
    rows = trees(seed=1)
    mask = stack_masks(rows, window=window)
    mask[0, :, 3:25, 3:25] = True
    added = additive_mask(mask, torch.float32)
    sparse = chunked(mask, added)
    assert isinstance(sparse, TreeMask) and mask.shape[-1] % CHUNK
    num_pairs = sparse.chunk_mask.numel()
    assert num_pairs < 0.7 * mask.numel()
    torch.manual_seed(0)
    query, key, value = (torch.randn(len(rows), 4, mask.shape[-1], 8) for _ in range(3))
    whole, expected = attend(query, key, value, added, scale=0.3)
    output, gradients = attend(query, key, value, sparse, scale=0.3)
    # Float32: outputs are means of up to 100 values near 1, gradients sums over up to 500 queries.
    torch.testing.assert_close(output, whole, atol=1e-5, rtol=1e-5)
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-4, rtol=1e-4)
    wrong = sparse.as_subclass(torch.Tensor).clone()
    wrong[0, 0, 200, 100] = 0.0 if wrong[0, 0, 200, 100] else -1e30  # negative case
    assert not torch.allclose(attend(query, key, value, wrong, scale=0.3)[0], whole, atol=1e-4)


def test_where_little_is_masked_nothing_changes():
    mask = torch.ones(1, 1, 200, 200, dtype=torch.bool).tril()
    added = additive_mask(mask, torch.float32)
    assert chunked(mask[:, :, :60, :60], added[:, :, :60, :60]).__class__ is torch.Tensor
    short = pack_prefix_tree([[1, 2, 3], [1, 2, 4]])
    assert type(chunked(stack_masks([short]), additive_mask(stack_masks([short]), torch.float32))) is torch.Tensor


def test_it_is_an_ordinary_mask_everywhere_else():
    rows = trees(seed=2, count=1)
    mask = stack_masks(rows)
    added = additive_mask(mask, torch.float32)
    sparse = chunked(mask, added)
    length = mask.shape[-1]
    assert isinstance(sparse[:, :, :, :length], TreeMask)
    assert type(sparse[:, :, :10, :10]) is torch.Tensor and type(sparse.to(torch.float64)) is torch.Tensor
    assert torch.equal(sparse.as_subclass(torch.Tensor), added) and torch.equal(sparse + 0, added)
    query = torch.randn(1, 4, 5, 8)  # some queries against cached keys: the dense way
    keys = torch.randn(1, 4, length, 8)
    output = functional.scaled_dot_product_attention(query, keys, keys, attn_mask=sparse[:, :, -5:, :])
    expected = functional.scaled_dot_product_attention(query, keys, keys, attn_mask=added[:, :, -5:, :])
    torch.testing.assert_close(output, expected)
