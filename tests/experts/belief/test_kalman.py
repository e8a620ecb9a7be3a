"""The Kalman filter against formulas in NumPy and against the normal distribution that it is."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from experts import KalmanBelief, KalmanFilter
from experts.belief import EXAMPLE
from tasks import MountainHike, PreviousActionReward

T, S, O, A = 5, 3, 2, 2  # noqa: E741


def random_model(seed=0):
    rng = np.random.default_rng(seed)

    def covariance(n):
        root = rng.normal(size=(n, n))
        return root @ root.T + 0.1 * np.eye(n)

    control = torch.tensor(rng.normal(size=(S, A)))
    return SimpleNamespace(
        action_size=A,
        transition=rng.normal(size=(S, S)),
        transition_covariance=covariance(S),
        observation=rng.normal(size=(O, S)),
        observation_covariance=covariance(O),
        start_mean=rng.normal(size=S),
        start_covariance=covariance(S),
        control=lambda action: action @ control.mT,
    )


def conditioned(model, xs):
    """Mean and covariance of the last state given all observations, from the normal vector of all of them."""
    rng_f, q, h, r = model.transition, model.transition_covariance, model.observation, model.observation_covariance
    steps = len(xs)
    mean, joint = model.start_mean, np.zeros((steps * S, steps * S))  # of all states
    means, cross = [mean], model.start_covariance
    joint[:S, :S] = cross
    for t in range(1, steps):
        mean = rng_f @ mean + model.control(xs[t, O : O + A]).numpy()
        means.append(mean)
        past = joint[: t * S, (t - 1) * S : t * S] @ rng_f.T
        joint[: t * S, t * S : (t + 1) * S] = past
        joint[t * S : (t + 1) * S, : t * S] = past.T
        before = joint[(t - 1) * S : t * S, (t - 1) * S : t * S]
        joint[t * S : (t + 1) * S, t * S : (t + 1) * S] = rng_f @ before @ rng_f.T + q
    observe, noise = np.kron(np.eye(steps), h), np.kron(np.eye(steps), r)
    gain = joint @ observe.T @ np.linalg.inv(observe @ joint @ observe.T + noise)
    observed = xs[:, :O].numpy().ravel()
    all_means = np.concatenate(means)
    mean = all_means + gain @ (observed - observe @ all_means)
    covariance = joint - gain @ observe @ joint
    return mean[-S:], covariance[-S:, -S:]


def test_the_belief_is_the_conditional_distribution_of_one_normal_vector():
    model = random_model()
    core = KalmanFilter(O + A + 1, model=model)
    xs = torch.randn(T, O + A + 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ys, state = core.unroll(xs.view(T, 1, 1, -1), core.initial_state(xs.view(T, 1, 1, -1)[0]))
    mean, covariance = conditioned(model, xs)
    assert_close(state.mean[0, 0], torch.tensor(mean))
    assert_close(state.covariance[0, 0], torch.tensor(covariance))
    assert_close(ys[-1, 0, 0], torch.cat([state.mean[0, 0], state.covariance[0, 0].diagonal().sqrt()]))


def test_it_tracks_a_mountain_hike_as_well_as_it_says():
    task = PreviousActionReward(MountainHike(20, 0.15, dtype=torch.float64))
    rng = torch.Generator().manual_seed(0)
    state, step = task.reset(2000, rng)
    core = KalmanFilter(task.obs_size, model=task.known_model)
    belief = core.initial_state(step.obs.unsqueeze(1))
    for _ in range(task.steps):
        y, belief = core(step.obs.unsqueeze(1), belief)
        errors = state.position - y[:, 0, :2]
        state, step = task.step(state, 2 * torch.rand(2000, 2, generator=rng, dtype=torch.float64) - 1, rng)
    assert_close(errors.square().mean().sqrt(), y[0, 0, 2], rtol=0.05, atol=0)
    assert y[0, 0, 2] < 0.07


def test_without_noise_the_belief_is_the_observation():
    core = KalmanFilter(6, model=MountainHike(noise=0.0).known_model)
    x = torch.randn(2, 1, 6, generator=torch.Generator().manual_seed(0))
    y, state = core(x, core.initial_state(x))
    y, _ = core(x + 1, state)
    assert_close(y[..., :2], x[..., :2] + 1)
    assert_close(y[..., 2:], torch.zeros_like(y[..., 2:]), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("model", "got"), [(None, "none"), (EXAMPLE, "SimpleNamespace")])
def test_a_model_of_another_kind_is_refused(model, got):
    with pytest.raises(ValueError, match=f"needs the linear Gaussian model of its task, got {got}"):
        KalmanBelief(6, 8, model=model)


def test_an_input_that_is_too_small_is_refused():
    with pytest.raises(ValueError, match="input_size=3, want at least 2 observations"):
        KalmanBelief(3, 8, model=MountainHike().known_model)
