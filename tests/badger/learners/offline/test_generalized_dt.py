"""The learner of Generalised Decision Transformers: what its core is told, and what it asks for."""

import pytest
import torch

from badger import Agent, act, sense
from badger.learners.offline.generalized_dt import GeneralizedDTLearner, reward_range
from badger.learners.offline.step_layout import step_layout
from badger.learners.offline.windows import Windows
from badger.rng import drawing_from, seeded_generator
from comms import Silent
from experts import GRU, GeneralizedDT
from recorded import random_episodes
from tasks import CartWorld, PreviousActionReward

CART = CartWorld(6)
TASK = PreviousActionReward(CART)


def make(core=None, **options):
    with drawing_from(seeded_generator(0)):
        core = core or GeneralizedDT(TASK.obs_size, 8, layout=step_layout(TASK), context=3, layers=1)
        agent = Agent(
            sense=sense.Broadcast(TASK.obs_size), core=core, bus=Silent(8), topology="none", experts=1,
            act=act.Mean(8, 3), identity_size=0,
        )  # fmt: skip
    return GeneralizedDTLearner(agent, TASK, data=random_episodes(CART, 20), batch=4, **options)


def test_the_range_is_that_of_the_data_and_the_best_episode_is_asked_for():
    learner = make()
    low, high, best = reward_range(learner.data)
    future, episodes = learner.core.future, learner.data[torch.arange(20)]
    assert (low, high) == (episodes.reward.min().item(), episodes.reward.max().item()) == (future.low, future.high)
    assert best.sum().item() == pytest.approx(learner.data.best_return) == learner.core.target_return.item()
    assert future.target.sum() == 6 and torch.equal(
        future.target, future.describe(best, torch.ones(6, dtype=torch.bool))
    )


def test_a_window_is_told_the_rewards_to_the_end_of_its_episode():
    learner = make()
    rows, start = torch.tensor([0, 1]), torch.tensor([2, 4])
    windows = Windows(learner.data.windows(rows, start, 3), rows, start)
    state = learner._begin(learner.core.initial_state(torch.zeros(2, 1, TASK.obs_size)), windows)
    for row, first in ((0, 2), (1, 4)):
        following = learner.data[rows[row : row + 1]].reward[:, first:]
        want = learner.core.future.describe(following, torch.ones_like(following, dtype=torch.bool))
        assert torch.equal(state.left[row, 0], want[0]) and state.left[row].sum() == 6 - first
        assert state.inner.to_go.asked[row].item() == pytest.approx(following.sum().item(), abs=1e-6)
        assert state.inner.to_go.time[row] == first


def test_another_core_is_refused():
    with pytest.raises(ValueError, match="core is a GRU, which is not asked for a distribution"):
        make(GRU(TASK.obs_size, 8))
