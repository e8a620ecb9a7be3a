"""The MDN-RNN against NumPy, its losses against torch.distributions, and what it imagines."""

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, MixtureSameFamily, Normal, kl_divergence
from torch.testing import assert_close

from badger.rng import drawing_from
from badger.testing.core.cases import noise
from experts import MDNRNN, StepLayout, seeded
from experts import state as states
from experts.random_key import RandomKey
from experts.world_model.mixture import MixtureDensity
from toys import seeded as generator

LAYOUT = StepLayout(obs=2, choices=(2,))
D, Y, Z, OBS, A = 7, 6, 2, 2, 2  # x = [observation, last action, last reward, end, identity]
UNITS = Y - Z


def core(**options):
    with drawing_from(generator(0)):
        return MDNRNN(D, Y, **{"layout": LAYOUT, "latent_size": Z} | options).double()


def after(model, steps, *, batch=1):
    state = seeded(model.initial_state(noise(batch, 1, D)), generator(0))
    for i in range(steps):
        _, state = model(noise(batch, 1, D, seed=i), state)
    return state


def weights(part):
    return {name: parameter.detach().numpy() for name, parameter in part.named_parameters()}


def lstm(cell, x, state):
    w, h, c = weights(cell), numbers(state.h), numbers(state.c)
    gates = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"]
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    i, f, g, o = np.split(gates, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def network(layers, x):
    w, elu = weights(layers), lambda a: np.where(a > 0, a, np.exp(np.minimum(a, 0)) - 1)
    return w["2.weight"] @ elu(w["0.weight"] @ x + w["0.bias"]) + w["2.bias"]


def numbers(tensor):
    return tensor[0, 0].detach().numpy()


@pytest.mark.parametrize("steps", [0, 3])
def test_a_step_is_that_of_numpy(steps):
    model = core()
    before, x = after(model, steps), noise(1, 1, D, seed=9)
    y, new = model(x, before)
    row = numbers(x)
    h, c = lstm(
        model.memory, np.concatenate([numbers(before.z), row[OBS : OBS + A]]), numbers(before.h), numbers(before.c)
    )
    mean, raw = np.split(network(model.encoder, np.concatenate([row[:OBS], row[6:]])), 2)
    z = mean + (np.log1p(np.exp(raw)) + 1e-3) * numbers(before.key.normal(x, Z))
    for got, want in [(new.h, h), (new.c, c), (new.z, z), (y, np.concatenate([z, h]))]:
        assert_close(numbers(got), want)
    assert_close(numbers(model.predict(model.features(new))), network(model.decoder, z))


def test_imagination_draws_from_the_mixture_and_reads_no_input():
    model, before, action = core(), after(core(), 3), noise(1, 1, A, seed=9)
    imagined = model.imagine(action, before)
    h, c = lstm(
        model.memory, np.concatenate([numbers(before.z), numbers(action)]), numbers(before.h), numbers(before.c)
    )
    assert_close(numbers(imagined.h), h)
    assert_close(numbers(imagined.c), c)
    assert imagined.z.equal(model.mixture.sample(imagined.h, before.key))
    assert imagined.key.step.equal(before.key.step + 1)


def test_the_losses_are_divergence_likelihood_and_transition():
    model = core(obs_std=0.5, kl_floor=0.0)
    state = after(model, 3)
    losses, moments = model.losses(state), model.latent.moments(state.posterior)
    assert_close(losses["kl"], kl_divergence(Normal(*moments), Normal(0, 1)).sum(-1)[:, 0])
    likelihood = Normal(model.predict(model.features(state)), 0.5).log_prob(state.target).sum(-1)
    assert_close(losses["reconstruction"], -likelihood[:, 0])
    log_weight, mean, std = model.mixture(state.h)
    mixture = MixtureSameFamily(Categorical(logits=log_weight), Normal(mean, std))
    assert_close(losses["transition"], -mixture.log_prob(state.z).sum(-1)[:, 0])


def test_a_divergence_below_the_floor_has_no_gradient():
    model = core(kl_floor=100.0)
    loss = model.losses(after(model, 1))["kl"]
    assert loss.item() == 100 * Z
    assert not any(g.any() for g in torch.autograd.grad(loss.sum(), model.vision, allow_unused=True) if g is not None)


def test_to_be_predicted_changes_no_latent_state():
    """Its target is detached: else V could learn to say nothing, which is predicted best."""
    model = core()
    state = after(model, 1)
    state = state._replace(h=state.h.detach())
    grads = torch.autograd.grad(model.losses(state)["transition"].sum(), model.vision, allow_unused=True)
    assert all(grad is None for grad in grads)


def test_v_and_m_are_all_of_the_model():
    model = core()
    parts = {id(parameter) for parameter in [*model.vision, *model.predictor]}
    assert parts == {id(parameter) for parameter in model.parameters()}


def test_the_cell_state_is_read_where_it_is_asked_for():
    model = core(cell=True)
    y, state = model(noise(1, 1, D), after(model, 2))
    assert state.c.shape[-1] == UNITS // 2 and y.equal(torch.cat([state.z, state.h, state.c], -1))


def test_an_output_that_is_all_latent_has_no_memory():
    model = core(latent_size=Y)
    y, state = model(noise(1, 1, D), after(model, 3))
    assert y.equal(state.z)


def test_reward_and_end_are_not_read():
    model, x = core(), noise(1, 1, D)
    other = x.clone()
    other[..., OBS + A : OBS + A + 2] += 1
    state = seeded(model.initial_state(x), generator(0))
    assert model(x, state)[0].equal(model(other, state)[0])


def draws(temperature, count=20_000):
    with drawing_from(generator(0)):
        mixture = MixtureDensity(3, 1, 2).double()
    h = noise(1, 1, 3).expand(count, 1, 3)
    seeds = torch.randint(1, 2**62, (count, 1), generator=generator(1))
    return mixture, mixture.sample(h, RandomKey(seeds, torch.zeros_like(seeds)), temperature).flatten(), h[0, 0]


def test_numbers_are_drawn_from_the_mixture():
    mixture, drawn, h = draws(1.0)
    log_weight, mean, std = (part[0] for part in mixture(h))
    want = MixtureSameFamily(Categorical(logits=log_weight), Normal(mean, std))
    assert_close(drawn.mean(), want.mean, atol=0.03, rtol=0)
    for quantile in (0.1, 0.5, 0.9):
        assert_close(want.cdf(drawn.quantile(quantile)), torch.tensor(quantile).double(), atol=0.02, rtol=0)


def test_temperature_is_that_of_weights_and_variances():
    mixture, drawn, h = draws(4.0)
    log_weight, mean, std = (part[0] for part in mixture(h))
    want = MixtureSameFamily(Categorical(logits=log_weight / 4), Normal(mean, 2 * std))
    assert_close(drawn.std(), want.stddev, rtol=0.03, atol=0)


def test_what_follows_an_action_is_learned():
    """A point that is moved by its action alone: the imagined position is that of the real one."""
    with drawing_from(generator(0)):
        model = MDNRNN(3, 16, layout=StepLayout(obs=1, numbers=1), latent_size=1, obs_std=0.1)
    optimizer = torch.optim.Adam(model.parameters(), 2e-2)

    def episodes(seed):
        action = noise(5, 16, 1, 1, seed=seed).sign().float() * 0.5
        return torch.cat([action.cumsum(0), action, torch.zeros_like(action)], -1)

    for i in range(100):
        xs = episodes(i)
        every, _ = model.observe(xs, seeded(model.initial_state(xs[0]), generator(i)))
        losses = model.losses(states.map(lambda part: part.flatten(0, 1), every))
        optimizer.zero_grad()
        sum(value.mean() for value in losses.values()).backward()
        optimizer.step()
    xs = episodes(1000)
    with torch.no_grad():
        _, state = model.observe(xs[:3], seeded(model.initial_state(xs[0]), generator(1000)))
        for x in xs[3:]:
            state = model.imagine(x[..., 1:2], state)
        error = (model.predict(model.features(state)) - xs[-1, ..., :1]).square().mean().sqrt()
    assert error < 0.5 * xs[-1, ..., 0].std()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"latent_size": 0}, "latent_size=0, want at least 1"),
        ({"latent_size": 7}, "latent_size=7, want at most hidden_size=6"),
        ({"latent_size": 3, "cell": True}, "cell=True with hidden_size=6 and latent_size=3, want an even number"),
        ({"components": 0}, "components=0, want at least 1"),
        ({"kl_floor": -1.0}, "kl_floor=-1.0, want at least 0"),
        ({"obs_std": 0.0}, "obs_std=0.0, want a number above 0"),
        ({"temperature": 0.0}, "temperature=0.0, want a number above 0"),
        ({"layout": StepLayout(obs=9)}, "input_size=7, want at least 10"),
    ],
)
def test_options_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        core(**options)


def test_an_eighth_of_the_output_is_latent_by_default():
    assert MDNRNN(5, 64).latent.size == 8
