"""An episode that was lived, beside what a world model imagines of it."""

import torch
from torch.testing import assert_close

from badger import Agent, act, inspect_agent
from badger.evaluation.imagined_episode import IMAGINED_EPISODES, SEEN_STEPS, first_row, imagined_episode
from badger.figures.imagined_episode import plot_imagined_episode
from badger.learners.offline.step_layout import step_layout
from badger.policies.policies import Sampled
from badger.rng import drawing_from
from badger.sense import Broadcast
from comms import Silent
from experts import GRU, RSSM, seeded
from tasks import PreviousActionReward
from toys import Steps
from toys import seeded as generator

TASK = PreviousActionReward(Steps(12, dtype=torch.float64))


def agent(core):
    with drawing_from(generator(0)):
        parts = {"core": core(TASK.obs_size), "bus": Silent(8), "act": act.Mean(8, 3)}
        return Agent(sense=Broadcast(TASK.obs_size), **parts, experts=1, identity_size=0).double()


def world_model(size):
    return RSSM(size, 8, layout=step_layout(TASK), latent_size=2, classes=3)


def lived(core, steps):
    x, states = torch.randn(2, 1, TASK.obs_size, generator=generator(1), dtype=torch.float64), []
    state = seeded(core.initial_state(x), generator(0))
    for i in range(steps):
        _, state = core(x + i, state)
        states.append(first_row(agent(world_model), state))
    return x[:1], states


def test_the_real_episode_is_observed_and_the_imagined_one_continues_it_by_its_actions():
    acting = agent(world_model)
    x, states = lived(acting.core, 8)
    real, imagined = imagined_episode(acting, states)
    assert_close(real, torch.cat([x[:, 0, :2] + i for i in range(8)]))
    assert imagined.shape == (IMAGINED_EPISODES, 8 - SEEN_STEPS, 2)
    state = states[SEEN_STEPS - 1]  # the first imagined episode goes on with the seed of the real one
    for i in range(SEEN_STEPS, 8):
        state = acting.core.imagine(x[..., 2:5] + i, state)
    assert_close(imagined[0, -1], acting.core.predict(acting.core.features(state))[0, 0].detach())
    assert not imagined[0].equal(imagined[1])


def test_a_short_episode_and_a_core_without_a_model_have_no_picture():
    acting = agent(world_model)
    assert imagined_episode(acting, lived(acting.core, SEEN_STEPS)[1]) is None
    assert first_row(agent(lambda size: GRU(size, 8)), ()) is None


def test_an_inspection_shows_what_is_imagined():
    found = inspect_agent(agent(world_model), TASK, generator(0), 3, policy=Sampled(TASK.action_space))
    assert [axes.get_ylabel() for axes in found.plots["memory/imagined"].axes] == ["obs 0", "obs 1"]


def test_many_numbers_are_drawn_as_heat_maps():
    figure = plot_imagined_episode(torch.rand(9, 20), torch.rand(4, 5, 20))
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["real", "imagined", "imagined - real"]
