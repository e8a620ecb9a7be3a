"""Learners from recorded episodes: what they draw, what they see, and what they are asked for."""

import dataclasses

import numpy as np
import pytest
import torch

from badger import act
from badger.agent import Agent
from badger.datasets import EpisodeDataset, Episodes
from badger.errors import DamagedFile
from badger.learners import BehaviorCloning, DecisionTransformerLearner, PercentBC
from badger.learners.offline.imitation import action_error
from badger.learners.offline.replayed import to_recording
from badger.learners.offline.returns_to_go import ReturnsToGo
from badger.learners.offline.step_layout import step_layout
from badger.learners.offline.windows import WindowSampler, balanced_weights, best_rows
from badger.policies.policies import log_probability
from badger.policies.uniform import Uniform
from badger.rng import generator
from badger.rollouts.loop import rollout
from badger.rollouts.recording import replay
from badger.rollouts.trajectory import initial_carry
from badger.sense import SENSES, Broadcast
from comms import Attention, Silent
from experts import GRU, DecisionTransformer
from recorded import random_episodes
from tasks import (
    Continuous,
    Discrete,
    GuessingGame,
    Mixed,
    MultiDiscrete,
    PreviousActionReward,
    RandomWalkGraph,
    RepeatPrevious,
    Spread,
)
from toy_episodes import SPACES, make_episodes

TASK = PreviousActionReward(RepeatPrevious(6, 2, symbols=3, dtype=torch.float64))


def three_episodes(**fields):
    """Episodes of 3, 1 and 2 steps, with rewards 1 2 4, 8 and 16 32, that act 0, 1, 2, ..."""
    length = torch.tensor([3, 1, 2])
    reward = torch.tensor([[1.0, 2, 4], [8, 0, 0], [16, 32, 0]]).double()
    end = torch.arange(3) == length.unsqueeze(1) - 1
    obs = torch.arange(12.0, dtype=torch.float64).reshape(3, 4, 1)
    action = torch.arange(3).expand(3, 3) * (torch.arange(3) < length.unsqueeze(1))
    recorded = Episodes(obs, action, reward, end, end & False, length)._replace(**fields)
    return EpisodeDataset.from_episodes(recorded, Discrete(3))


def transformer_agent(task, **options):
    torch.manual_seed(0)
    core = DecisionTransformer(
        task.obs_size, 8, layers=2, layout=step_layout(task), **{"context": 3, "max_time": 6} | options
    )
    sense, head = Broadcast(task.obs_size), act.Mean(8, task.action_space.size)
    return Agent(sense=sense, core=core, bus=Silent(8), act=head, experts=1, identity_size=0).double()


def test_each_step_is_the_first_of_a_window_equally_often():
    drawn = WindowSampler(three_episodes(), steps=2).draw(6000, torch.Generator().manual_seed(0))
    pairs, counts = np.unique(np.stack([drawn.rows, drawn.start]), axis=1, return_counts=True)
    assert pairs.T.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [2, 0], [2, 1]]
    assert np.abs(counts - 1000).max() < 120


def test_each_range_of_returns_is_drawn_equally_often():
    """Episodes of 3, 1 and 2 steps, of which the last is as likely as the first two together."""
    data = three_episodes()
    weights = balanced_weights(data.returns, 2)
    assert weights.tolist() == [0.5, 0.5, 1]
    for steps, shares in ((None, [1 / 4, 1 / 4, 1 / 2]), (2, [3 / 8, 1 / 8, 4 / 8])):
        drawn = WindowSampler(data, steps=steps, weights=weights).draw(8000, torch.Generator().manual_seed(0))
        assert np.bincount(drawn.rows) / 8000 == pytest.approx(shares, abs=0.02)
        assert (drawn.start < data.length[drawn.rows]).all()


def test_only_the_best_episodes_are_drawn():
    data = three_episodes()
    assert best_rows(data, 34).tolist() == [2] and best_rows(data, 67).tolist() == [1, 2]
    drawn = WindowSampler(data, best_rows(data, 67)).draw(100, torch.Generator().manual_seed(0))
    assert set(drawn.rows.tolist()) == {1, 2}
    with pytest.raises(ValueError, match="percent=0, want above 0 and at most 100"):
        best_rows(data, 0)


@pytest.mark.parametrize("steps", [None, 2])
def test_a_damaged_step_that_is_drawn_is_named(steps):
    episodes = make_episodes((4, 2))
    episodes.action[1, 1] = -1
    data = EpisodeDataset.from_episodes(episodes, SPACES["discrete"])
    with pytest.raises(DamagedFile, match="episode 1, step 1: action is not one of Discrete"):
        WindowSampler(data, steps=steps).draw(100, torch.Generator().manual_seed(0))


def test_the_return_to_go_of_a_step_has_its_own_reward():
    to_go = ReturnsToGo(three_episodes())
    rows, start = torch.tensor([0, 0, 0, 1, 2, 2]), torch.tensor([0, 1, 2, 0, 0, 1])
    assert to_go.at(rows, start).tolist() == [7, 6, 4, 8, 48, 32]


def test_an_agent_sees_recorded_episodes_as_it_saw_them_when_it_acted():
    """Outputs of a replayed recording of the wrapped task, and of the task inside, equal those of the rollout."""
    agent, rng = transformer_agent(TASK, target_return=2.5), torch.Generator().manual_seed(3)
    carry = initial_carry(agent, TASK, 5, rng)
    trajectory, _ = rollout(agent, TASK, carry, rng, Uniform(TASK.action_space), steps=6)
    last = torch.zeros_like(trajectory.obs[:1])
    whole = Episodes(
        torch.cat([trajectory.obs, last]).transpose(0, 1), trajectory.action.t(), trajectory.reward.detach().t(),
        trajectory.terminated.t(), trajectory.truncated.t(), torch.full((5,), 6),
    )  # fmt: skip
    inside = whole._replace(obs=whole.obs[..., : TASK.task.obs_size])
    for episodes in (whole, inside):
        output, _, _ = replay(agent, to_recording(agent, TASK, episodes, rng, experts=1))
        torch.testing.assert_close(output, trajectory.output, atol=1e-10, rtol=0)


def test_a_window_in_the_middle_is_told_its_time_and_the_return_from_there_on():
    """g of each step is the recorded return-to-go, less what was paid since, and times are those of the episode."""
    data = three_episodes(obs=torch.zeros(3, 4, 3, dtype=torch.float64))
    task = PreviousActionReward(dataclasses.replace(TASK.task))
    learner = DecisionTransformerLearner(transformer_agent(task, context=4), task, data=data)
    seen = []
    learner.agent.core.tokens.register_forward_pre_hook(lambda module, args: seen.append(args))
    learner.update()
    (rows, time), drawn = seen[0], learner.sampler.draw(64, generator(0, "data", 0))
    to_go = {0: [7, 6, 4], 1: [8], 2: [48, 32]}
    asked = rows[..., 3]  # behind the action
    for b, (row, start, length) in enumerate(zip(drawn.rows, drawn.start, drawn.episodes.length, strict=True)):
        assert asked[b, :length].tolist() == to_go[int(row)][int(start) :]
        assert time[b, :length].tolist() == list(range(int(start), int(start + length)))


@pytest.mark.parametrize("learner", [BehaviorCloning, PercentBC])
def test_behavior_cloning_learns_a_rule_that_needs_memory(learner):
    """The recorded action is the symbol of two steps ago; percent_bc finds it among random episodes."""
    task = RepeatPrevious(6, 2, symbols=3)
    data = random_episodes(task, 60)
    obs = data.source.episodes.obs
    good = torch.arange(60) < 30
    action = torch.where(good.unsqueeze(1), obs[:, :6, :3].argmax(-1).roll(2, 1), data.source.episodes.action)
    reward = data.source.episodes.reward + good.unsqueeze(1)
    data = EpisodeDataset.from_episodes(data.source.episodes._replace(action=action, reward=reward), data.action_space)
    if learner is BehaviorCloning:
        data = EpisodeDataset.from_episodes(data[:30], data.action_space)
    torch.manual_seed(0)
    core, bus, head = GRU(task.obs_size + 4 + 4, 24), Attention(24, 4), act.Mean(24, 3)
    agent = Agent(sense=Broadcast(task.obs_size), core=core, bus=bus, act=head, experts=2, identity_size=4)
    options = {"percent": 50} if learner is PercentBC else {}
    trained = learner(agent, task, data=data, lr=1e-2, batch=16, **options)
    metrics = [trained.update() for _ in range(120)]
    assert metrics[-1]["accuracy"] > 0.75  # the first two steps cannot be known
    assert metrics[-1]["data_return"] > 6


@pytest.mark.parametrize(
    "space",
    [Discrete(3), MultiDiscrete((2, 3)), Mixed(MultiDiscrete((2, 2)), Continuous(2, -1, 3)), Continuous(2, -1, 3)],
)
def test_the_error_of_an_action_is_least_where_it_is_predicted(space):
    rng = torch.Generator().manual_seed(0)
    action, _ = Uniform(space)(torch.zeros(50, space.size), None, (), rng)
    good = torch.zeros(50, space.size)
    choices = action if action.dim() == 2 else action.unsqueeze(1)
    discrete = space.choices if isinstance(space, Mixed) else space
    start, options = 0, {Discrete: (3,), MultiDiscrete: getattr(discrete, "nvec", ())}.get(type(discrete), ())
    for i, n in enumerate(options):
        good[torch.arange(50), start + choices[:, i].long()] = 20.0
        start += n
    if isinstance(space, Continuous | Mixed):
        good[:, start:] = (choices[:, -2:] - 1) / 2
    error = action_error(good, action, space)
    assert error.shape == (50,) and error.abs().max() < 1e-4
    assert (action_error(torch.randn(50, space.size, generator=rng), action, space) > error).all()


def test_masked_choices_have_no_probability():
    output, mask = torch.zeros(1, 3), torch.tensor([[True, False, True]])
    error = action_error(output, torch.tensor([2]), Discrete(3), mask)
    assert error.item() == pytest.approx(np.log(2))
    assert error.item() == pytest.approx(-log_probability(output, torch.tensor([2]), Discrete(3), mask).item())


def test_teams_are_cloned_and_refused_by_a_decision_transformer():
    task = Spread(4, 2, dtype=torch.float64)
    data = random_episodes(task, 8)
    head, sense = act.Team(8, task.action_space.size, agents=2), SENSES["team"](task.obs_size)
    core = GRU(sense.output_size + 4, 8)
    agent = Agent(sense=sense, core=core, bus=Silent(8), act=head, experts=2, identity_size=4).double()
    assert BehaviorCloning(agent, task, data=data, batch=4).update()["finite"]
    with pytest.raises(ValueError, match="Spread has 2 agents with a reward for each"):
        agent = transformer_agent(TASK)
        DecisionTransformerLearner(agent, task, data=data)


def test_other_data_is_refused():
    data, task = random_episodes(RandomWalkGraph(5), 4), TASK.task
    with pytest.raises(ValueError, match=r"actions Discrete\(n=20\), and RepeatPrevious Discrete\(n=3\)"):
        BehaviorCloning(transformer_agent(TASK), task, data=data)
    game = GuessingGame(4, 2, dtype=torch.float64)
    learner = BehaviorCloning(_guesser(game), game, data=random_episodes(game, 4), batch=2)
    other = BehaviorCloning(_guesser(game), game, data=random_episodes(game, 5), batch=2)
    other.load_state_dict(learner.state_dict())
    with pytest.raises(ValueError, match="want the same data"):
        other.update()


def _guesser(task):
    core, head = GRU(task.obs_size + 4, 8), act.Mean(8, task.action_space.size)
    return Agent(
        sense=Broadcast(task.obs_size), core=core, bus=Silent(8), act=head, experts=1, identity_size=4
    ).double()
