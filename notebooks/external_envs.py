"""Environments of PettingZoo outside of the library, as your own would be; recipes use them by name.

cd notebooks && badger train pettingzoo --env external_envs:errands
cd notebooks && badger train pettingzoo --env external_envs:wordless
"""

from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from badger.study import Arm, Study

MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float32) * 0.2
COLORS = np.array([[200, 40, 40], [40, 140, 40], [40, 60, 200], [180, 140, 0]], np.uint8)


class Errands(ParallelEnv):
    """Each agent walks to its own goal, and observes only the goal of the next agent, to whom it must be communicated.

    Positions and goals are uniform between -1 and 1. An agent observes its position and the goal of the next agent. Its
    reward is minus the distance from its own goal, in each step. Without messages the best position is the center.

    Args:
        agents: number of agents.
        steps: of an episode.
        render_mode: None or "rgb_array".
    """

    metadata: ClassVar = {"name": "errands_v0", "render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, agents: int = 3, steps: int = 12, render_mode: str | None = None):
        self.render_mode, self.steps = render_mode, steps
        self.possible_agents = [f"runner_{i}" for i in range(agents)]
        self.agents: list[str] = []
        self._observation_space, self._action_space = Box(-1, 1, (4,), np.float32), Discrete(len(MOVES))

    def observation_space(self, agent: str) -> Box:
        return self._observation_space

    def action_space(self, agent: str) -> Discrete:
        return self._action_space

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.agents, self.t = self.possible_agents[:], 0
        self.positions, self.goals = self.rng.uniform(-1, 1, (2, len(self.agents), 2)).astype(np.float32)
        return self._observe(), {name: {} for name in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        names, self.t = self.agents, self.t + 1
        moves = [int(actions[name]) for name in names]
        self.positions = (self.positions + MOVES[moves]).clip(-1, 1)
        distances = np.sqrt(((self.positions - self.goals) ** 2).sum(-1))
        observations, truncated = self._observe(), self.t >= self.steps
        rewards = {name: -float(distances[i]) for i, name in enumerate(names)}
        if truncated:
            self.agents = []
        infos: dict[str, dict] = {name: {} for name in names}
        return observations, rewards, dict.fromkeys(names, False), dict.fromkeys(names, truncated), infos

    def render(self) -> np.ndarray | None:
        """Agents are discs, their goals squares of the same color."""
        if self.render_mode is None:
            return None
        line = np.linspace(1.2, -1.2, 120)
        x, y = -line[None, :], line[:, None]
        picture = np.full((len(line), len(line), 3), 255, np.uint8)
        for i, ((px, py), (gx, gy)) in enumerate(zip(self.positions, self.goals, strict=True)):
            edge = np.maximum(abs(x - gx), abs(y - gy))
            picture[(edge < 0.14) & (edge > 0.08)] = COLORS[i % len(COLORS)]
            picture[(x - px) ** 2 + (y - py) ** 2 < 0.08**2] = COLORS[i % len(COLORS)]
        return picture

    def _observe(self) -> dict[str, np.ndarray]:
        observations = np.concatenate([self.positions, np.roll(self.goals, -1, 0)], 1)
        return dict(zip(self.agents, observations, strict=True))


def errands(render_mode: str | None = None) -> Errands:
    """For `--env external_envs:errands`."""
    return Errands(render_mode=render_mode)


class Wordless(BaseParallelWrapper):
    """Speaker and listener without the words of the environment: the last three numbers of the listener are 0.

    Only messages over the bus of the team can identify the landmark.
    """

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        obs, infos = super().reset(seed=seed, options=options)
        return self._without_words(obs), infos

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        obs, *rest = super().step(actions)
        return self._without_words(obs), *rest  # type: ignore[return-value]

    def _without_words(self, obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if "listener_0" in obs:
            obs["listener_0"] = np.concatenate([obs["listener_0"][:-3], np.zeros(3, np.float32)])
        return obs


def wordless(render_mode: str | None = None) -> Wordless:
    """For `--env external_envs:wordless`."""
    from mpe2 import simple_speaker_listener_v4

    return Wordless(simple_speaker_listener_v4.parallel_env(render_mode=render_mode))


TEAM: dict[str, Any] = {
    "env": "external_envs:errands", "steps": 12, "identity_size": 0, "message_size": 8, "core.hidden_size": 32,
    "batch": 64, "lr": 5e-3, "learner": "ppo", "learner.gamma": 0.6, "learner.reward_scale": 0.3, "outer_steps": 50,
    "learner.normalize_reward": False, "normalize_obs": False, "orthogonal_init": False, "schedule": "constant",
    "learner.horizon": 13, "learner.sequence_length": 13, "learner.minibatches": 2, "learner.epochs": 4,
    "learner.entropy_weight": 0.01, "learner.value_weight": 0.5, "learner.eval_policy": "sampled",
}  # fmt: skip

ERRANDS = Study(
    name="errands",
    claim="Agents that observe only the goals of others reach a higher return with messages.",
    arms={"talking": Arm("pettingzoo", TEAM), "silent": Arm("pettingzoo", TEAM | {"bus": "silent"})},
    score="episodic_return",
    threshold=-7.0,
    episodes=128,
    seeds=5,
)
"""A study outside of the library: `cd notebooks && badger study external_envs:ERRANDS`."""
