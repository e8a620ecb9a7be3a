"""Numbers as distributions over bins."""

import pytest
import torch
from torch.testing import assert_close

from badger.learners.imagination.two_hot import TwoHot

LIKE = torch.zeros(0, dtype=torch.float64)
TARGETS = torch.tensor([0.0, 1.0, -1.0, 47.3, -3e4, 2e8], dtype=torch.float64)


def test_the_best_prediction_of_a_number_is_the_number():
    """The logarithm of the two shares has the least loss, their entropy, and its mean is the target."""
    heads = TwoHot(41, LIKE)
    logits = torch.zeros(6, 41, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe", tolerance_grad=1e-13)

    def closure():
        optimizer.zero_grad()
        loss = heads.loss(logits, TARGETS).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    bins = heads.bins.numpy()
    for row, target in zip(logits.softmax(-1), TARGETS.tolist(), strict=True):
        upper = max(1, min(40, sum(bins < target)))
        share = (target - bins[upper - 1]) / (bins[upper] - bins[upper - 1])
        want = torch.zeros(41, dtype=torch.float64)
        want[upper - 1], want[upper] = 1 - share, share
        assert_close(row.detach(), want, atol=1e-4, rtol=0)


def test_the_mean_of_bins_by_hand():
    heads = TwoHot(3, LIKE)
    assert heads.bins.tolist()[1] == 0 and heads.bins[0] == -heads.bins[2]
    p = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    assert_close(heads.mean(p.log()), 0.3 * heads.bins[2])


def test_equal_weights_are_exactly_0():
    assert TwoHot(127, LIKE).mean(torch.zeros(2, 127, dtype=torch.float64)).tolist() == [0, 0]


def test_a_target_beyond_all_bins_counts_as_the_outermost():
    heads, logits = TwoHot(5, LIKE), torch.randn(2, 5, dtype=torch.float64)
    beyond = torch.tensor([1e30, -torch.inf], dtype=torch.float64)
    outermost = torch.stack([heads.bins[-1], heads.bins[0]])
    assert_close(heads.loss(logits, beyond), heads.loss(logits, outermost))


@pytest.mark.parametrize("bins", [1, 4])
def test_an_even_number_of_bins_is_refused(bins):
    with pytest.raises(ValueError, match=f"bins={bins}, want an odd number, 3 or more"):
        TwoHot(bins, LIKE)
