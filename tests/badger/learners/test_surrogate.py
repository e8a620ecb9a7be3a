"""The losses of proximal policy optimisation, worked out by hand."""

from math import log

import torch
from torch.testing import assert_close

from badger.learners import returns, surrogate

RATIOS = torch.tensor([0.5, 0.9, 1.0, 1.1, 1.5], dtype=torch.float64)


def test_no_gain_is_seen_beyond_the_clip_and_every_loss_is():
    gain = surrogate.clipped_policy_loss(RATIOS.log(), torch.ones(5, dtype=torch.float64), 0.2)
    loss = surrogate.clipped_policy_loss(RATIOS.log(), -torch.ones(5, dtype=torch.float64), 0.2)
    assert_close(gain, -torch.tensor([0.5, 0.9, 1.0, 1.1, 1.2], dtype=torch.float64))
    assert_close(loss, torch.tensor([0.8, 0.9, 1.0, 1.1, 1.5], dtype=torch.float64))


def test_there_is_no_gradient_where_a_gain_is_clipped():
    far = RATIOS.log().requires_grad_()
    surrogate.clipped_policy_loss(far, torch.tensor([1.0, 1, 1, 1, 1], dtype=torch.float64), 0.2).sum().backward()
    assert_close(far.grad, -torch.tensor([0.5, 0.9, 1.0, 1.1, 0.0], dtype=torch.float64))


def test_a_value_that_has_moved_too_far_is_held_to_account_for_the_nearer_one():
    value, before, return_ = (torch.tensor(x, dtype=torch.float64) for x in ([1.0, 3.0, 1.1], [0.0] * 3, [4.0, 2, 1]))
    assert_close(surrogate.clipped_value_loss(value, before, return_, None).tolist(), [9.0, 1.0, 0.01])
    assert_close(surrogate.clipped_value_loss(value, before, return_, 0.5).tolist(), [12.25, 2.25, 0.25])


def test_the_divergence_is_that_of_two_coins():
    old, new = torch.tensor([0.75, 0.25], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    told = (old * surrogate.approx_kl((new / old).log())).sum()  # in the mean over what the old one draws
    assert_close(told.item(), 0.75 * log(1.5) + 0.25 * log(0.5))


def test_what_is_clipped_is_told():
    assert surrogate.is_clipped(RATIOS.log(), 0.2).tolist() == [True, False, False, False, True]


def test_advantages_are_normalised_over_what_counts():
    x = torch.tensor([[1.0, 3.0], [100.0, 5.0]], dtype=torch.float64)
    told = returns.masked_normalize(x, torch.tensor([[True, True], [False, True]]))
    assert_close(told[[0, 0, 1], [0, 1, 1]], torch.tensor([-(1.5**0.5), 0, 1.5**0.5], dtype=torch.float64))
