"""Mountain Hike: its rules by hand, and the returns of planners."""

import math

import pytest
import torch
from torch.testing import assert_close

from tasks import MountainHike
from tasks.control.mountain_hike.model import LONGEST_STEP, height_reward
from toys import seeded


def reward_by_hand(x, y):
    if abs(x) > 1 or abs(y) > 1:
        return -6.0
    ridges = [(1, 0.5, 0.5, 0.75, 0.1), (0.8, 0, 0.2, 0.1, 0.75), (0.55, -0.375, -0.5, 0.75, 0.1)]
    z = max(
        f * math.exp(-(((x - mx) / sx) ** 2) / 2 - ((y - my) / sy) ** 2 / 2) / (2 * math.pi * sx * sy) / 3
        for f, mx, my, sx, sy in ridges
    )
    return 4 * (1 - (1 - z) ** 4) - 4.5 + (x + y) / 4


def test_the_reward_is_that_of_the_highest_of_three_ridges():
    places = [(0.7, 0.5), (-0.85, -0.85), (0.0, 0.3), (-0.4, -0.5), (1.01, 0.0), (0.0, -1.2)]
    got = height_reward(torch.tensor(places, dtype=torch.float64))
    assert_close(got, torch.tensor([reward_by_hand(*place) for place in places], dtype=torch.float64))


def test_steps_are_as_long_as_asked_for_up_to_the_longest_and_long_ones_cost_more():
    model = MountainHike().known_model
    actions = torch.tensor([[0.0, 0.5], [1.0, 1.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    lengths = model.control(actions).square().sum(-1)
    assert_close(lengths.sqrt(), LONGEST_STEP * torch.tensor([0.5, 1.0, 0.0], dtype=torch.float64))
    assert torch.autograd.grad(lengths.sum(), actions)[0].isfinite().all()
    task = MountainHike(dtype=torch.float64)
    state, _ = task.reset(2, seeded())
    state = state._replace(position=torch.zeros(2, 2, dtype=torch.float64))
    new, step = task.step(state, torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64), seeded())
    cost = height_reward(new.position) - step.reward
    assert_close(cost, torch.tensor([0.1 * 0.05 * 2**0.5, 0.0], dtype=torch.float64))


def test_positions_and_observations_have_the_noise_of_the_rules():
    task = MountainHike(2, 0.3, dtype=torch.float64)
    state, step = task.reset(20_000, seeded())
    start = torch.full((2,), -0.85, dtype=torch.float64)
    assert_close(state.position.mean(0), start, rtol=0, atol=0.005)
    assert_close(state.position.std(0), torch.full_like(start, 0.1), rtol=0.03, atol=0)
    assert_close((step.obs - state.position).std(0), torch.full_like(start, 0.3), rtol=0.03, atol=0)
    new, _ = task.step(state, torch.zeros(20_000, 2, dtype=torch.float64), seeded(1))
    assert_close((new.position - state.position).std(0), torch.full_like(start, 0.025), rtol=0.03, atol=0)


def test_an_episode_is_truncated_and_has_its_return_as_the_score():
    task, rng = MountainHike(3, dtype=torch.float64), seeded()
    state, step = task.reset(4, rng)
    rewards = []
    for t in range(3):
        assert not step.truncated.any() and step.scores["episodic_return"].isnan().all(), t
        state, step = task.step(state, torch.zeros(4, 2), rng)
        rewards.append(step.reward)
    assert step.truncated.all() and not step.terminated.any()
    assert_close(step.scores["episodic_return"], torch.stack(rewards).sum(0))


@pytest.mark.parametrize(("noise", "observation", "kalman"), [(0.1, -89, -77.6), (0.3, -152, -98.6)])
def test_planners_get_the_returns_that_were_computed_elsewhere(noise, observation, kalman):
    got = MountainHike(noise=noise).references()["episodic_return"]
    want = {
        "chance": -372, "open loop": -172, "plan on the observation": observation, "plan on a Kalman filter": kalman,
        "plan on the true position": -69.8,
    }  # fmt: skip
    assert got == {name: pytest.approx(value, rel=0.04) for name, value in want.items()}


@pytest.mark.parametrize(("options", "error"), [({"noise": -1.0}, "noise=-1.0"), ({"steps": 0}, "steps=0")])
def test_options_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        MountainHike(**options)
