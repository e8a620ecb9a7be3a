"""MERLIN against its algorithm row by row, its memory by hand, and what may reach the predictor."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

import oracles_merlin as oracles
from badger import build_run
from badger.rng import drawing_from
from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.cases import noise, run
from experts import CORES, seeded
from experts.belief import MERLIN
from experts.belief.variational.event_memory import EventMemory, updated_usage
from experts.belief.variational.gaussian import gaussian_divergence
from toys import seeded as generator

D, H, Z, S, T = 5, 6, 3, 4, 9
PREDICTOR = ("prior", "encoder", "correction", "decoder", "predictor")  # the beginning of its parameters' names


def core(**options):
    with drawing_from(generator(0)):
        return MERLIN(D, H, **{"latent_size": Z, "slots": S, "heads": 2, "target_size": 4} | options).double()


def inputs(members=1):
    return noise(T, 2, members, D)


def start(model, xs):
    return seeded(model.initial_state(xs[0]), generator(0))


def gradients(model, loss):
    found = torch.autograd.grad(loss, list(model.parameters()), materialize_grads=True)
    return {name: g.abs().sum().item() for (name, _), g in zip(model.named_parameters(), found, strict=True)}


@pytest.mark.parametrize("discount", [0.7, 1.0])
def test_steps_are_those_of_the_algorithm_row_by_row(discount):
    """With fewer rows than steps, so that rows are replaced."""
    model, xs = core(discount=discount), inputs()
    with torch.no_grad():  # strong reads, so that usage differs
        model.predictor_heads.address.weight.mul_(5)
    state, oracle = start(model, xs), oracles.MERLIN(model)
    for x in xs:
        drawn = state.key.normal(x, Z)[0, 0].numpy()
        y, state = model(x, state)
        wanted, divergence, log_likelihood = oracle.step(x[0, 0].numpy(), drawn)
        assert_close(y[0, 0].detach().numpy(), wanted)
        assert_close(state.memory.rows[0, 0].detach().numpy(), np.array(oracle.rows))
        assert_close(model.losses(state)["negative_elbo"][0].item(), divergence - log_likelihood)


def test_a_row_tells_what_followed_it():
    """Latents 1, 2, 4 with the discount 1/2: a half of the next, a quarter of the one after."""
    memory = EventMemory.empty(torch.zeros(1, 1, 1), 3, 1)
    for z in (1.0, 2.0, 4.0):
        memory = memory.write(torch.tensor([[[z]]]), memory.usage, 0.5)
    assert memory.rows[0, 0].tolist() == [[1, 2 / 2 + 4 / 4], [2, 4 / 2], [4, 0]]


def test_a_replaced_row_forgets_both_halves():
    memory = EventMemory.empty(torch.zeros(1, 1, 1), 2, 1)
    for z in (1.0, 2.0):
        memory = memory.write(torch.tensor([[[z]]]), memory.usage, 0.5)
    memory = memory.write(torch.tensor([[[4.0]]]), torch.tensor([[[0.2, 0.6]]]), 0.5)
    assert memory.rows[0, 0].tolist() == [[4, 0], [2, 4 / 2]]
    assert memory.usage[0, 0].tolist() == [1, pytest.approx(0.6)]


def test_empty_rows_are_written_first_and_rows_that_are_read_are_kept():
    usage, read = torch.tensor([[1.0, 1.0, 0.0, 0.0], [0.5, 0.1, 0.2, 0.2]]).view(2, 1, 1, 4)
    assert_close(updated_usage(usage, read)[0, 0], torch.tensor([1.25, 0.85, 0, 0]))
    memory = EventMemory.empty(torch.zeros(1, 1, 1), 4, 1)
    assert memory.write(torch.ones(1, 1, 1), updated_usage(usage, read), 0.5).written[0, 0].tolist() == [0, 0, 1, 0]


def test_no_policy_gradient_reaches_the_predictor():
    model, xs = core(), inputs()
    ys, _ = run(model, xs, start(model, xs))
    sizes = gradients(model, ys.square().sum())
    assert {name for name, size in sizes.items() if size == 0} == {n for n in sizes if n.startswith(PREDICTOR)}


def test_no_gradient_of_the_prediction_reaches_the_policy():
    model, xs = core(), inputs()
    _, state = run(model, xs, start(model, xs))
    sizes = gradients(model, model.losses(state)["negative_elbo"].sum())
    assert {name for name, size in sizes.items() if size > 0} == {n for n in sizes if n.startswith(PREDICTOR)}


def test_the_ablation_lets_the_policy_gradient_into_the_predictor():
    check_core(partial(CORES["merlin"], policy_gradient=True), properties=UNCOMPILED & {
        "gradient_reaches_the_first_input", "unroll_equals_the_loop_of_forward", "detach_cuts_the_gradient_to_the_past"
    })  # fmt: skip


def test_the_prediction_of_a_cue_reaches_back_through_the_memory():
    """The gradient of a late loss into the first input."""
    model, xs = core(slots=T), inputs().requires_grad_()
    _, state = run(model, xs, start(model, xs))
    (gradient,) = torch.autograd.grad(state.divergence.sum(), xs)
    assert (gradient[0].abs().sum(-1) > 0).all()


def test_a_divergence_is_that_of_torch_distributions():
    mean, std, prior_mean, prior_std = noise(4, 3, 2).unbind()
    q, p = (torch.distributions.Normal(m, s.exp()) for m, s in ((mean, std), (prior_mean, prior_std)))
    wanted = torch.distributions.kl_divergence(q, p).sum(-1)
    assert_close(gaussian_divergence(mean, std.exp(), prior_mean, prior_std.exp()), wanted)


def test_absent_members_add_nothing_to_the_loss():
    model, xs = core(), inputs(2)
    state = start(model, xs)
    _, late = model(xs[0], state, torch.tensor([[True, False]] * 2))
    assert_close(model.losses(late)["negative_elbo"], (late.divergence - late.log_likelihood)[:, 0])
    assert (model.losses(state)["negative_elbo"] == 0).all()


def test_the_bound_is_learned():
    """Each episode shows one of two cues at first, and again at its end."""
    with drawing_from(generator(1)):
        model = MERLIN(2, 16, latent_size=4, slots=4, heads=1)
    optimizer, losses = torch.optim.Adam(model.parameters(), 0.03), []
    for i in range(15):
        cue = (noise(16, 1, 1, seed=i) > 0).float()
        shown = torch.cat([cue, 1 - cue], -1)
        xs = torch.stack([shown, 0 * shown, shown])
        state, loss = seeded(model.initial_state(shown), generator(i)), 0
        for x in xs:
            _, state = model(x, state)
            loss = loss + model.losses(state)["negative_elbo"].mean() / len(xs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < losses[0] - 0.5


def test_an_agent_reconstructs_what_it_observes_and_not_its_name():
    learner = build_run(
        "card_game", core="merlin", identity_size=3, observe_previous=True, batch=2, device="cpu"
    ).learner
    assert learner.agent.core.target_size == 4 * 4 + 4 + 2
    assert "negative_elbo" in learner.update()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"latent_size": 0}, "latent_size=0, want at least 1"),
        ({"slots": 0}, "slots=0, want at least 1"),
        ({"heads": 0}, "heads=0, want at least 1"),
        ({"std": 0.0}, "std=0.0, want a number above 0"),
        ({"discount": 1.5}, "discount=1.5, want 0 to 1"),
        ({"target_size": 6}, "target_size=6, want 1 to the core's input_size=5"),
    ],
)
def test_options_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        core(**options)
