"""The deep variational Bayes filter against a loop over matrices, and its bound against a known likelihood."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger.rng import drawing_from
from badger.testing.core.cases import noise
from experts import seeded
from experts.belief import DVBF
from toys import seeded as generator

D, Z, PREDICTED, M = 4, 2, 3, 5


def core(**options):
    return DVBF(D, 6, **{"latent_size": Z, "matrices": M, "predicted": PREDICTED} | options).double()


def after(model, steps):
    x = noise(1, 1, D)
    state = seeded(model.initial_state(x), generator(0))
    for _ in range(steps):
        _, state = model(x, state)
    return state


def density(value, mean, std):
    return -0.5 * ((value - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi)


def network(layers, x):
    (first, b1), (second, b2) = [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in layers]
    return second @ np.tanh(first @ x + b1) + b2


def normal(model, x):
    mean, raw = np.split(network((model.hidden, model.out), x), 2)
    return mean, np.log1p(np.exp(raw)) + 0.01


@pytest.mark.parametrize("steps", [0, 3])
def test_a_step_and_its_bound_are_those_of_a_loop_over_matrices(steps):
    model = core()
    before, x = after(model, steps), noise(1, 1, D, seed=1)
    y, new = model(x, before)
    z, row = before.z[0, 0].detach().numpy(), x[0, 0].numpy()
    o, u = row[:PREDICTED], row[PREDICTED:]
    mean, std = normal(model.proposal, np.concatenate([z, u, o]))
    w = mean + std * before.key.normal(x, Z)[0, 0].numpy()
    if steps == 0:
        moved = network((model.first[0], model.first[2]), w)
    else:
        scores = network((model.mixture[0], model.mixture[2]), np.concatenate([z, u]))
        moved = np.zeros(Z)
        for score, matrix in zip(scores, model.transitions.detach().numpy(), strict=True):
            a, b, c = np.split(matrix, [Z, D - PREDICTED + Z], axis=1)
            moved += np.exp(score) / np.exp(scores).sum() * (a @ z + b @ u + c @ w)
    likelihood = density(o, *normal(model.decoder, moved)).sum()
    divergence = sum((m**2 + s**2 - 1) / 2 - math.log(s) for m, s in zip(mean, std, strict=True))
    assert_close(new.z[0, 0], torch.tensor(moved))
    assert_close(new.log_likelihood.item(), likelihood)
    assert_close(model.losses(new)["negative_elbo"].item(), divergence - likelihood)
    out = model.out.weight.detach().numpy() @ moved + model.out.bias.detach().numpy()
    assert_close(y[0, 0], torch.tensor(np.tanh(out)))


def test_the_loss_is_a_bound_of_the_likelihood():
    """Of one observation: E_prior p(o | z), by drawing the noise from its prior."""
    model, x = core(predicted=1), noise(1, 1, D)
    with torch.no_grad():
        w = noise(100_000, Z, seed=1)
        mean, std = model.decoder(model.first(w))
        likelihood = torch.distributions.Normal(mean, std).log_prob(x[0, 0, :1]).exp().mean().log()
        state = model.initial_state(x.expand(2000, -1, -1))
        _, state = model(x.expand(2000, -1, -1), seeded(state, generator(0)))
        bound = -model.losses(state)["negative_elbo"].mean()
    assert bound < likelihood - 0.01


def test_the_bound_is_learned():
    with drawing_from(generator(1)):
        model = DVBF(2, 8, latent_size=2, matrices=2, predicted=1)
    optimizer, losses = torch.optim.Adam(model.parameters(), 0.05), []
    for i in range(20):
        xs = torch.sin(noise(1, 32, 1, 2, seed=i) + torch.arange(3).view(-1, 1, 1, 1)).float()
        state, loss = seeded(model.initial_state(xs[0]), generator(i)), 0
        for x in xs:
            _, state = model(x, state)
            loss = loss + model.losses(state)["negative_elbo"].mean() / 3
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < losses[0] - 0.25


def test_absent_members_add_nothing_to_the_bound_and_begin_when_they_come():
    model, x = core(), noise(1, 2, D)
    state = seeded(model.initial_state(x), generator(0))
    _, late = model(x, state, torch.tensor([[True, False]]))
    assert model.losses(late)["negative_elbo"].item() == (late.divergence - late.log_likelihood)[0, 0].item()
    assert model.losses(state)["negative_elbo"].item() == 0
    assert model(x, late)[1].z[0, 1].equal(model(x, state)[1].z[0, 1])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"predicted": 5}, "predicted=5, want 1 to 4"),
        ({"latent_size": 0}, "latent_size=0, want at least 1"),
        ({"matrices": 0}, "matrices=0, want at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        core(**options)
