"""CMA-ES beside the library `cma`: the same members and costs give the same mean, step size and covariance matrix."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger.learners.evolution.cma_es import CMAES, cma_constants
from badger.testing.core.cases import through_a_file
from toys import seeded

N, P = 5, 12


def zeros(n=N):
    return torch.zeros(n, dtype=torch.float64)


def ellipsoid(members):
    scales = 10.0 ** torch.linspace(0, 3, members.shape[-1], dtype=torch.float64)
    return (scales * (members - 1).square()).sum(-1)


def test_updates_are_those_of_the_library():
    """Constants are equal but that of the step size's path, by an older formula; C starts beside the identity."""
    cma = pytest.importorskip("cma")
    theirs = cma.CMAEvolutionStrategy(np.zeros(N), 0.5, {"popsize": P, "seed": 3, "verbose": -9})
    ours, sizes, adaptation = CMAES(zeros(), 0.5, P), theirs.sp, theirs.adapt_sigma
    assert_close(torch.tensor(ours.constants.weights), torch.tensor(list(sizes.weights)))
    assert_close(ours.constants[4:], (sizes.cc, sizes.c1, sizes.cmu))
    ours.constants = ours.constants._replace(c_sigma=adaptation.cs, d_sigma=adaptation.damps)
    ours.covariance = torch.tensor(np.array(theirs.sm.covariance_matrix))
    for _ in range(40):
        members = np.array(theirs.ask())
        cost = ellipsoid(torch.tensor(members))
        theirs.tell(list(members), cost.tolist())
        ours.tell(torch.tensor(members), cost)
        assert_close(ours.mean, torch.tensor(theirs.mean), rtol=1e-6, atol=1e-9)
        assert_close(float(ours.sigma), float(theirs.sigma), rtol=1e-6, atol=0)
        assert_close(ours.covariance, torch.tensor(np.array(theirs.sm.covariance_matrix)), rtol=1e-5, atol=1e-9)


def test_constants_are_those_of_the_tutorial():
    """Table 1 for n = 5 and P = 12, by NumPy."""
    raw = np.log(6.5) - np.log(np.arange(1, 13))
    better, worse = raw[:6], raw[6:]
    mu_eff, mu_eff_worse = (part.sum() ** 2 / (part**2).sum() for part in (better, worse))
    c_1 = 2 / ((5 + 1.3) ** 2 + mu_eff)
    c_mu = min(1 - c_1, 2 * (0.25 + mu_eff + 1 / mu_eff - 2) / ((5 + 2) ** 2 + 2 * mu_eff / 2))
    least = min(1 + c_1 / c_mu, 1 + 2 * mu_eff_worse / (mu_eff + 2), (1 - c_1 - c_mu) / (5 * c_mu))
    got = cma_constants(5, 12)
    assert_close(np.array(got.weights), np.concatenate([better / better.sum(), least * worse / -worse.sum()]))
    assert_close((got.mu_eff, got.c_1, got.c_mu), (mu_eff, c_1, c_mu))
    assert_close(got.c_sigma, (mu_eff + 2) / (5 + mu_eff + 5))
    assert_close(got.d_sigma, 1 + got.c_sigma)
    assert_close(got.c_c, (4 + mu_eff / 5) / (5 + 4 + 2 * mu_eff / 5))


def evolve(strategy, generations, seed=0):
    for i in range(generations):
        members = strategy.ask(seeded(1000 * seed + i))
        strategy.tell(members, ellipsoid(members))
    return strategy


def test_an_ellipsoid_is_minimized():
    strategy = evolve(CMAES(zeros(), 0.5, P), 150)
    assert ellipsoid(strategy.mean) < 1e-8 * ellipsoid(zeros())


def test_a_restored_strategy_goes_on_exactly():
    saved = through_a_file(evolve(CMAES(zeros(), 0.5, P), 10).state_dict())
    first, second = (CMAES(zeros() + i, 1.0, P) for i in range(2))
    for strategy in (first, second):
        strategy.load_state_dict(saved)
        evolve(strategy, 5, seed=1)
    whole = evolve(evolve(CMAES(zeros(), 0.5, P), 10), 5, seed=1)
    for name, value in whole.state_dict().items():
        for strategy in (first, second):
            assert torch.as_tensor(value).equal(torch.as_tensor(strategy.state_dict()[name]))


def test_members_are_drawn_from_the_covariance_matrix():
    strategy = CMAES(zeros(2) + 3, 2.0, 10_000)
    strategy.covariance = torch.tensor([[2.0, 0.6], [0.6, 0.5]], dtype=torch.float64)
    members = strategy.ask(seeded())
    assert_close(members.mean(0), strategy.mean, atol=0.1, rtol=0)
    assert_close(torch.cov(members.mT), 4 * strategy.covariance, atol=0.3, rtol=0)


def test_a_cost_that_is_not_finite_is_the_highest():
    first, second = (CMAES(zeros(), 0.5, 4) for _ in range(2))
    members = first.ask(seeded())
    first.tell(members, torch.tensor([1.0, torch.nan, 0.0, 2.0]))
    second.tell(members, torch.tensor([1.0, 3.0, 0.0, 2.0]))
    assert first.mean.equal(second.mean) and first.covariance.isfinite().all()


def test_options_out_of_range_are_refused():
    errors = {(0.5, 3): "population=3, want at least 4", (0.5, 10**14): "at most 10,000", (0.0, 8): "sigma=0.0, want"}
    for options, error in errors.items():
        with pytest.raises(ValueError, match=error):
            CMAES(zeros(), *options)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"mean": zeros(4)}, r"a saved mean that is a tensor of \[4\] torch.float64, want a tensor of \[5\]"),
        ({"covariance": torch.eye(5)}, "a saved covariance that is .* torch.float32, want"),
        ({"generation": "ask"}, "a saved generation that is str, want int"),
        ({"ask": 1}, r"other entries \(ask\), want mean, sigma"),
    ],
)
def test_a_damaged_state_is_refused_and_changes_nothing(change, error):
    strategy = CMAES(zeros(), 0.5, P)
    with pytest.raises(ValueError, match=error):
        strategy.load_state_dict(strategy.state_dict() | change)
    assert strategy.mean.shape == (N,) and strategy.generation == 0


def test_a_state_with_a_missing_entry_is_refused():
    saved = CMAES(zeros(), 0.5, P).state_dict()
    del saved["sigma"]
    with pytest.raises(ValueError, match=r"other entries \(sigma\)"):
        CMAES(zeros(), 0.5, P).load_state_dict(saved)


def test_a_cost_without_a_minimum_leaves_members_finite():
    strategy = CMAES(zeros(3), 1.0, 4)
    for i in range(1000):
        members = strategy.ask(seeded(i))
        strategy.tell(members, members.sum(-1))
    assert strategy.ask(seeded()).float().isfinite().all()
