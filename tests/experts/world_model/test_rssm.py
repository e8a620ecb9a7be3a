"""The recurrent state-space model against NumPy, its losses against torch.distributions, and what it imagines."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence
from torch.nn.functional import softplus
from torch.testing import assert_close

from badger.rng import drawing_from
from badger.testing.core import check_core
from badger.testing.core.cases import noise
from experts import StepLayout, seeded
from experts import state as states
from experts.world_model import RSSM
from experts.world_model.networks import symexp, symlog
from toys import seeded as generator

LAYOUT = StepLayout(obs=2, choices=(2,))
D, H, OBS, A = 7, 4, 2, 2  # x = [observation, last action, last reward, end, identity]
KINDS = {"choices": {"latent_size": 2, "classes": 3}, "normal": {"latent_size": 3, "classes": 0}}


def core(kind="choices", **options):
    with drawing_from(generator(0)):
        return RSSM(D, H, layout=LAYOUT, **KINDS[kind] | options).double()


def after(model, steps, *, batch=1):
    x = noise(batch, 1, D)
    state = seeded(model.initial_state(x), generator(0))
    for i in range(steps):
        _, state = model(noise(batch, 1, D, seed=i), state)
    return state


def linear(layer, x):
    return layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def network(layers, x):
    for layer in layers:
        x = linear(layer, x) if isinstance(layer, torch.nn.Linear) else elu(x)
    return x


def gru(cell, x, h):
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    wx = cell.weight_ih.detach().numpy() @ x + cell.bias_ih.detach().numpy()
    wh = cell.weight_hh.detach().numpy() @ h + cell.bias_hh.detach().numpy()
    (r_x, z_x, n_x), (r_h, z_h, n_h) = np.split(wx, 3), np.split(wh, 3)
    reset, keep = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    return keep * h + (1 - keep) * np.tanh(n_x + reset * n_h)


def draw(kind, parameters, key, like):
    """A latent state; of choices the first option at which the sum of the probabilities reaches a random number."""
    if kind == "normal":
        mean, raw = np.split(parameters, 2)
        return mean + (np.log1p(np.exp(raw)) + 0.1) * key.normal(like, 3)[0, 0].numpy()
    z = []
    for logits, u in zip(parameters.reshape(2, 3), key.uniform(like, 2)[0, 0].numpy(), strict=True):
        probs = 0.99 * np.exp(logits) / np.exp(logits).sum() + 0.01 / 3
        option = next(i for i in range(3) if probs[: i + 1].sum() >= u)
        z += [float(i == option) for i in range(3)]
    return np.array(z)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [0, 3])
def test_a_step_is_that_of_numpy(kind, steps):
    model = core(kind)
    before, x = after(model, steps), noise(1, 1, D, seed=9)
    y, new = model(x, before)
    row = x[0, 0].numpy()
    h = gru(model.gru, np.concatenate([before.z[0, 0].detach(), row[OBS : OBS + A]]), before.h[0, 0].detach().numpy())
    posterior = network(
        model.posterior, np.concatenate([h, network(model.encoder, np.concatenate([row[:OBS], row[6:]]))])
    )
    z = draw(kind, posterior, before.key, x)
    for got, want in [(new.h, h), (new.posterior, posterior), (new.z, z)]:
        assert_close(got[0, 0].detach(), torch.tensor(want))
    assert_close(y[0, 0].detach(), torch.tensor(elu(network(model.out[0], np.concatenate([h, z])))))
    assert_close(model.predict(model.features(new))[0, 0].detach(), torch.tensor(network(model.decoder, [*h, *z])))


@pytest.mark.parametrize("kind", KINDS)
def test_imagination_draws_from_the_prior_and_reads_no_input(kind):
    model, before = core(kind), after(core(kind), 3)
    imagined = model.imagine(noise(1, 1, A, seed=9), before)
    h = gru(
        model.gru,
        np.concatenate([before.z[0, 0].detach(), noise(1, 1, A, seed=9)[0, 0]]),
        before.h[0, 0].detach().numpy(),
    )
    assert_close(imagined.h[0, 0].detach(), torch.tensor(h))
    assert_close(imagined.z[0, 0].detach(), torch.tensor(draw(kind, network(model.prior, h), before.key, before.h)))
    assert imagined.key.step.equal(before.key.step + 1)


def distributions(kind, parameters):
    if kind == "normal":
        mean, raw = parameters.chunk(2, -1)
        return Independent(Normal(mean, softplus(raw) + 0.1), 1)
    probs = 0.99 * parameters.unflatten(-1, (2, 3)).softmax(-1) + 0.01 / 3
    return Independent(Categorical(probs), 1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_losses_are_the_divergence_and_the_likelihood(kind):
    model = core(kind, obs_std=0.5)
    state = after(model, 3)
    losses = model.losses(state)
    kl = kl_divergence(distributions(kind, state.posterior), distributions(kind, model.prior(state.h)))
    assert_close(losses["kl"], kl[:, 0])
    likelihood = Normal(model.predict(model.features(state)), 0.5).log_prob(state.target).sum(-1)
    assert_close(losses["reconstruction"], -likelihood[:, 0])
    assert_close(model.metrics(state)["latent_divergence"], kl[:, 0].detach())


def test_the_divergence_moves_the_prior_more_than_the_posterior():
    model, state = core(balance=0.75), after(core(), 3)
    posterior = state.posterior.detach().requires_grad_()
    plain = model.latent.divergence(posterior, model.prior(state.h))
    (want,) = torch.autograd.grad(plain.sum(), posterior)
    prior_weights = list(model.prior.parameters())
    want_prior = torch.autograd.grad(
        model.latent.divergence(posterior, model.prior(state.h.detach())).sum(), prior_weights
    )
    loss = model.losses(state._replace(posterior=posterior))["kl"].sum()
    got, *got_prior = torch.autograd.grad(loss, [posterior, *prior_weights])
    assert_close(got, 0.25 * want)
    for a, b in zip(got_prior, want_prior, strict=True):
        assert_close(a, 0.75 * b)


def test_free_nats_have_no_gradient():
    model = core(free_nats=100.0)
    loss = model.losses(after(model, 3))["kl"]
    assert loss.item() == 100
    assert not any(g.any() for g in torch.autograd.grad(loss.sum(), list(model.prior.parameters())))


def test_reward_and_end_are_not_read():
    model, x = core(), noise(1, 1, D)
    state = seeded(model.initial_state(x), generator(0))
    other = x.clone()
    other[..., OBS + A : OBS + A + 2] += 1
    assert model(x, state)[0].equal(model(other, state)[0])


def test_choices_have_the_gradient_of_their_probabilities():
    model, logits = core(), noise(1, 1, 6).requires_grad_()
    z = model.latent.sample(logits, after(model, 1).key)
    assert sorted(z.flatten().tolist()) == [0, 0, 0, 0, 1, 1]
    weight = noise(6, seed=1)
    (got,) = torch.autograd.grad((z * weight).sum(), logits)
    probs = 0.99 * logits.unflatten(-1, (2, 3)).softmax(-1) + 0.01 / 3
    (want,) = torch.autograd.grad((probs.flatten(-2) * weight).sum(), logits)
    assert_close(got, want)


def test_choices_are_drawn_as_often_as_they_are_likely():
    model = core()
    logits = noise(1, 1, 6).expand(20_000, 1, 6)
    z = model.latent.sample(logits, seeded(model.initial_state(noise(20_000, 1, D)), generator(0)).key)
    probs = 0.99 * logits[0, 0].view(2, 3).softmax(-1) + 0.01 / 3
    assert_close(z.mean((0, 1)).view(2, 3), probs, atol=0.015, rtol=0)


def test_messages_get_no_gradient_from_being_predicted():
    model, x = RSSM(D, H, target_size=D), noise(1, 1, D).float().requires_grad_()
    _, state = model(x, model.initial_state(x))
    loss = model.losses(state._replace(h=state.h.detach(), z=state.z.detach()))["reconstruction"]
    assert not loss.requires_grad or torch.autograd.grad(loss.sum(), x, allow_unused=True)[0] is None


def test_what_follows_an_action_is_learned():
    """A point that is moved by its action alone: the imagined position is that of the real one."""
    with drawing_from(generator(0)):
        model = RSSM(3, 16, layout=StepLayout(obs=1, numbers=1), latent_size=2, classes=4, obs_std=0.3)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def episodes(seed):
        action = noise(5, 16, 1, 1, seed=seed).sign().float() * 0.5
        position = action.cumsum(0)
        return torch.cat([position, action, torch.zeros_like(action)], -1)

    for i in range(70):
        xs = episodes(i)
        every, _ = model.observe(xs, seeded(model.initial_state(xs[0]), generator(i)))
        losses = model.losses(states.map(lambda part: part.flatten(0, 1), every))
        loss = sum(model.loss_weights[name] * value.mean() for name, value in losses.items())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    xs = episodes(1000)
    with torch.no_grad():
        _, state = model.observe(xs[:3], seeded(model.initial_state(xs[0]), generator(1000)))
        for x in xs[3:]:
            state = model.imagine(x[..., 1:2], state)
        error = (model.predict(model.features(state)) - xs[-1, ..., :1]).square().mean().sqrt()
    assert error < 0.5 * xs[-1, ..., 0].std()


def test_symlog_and_its_inverse():
    x = torch.tensor([-math.e + 1, 0.0, math.e**2 - 1, 1e6], dtype=torch.float64)
    assert_close(symlog(x)[:3], torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64))
    assert_close(symexp(symlog(x)), x)


def test_squashed_observations_are_predicted_in_their_own_units():
    model, state = core(squash=True), after(core(), 2)
    assert_close(symlog(model.predict(model.features(state))), model.decoder(model.features(state)))


def test_normal_latent_states_hold_the_contract():
    check_core(
        partial(RSSM, classes=0), properties=["unroll_equals_the_loop_of_forward", "each_seed_draws_other_numbers"]
    )


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"latent_size": 0}, "latent_size=0, want at least 1"),
        ({"classes": 1}, "classes=1, want 0, for normal latent states, or at least 2 options"),
        ({"uniform": 0.0}, "uniform=0.0, want above 0"),
        ({"balance": 1.5}, "balance=1.5, want 0 to 1"),
        ({"free_nats": -1.0}, "free_nats=-1.0, want at least 0"),
        ({"obs_std": 0.0}, "obs_std=0.0, want a number above 0"),
        ({"layout": StepLayout(obs=9)}, "input_size=7, want at least 10"),
        ({"target_size": 8, "layout": None}, "target_size=8, want 1 to the core's input_size=7"),
    ],
)
def test_options_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        RSSM(D, H, **{"layout": LAYOUT} | options)
