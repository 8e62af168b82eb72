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
def test_equals_the_loss_of_the_model(num_columns):
    logits = random_logits(num_columns)
    expected = marker_loss(logits, TARGETS)
    loss = weighted_mean_loss(step_losses(logits, TARGETS), torch.ones(7), IS_LABELLED, IS_LABELLED.sum())
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(loss, logits), gradient(expected, logits))


def test_equals_torchs_cross_entropy_with_class_probabilities():
    logits = random_logits(2)
    kept = TARGETS[IS_LABELLED]
    expected = functional.cross_entropy(logits[IS_LABELLED], torch.stack([kept, 1 - kept], dim=1), reduction="none")
    losses = step_losses(logits, TARGETS)
    torch.testing.assert_close(losses[IS_LABELLED], expected)
    torch.testing.assert_close(gradient(losses.sum(), logits), gradient(expected.sum(), logits))


@pytest.mark.parametrize("num_columns", [1, 2])
def test_right_steps_can_be_weighted(num_columns):
    """Also against torch's binary loss of the log-odds."""
    logits, kept = random_logits(num_columns), TARGETS[IS_LABELLED]
    for weight in (0.25, 1.0, 3.0):
        expected = functional.binary_cross_entropy_with_logits(
            log_odds(logits)[IS_LABELLED], kept, reduction="none", pos_weight=torch.tensor(weight)
        )
        losses = step_losses(logits, TARGETS, positive_weight=weight)
        torch.testing.assert_close(losses[IS_LABELLED], expected)
        torch.testing.assert_close(gradient(losses.sum(), logits), gradient(expected.sum(), logits))


def test_a_0_9_label_stays_0_9():
    """The loss is least where the probability is the label: there, and only there, its gradient vanishes."""
    for logits in (torch.tensor([[math.log(9.0), 0.0]]), torch.tensor([[math.log(9.0)]])):
        logits.requires_grad_()
        kept, rounded = (gradient(step_losses(logits, torch.tensor([y])).sum(), logits) for y in (0.9, 1.0))
        assert kept.abs().max() < 1e-6 and rounded.abs().max() > 0.09  # float32: the gradient is off by 1e-7


@pytest.mark.parametrize("num_columns", [1, 2])
def test_ignored_markers_give_exactly_zero_even_from_garbage(num_columns):
    clean = random_logits(num_columns)
    for garbage in (float("nan"), float("inf")):
        dirty = clean.detach().masked_fill(~IS_LABELLED[:, None], garbage).requires_grad_()
        losses = [step_losses(logits, TARGETS) for logits in (clean, dirty)]
        assert torch.equal(*losses)
        assert (losses[0][~IS_LABELLED] == 0).all()
        gradients = [gradient(loss.sum(), logits) for loss, logits in zip(losses, (clean, dirty), strict=True)]
        assert torch.equal(*gradients)
        assert (gradients[1][~IS_LABELLED] == 0).all() and (gradients[1][IS_LABELLED] != 0).any(dim=1).all()


def test_half_precision_logits_give_float32_losses():
    losses = step_losses(random_logits(2).bfloat16(), TARGETS)
    assert losses.dtype == torch.float32


def looped_pairs(logits, targets, groups, weights):
    """Pair by pair."""
    scores, total, num_pairs = log_odds(logits), logits.sum() * 0, 0
    for i in range(len(targets)):
        for j in range(len(targets)):
            if -100 in (targets[i], targets[j]) or groups[i] != groups[j] or groups[i] < 0:
                continue
            if targets[i] > targets[j]:
                total = total - weights[i] * weights[j] * torch.log(1 / (1 + torch.exp(scores[j] - scores[i])))
                num_pairs += 1
    return total, num_pairs


@pytest.mark.parametrize("num_columns", [1, 2])
def test_pairs_equal_a_loop(num_columns):
    generator = torch.Generator().manual_seed(1)
    logits = random_logits(num_columns, 40)
    targets = torch.randint(0, 11, (40,), generator=generator) / 10
    targets[::7] = -100
    groups = torch.randint(-1, 5, (40,), generator=generator)
    for weights in (torch.rand(40, generator=generator), torch.ones(40)):
        expected, num_pairs = looped_pairs(logits, targets, groups, weights)
        loss = pairwise_loss(logits, targets, groups, weights)
        assert num_pairs > 10 and loss.dtype == torch.float32
        # A sum of a hundred terms in float32, by other formulas: 1e-5 of it, and ten times that for another CPU.
        torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradient(loss, logits), gradient(expected, logits), rtol=1e-4, atol=1e-4)


def test_a_pair_of_prefixes_counts_once_however_often_rows_repeat_it():
    """Steps a and b are siblings; two rows share a, three share b: six pairs of markers, one of prefixes."""
    logits = torch.tensor([[1.0]] * 2 + [[0.5]] * 3)
    targets, groups = torch.tensor([1.0] * 2 + [0.0] * 3), torch.zeros(5, dtype=torch.int64)
    loss = pairwise_loss(logits, targets, groups, torch.tensor([1 / 2] * 2 + [1 / 3] * 3))
    torch.testing.assert_close(loss, -functional.logsigmoid(torch.tensor(0.5)))


def test_markers_in_no_pair_get_exactly_zero_gradient():
    logits = torch.tensor([[1.0], [float("nan")], [0.5], [float("nan")], [2.0]], requires_grad=True)
    targets = torch.tensor([1.0, -100.0, 0.0, 0.5, 1.0])
    loss = pairwise_loss(logits, targets, torch.tensor([0, 0, 0, -1, 3]), torch.ones(5))
    gradients = gradient(loss, logits)[:, 0]
    torch.testing.assert_close(loss, -functional.logsigmoid(torch.tensor(0.5)))  # of the one pair
    assert gradients[[1, 3, 4]].tolist() == [0.0, 0.0, 0.0] and gradients[0] < 0 < gradients[2]


@pytest.mark.parametrize("num_markers", [0, 3])
def test_nothing_labelled_is_zero_and_tied_to_the_graph(num_markers):
    targets, groups = torch.full((num_markers,), -100.0), torch.zeros(num_markers, dtype=torch.int64)
    for num_columns in (1, 2):
        logits = random_logits(num_columns, num_markers)
        ranking = pairwise_loss(logits, targets, groups, torch.ones(num_markers))
        assert ranking == 0 and (gradient(ranking, logits) == 0).all()
        for divisor in (0, 5.0, torch.tensor(0)):
            losses = step_losses(logits, targets)
            loss = weighted_mean_loss(losses, torch.zeros(num_markers), targets != -100, divisor)
            assert loss == 0 and (gradient(loss, logits) == 0).all()


def test_weighted_mean_by_hand():
    losses = torch.tensor([1.0, 4.0, float("nan")], requires_grad=True)
    weights, is_labelled = torch.tensor([3.0, 1.0, float("inf")]), torch.tensor([True, True, False])
    loss = weighted_mean_loss(losses, weights, is_labelled, 4)
    assert loss == 1.75
    assert gradient(loss, losses).tolist() == [0.75, 0.25, 0.0]
    assert weighted_mean_loss(losses, weights, is_labelled, torch.tensor(14)) == 0.5
    small = weighted_mean_loss(losses, weights * 1e-30, is_labelled, 4e-30)
    assert small.item() == pytest.approx(1.75)


def test_split_batches_with_one_divisor_add_up_to_the_whole():
    logits, weights = random_logits(2), torch.arange(1.0, 8.0)
    divisor = weights[IS_LABELLED].sum()
    whole = weighted_mean_loss(step_losses(logits, TARGETS), weights, IS_LABELLED, divisor)
    parts = [
        weighted_mean_loss(step_losses(logits[part], TARGETS[part]), weights[part], IS_LABELLED[part], divisor)
        for part in (slice(0, 3), slice(3, 7))
    ]
    torch.testing.assert_close(gradient(sum(parts), logits), gradient(whole, logits))


def test_tensors_of_other_shapes_are_refused():
    logits = random_logits(2)
    with pytest.raises(ValueError, match=r"logits of shape \(7, 3\)"):
        step_losses(random_logits(3), TARGETS)
    with pytest.raises(ValueError, match=r"targets of shape \(6,\) with 7 markers"):
        step_losses(logits, TARGETS[:6])
    with pytest.raises(ValueError, match=r"groups of shape \(2,\)"):
        pairwise_loss(logits, TARGETS, torch.tensor([0, 1]), torch.ones(7))


def test_examples_run():
    assert doctest.testmod(losses_module).failed == 0
