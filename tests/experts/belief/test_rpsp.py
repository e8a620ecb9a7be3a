"""The kernel Bayes rule against exact conditioning, two-stage regression, and a filter fitted to recorded steps."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger.testing.core.cases import build
from experts import RPSP
from experts.belief import kernel_bayes_rule, ridge_regression, two_stage_regression
from experts.belief.random_features import RandomFeatures

F64 = {"dtype": torch.float64}
TRANSITION = torch.tensor([[0.9, 0.1], [0.3, 0.7]], **F64)  # a hidden Markov model of two states
OBSERVATION = torch.tensor([[0.8, 0.2], [0.1, 0.9]], **F64)


def rows(count, *size, seed=0):
    return torch.randn(count, *size, generator=torch.Generator().manual_seed(seed), **F64)


def test_on_one_hot_features_the_kernel_bayes_rule_is_exact_conditioning():
    """The next state of a hidden Markov model given an observation, from moments under a belief, by hand for one."""
    belief = torch.tensor([0.5, 0.5], **F64)
    for o in (0, 1):
        joint = torch.einsum("s,so,st->to", belief, OBSERVATION, TRANSITION)  # E[1(s') 1(o)]
        covariance = torch.diag(belief @ OBSERVATION)
        got = kernel_bayes_rule(joint, covariance, torch.eye(2, **F64)[o], 1e-9)
        posterior = belief * OBSERVATION[:, o]
        assert_close(got, posterior / posterior.sum() @ TRANSITION, rtol=0, atol=1e-12)
    assert got[0].item() == pytest.approx(0.3 + 0.6 * 0.1 / 0.55)  # after the observation 1: P(s) = .1 / .55, .45 / .55


def test_the_kernel_bayes_rule_of_an_indefinite_matrix_is_finite():
    covariance = torch.diag(torch.tensor([1.0, -0.01, 0.0], **F64))
    got = kernel_bayes_rule(torch.ones(2, 3, **F64), covariance, torch.ones(3, **F64), 0.01)
    assert got.isfinite().all() and got.abs().max() < 60  # 1 / 2 ridge for each feature at most


def test_ridge_regression_is_that_of_numpy():
    x, y = rows(30, 3), rows(30, 2, seed=1)
    found = ridge_regression(x, y, 0.1)
    a, b = x.numpy() - x.numpy().mean(0), y.numpy() - y.numpy().mean(0)
    weight = np.linalg.solve(a.T @ a / 30 + 0.01 * np.eye(3), a.T @ b / 30).T
    assert_close(found.weight, torch.tensor(weight))
    assert_close(found(x).mean(0), y.mean(0))


def test_two_stage_regression_is_not_biased_by_the_noise_of_the_present():
    """later = 0.8 state, seen with noise in both; a history tells the state up to another noise."""
    state = rows(100_000, 1)
    future, history = state + rows(100_000, 1, seed=1), state + 0.5 * rows(100_000, 1, seed=2)
    later = 0.8 * state + rows(100_000, 1, seed=3)
    one = torch.ones_like(state)
    found = two_stage_regression(history, future, later, one, state, 1e-6)
    direct = ridge_regression(future, later, 1e-6)
    assert found.extended.weight[0, 0].item() == pytest.approx(0.8, abs=0.02)
    assert direct.weight.item() == pytest.approx(0.4, abs=0.02)


def test_random_features_approximate_a_gaussian_kernel():
    torch.manual_seed(0)
    x = rows(2, 3)
    features = RandomFeatures(3, 1, random=20_000).double()
    values = features._random(x)
    kernel = 2 * (values[0] @ values[1]) / 20_000
    assert kernel.item() == pytest.approx((-(x[0] - x[1]).square().sum() / (2 * 3)).exp().item(), abs=0.03)


def oscillation(episodes, steps, seed=0):
    """A point on a circle of which one coordinate is seen, so that its direction must be remembered; (T, B, 1, 1)."""
    phase = 6.28 * torch.rand(episodes, generator=torch.Generator().manual_seed(seed), **F64)
    return torch.cos(phase + 0.5 * torch.arange(steps, **F64)[:, None])[..., None, None]


def starts(steps, episodes, every=None):
    return (torch.arange(steps) % (every or steps) == 0)[:, None].expand(steps, episodes)


def error(core, xs):
    """Mean loss of all steps after the first few."""
    state, found = core.initial_state(xs[0]), []
    for x in xs:
        _, state = core(x, state)
        found.append(core.losses(state)["rpsp"].mean())
    return torch.stack(found)[5:].mean().item()


def test_a_fitted_filter_predicts_what_must_be_remembered():
    torch.manual_seed(0)
    core, held_out = RPSP(1, 4, state_size=8, features=4, future=3).double(), oscillation(20, 40, seed=1)
    before = error(core, held_out)
    core.fit(oscillation(50, 40), starts(40, 50))
    after = error(core, held_out)
    last_input = (held_out[1:] - held_out[:-1]).square().mean().item() / 0.5  # in variances
    assert after < 0.3 * last_input and after < 0.1 * before


def test_windows_of_a_fit_lie_within_episodes():
    """Two records of the same episodes, once side by side, once one after the other."""
    xs = oscillation(40, 12)
    behind = xs.transpose(0, 1).reshape(4, 10 * 12, 1, 1).transpose(0, 1)
    fitted = []
    for record, start in ((xs, starts(12, 40)), (behind, starts(120, 4, every=12))):
        torch.manual_seed(0)
        core = RPSP(1, 4, state_size=4, features=3, future=2).double()
        core.fit(record, start)
        fitted.append(error(core, xs))
        assert_close(core.start.norm(), fitted_start(core, xs).norm(), rtol=1e-6, atol=0)
    assert fitted[0] == pytest.approx(fitted[1], rel=0.1)  # in another order: another median of distances


def fitted_start(core, xs):
    return core.future_feature(torch.cat([xs[0, :, 0], xs[1, :, 0]], -1)).mean(0)


def test_gradients_reach_the_filter_through_time():
    core, xs = build(lambda d, h: RPSP(1, h, state_size=4, features=3)), oscillation(2, 5)
    state = core.initial_state(xs[0])
    for x in xs:
        y, state = core(x, state)
    grads = torch.autograd.grad(y.sum(), [core.extended.weight, core.hidden.weight], retain_graph=True)
    assert all(grad.any() for grad in grads)
    assert all(grad.any() for grad in torch.autograd.grad(core.losses(state)["rpsp"].sum(), core.predictor.weight))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RPSP(3, 4, ridge=0.0), "ridge=0.0, want a number above 0"),
        (lambda: RPSP(3, 4, target_size=4), "target_size=4, want 1 to the core.s input_size=3"),
        (lambda: RPSP(3, 4, features=0), "features=0, want at least 1"),
        (lambda: RPSP(3, 4, state_size=300), "random=200, want at least 300"),
        (lambda: RPSP(1, 4).double().fit(oscillation(2, 12), starts(12, 2)), "fitted to 4 windows of 11 steps"),
        (lambda: RPSP(1, 4).double().fit(oscillation(2, 8), starts(8, 2)), "fitted to 0 windows of 11 steps"),
    ],
)
def test_what_cannot_be_used_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
