"""The learner of Trajectory Transformers: what it learns from, and that the agent takes the action that is planned."""

import numpy as np
import pytest
import torch

from badger import Agent, act, sense
from badger.learners.offline.returns_to_go import ReturnsToGo
from badger.learners.offline.step_layout import step_layout
from badger.learners.offline.trajectory_transformer import TrajectoryTransformerLearner
from badger.learners.offline.windows import Windows
from badger.policies.policies import Greedy
from badger.rng import drawing_from, seeded_generator
from comms import Silent
from experts import GRU, StepLayout, TrajectoryTransformer
from oracles_trajectory import value_to_go
from recorded import random_episodes
from tasks import FourRooms, MountainHike, PreviousActionReward, RandomWalkGraph, Spread

ROOMS, HIKE = PreviousActionReward(FourRooms(12, 7)), PreviousActionReward(MountainHike(4, 0.1))
SMALL = {"width": 8, "layers": 1, "heads": 2, "bins": 8, "horizon": 2, "beam": 2}


def make(task=ROOMS, episodes=20, core=None, **options):
    sizes = {name: options.pop(name) for name in ("objective", "horizon", "history") if name in options}
    layout = step_layout(task)
    with drawing_from(seeded_generator(0)):
        core = core or TrajectoryTransformer(task.obs_size, 64, layout=layout, **SMALL | sizes)
        agent = Agent(
            sense=sense.Broadcast(task.obs_size), core=core, bus=Silent(64), topology="none", experts=1,
            act=act.Mean(64, task.action_space.size), identity_size=0,
        )  # fmt: skip
    return TrajectoryTransformerLearner(agent, task, data=random_episodes(task.task, episodes), batch=4, **options)


def windows(learner, rows, start):
    rows, start = torch.tensor(rows), torch.tensor(start)
    return Windows(learner.data.windows(rows, start, learner.core.window), rows, start)


@pytest.mark.parametrize("discount", [1.0, 0.5])
def test_the_value_to_go_leaves_out_the_reward_of_its_own_step(discount):
    data = random_episodes(RandomWalkGraph(6, 5, 0.3), 8)
    values, rows = ReturnsToGo(data, discount), torch.arange(8)
    got = values.window(rows, torch.ones_like(rows), 6)
    for row in rows.tolist():
        rewards = data[torch.tensor([row])].reward[0].tolist()
        np.testing.assert_allclose(got[row, : len(rewards)], value_to_go(rewards, discount), atol=1e-6)
        assert not got[row, len(rewards) :].any()


def test_steps_are_state_action_reward_and_value():
    learner = make()
    drawn, recorded = windows(learner, [0, 3], [1, 0]), learner.data[torch.tensor([0, 3])]
    found = learner._steps(drawn, learner._values(drawn))
    assert torch.equal(found[0, 0, :4], recorded.obs[0, 1]) and torch.equal(
        found[1, :, 4], recorded.action[1, :2].float()
    )
    assert torch.equal(found[1, :, 5], recorded.reward[1, :2])


def test_a_window_ends_where_its_goal_is_visited_first():
    learner = make(objective="goal", goal_steps=3, goal_bins=0, horizon=4)
    drawn = learner.sampler.draw(200, seeded_generator(0))
    for row, start, goal, until in zip(drawn.rows, drawn.start, drawn.goal, drawn.until, strict=True):
        obs = learner.data[row : row + 1].obs[0, start:, :2]
        visits = [k for k in range(1, len(obs)) if torch.equal(obs[k], goal)]
        assert until == visits[0]
    assert set(drawn.until.tolist()) == {1, 2, 3} and learner.core.layout.size == 2 + 4
    assert learner.update()["finite"]


def test_goals_of_each_range_of_distances_are_drawn_equally_often():
    learner, far = make(objective="goal", episodes=60, goal_steps=12, goal_bins=2), []
    for bins in (0, 2):
        learner.sampler.bins = bins
        drawn = learner.sampler.draw(400, seeded_generator(0))
        begin = learner.data.windows(drawn.rows, drawn.start, 1).obs[:, 0, :2]
        distance = (drawn.goal - begin).norm(dim=-1)
        far.append((distance > distance.max() / 2).float().mean().item())
    assert far[0] < 0.3 < 0.4 < far[1] < 0.6


def test_an_update_makes_the_recorded_steps_more_likely():
    learner = make(lr=1e-2)
    losses = [float(learner.update()["loss"]) for _ in range(25)]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.15  # most of it is of actions, which were random


@pytest.mark.parametrize(
    "task", [ROOMS, PreviousActionReward(MountainHike(4, 0.1)), PreviousActionReward(RandomWalkGraph(5, 6, 0.3))]
)
def test_the_agent_takes_the_planned_action(task):
    learner = make(task)
    agent, layout, rng = learner.agent, learner.core.layout, seeded_generator(1)
    _, step = task.reset(5, rng)
    output, state = agent(step.obs, agent.initial_state(step.obs, rng), rng)
    action, _ = Greedy(task.action_space)(output, step.action_mask, (), rng)
    planned = state.core.y[:, 0, : layout.action_inputs]
    if layout.choices:
        allowed = step.action_mask if step.action_mask is not None else torch.ones(5, 4, dtype=torch.bool)
        row, choice = torch.arange(5), planned.argmax(-1)
        assert allowed[row, action].all()
        assert torch.equal(action[allowed[row, choice]], choice[allowed[row, choice]])
    else:
        torch.testing.assert_close(action, planned)


def test_a_saved_learner_goes_on_with_its_bins():
    learner, other = make(), make(episodes=20)
    learner.update()
    other.load_state_dict(learner.state_dict())
    assert torch.equal(other.core.discretizer.centers, learner.core.discretizer.centers)
    assert learner.update()["loss"] == other.update()["loss"]


def test_layouts_are_those_of_the_task():
    assert step_layout(ROOMS) == StepLayout(4, (4,), 0, ((2, 0), (3, 1)))
    assert step_layout(HIKE) == StepLayout(2, (), 2)
    assert step_layout(FourRooms()) is None and step_layout(PreviousActionReward(Spread(5, 2))) is None


def test_an_agent_that_does_not_plan_is_refused():
    with pytest.raises(ValueError, match="core is a GRU, which does not plan: want core trajectory_transformer"):
        make(core=GRU(ROOMS.obs_size, 64))
    with pytest.raises(ValueError, match="goal_steps=0, want at least 1"):
        make(goal_steps=0)
    with pytest.raises(ValueError, match="goal_bins=-1, want at least 0"):
        make(goal_bins=-1)
