"""Auxiliary losses: by hand, step by step, and as wrappers that change nothing but the loss."""

from functools import partial
from math import exp, log

import pytest
import torch
from torch import nn

from badger import BPTT
from badger.testing.contract import close
from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.cases import B, D, H, N, T, build, grads, inputs, noise, run
from badger.testing.core.stepping import unchecked
from experts import CPC, GRU, PSD, Core, EpisodicMemory, Private, Reconstruction
from experts import state as states
from experts.auxiliary.contrastive_predictive import info_nce
from experts.auxiliary.reconstruction import squared_error
from toys import game, toy_agent

STEPS = 2


def shared(input_size: int = D, hidden_size: int = H) -> EpisodicMemory:
    return EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size), slots=32)


WRAPPED = {
    "predictive": lambda d, h: CPC(shared(d, h), steps=STEPS, target_size=2),
    "reconstruction": lambda d, h: Reconstruction(shared(d, h), target_size=2),
    "both": lambda d, h: CPC(Reconstruction(GRU(d, h))),
    "decoder": lambda d, h: PSD(shared(d, h), steps=STEPS, target_size=2),
    "private": lambda d, h: Private(CPC(Reconstruction(shared(d, h)))),
}
wrappers = pytest.mark.parametrize("make", WRAPPED.values(), ids=WRAPPED)


def predictive(core: Core | None = None, **options) -> CPC:
    return build(lambda d, h: CPC(core or GRU(d, h), **{"steps": STEPS, **options}))


def numbers(core: Core, xs: torch.Tensor, present: torch.Tensor | None = None) -> list[dict[str, torch.Tensor]]:
    """The losses of each step."""
    state, losses = core.initial_state(xs[0]), []
    for t, x in enumerate(xs):
        _, state = core(x, state, None if present is None else present[t])
        losses.append(core.losses(state))
    return losses


# By hand


def test_info_nce_of_two_rows_is_that_worked_out_by_hand():
    """Scores: row 0 has 1 of its own code and 3 of the other's; row 1 has 2 of its own and 0."""
    predicted = torch.tensor([[[[1.0, 0.0]]], [[[0.0, 1.0]]]])
    codes = torch.tensor([[[1.0, 0.0]], [[3.0, 2.0]]])
    loss, correct = info_nce(predicted, codes, torch.ones(2, 1, dtype=torch.bool))
    assert loss.flatten().tolist() == pytest.approx([log(1 + exp(2)), log(1 + exp(-2))])
    assert correct.flatten().tolist() == [False, True]


def test_codes_that_are_alike_cannot_be_told_apart():
    loss, _ = info_nce(noise(8, 3, 2, 4), noise(1, 1, 4).expand(8, 3, 4), torch.ones(8, 3, dtype=torch.bool))
    close(loss, torch.full_like(loss, log(8)))


def test_the_absent_are_no_negatives():
    predicted, codes = noise(3, 1, 1, 4), noise(3, 1, 4, seed=1)
    loss, _ = info_nce(predicted, codes, torch.tensor([[True], [True], [False]]))
    few, _ = info_nce(predicted[:2], codes[:2], torch.ones(2, 1, dtype=torch.bool))
    close(loss[:2], few)
    assert loss.isfinite().all()


def test_the_squared_error_is_that_of_the_members_that_are_there():
    guess, goal = torch.tensor([[[1.0, 2.0], [5.0, 5.0]]] * 2), torch.tensor([[[1.0, 4.0], [5.0, 6.0]]] * 2)
    active = torch.tensor([[True, False], [True, True]])
    assert squared_error(guess, goal, active).tolist() == [2.0, 1.25]
    assert squared_error(guess, goal, ~active).tolist() == [0.5, 0.0]


# Contrastive prediction over steps


def by_hand(core: CPC, xs: torch.Tensor, ys: torch.Tensor) -> list[torch.Tensor]:
    """The loss of each step in loops: xs, ys (T, B, N, ...)."""
    steps, batch, n, _ = xs.shape
    code = [[[core.encoder(xs[t, b, m]) for m in range(n)] for b in range(batch)] for t in range(steps)]
    losses = []
    for t in range(steps):
        loss = xs.new_zeros(batch)
        for b in range(batch):
            for m in range(n):
                for i in range(1, min(core.steps, t) + 1):
                    guess = core.predictors[i - 1] @ ys[t - i, b, m]
                    scores = torch.stack([guess @ code[t][a][m] for a in range(batch)])
                    loss[b] = loss[b] - torch.log_softmax(scores, 0)[b] / (core.steps * n)
        losses.append(loss)
    return losses


def test_the_loss_of_a_step_is_that_of_the_predictions_made_before():
    core, xs = predictive(steps=3), inputs()
    ys, _ = run(core, xs)
    for got, want in zip(numbers(core, xs), by_hand(core, xs, ys), strict=True):
        close(got["cpc"], want)


def test_the_first_step_was_not_predicted():
    core, xs = predictive(), inputs()
    losses = [step["cpc"] for step in numbers(core, xs)]
    assert not losses[0].any() and (losses[1] > 0).all()


def test_a_new_episode_was_not_predicted():
    core, xs = predictive(), inputs()
    _, state = run(core, xs)
    state = states.where(torch.tensor([True, False]), core.initial_state(xs[0]), state)
    loss = core.losses(core(xs[0], state)[1])["cpc"]
    assert loss[0] == 0 and loss[1] > 0


def test_what_a_member_predicts_waits_while_it_is_away():
    core, xs = predictive(), inputs(n=1)
    active = torch.tensor([True, True, False, False, True, True])
    losses = numbers(core, xs, active.view(T, 1, 1).expand(T, B, 1))
    without = iter(numbers(core, xs[active]))
    for step, here in zip(losses, active, strict=True):
        close(step["cpc"], next(without)["cpc"] if here else torch.zeros(B).double())


def test_the_loss_is_the_mean_over_members_that_are_there():
    core, xs = predictive(), inputs()
    present = torch.tensor([True, True, False]).expand(T, B, N)
    close(numbers(core, xs, present)[-1]["cpc"], numbers(core, xs[:, :, :2])[-1]["cpc"])
    nobody = numbers(core, xs, torch.zeros(T, B, N, dtype=torch.bool))[-1]["cpc"]
    assert not nobody.any()


def test_a_batch_of_one_has_no_loss_and_a_finite_gradient():
    core, xs = predictive(), inputs()[:, :1]
    loss = numbers(core, xs)[-1]["cpc"]
    (loss.sum()).backward()
    assert loss.tolist() == [0] and not core.predictors.grad.any() and not core.encoder.weight.grad.any()


def test_only_the_loss_mixes_the_episodes_of_a_batch():
    """That the outputs do not is part of the contract."""
    core, xs = predictive(), inputs()
    (to_x,) = torch.autograd.grad(numbers(core, xs)[-1]["cpc"][0], xs)
    assert to_x[-1, 1].any() and not to_x[:-1, 1].any()  # the other's last code, and nothing of its past


def test_the_loss_teaches_the_core_and_the_codes():
    core, xs = predictive(), inputs()
    numbers(core, xs)[-1]["cpc"].sum().backward()
    assert all(p.grad.any() for name, p in core.named_parameters())


def test_only_the_first_numbers_are_coded():
    core, xs = predictive(target_size=2), inputs()
    last = numbers(core, xs)[-1]["cpc"]
    (to_x,) = torch.autograd.grad(last.sum(), xs)
    assert to_x[-1, ..., :2].all() and not to_x[-1, ..., 2:].any()


def test_what_can_be_foreseen_is_learned():
    """x turns by a right angle at each step, from an angle that no other episode has."""
    angles = torch.linspace(0, 6, 16).view(1, 16, 1) + torch.arange(4).view(4, 1, 1) * torch.pi / 2
    xs = torch.stack([angles.cos(), angles.sin()], -1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        core = CPC(GRU(2, 8), steps=2)
    optimiser = torch.optim.Adam(core.parameters(), lr=0.03)
    for _ in range(60):
        optimiser.zero_grad()
        torch.stack([loss["cpc"].mean() for loss in numbers(core, xs)]).mean().backward()
        optimiser.step()
    assert core.metrics(run(core, xs)[1])["cpc_accuracy"].mean() > 0.8


def test_the_accuracy_is_the_share_of_right_predictions():
    """One number of output and code: the higher code is the better for each, so one of two rows is right."""
    core = CPC(GRU(1, 1), steps=1, code_size=1).double()
    nn.init.ones_(core.encoder.weight), nn.init.ones_(core.predictors)
    xs = torch.tensor([1.0, 2.0]).double().view(1, 2, 1, 1).expand(2, 2, 1, 1)
    _, state = run(core, xs)
    state = state._replace(ys=torch.ones_like(state.ys))
    assert core.metrics(state)["cpc_accuracy"].tolist() == [0, 1]


# Reconstruction over steps


def test_the_loss_of_a_step_is_the_error_of_what_is_seen_in_it():
    core, xs = build(lambda d, h: Reconstruction(GRU(d, h), target_size=3)), inputs()
    ys, state = run(core, xs)
    for x, y, loss in zip(xs, ys, numbers(core, xs), strict=True):
        close(loss["reconstruction"], (core.decoder(y) - x[..., :3]).square().mean((1, 2)))
    close(core.metrics(state)["reconstruction_error"] ** 2, core.losses(state)["reconstruction"].detach())


def test_what_is_seen_is_a_goal_and_learns_nothing():
    core, xs = build(lambda d, h: Reconstruction(GRU(d, h))), inputs()
    nn.init.zeros_(core.decoder.weight)
    (to_x,) = torch.autograd.grad(numbers(core, xs)[-1]["reconstruction"].sum(), xs, materialize_grads=True)
    assert not to_x.any()


# Predictive-state decoders over steps


def decoded(core: PSD, xs: torch.Tensor, ys: torch.Tensor) -> list[torch.Tensor]:
    """The losses of each step, prediction by prediction."""
    weight, bias = core.decoder.weight.unflatten(0, (core.steps, -1)), core.decoder.bias.unflatten(0, (core.steps, -1))
    losses = []
    for t, x in enumerate(xs):
        errors = [
            (ys[t - i] @ weight[i - 1].T + bias[i - 1] - x[..., : core.target_size]).square().mean((1, 2))
            for i in range(1, min(t, core.steps) + 1)
        ]
        losses.append(sum(errors, torch.zeros(B, dtype=torch.double)) / core.steps)
    return losses


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_loss_of_a_step_is_the_error_of_what_was_decoded_before(steps):
    core, xs = build(lambda d, h: PSD(GRU(d, h), steps=steps, target_size=3)), inputs()
    ys, state = run(core, xs)
    for loss, want in zip(numbers(core, xs), decoded(core, xs, ys), strict=True):
        close(loss["psd"], want)
    if steps == 1:
        close(core.metrics(state)["psd_error"] ** 2, core.losses(state)["psd"].detach())


def test_an_absent_member_decodes_nothing():
    core, xs = build(lambda d, h: PSD(GRU(d, h), steps=1)), inputs()
    present = torch.tensor([[True] * N, [True] + [False] * (N - 1)] * (T // 2))[:, None].expand(T, B, N)
    ys, _ = run(core, xs, present=present)
    want = (core.decoder(ys[0, :, 0]) - xs[1, :, 0]).square().mean(-1)  # the mean over the one that is there
    close(numbers(core, xs, present)[1]["psd"], want)


def test_what_is_decoded_is_a_goal_and_learns_nothing():
    core, xs = build(lambda d, h: PSD(GRU(d, h))), inputs()
    loss = numbers(core, xs)[1]["psd"].sum()
    (to_x,) = torch.autograd.grad(loss, xs, retain_graph=True)
    assert to_x[0].any() and not to_x[1].any()  # x_1 is the target of what was decoded from x_0
    assert all(grad.any() for grad in torch.autograd.grad(loss, core.decoder.parameters()))


# As wrappers


@wrappers
def test_a_wrapped_core_holds_the_contract(make):
    check_core(make, properties=UNCOMPILED)


@pytest.mark.parametrize("wrap", [CPC, PSD, Reconstruction])
def test_the_outputs_are_those_of_the_core_within(wrap):
    core, xs = build(lambda d, h: wrap(shared(d, h))), inputs()
    present = noise(T, B, N) > 0
    ys, state = run(core, xs, present=present)
    want, inner = run(core.core, xs, present=present)
    close(ys, want)
    for a, b in zip(grads(ys, xs, *core.core.parameters()), grads(want, xs, *core.core.parameters()), strict=True):
        close(a, b)
    close(core.read_weights(state), core.core.read_weights(inner))


def test_losses_and_metrics_of_stacked_wrappers_are_told_together():
    core, xs = build(lambda d, h: CPC(Reconstruction(shared(d, h)))), inputs()
    _, state = run(core, xs)
    assert set(core.losses(state)) == {"cpc", "reconstruction"}
    assert {"cpc_accuracy", "reconstruction_error", "slots_used"} <= set(core.metrics(state))


def test_metrics_carry_no_gradient():
    core, xs = build(lambda d, h: CPC(Reconstruction(GRU(d, h)))), inputs()
    assert not any(value.requires_grad for value in core.metrics(run(core, xs)[1]).values())


def test_inside_private_members_are_episodes_too():
    outside, inside = (predictive() for _ in range(2))
    xs = inputs()
    separate = xs.transpose(1, 2).reshape(T, B * N, 1, D)  # any order of (B * N) will do for a mean
    close(numbers(Private(inside), xs)[-1]["cpc"].mean(), numbers(outside, separate)[-1]["cpc"].mean())


@pytest.mark.parametrize("segment", [None, 2])
@pytest.mark.parametrize("core", ["episodic_cpc", "episodic_reconstruction", "psd"])
def test_an_auxiliary_loss_is_learned_on_by_name(core, segment):
    name = core.removeprefix("episodic_")

    def learner(**auxiliary: float) -> BPTT:
        agent = toy_agent(game(), core=core)
        return BPTT(agent, game(), batch=4, grad_checkpoint_steps=segment, auxiliary=auxiliary, clip=1e9)

    without, small, large = learner(), learner(**{name: 0.1}), learner(**{name: 1.0})
    numbers = [one.update() for one in (without, small, large)]
    assert numbers[0][name] > 0 and numbers[0]["loss"] < numbers[1]["loss"] < numbers[2]["loss"]
    close(numbers[1]["loss"] - numbers[0]["loss"], 0.1 * numbers[1][name])
    own = [p for n, p in small.agent.core.named_parameters() if not n.startswith("core.")]
    assert own and all(p.grad.any() for p in own)


# What they refuse


@pytest.mark.parametrize(
    "make, message",
    [
        (partial(CPC, steps=0), "steps=0, want at least 1"),
        (partial(CPC, code_size=0), "code_size=0, want at least 1"),
        (partial(CPC, target_size=0), "target_size=0, want 1 to the core's input_size=4"),
        (partial(CPC, target_size=5), "target_size=5, want 1 to the core's input_size=4"),
        (partial(PSD, steps=0), "steps=0, want at least 1"),
        (partial(PSD, target_size=5), "target_size=5, want 1 to the core's input_size=4"),
        (partial(Reconstruction, target_size=0), "target_size=0, want 1 to the core's input_size=4"),
        (partial(Reconstruction, target_size=5), "target_size=5, want 1 to the core's input_size=4"),
    ],
    ids=str,
)
def test_a_size_out_of_range_is_refused(make, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        make(GRU(D, H))
