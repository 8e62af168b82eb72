"""Marker losses against torch's own and plain loops, by values and gradients; ignored markers, NaN, nothing at all."""

from __future__ import annotations

import doctest
import math

import pytest
import torch
from torch.nn import functional

from mmprm_hf.models.modeling_mm_prm import marker_loss
from mmprm_hf.training import losses as losses_module
from mmprm_hf.training.losses import pairwise_loss, step_losses, weighted_mean_loss

TARGETS = torch.tensor([1.0, 0.9, 0.0, -100.0, 0.25, -100.0, 0.5])
IS_LABELLED = TARGETS != -100


def random_logits(num_columns, num_markers=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (3 * torch.randn(num_markers, num_columns, generator=generator)).requires_grad_()


def gradient(loss, logits):
    return torch.autograd.grad(loss, logits)[0]


def log_odds(logits):
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 0] - logits[:, 1]


@pytest.mark.parametrize("num_columns", [1, 2])
@pytest.mark.parametrize("loss_type", ["cross_entropy", "binary"])
def test_equals_the_loss_of_the_model(num_columns, loss_type):
    logits = random_logits(num_columns)
    expected = marker_loss(logits, TARGETS)
    found = weighted_mean_loss(
        step_losses(logits, TARGETS, loss_type=loss_type), torch.ones_like(TARGETS), IS_LABELLED, None
    )
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient(found, logits), gradient(expected, logits))


def test_cross_entropy_equals_torch_with_class_probabilities():
    logits = random_logits(2)
    kept = TARGETS[IS_LABELLED]
    expected = functional.cross_entropy(logits[IS_LABELLED], torch.stack([kept, 1 - kept], dim=1), reduction="none")
    found = step_losses(logits, TARGETS)
    torch.testing.assert_close(found[IS_LABELLED], expected)
    torch.testing.assert_close(gradient(found.sum(), logits), gradient(expected.sum(), logits))


@pytest.mark.parametrize("num_columns", [1, 2])
@pytest.mark.parametrize("positive_weight", [0.25, 1.0, 3.0])
def test_binary_equals_the_plainly_written_loss(num_columns, positive_weight):
    logits = random_logits(num_columns)
    probs, kept = torch.sigmoid(log_odds(logits)[IS_LABELLED]), TARGETS[IS_LABELLED]
    expected = -(positive_weight * kept * probs.log() + (1 - kept) * (1 - probs).log())
    found = step_losses(logits, TARGETS, loss_type="binary", positive_weight=positive_weight)
    torch.testing.assert_close(found[IS_LABELLED], expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradient(found.sum(), logits), gradient(expected.sum(), logits), rtol=1e-4, atol=1e-5)


def test_a_0_9_label_stays_0_9():
    """The loss is least where the probability is the label: there, and only there, its gradient vanishes."""
    for logits in (torch.tensor([[math.log(9.0), 0.0]]), torch.tensor([[math.log(9.0)]])):
        logits.requires_grad_()
        for loss_type in ("cross_entropy", "binary"):
            kept, rounded = (
                gradient(step_losses(logits, torch.tensor([target]), loss_type=loss_type).sum(), logits)
                for target in (0.9, 1.0)
            )
            assert kept.abs().max() < 1e-6 and rounded.abs().max() > 0.09


@pytest.mark.parametrize("num_columns", [1, 2])
@pytest.mark.parametrize("loss_type", ["cross_entropy", "binary"])
@pytest.mark.parametrize("garbage", [float("nan"), float("inf")])
def test_ignored_markers_give_exactly_zero_even_from_garbage(num_columns, loss_type, garbage):
    clean = random_logits(num_columns)
    dirty = clean.detach().masked_fill(~IS_LABELLED[:, None], garbage).requires_grad_()
    losses = [step_losses(logits, TARGETS, loss_type=loss_type) for logits in (clean, dirty)]
    assert torch.equal(*losses)
    assert (losses[0][~IS_LABELLED] == 0).all()
    gradients = [gradient(loss.sum(), logits) for loss, logits in zip(losses, (clean, dirty), strict=True)]
    assert torch.equal(*gradients)
    assert (gradients[1][~IS_LABELLED] == 0).all() and (gradients[1][IS_LABELLED] != 0).any(dim=1).all()


def test_half_precision_logits_give_float32_losses():
    losses = step_losses(random_logits(2).bfloat16(), TARGETS)
    assert losses.dtype == torch.float32


def looped_pairs(logits, targets, groups, weights, min_gap):
    """Pair by pair."""
    scores, total, count = log_odds(logits), logits.sum() * 0, 0.0
    for i in range(len(targets)):
        for j in range(len(targets)):
            if -100 in (targets[i], targets[j]) or groups[i] != groups[j] or groups[i] < 0:
                continue
            if targets[i] > targets[j] and targets[i] - targets[j] >= min_gap - 1e-6:
                weight = weights[i] * weights[j]
                total = total - weight * torch.log(1 / (1 + torch.exp(scores[j] - scores[i])))
                count += float(weight)
    return total, count


@pytest.mark.parametrize("num_columns", [1, 2])
@pytest.mark.parametrize("min_gap", [0.0, 0.3])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_pairs_equal_a_loop(num_columns, min_gap, is_weighted):
    generator = torch.Generator().manual_seed(1)
    logits = random_logits(num_columns, 40)
    targets = torch.randint(0, 11, (40,), generator=generator) / 10
    targets[::7] = -100
    groups = torch.randint(-1, 5, (40,), generator=generator)
    weights = torch.rand(40, generator=generator) if is_weighted else torch.ones(40)
    expected, expected_count = looped_pairs(logits, targets, groups, weights, min_gap)
    found, count = pairwise_loss(logits, targets, groups, weights if is_weighted else None, min_gap=min_gap)
    assert expected_count > 10
    assert float(count) == pytest.approx(expected_count, rel=1e-5)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(gradient(found, logits), gradient(expected, logits), rtol=1e-4, atol=1e-5)
    assert not count.requires_grad and found.dtype == torch.float32


def test_a_pair_of_prefixes_counts_once_however_often_rows_repeat_it():
    """Steps a and b are siblings; two rows share a, three share b: six pairs of markers, one of prefixes."""
    logits = torch.tensor([[1.0]] * 2 + [[0.5]] * 3)
    targets, groups = torch.tensor([1.0] * 2 + [0.0] * 3), torch.zeros(5, dtype=torch.int64)
    total, count = pairwise_loss(logits, targets, groups, torch.tensor([1 / 2] * 2 + [1 / 3] * 3))
    assert float(count) == pytest.approx(1.0)
    torch.testing.assert_close(total, -functional.logsigmoid(torch.tensor(0.5)))


def test_markers_in_no_pair_get_exactly_zero_gradient():
    logits = torch.tensor([[1.0], [float("nan")], [0.5], [float("nan")], [2.0]], requires_grad=True)
    targets = torch.tensor([1.0, -100.0, 0.0, 0.5, 1.0])
    total, count = pairwise_loss(logits, targets, torch.tensor([0, 0, 0, -1, 3]))
    found = gradient(total, logits)[:, 0]
    assert count == 1 and torch.isfinite(total)
    assert found[[1, 3, 4]].tolist() == [0.0, 0.0, 0.0] and found[0] < 0 < found[2]


@pytest.mark.parametrize("num_markers", [0, 3])
@pytest.mark.parametrize("num_columns", [1, 2])
def test_nothing_labelled_is_zero_and_tied_to_the_graph(num_markers, num_columns):
    logits = random_logits(num_columns, num_markers)
    targets, groups = torch.full((num_markers,), -100.0), torch.zeros(num_markers, dtype=torch.int64)
    total, count = pairwise_loss(logits, targets, groups)
    assert total == 0 and count == 0 and (gradient(total, logits) == 0).all()
    for divisor in (None, 0, 5.0, torch.tensor(0)):
        losses = step_losses(logits, targets)
        loss = weighted_mean_loss(losses, torch.zeros(num_markers), targets != -100, divisor)
        assert loss == 0 and (gradient(loss, logits) == 0).all()


def test_weighted_mean_by_hand():
    losses = torch.tensor([1.0, 4.0, float("nan")], requires_grad=True)
    weights, is_labelled = torch.tensor([3.0, 1.0, float("inf")]), torch.tensor([True, True, False])
    loss = weighted_mean_loss(losses, weights, is_labelled, None)
    assert loss == 1.75
    assert gradient(loss, losses).tolist() == [0.75, 0.25, 0.0]
    assert weighted_mean_loss(losses, weights, is_labelled, 14) == 0.5
    assert weighted_mean_loss(losses, weights, is_labelled, torch.tensor(14)) == 0.5
    small = weighted_mean_loss(losses, weights * 1e-30, is_labelled, None)
    assert small.item() == pytest.approx(1.75)


def test_split_batches_with_one_divisor_add_up_to_the_whole():
    logits, weights = random_logits(2), torch.arange(1.0, 8.0)
    divisor = weights[IS_LABELLED].sum()
    whole = weighted_mean_loss(step_losses(logits, TARGETS), weights, IS_LABELLED, None)
    parts = [
        weighted_mean_loss(step_losses(logits[part], TARGETS[part]), weights[part], IS_LABELLED[part], divisor)
        for part in (slice(0, 3), slice(3, 7))
    ]
    torch.testing.assert_close(gradient(sum(parts), logits), gradient(whole, logits))


def test_bad_arguments():
    logits = random_logits(2)
    with pytest.raises(ValueError, match=r"logits of shape \(7, 3\)"):
        step_losses(random_logits(3), TARGETS)
    with pytest.raises(ValueError, match=r"targets of shape \(6,\) with 7 markers"):
        step_losses(logits, TARGETS[:6])
    with pytest.raises(ValueError, match="loss_type='focal'; choose one of cross_entropy, binary"):
        step_losses(logits, TARGETS, loss_type="focal")
    with pytest.raises(ValueError, match='Set loss_type="binary"'):
        step_losses(logits, TARGETS, positive_weight=2.0)
    for positive_weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite and > 0"):
            step_losses(logits, TARGETS, loss_type="binary", positive_weight=positive_weight)
    with pytest.raises(ValueError, match=r"groups of shape \(2,\)"):
        pairwise_loss(logits, TARGETS, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="min_gap=1.5"):
        pairwise_loss(logits, TARGETS, torch.zeros(7, dtype=torch.int64), min_gap=1.5)
    with pytest.raises(ValueError, match=r"weights \(1,\)"):
        weighted_mean_loss(torch.zeros(2), torch.ones(1), torch.ones(2, dtype=torch.bool))


def test_examples_run():
    assert doctest.testmod(losses_module).failed == 0
