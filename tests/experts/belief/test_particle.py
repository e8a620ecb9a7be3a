"""Particle filters against the Kalman filter, an enumeration of resampling, and loops in NumPy."""

import math
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger.rng import drawing_from
from badger.testing.core.cases import noise
from experts import KalmanFilter, ParticleFilter, seeded
from experts.belief import ParticleModel, dpfrl, dvrl, soft_resample, systematic_indices
from experts.belief.variational.gaussian import gaussian_log_density
from toys import seeded as generator

B, N, D = 2, 1, 4
MODEL = SimpleNamespace(  # an autoregression, seen with noise
    action_size=1, transition=np.array([[0.9]]), transition_covariance=np.array([[0.25]]),
    observation=np.array([[1.0]]), observation_covariance=np.array([[0.5]]), start_mean=np.zeros(1),
    start_covariance=np.array([[1.0]]),
    control=lambda action: action,
)  # fmt: skip


class Bootstrap(ParticleModel):
    """Particles [state, 1] of the model above, moved by its transition and weighted by the observation."""

    input_size, particle_size, noise_size, generative = 2, 2, 1, True

    def forward(self, particles, x, noise):
        state, started = particles.split(1, -1)
        o, a = (part.unsqueeze(2) for part in x.split(1, -1))
        state = torch.where(started > 0, 0.9 * state + a + 0.5 * noise, noise)
        log_weights = gaussian_log_density(o.expand_as(state), state, torch.tensor([0.5**0.5], dtype=x.dtype))
        return torch.cat([state, torch.ones_like(state)], -1), log_weights


def inputs(steps, batch, size, seed=0):
    return noise(steps, batch, 1, size, seed=seed)


@pytest.fixture(scope="module")
def tracked():
    """Squared errors of the particle mean, and the evidence beside the true one, by number of particles."""
    xs = inputs(6, 1, 2).expand(-1, 400, -1, -1)
    kalman = KalmanFilter(2, model=MODEL)
    exact = kalman.unroll(xs, kalman.initial_state(xs[0]))[0][-1, 0, 0, 0]
    found = {}
    for k in (8, 32, 128):
        core = ParticleFilter(Bootstrap(), 3, particles=k).double()
        state, evidence = seeded(core.initial_state(xs[0]), generator(k)), 0
        for x in xs:
            _, state = core(x, state)
            evidence = evidence + state.evidence
        mean = (state.log_weights.exp() * state.particles[..., 0]).sum(-1)
        found[k] = ((mean - exact).square().mean().item(), evidence)
    return found


def test_the_particle_mean_converges_to_the_kalman_mean_as_the_root_of_their_number(tracked):
    errors = [tracked[k][0] ** 0.5 for k in (8, 32, 128)]
    assert errors[2] < 0.1
    for larger, smaller in pairwise(errors):
        assert 1.6 < larger / smaller < 2.5  # 2: four times as many


def log_likelihood(xs):
    """Of all observations: normal, with the covariance of the autoregression plus the noise."""
    steps = len(xs)
    a, mean, covariance = xs[:, 0, 0, 1].numpy(), np.zeros(steps), np.zeros((steps, steps))
    covariance[0, 0] = 1
    for t in range(1, steps):
        mean[t] = 0.9 * mean[t - 1] + a[t]
        covariance[t, :t] = covariance[:t, t] = 0.9 * covariance[t - 1, :t]
        covariance[t, t] = 0.81 * covariance[t - 1, t - 1] + 0.25
    covariance += 0.5 * np.eye(steps)
    d = xs[:, 0, 0, 0].numpy() - mean
    return -0.5 * (d @ np.linalg.solve(covariance, d) + np.linalg.slogdet(2 * math.pi * covariance)[1])


def test_the_likelihood_is_unbiased_and_its_logarithm_a_bound_that_tightens(tracked):
    exact, gaps = log_likelihood(inputs(6, 1, 2)), []
    for k, (_, evidence) in tracked.items():
        ratio = (evidence - exact).exp()
        assert abs(ratio.mean() - 1) < 4 * ratio.std() / 20 + 1e-3, k
        gaps.append((exact - evidence).mean().item())
    assert gaps[0] > gaps[1] > gaps[2] > -0.02


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_soft_resampling_is_unbiased(alpha):
    log_weights = torch.tensor([0.7, 0.05, 0.25], dtype=torch.float64).log()
    uniform = ((torch.arange(3000, dtype=torch.float64) + 0.5) / 3000).unsqueeze(-1)  # all that may be drawn
    index, new = soft_resample(log_weights.expand(3000, 3), uniform, alpha)
    means = (
        torch.zeros(3, dtype=torch.float64).index_put((index.flatten(),), new.exp().flatten(), accumulate=True) / 3000
    )
    assert_close(means, log_weights.exp(), rtol=0, atol=1e-3)


def test_resampling_has_a_gradient_through_the_weights_only_where_it_is_soft():
    for alpha, has_gradient in ((0.5, True), (1.0, False)):
        logits = torch.tensor([1.0, 0.0, -1.0], requires_grad=True)
        _, new = soft_resample(logits.log_softmax(-1), torch.tensor([0.3]), alpha)
        (gradient,) = torch.autograd.grad(new[0], logits)
        assert gradient.isfinite().all() and bool((gradient.abs() > 1e-6).any()) == has_gradient


def test_systematic_resampling_takes_each_particle_its_share_of_times():
    weights = torch.tensor([0.5, 0.0, 0.25, 0.25])
    for u in (0.01, 0.5, 0.99):
        assert systematic_indices(weights, torch.tensor([u])).tolist() == [0, 0, 2, 3]


def test_a_particle_of_no_weight_has_no_gradient_that_is_not_a_number():
    log_weights = torch.tensor([0.0, -1e4], requires_grad=True)
    _, new = soft_resample(log_weights.log_softmax(-1), torch.tensor([0.5]), 1.0)
    assert torch.autograd.grad(new.sum(), log_weights)[0].isfinite().all()


@pytest.mark.parametrize("make", [dpfrl, dvrl])
def test_log_weights_are_normalized(make):
    core, xs = make(D, 6, particles=5).double(), 10 * inputs(4, B, D)
    state = seeded(core.initial_state(xs[0]), generator(0))
    for x in xs:
        _, state = core(x, state)
        assert_close(state.log_weights.exp().sum(-1), torch.ones(B, 1, dtype=torch.float64))


def test_particles_and_weights_are_those_of_a_loop_over_particles():
    """The first step of DVRL, particle by particle; and its bound, minus the log of their mean weight."""
    core, x = dvrl(D, 3, particles=4, latent_size=2, predicted=1).double(), inputs(1, 1, D)[0]
    before = seeded(core.initial_state(x), generator(0))
    before = before._replace(particles=noise(1, 1, 4, 3))
    _, after = core(x, before)
    model, draws = core.model, before.key.normal(x, 4, 2, stream=1)[0, 0]

    def density(value, mean, std):
        return math.prod(torch.distributions.Normal(mean, std).log_prob(value).exp().tolist())

    weights, row = [], x[0, 0]
    with torch.no_grad():
        encoded = torch.tanh(model.encoder(row))
        for k in range(4):
            h = before.particles[0, 0, k]  # resampling of equal weights moves none
            mean, std = model.proposal(h, encoded)
            z = mean + std * draws[k]
            joint = density(z, *model.prior(h, row[1:])) * density(row[:1], *model.decoder(z, h, row[1:]))
            weights.append(joint / density(z, mean, std))
    want = torch.tensor(weights, dtype=torch.float64)
    assert_close(after.log_weights[0, 0].exp(), want / want.sum())
    assert_close(core.losses(after)["negative_elbo"], -want.mean().log().view(1))


def test_the_bound_is_learned():
    with drawing_from(generator(1)):
        core = dvrl(2, 8, particles=4, latent_size=2, predicted=1, features=2)
    optimizer = torch.optim.Adam(core.parameters(), 0.05)
    losses = []
    for i in range(20):
        xs = torch.sin(inputs(1, 32, 2, seed=i) + torch.arange(3).view(-1, 1, 1, 1)).float()
        state, loss = seeded(core.initial_state(xs[0]), generator(i)), 0
        for x in xs:
            _, state = core(x, state)
            loss = loss + core.losses(state)["negative_elbo"].mean() / 3
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < losses[0] - 0.3


def test_absent_members_add_nothing_to_the_bound():
    core, x = dvrl(D, 6).double(), noise(1, 2, D)
    state = seeded(core.initial_state(x), generator(0))
    _, new = core(x, state, torch.tensor([[True, False]]))
    assert new.evidence[0, 1] == 0 and core.losses(new)["negative_elbo"].item() == -new.evidence[0, 0].item()
    assert core.losses(state)["negative_elbo"].item() == 0


@pytest.mark.parametrize(
    ("make", "options", "error"),
    [
        (dpfrl, {"alpha": 1.5}, "alpha=1.5, want 0 to 1"),
        (dpfrl, {"particles": 0}, "particles=0, want at least 1"),
        (dvrl, {"predicted": 5}, "predicted=5, want 1 to 4"),
        (dvrl, {"latent_size": 0}, "latent_size=0, want at least 1"),
    ],
)
def test_options_out_of_range_are_refused(make, options, error):
    with pytest.raises(ValueError, match=error):
        make(D, 6, **options)
