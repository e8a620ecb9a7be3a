"""Agents in worlds that are not ours: trained, evaluated and resumed by the recipe, from nothing but a factory."""

import sys

import pytest
import torch

from badger import A2C, PPO, act, build_run, evaluate, generator, initial_carry, rollout, train
from tiny_runs import load_trusted
from toys import seeded

TINY = {
    "env": "toy_zoo:Meadow", "steps": 4, "batch": 3, "core.hidden_size": 6, "message_size": 4, "outer_steps": 2,
    "learner.horizon": 5,
}  # fmt: skip

UNKNOWN = '''
"""A world that knows no PettingZoo, and that nobody knows."""

import numpy as np
from gymnasium.spaces import Box, Discrete


class Guards:
    """Two agents are paid for doing the same."""

    possible_agents = ["guard_0", "guard_1"]

    def observation_space(self, agent):
        return Box(-1, 1, (2,))

    def action_space(self, agent):
        return Discrete(2)

    def seen(self):
        return {name: self.rng.uniform(-1, 1, 2).astype(np.float32) for name in self.agents}

    def reset(self, seed=None, options=None):
        self.rng, self.agents = np.random.default_rng(seed), list(self.possible_agents)
        return self.seen(), {name: {} for name in self.agents}

    def step(self, actions):
        same = float(len(set(actions.values())) == 1)
        over, obs = self.rng.random() < 0.3, self.seen()
        results = [dict.fromkeys(self.agents, value) for value in (same, over, False)]
        infos = {name: {} for name in self.agents}
        self.agents = [] if over else self.agents
        return obs, *results, infos

    def close(self):
        pass
'''


@pytest.fixture
def unknown(tmp_path, monkeypatch):
    (tmp_path / "castle_guards.py").write_text(UNKNOWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "castle_guards:Guards"
    sys.modules.pop("castle_guards", None)


@pytest.mark.parametrize(
    "flags",
    [{}, {"learner": "a2c"}, {"experts": 4, "bus": "silent"}, {"core": "episodic_shared", "learner.horizon": 3}],
)
def test_a_world_of_an_unknown_package_is_learned_and_evaluated(unknown, flags, tmp_path):
    run = build_run("pettingzoo", **TINY | {"env": unknown} | flags)
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    agent, task = run.learner.agent, run.learner.task
    scores = evaluate(agent, task, 3, seeded(), run.learner.eval_policy)
    assert scores.keys() == {"episodic_return", "episodic_length", "return"}
    assert all(score.shape == (3,) and score.isfinite().all() for score in scores.values())
    torch.testing.assert_close(scores["return"], scores["episodic_return"])  # of whole episodes


def test_each_agent_gets_an_expert_if_nothing_is_said():
    agent = build_run("pettingzoo", **TINY).learner.agent
    assert agent.experts == 3 and isinstance(agent.act.critic, act.Team)
    assert build_run("pettingzoo", **TINY, experts=9).learner.agent.experts == 9


def test_a_team_that_is_no_multiple_of_the_agents_is_refused():
    with pytest.raises(ValueError, match="experts=4, want a multiple of 3"):
        build_run("pettingzoo", **TINY, experts=4)


@pytest.mark.parametrize("env", ["Meadow", "Farm", "Turns"])
def test_every_update_is_finite(env):
    learner = build_run("pettingzoo", **TINY | {"env": f"toy_zoo:{env}", "learner.horizon": 3}).learner
    for _ in range(4):
        metrics = learner.update()
        due = [
            value for name, value in metrics.items() if name not in ("episodic_return", "episodic_length")
        ]  # at an end only
        assert metrics["finite"] and all(torch.as_tensor(value).isfinite().all() for value in due)


def test_a_run_that_is_resumed_goes_on_with_new_episodes(tmp_path):
    run = build_run("pettingzoo", **TINY | {"learner.horizon": 3})
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    again = load_trusted(tmp_path / "run")
    assert again.step == 2 and again.learner.update()["finite"]
    assert torch.equal(again.learner.task.reset(2, seeded())[1].obs, run.learner.task.reset(2, seeded())[1].obs)


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_the_return_does_not_fall_when_a_run_is_resumed(tmp_path, learner):
    """New episodes start, and until the first of them has ended `return` is that of the last ones before."""
    options = {"learner.horizon": 9, "steps": 8, "batch": 2, "outer_steps": 2, "device": "cpu", "core.hidden_size": 4}
    run = build_run("gymnasium", learner=learner, **options)
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    resumed = load_trusted(tmp_path / "run").learner
    resumed.horizon = 3
    metrics = resumed.update()
    assert metrics["episodes"] == 0 and metrics["return"] == run.learner.last_return == 8


def test_experts_of_the_absent_are_silent_and_nothing_is_nan():
    learner = build_run("pettingzoo", **TINY, experts=6).learner
    agent, task = learner.agent, learner.task
    carry = initial_carry(agent, task, 4, seeded())
    frames, _ = rollout(agent, task, carry, seeded(), learner.rollout_policy, steps=9, hook=lambda s: s.present)
    present = torch.stack(frames.present)
    assert not present.all() and torch.equal(torch.stack(frames.hook_outputs), present.repeat(1, 1, 2))
    assert not frames.output[~present].any() and not frames.reward[~frames.active].any()
    assert frames.output.isfinite().all() and frames.reward.isfinite().all()


@pytest.mark.parametrize("experts", [2, 6])
def test_speakers_and_listeners_play(experts):
    pytest.importorskip("mpe2")
    run = build_run("pettingzoo", **TINY | {"env": "mpe2.simple_speaker_listener_v4"}, experts=experts)
    agent, task = run.learner.agent, run.learner.task
    assert task.agent_names == ("speaker_0", "listener_0") and task.obs_size == 11 + 2 and task.action_space.n == 5
    assert run.learner.update()["finite"]
    scores = evaluate(agent, task, 2, generator(0, "evaluate"), run.learner.eval_policy, experts=2 * experts)
    assert scores["episodic_length"].tolist() == [4, 4] and (scores["episodic_return"] < 0).all()


@pytest.mark.parametrize(
    ("flags", "kind", "horizon"),
    [
        ({}, PPO, 128),
        ({"learner.horizon": 3}, PPO, 3),
        ({"learner": "a2c"}, A2C, 8),
        ({"learner": "a2c", "learner.horizon": 3}, A2C, 3),
    ],
)
@pytest.mark.parametrize("world", ["pettingzoo", "gymnasium"])
def test_the_options_of_a_learner_are_the_same_in_all_environments(world, flags, kind, horizon):
    env = {"pettingzoo": "toy_zoo:Meadow", "gymnasium": "toy_worlds:Counter"}[world]
    scales = {"learner.reward_scale": 0.5, "sense.scale": 4.0}
    tiny = {name: value for name, value in TINY.items() if name != "learner.horizon"}
    learner = build_run(world, **tiny | {"env": env} | flags | scales).learner
    assert (type(learner), learner.horizon, learner.reward_scale) == (kind, horizon, 0.5)
    assert learner.agent.sense.base.scale == 4.0 and learner.reward_scaling is not None


def test_a_learner_that_cannot_learn_the_environment_is_refused():
    with pytest.raises(ValueError, match="gives rewards without gradient, and bptt needs differentiable rewards"):
        build_run("pettingzoo", env="toy_zoo:Meadow", learner="bptt")


@pytest.mark.parametrize("learner", ["dqn", "drqn", "r2d2"])
def test_a_learner_of_one_reward_is_refused_where_there_are_several(learner):
    with pytest.raises(ValueError, match=f"PettingZoo has 3 agents with a reward for each, and {learner} learns from"):
        build_run("pettingzoo", env="toy_zoo:Meadow", learner=learner)


@pytest.mark.parametrize("learner", ["dqn", "drqn", "r2d2"])
def test_q_learners_play_in_environments_of_gymnasium(learner, tmp_path):
    options = {"env": "toy_worlds:Counter", "steps": 8, "batch": 2, "core.hidden_size": 4, "outer_steps": 2}
    options |= {"core": "feedforward"} if learner == "dqn" else {}
    run = build_run("gymnasium", learner=learner, device="cpu", **options, **{"learner.prefill": 2})
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    resumed = load_trusted(tmp_path / "run").learner
    assert resumed.update()["finite"] and resumed.agent.sense.moments.count > 2 * 2 * resumed.horizon
    assert resumed.reward_scaling.moments.count > 2 * resumed.horizon


def test_sequences_are_those_of_ppo_alone():
    assert build_run("pettingzoo", **TINY | {"learner.sequence_length": 2}).learner.sequence_length == 2
    with pytest.raises(ValueError, match=r"learner\.sequence_length=2: learner 'a2c' has no option 'sequence_length'"):
        build_run("pettingzoo", **TINY | {"learner": "a2c", "learner.sequence_length": 2})
