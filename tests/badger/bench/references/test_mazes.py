"""The maze references: mazes equal to the task, network and loss compared with values worked out by hand."""

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import Maze
from badger.bench.references import ManyMazes, MazeTraining, OneMaze, PlainNeural, PlasticNetwork, a2c_loss
from experts import LSTM, NeuralMemory
from tasks.control.mazes.maze_tables import build_maze_tables
from toys import seeded

SETTINGS = {"plasticity": Maze.plasticity(), "backpropamine": Maze.backpropamine()}
KINDS = {"one": (OneMaze, 1), "many": (lambda task, rng: ManyMazes(task, rng, batch=7), 7)}


def rollout(mazes, actions):
    """First observation, results of the steps, cells (T + 1, B), and goals."""
    numbers = {
        tuple(place): cell
        for cell, place in enumerate(build_maze_tables(mazes.task.size, torch.device("cpu")).positions.tolist())
    }

    def cells(places):
        return [numbers[tuple(int(i) for i in place)] for place in np.atleast_2d(places)]

    first_obs = mazes.reset()
    steps, visited, goals = [], [cells(mazes.position)], cells(mazes.goal)
    for action in actions:
        steps.append(mazes.step(action))
        visited.append(cells(mazes.position))
    return first_obs, steps, torch.tensor(visited), torch.tensor(goals)


@pytest.mark.parametrize("task", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_observations_and_rewards_are_those_of_our_maze(kind, task):
    make, batch = KINDS[kind]
    actions = torch.randint(4, (task.steps, batch), generator=seeded(2))
    first_obs, steps, visited, goals = rollout(make(task, np.random.default_rng(3)), actions.numpy())
    state, step = task.reset(batch, seeded())
    state = state._replace(goal=goals, respawn_cells=visited[1:].T.contiguous())
    assert_close(torch.from_numpy(first_obs), step.obs)
    for action, (obs, reward) in zip(actions, steps, strict=True):
        state, step = task.step(state, action, seeded())
        assert_close(torch.from_numpy(obs), step.obs)
        assert_close(torch.from_numpy(reward), step.reward)
    assert {10, 0} <= {round(float(r), 1) for _, reward in steps for r in reward} or kind == "one"


@pytest.mark.parametrize("kind", KINDS)
def test_free_cells_other_than_the_excluded_one_are_drawn_uniformly(kind):
    mazes = KINDS[kind][0](Maze(), np.random.default_rng(0))
    drawn = [mazes.random_cell((1, 1)) for _ in range(8_000)]
    frequencies = {place: drawn.count(place) / 8_000 for place in set(drawn)}
    assert len(frequencies) == 40 and (1, 1) not in frequencies
    assert all(abs(frequency - 1 / 40) < 0.01 for frequency in frequencies.values())


# --- the network


def test_the_network_follows_ojas_rule_row_by_row():
    network = PlasticNetwork(3, 2, 4).double()
    x, h, trace = (
        torch.randn(2, *shape, generator=seeded(i), dtype=torch.float64) for i, shape in enumerate(((3,), (2,), (2, 2)))
    )
    (logits, value, penalty), (new, after) = network(x, (h, trace))
    assert not penalty.any()
    p = {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}
    for b in range(2):
        total = p["input.weight"] @ x[b].numpy() + p["input.bias"]
        for j in range(2):
            for i in range(2):
                total[j] += h[b, i].item() * (p["w"][i, j] + p["alpha"][i, j] * trace[b, i, j].item())
        y = np.tanh(total)
        assert_close(new[b], torch.tensor(y))
        for i in range(2):
            for j in range(2):
                change = y[j] * (h[b, i].item() - y[j] * trace[b, i, j].item())
                assert after[b, i, j].item() == pytest.approx(trace[b, i, j].item() + float(p["rate"]) * change)
        assert_close(logits[b], torch.tensor(p["policy.weight"] @ y + p["policy.bias"]))
        assert value[b].item() == pytest.approx((p["value.weight"] @ y + p["value.bias"]).item())


def test_the_network_begins_with_small_weights_and_a_rate_of_a_hundredth():
    network = PlasticNetwork(17, 50, 4)
    assert network.rate.item() == pytest.approx(0.01)
    for weight in (network.w, network.alpha):
        assert weight.min() >= 0 and 0.009 < weight.max() <= 0.01


def test_the_plain_neural_memory_equals_the_core():
    core = NeuralMemory(3, partial(LSTM, hidden_size=5), width=4, heads=2).double()
    network = PlainNeural(3, 5, 4, width=4, heads=2).double()
    theirs = {f"cell.{name}": value for name, value in core.controller.state_dict().items()} | {
        name: value for name, value in core.state_dict().items() if not name.startswith("controller.")
    }
    network.load_state_dict(network.state_dict() | theirs)
    xs = torch.randn(6, 2, 3, generator=seeded(), dtype=torch.float64)
    state, core_state, losses, core_losses = network.initial_state(2), core.initial_state(xs[0].unsqueeze(1)), [], []
    for x in xs:
        out, state = network(x, state)
        y, core_state = core(x.unsqueeze(1), core_state)
        assert_close(out.logits, network.policy(y.squeeze(1)))
        assert_close(out.value, network.value(y).flatten())
        assert_close(out.penalty, 0.1 * core.losses(core_state)["meta"])
        losses.append(out.logits.square().sum() + out.penalty.sum())
        core_losses.append(network.policy(y).square().sum() + 0.1 * core.losses(core_state)["meta"].sum())
    actual = torch.autograd.grad(torch.stack(losses).sum(), [network.interact.weight, network.cell.weight_hh])
    expected = torch.autograd.grad(torch.stack(core_losses).sum(), [core.interact.weight, core.controller.weight_hh])
    for a, b in zip(actual, expected, strict=True):
        assert_close(a, b)


# --- the loss


def loss_inputs(rows):
    """Log-probabilities, values, probabilities and rewards of 2 steps; values differ between rows."""
    probabilities = torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64).unsqueeze(1).expand(-1, rows, -1)
    value = torch.tensor([[0.5], [0.0]], dtype=torch.float64) + torch.arange(rows)
    return (
        probabilities[..., 0].log(),
        value,
        probabilities,
        torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(-1, rows),
    )


OPTIONS = {"gamma": 0.5, "value_weight": 0.1, "concentration": 0.03}


def test_the_loss_of_two_steps_is_the_one_worked_out_by_hand():
    """Returns are 1/2 and 1, so that the advantages are 0 and 1."""
    first = 0 + 0 + 0.03 * (1 / 4 + 1 / 4)
    second = math.log(4) + 0.1 * 1 + 0.03 * (1 / 16 + 9 / 16)
    assert a2c_loss(*loss_inputs(1), **OPTIONS).item() == pytest.approx((first + second) / 2)


def test_each_row_has_its_own_value():
    """The loss of a batch is the mean of the losses of its rows."""
    batch = loss_inputs(3)
    single = [a2c_loss(*(part[:, row : row + 1] for part in batch), **OPTIONS) for row in range(3)]
    assert len({loss.item() for loss in single}) == 3
    assert_close(a2c_loss(*batch, **OPTIONS), torch.stack(single).mean())


def test_the_policy_loss_has_no_gradient_for_the_value():
    log_prob, value, probabilities, reward = loss_inputs(2)
    value.requires_grad_()
    loss = a2c_loss(log_prob, value, probabilities, reward, **OPTIONS)
    returns = torch.tensor([[0.5], [1.0]], dtype=torch.float64)
    assert_close(torch.autograd.grad(loss, value)[0], -2 * 0.1 * (returns - value.detach()) / 4)


# --- the training


def tiny(kind, seed=0, network=PlasticNetwork):
    with torch.random.fork_rng():
        torch.set_rng_state(seeded(seed).get_state())
        network = network(17, 5, 4)
    if kind == "one":
        return MazeTraining.of_2018(network, seeded(seed), task=replace(Maze.plasticity(), steps=12))
    return MazeTraining.of_2019(network, seeded(seed), task=replace(Maze.backpropamine(), steps=12), batch=3)


NETWORKS = pytest.mark.parametrize("network", [PlasticNetwork, partial(PlainNeural, width=3, heads=2)])


@NETWORKS
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_changes_every_parameter_and_returns_the_reward_of_each_episode(kind, network):
    training = tiny(kind, network=network)
    before = {name: p.clone() for name, p in training.network.named_parameters()}
    rewards = training.update()
    assert rewards.shape == ({"one": 1, "many": 3}[kind],)
    assert all((p != before[name]).any() for name, p in training.network.named_parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_determined_by_the_seed(kind):
    def weights(seed):
        training = tiny(kind, seed)
        training.update()
        return training.network.policy.weight

    assert torch.equal(weights(0), weights(0)) and not torch.equal(weights(0), weights(1))


@pytest.mark.parametrize("kind", KINDS)
def test_log_probabilities_are_those_of_the_actions_taken(kind):
    training = tiny(kind)
    taken, step = [], training.mazes.step
    training.mazes.step = lambda action: (taken.append(action.copy()), step(action))[1]
    (log_prob, _, probabilities), *_ = training.rollout()
    actions = torch.from_numpy(np.stack(taken)).unsqueeze(-1)
    assert_close(log_prob, probabilities.gather(-1, actions).squeeze(-1).log())


def test_the_settings_are_those_of_the_papers():
    network = PlasticNetwork(17, 5, 4)
    one, many = MazeTraining.of_2018(network, seeded()), MazeTraining.of_2019(network, seeded())
    assert (one.mazes.task, one.clip) == (Maze.plasticity(), None)
    assert (many.mazes.task, many.mazes.batch, many.clip) == (Maze.backpropamine(), 30, 4)
    assert one.loss.keywords == {"gamma": 0.9, "value_weight": 0.03, "concentration": 0.1}
    assert many.loss.keywords == {"gamma": 0.9, "value_weight": 0.1, "concentration": 0.03}
    for training in (one, many):
        assert training.optimizer.defaults["lr"] == training.optimizer.defaults["eps"] == 1e-4
