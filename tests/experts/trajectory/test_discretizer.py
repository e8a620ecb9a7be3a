"""Bins of recorded numbers: none is empty, and none is too full unless one value fills it."""

import numpy as np
import pytest
import torch

from experts.trajectory.discretizer import Discretizer, quantile_bins


def counts(values, bins):
    edges, centers = quantile_bins(values, bins)
    used = 1 + int(np.isfinite(edges).sum())
    return np.bincount(np.searchsorted(edges, values), minlength=used), centers[:used]


def test_distinct_numbers_are_in_bins_of_equal_size():
    values = np.random.default_rng(0).normal(size=1000)
    sizes, centers = counts(values, 10)
    assert sizes.tolist() == [100] * 10
    np.testing.assert_allclose(centers, np.sort(values).reshape(10, 100).mean(1))


def test_a_frequent_value_has_a_bin_of_its_own_and_leaves_the_others_theirs():
    rewards = np.concatenate([np.zeros(9500), np.random.default_rng(0).uniform(0.1, 1, 500)])
    sizes, centers = counts(rewards, 20)
    assert sizes[0] == 9500 and centers[0] == 0
    assert len(sizes) == 20 and (abs(sizes[1:] - 500 / 19) <= 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_no_bin_is_empty_and_a_full_one_has_a_single_value(seed):
    rng = np.random.default_rng(seed)
    values = rng.choice(rng.normal(size=60), size=2000, p=rng.dirichlet(np.full(60, 0.2)))
    edges, _ = quantile_bins(values, 16)
    bins = np.searchsorted(edges, values)
    for b in range(1 + int(np.isfinite(edges).sum())):
        inside = values[bins == b]
        assert len(inside) and (len(inside) < 2 * 2000 / 16 or len(np.unique(inside)) == 1)


def test_as_few_values_as_bins_have_a_bin_each():
    values = np.array([3.0] * 1000 + [1.0, 2.0, 7.0])
    sizes, centers = counts(values, 4)
    assert sizes.tolist() == [1, 1, 1000, 1] and centers.tolist() == [1, 2, 3, 7]


def test_numbers_are_restored_within_their_bin_and_options_exactly():
    discretizer = Discretizer([None, 3], 50)
    values = torch.stack([torch.rand(5000), torch.randint(2, (5000,)).float()], -1)  # the last option is never seen
    discretizer.fit(values)
    restored = discretizer.decode(discretizer.encode(values, [0, 1]), [0, 1])
    assert (restored[:, 0] - values[:, 0]).abs().max() < 0.04 and torch.equal(restored[:, 1], values[:, 1])
    assert discretizer.encode(torch.tensor([[2.0]]), [1]).item() == 2


def test_numbers_beyond_the_recorded_ones_are_in_the_outer_bins():
    discretizer = Discretizer([None], 5)
    discretizer.fit(torch.linspace(0, 1, 100).unsqueeze(-1))
    assert discretizer.encode(torch.tensor([[-9.0], [9.0]]), [0]).flatten().tolist() == [0, 4]


def test_fewer_bins_than_options_are_refused():
    with pytest.raises(ValueError, match="bins=3, want at least 4"):
        Discretizer([4, None], 3)
