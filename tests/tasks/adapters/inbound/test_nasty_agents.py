"""Agents that come late, leave, or never come: what they observe, and what counts."""

import gymnasium
import pytest
import torch

import toy_zoo
from badger import build_run, evaluate
from badger.policies.policies import Sampled
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from tasks import PettingZoo, PreviousActionReward
from toys import seeded

STEPS = 6


class Nasty(toy_zoo.ParallelEnv):
    """Of four agents one never comes, one comes in step 2, one leaves in step 2; each present one is paid 1 a step.

    An agent that is gone is still listed in rewards, with a large one, and in the flags.
    """

    metadata = {"name": "nasty_v0"}  # noqa: RUF012
    render_mode = None
    possible_agents = ["always_0", "late_0", "leaves_0", "never_0"]  # noqa: RUF012

    def observation_space(self, agent):
        return toy_zoo.Box(0, 9, (1,))

    def action_space(self, agent):
        return toy_zoo.Discrete(3)

    def seen(self):
        return {name: toy_zoo.np.full(1, self.t, "f4") for name in self.agents}, {name: {} for name in self.agents}

    def reset(self, seed=None, options=None):
        self.t, self.agents = 0, ["always_0", "leaves_0"]
        return self.seen()

    def step(self, actions):
        assert set(actions) == set(self.agents), (actions, self.agents)
        paid = {name: 1.0 if name in actions else 1e6 for name in self.possible_agents}
        self.t += 1
        gone = {name: self.t >= 2 and name == "leaves_0" for name in self.possible_agents}
        if self.t == 2:
            self.agents = ["always_0", "late_0"]
        over = self.t == STEPS
        ended = {name: gone[name] or (over and name in self.agents) for name in self.possible_agents}
        obs, infos = self.seen()
        if over:
            self.agents = []
        return obs, paid, ended, dict.fromkeys(self.possible_agents, False), infos


def test_only_those_who_act_are_paid():
    task, rng = PettingZoo(env=Nasty), seeded()
    state, step = task.reset(2, rng)
    paid = []
    for _ in range(STEPS):
        state, step = task.step(state, torch.zeros(2, 4, dtype=torch.long), rng)
        paid.append(step.reward[0].tolist())
    assert paid == [[1, 0, 1, 0]] * 2 + [[1, 1, 0, 0]] * 4
    assert step.scores["episodic_return"].tolist() == [4.0, 4.0]  # (6 + 4 + 2) / 3


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_the_return_of_training_and_of_evaluation_is_the_mean_over_those_who_came(learner):
    options = {"steps": 9, "batch": 2, "core.hidden_size": 4, "outer_steps": 3, "device": "cpu"}
    run = build_run("pettingzoo", env=f"{__name__}:Nasty", learner=learner, **options, **{"learner.horizon": 5})
    metrics = [run.learner.update() for _ in range(3)]  # an episode goes on into the next update
    ended = [float(m["return"]) for m in metrics if float(m["episodes"])]
    assert ended and ended == [4.0] * len(ended)
    scores = evaluate(run.learner.agent, run.learner.task, 3, seeded(), run.learner.eval_policy)
    assert scores["return"].tolist() == scores["episodic_return"].tolist() == [4.0] * 3


@pytest.fixture(autouse=True)
def module(monkeypatch):
    import sys
    from types import SimpleNamespace

    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Nasty=Nasty))


def test_agents_that_are_absent_or_have_just_come_are_told_no_action_and_no_reward():
    task, rng = PreviousActionReward(PettingZoo(env=Nasty)), seeded()
    state, step = task.reset(2, rng)
    observed = []
    for _ in range(STEPS):
        state, step = task.step(state, torch.ones(2, 4, dtype=torch.long), rng)
        observed.append(step.obs[0, :, 1:5])  # one of three actions, the reward
    acted = [[True, False, True, False], [True, False, False, False]] + [[True, True, False, False]] * 3
    for features, names in zip(observed, acted, strict=False):  # leaves_0 is absent after step 2
        assert features[:, 1].tolist() == [float(name) for name in names]
        assert (features[:, 3] > 0).tolist() == names


def test_nobody_who_is_absent_changes_an_expert():
    task, rng = PettingZoo(env=Nasty), seeded()
    agent = build_run("pettingzoo", env=f"{__name__}:Nasty", outer_steps=1, **{"core.hidden_size": 4}).learner.agent
    plain = PettingZoo(env=Nasty, agent_indicator=True)
    frames, _ = rollout(
        agent, plain, initial_carry(agent, plain, 2, rng), rng, Sampled(task.action_space), steps=8,
        hook=lambda state: state.y,
    )  # fmt: skip
    never = torch.stack(frames.hook_outputs)[:, :, 3]
    assert not never.any() and not frames.active[..., 3].any()


def test_a_gymnasium_environment_with_a_tuple_of_agents_is_played():
    class Couple(gymnasium.Env):
        observation_space = toy_zoo.Tuple((toy_zoo.Discrete(9), toy_zoo.Box(0, 9, (2,))))
        action_space = toy_zoo.Tuple((toy_zoo.Discrete(2), toy_zoo.Discrete(3)))

        def reset(self, *, seed=None, options=None):
            self.t = 0
            return self.seen(), {}

        def seen(self):
            return self.t, toy_zoo.np.full(2, self.t, "f4")

        def step(self, action):
            self.t += 1
            return self.seen(), [float(a) for a in action], self.t == 3, False, {}

    task, rng = PettingZoo(env=Couple), seeded()
    state, step = task.reset(2, rng)
    for _ in range(3):
        state, step = task.step(state, torch.tensor([[1, 2]] * 2), rng)
    assert step.reward.tolist() == [[1, 2]] * 2 and step.terminated.all() and task.agent_names == ("agent_0", "agent_1")
