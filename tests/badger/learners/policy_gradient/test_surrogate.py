"""The losses of proximal policy optimization against values computed by hand."""

from math import log

import torch
from torch.testing import assert_close

from badger.learners import returns
from badger.learners.policy_gradient import surrogate

RATIOS = torch.tensor([0.5, 0.9, 1.0, 1.1, 1.5], dtype=torch.float64)


def test_gains_are_clipped_and_losses_are_not():
    gain = surrogate.clipped_policy_loss(RATIOS.log(), torch.ones(5, dtype=torch.float64), 0.2)
    loss = surrogate.clipped_policy_loss(RATIOS.log(), -torch.ones(5, dtype=torch.float64), 0.2)
    assert_close(gain, -torch.tensor([0.5, 0.9, 1.0, 1.1, 1.2], dtype=torch.float64))
    assert_close(loss, torch.tensor([0.8, 0.9, 1.0, 1.1, 1.5], dtype=torch.float64))


def test_there_is_no_gradient_where_a_gain_is_clipped():
    far = RATIOS.log().requires_grad_()
    surrogate.clipped_policy_loss(far, torch.tensor([1.0, 1, 1, 1, 1], dtype=torch.float64), 0.2).sum().backward()
    assert_close(far.grad, -torch.tensor([0.5, 0.9, 1.0, 1.1, 0.0], dtype=torch.float64))


def test_the_value_loss_is_the_larger_of_clipped_and_unclipped():
    value, before, return_ = (torch.tensor(x, dtype=torch.float64) for x in ([1.0, 3.0, 1.1], [0.0] * 3, [4.0, 2, 1]))
    assert_close(surrogate.clipped_value_loss(value, before, return_, None).tolist(), [9.0, 1.0, 0.01])
    assert_close(surrogate.clipped_value_loss(value, before, return_, 0.5).tolist(), [12.25, 2.25, 0.25])


def test_approx_kl_equals_the_divergence_of_two_coins():
    old, new = torch.tensor([0.75, 0.25], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    result = (old * surrogate.approx_kl((new / old).log())).sum()  # the mean over actions of the old policy
    assert_close(result.item(), 0.75 * log(1.5) + 0.25 * log(0.5))


def test_is_clipped_is_true_out_of_the_clip_range():
    assert surrogate.is_clipped(RATIOS.log(), 0.2).tolist() == [True, False, False, False, True]


def test_advantages_are_normalized_over_the_mask():
    x = torch.tensor([[1.0, 3.0], [100.0, 5.0]], dtype=torch.float64)
    result = returns.masked_normalize(x, torch.tensor([[True, True], [False, True]]))
    assert_close(result[[0, 0, 1], [0, 1, 1]], torch.tensor([-(1.5**0.5), 0, 1.5**0.5], dtype=torch.float64))
