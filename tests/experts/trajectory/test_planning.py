"""The transformer and its beam search, against a slow transformer and a search over all plans."""

import itertools

import numpy as np
import pytest
import torch

from experts import seeded
from experts.trajectory.core import TrajectoryTransformer
from experts.trajectory.layout import StepLayout
from experts.trajectory.loss import sequence_loss
from oracles_trajectory import best_plan, next_logits, softmax

LAYOUT = StepLayout(obs=2, choices=(3,))
GOAL = StepLayout(obs=2, choices=(3,), goals=((1, 0),))
ALL = {"beam": 999, "expand": 3, "action_mass": 1.0}


def flat(lists):
    return list(itertools.chain(*lists))


def make(layout=LAYOUT, **options):
    torch.manual_seed(0)
    sizes = {"width": 8, "layers": 2, "heads": 2, "bins": 5, "horizon": 3, "gamma": 0.8} | options
    core = TrajectoryTransformer(layout.input_size, 8, layout=layout, **sizes).double()
    for parameter in (core.model.embedding, core.model.position, core.model.out):
        parameter.data.mul_(3)
    return core


def inputs(layout=LAYOUT, steps=5, batch=4, seed=0):
    return torch.randn(steps, batch, 1, layout.input_size, generator=torch.Generator().manual_seed(seed)).double()


def run(core, xs):
    state = seeded(core.initial_state(xs[0]), torch.Generator().manual_seed(1))
    for x in xs:
        y, state = core(x, state)
    return y[:, 0], state


def weights_of(core):
    return {name: value.detach().numpy() for name, value in core.model.state_dict().items()}


def predictor(core):
    weights, used = weights_of(core), core.discretizer.used.numpy()

    def predict(tokens, dims, next_dim):
        logits = next_logits(weights, tokens, dims, next_dim, heads=2, layers=2)
        return softmax(np.where(used[next_dim], logits, -np.inf))

    return predict


def test_the_transformer_is_that_of_the_slow_reference():
    core = make()
    tokens, dims = torch.randint(3, (2, 7)), torch.tensor(LAYOUT.sequence(2))[:7]
    features, _ = core.model(tokens, dims, torch.arange(7).expand(2, -1), None)
    got = core.model.all_logits(features, dims.roll(-1), torch.ones(6, 5, dtype=torch.bool))
    for row, length in ((0, 1), (1, 4), (1, 6)):
        want = next_logits(weights_of(core), tokens[row, :length].tolist(), dims[:length], int(dims[length]), 2, 2)
        np.testing.assert_allclose(got[row, length - 1].detach().numpy(), want, rtol=1e-9)


def test_a_sequence_read_through_the_cache_has_the_same_features():
    core = make()
    tokens, dims, position = torch.randint(3, (2, 8)), torch.tensor(LAYOUT.sequence(2))[:8], torch.arange(8)
    whole, _ = core.model(tokens, dims, position.expand(2, -1), None)
    parts, cache = [], None
    for i in range(8):
        one = slice(i, i + 1)
        valid = torch.ones(2, 1, 1, i + 1, dtype=torch.bool)
        features, cache = core.model(tokens[:, one], dims[one], position[one].expand(2, -1), valid, cache)
        parts.append(features)
    torch.testing.assert_close(torch.cat(parts, 1), whole)


@pytest.mark.parametrize(("layout", "objective"), [(LAYOUT, "return"), (LAYOUT, "likelihood"), (GOAL, "goal")])
def test_a_beam_with_room_for_all_plans_finds_the_best_of_them(layout, objective):
    core, xs = make(layout, objective=objective, horizon=2, **ALL), inputs(layout, batch=12)[:1]
    y, state = run(core, xs)
    encode = core.discretizer.encode
    for row, obs in enumerate(xs[0, :, 0, :2]):
        now = encode(obs[core.layout.state], range(core.layout.first_action)).tolist()
        goal = encode(core.layout.read_goal(obs), core.layout.goal_dims).tolist()
        dims = core.layout.sequence(1)[: len(goal + now)]
        centers = core.discretizer.centers.numpy()
        action, score = best_plan(
            predictor(core), centers, goal + now, dims, core.layout, 2, 0.8, likelihood=objective != "return"
        )
        assert y[row, :3].argmax() == action and state.score[row].item() == pytest.approx(score, rel=1e-9)


def test_a_history_reads_the_last_steps_with_the_values_that_the_model_expects():
    core, xs = make(history=3, horizon=1, **ALL), inputs()
    _, state = run(core, xs)
    steps = core.layout
    for row in range(4):
        lived = []  # tokens of steps
        for t in range(len(xs)):
            obs = core.discretizer.encode(xs[t, row, 0, :2], [0, 1]).tolist()
            if t:
                reward = steps.read_reward(xs[t, row, 0])
                numbers = torch.cat([steps.read_action(xs[t, row, 0]), reward, 0 * reward])
                part = [*now, *core.discretizer.encode(numbers, [2, 3, 4]).tolist()]
                before = flat(lived[-2:])
                probs = predictor(core)(before + part, steps.sequence(3)[: len(before + part)], 5)
                expected = torch.tensor([probs @ core.discretizer.centers[5].numpy()])
                lived.append(part + core.discretizer.encode(expected, [5]).tolist())
            now = obs
        assert state.past[row, 0].tolist() == lived[-2:] and state.now[row, 0].tolist() == now
        history = flat(lived[-2:]) + now
        dims = steps.sequence(3)[: len(history)]
        _, score = best_plan(predictor(core), core.discretizer.centers.numpy(), history, dims, steps, 1, 0.8, False)
        assert state.score[row].item() == pytest.approx(score, rel=1e-9)


def test_unlikely_actions_are_not_drawn():
    core = make(action_mass=0.0)  # the most likely one is always in
    xs = inputs()[:1]
    y, _ = run(core, xs)
    probs = y[:, 3:6]
    assert torch.equal(y[:, :3].argmax(-1), probs.argmax(-1)) and torch.allclose(probs.sum(-1), torch.ones(4).double())


def test_plans_of_several_numbers_have_an_action_for_each():
    layout = StepLayout(obs=1, choices=(2, 3), numbers=1)
    core = make(layout, beam=3, expand=2)
    y, _ = run(core, inputs(layout))
    assert y[:, :2].sum(-1).eq(1).all() and y[:, 2:5].sum(-1).eq(1).all()
    assert torch.isin(y[:, 5], core.discretizer.centers[layout.size - 4]).all()


def test_the_loss_counts_actions_five_times_and_no_padding():
    core = make(GOAL, objective="goal")
    layout = core.layout
    numbers, action = torch.randn(3, 2, 3).double(), torch.tensor([[0, 2, 1], [1, 1, 0]])
    end = torch.tensor([[0, 0, 1], [0, 1, 0]])
    values = torch.stack([numbers[0], action, numbers[1], end, numbers[2]], -1)
    goal, valid = torch.randn(2, 1).double(), torch.tensor([[True, True, True], [True, False, False]])
    loss = sequence_loss(core, values, goal, valid)
    total, weight = 0.0, 0.0
    for row, steps in ((0, 3), (1, 1)):
        tokens = core.discretizer.encode(goal[row], [0]).tolist()
        tokens += core.discretizer.encode(values[row], range(5)).flatten().tolist()
        dims = layout.sequence(3)
        for i in range(1, 1 + 5 * steps):
            w = 5 if dims[i] == 1 else 1
            total -= w * np.log(predictor(core)(tokens[:i], dims[:i], dims[i])[tokens[i]])
            weight += w
    assert loss.item() == pytest.approx(total / weight, rel=1e-9)


@pytest.mark.parametrize(
    ("layout", "options", "error"),
    [
        (None, {}, "reads the last action and reward"),
        (LAYOUT, {"objective": "goal"}, "the observation names no goal"),
        (LAYOUT, {"gamma": 1.5}, "gamma=1.5, want a number from 0 to 1"),
        (LAYOUT, {"width": 9}, "width=9, want a multiple of heads=2"),
        (StepLayout(obs=9), {}, "input_size=6, want at least 10"),
        (StepLayout(obs=1, choices=(4,)), {}, "hidden_size=6, want at least 8"),
    ],
)
def test_what_cannot_be_planned_for_is_refused(layout, options, error):
    with pytest.raises(ValueError, match=error):
        TrajectoryTransformer(6, 6, **{"layout": layout, "heads": 2} | options)
