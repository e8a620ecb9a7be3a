"""Returns and masked statistics against values computed by hand."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger.learners.returns import explained_variance, lambda_returns, masked_mean, running_returns

NO = [False] * 3


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def returns_of(reward, value_next, terminated=NO, truncated=NO, *, gamma=0.5, lam=1.0):
    ends = torch.tensor(terminated), torch.tensor(truncated)
    return lambda_returns(column(*reward), column(*value_next), *ends, gamma=gamma, lam=lam).tolist()


def test_returns_of_a_terminated_episode_are_discounted_sums():
    assert returns_of([0, 0, 1], [9, 9, 9], [False, False, True]) == [0.25, 0.5, 1]
    assert returns_of([1, 2, 4], [9, 9, 9], [False, False, True]) == [3, 4, 4]


def test_the_end_of_a_rollout_bootstraps_from_the_value():
    assert returns_of([0, 0, 1], [9, 9, 8]) == [1.25, 2.5, 5]


def test_a_termination_stops_bootstrapping():
    assert returns_of([1, 2, 4], [9, 9, 8], [False, True, False]) == [2, 2, 8]


def test_a_truncation_bootstraps_from_the_value():
    assert returns_of([1, 2, 4], [9, 6, 8], NO, [False, True, False]) == [3.5, 5, 8]
    assert returns_of([1, 2, 4], [9, 6, 8], NO, [False, False, True]) == returns_of([1, 2, 4], [9, 6, 8])


def test_one_step_targets():
    assert returns_of([1, 2, 4], [8, 6, 2], lam=0.0) == [5, 5, 5]
    assert returns_of([1, 2, 4], [8, 6, 2], [False, True, False], lam=0.0) == [5, 2, 5]


def test_lambda_returns_mix_one_step_and_monte_carlo_returns():
    # G_2 = 4 + 2 / 2 = 5; G_1 = 2 + (6 + 5) / 4 = 4.75; G_0 = 1 + (8 + 4.75) / 4
    assert returns_of([1, 2, 4], [8, 6, 2], lam=0.5) == [1 + 12.75 / 4, 4.75, 5]


def test_rows_have_their_own_returns():
    reward, value = torch.randn(2, 5, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends = torch.zeros(2, 5, 3, 2, dtype=torch.bool)
    ends[0, 2, 1], ends[1, 1, 0, 1] = True, True
    both = lambda_returns(reward, value, *ends, gamma=0.9, lam=0.8)
    for row in np.ndindex(3, 2):
        at = (slice(None), *row)
        assert_close(both[at], lambda_returns(reward[at], value[at], ends[0][at], ends[1][at], gamma=0.9, lam=0.8))


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_return_minus_value_is_the_generalized_advantage(lam):
    rng, gamma = np.random.default_rng(0), 0.9
    reward, value, final = rng.normal(size=9), rng.normal(size=10), rng.normal(size=9)
    terminated, truncated = (np.isin(np.arange(9), at) for at in ([1, 5], [3]))
    after = np.where(truncated, final, value[1:])  # not the next episode's
    errors = reward + gamma * ~terminated * after - value[:-1]
    wanted = np.zeros(9)
    for t in range(9):
        weight = 1.0
        for later in range(t, 9):
            wanted[t] += weight * errors[later]
            weight *= gamma * lam
            if terminated[later] or truncated[later]:
                break
    found = lambda_returns(*map(torch.from_numpy, (reward, after, terminated, truncated)), gamma=gamma, lam=lam)
    assert_close(found.numpy() - value[:-1], wanted)


def test_running_returns_restart_after_the_end_of_an_episode():
    ended = torch.tensor([[False, True], [True, False], [False, True]])
    sums, left = running_returns(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), ended, torch.tensor([10.0, 20]))
    assert sums.tolist() == [[11, 22], [14, 4], [5, 10]] and left.tolist() == [5, 0]


def test_explained_variance_by_hand():
    return_, counts = column(1, 3, 100), torch.tensor([True, True, False])
    assert explained_variance(return_, return_, counts) == 1
    assert explained_variance(column(7, 7, 0), return_, counts) == 0
    assert explained_variance(column(1, 2, 0), return_, counts) == 0.75  # errors 0 and 1, of variance 1/4
    assert explained_variance(column(1, 2, 0), column(4, 4, 0), counts).isnan()


def test_masked_mean_is_over_the_mask():
    x, counts = column(1, 3, torch.nan), torch.tensor([True, True, False])
    assert masked_mean(x, counts) == 2 and masked_mean(x, counts, torch.tensor(8.0)) == 0.5
