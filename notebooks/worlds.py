"""Worlds of PettingZoo that are no part of the project, as one's own would be: badger knows them by name only.

cd notebooks && badger train pettingzoo --env worlds:errands
cd notebooks && badger train pettingzoo --env worlds:wordless
"""

from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete
from pettingzoo import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from badger.study import Arm, Study

MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.float32) * 0.2
COLOURS = np.array([[200, 40, 40], [40, 140, 40], [40, 60, 200], [180, 140, 0]], np.uint8)


class Errands(ParallelEnv):
    """Each walks to a goal of its own, and sees only that of its neighbour, who must be told.

    Agents and goals are drawn anywhere between -1 and 1. An agent sees where it is, and where the goal of the next one
    is. It is paid minus its distance from its own goal, in each step. Who is told nothing does best in the middle.
    """

    metadata: ClassVar = {"name": "errands_v0", "render_modes": ["rgb_array"], "render_fps": 4}

    def __init__(self, agents: int = 3, steps: int = 12, render_mode: str | None = None):
        self.render_mode, self.steps = render_mode, steps
        self.possible_agents = [f"runner_{i}" for i in range(agents)]
        self.agents: list[str] = []
        self.seen, self.done = Box(-1, 1, (4,), np.float32), Discrete(len(MOVES))

    def observation_space(self, agent: str) -> Box:
        return self.seen

    def action_space(self, agent: str) -> Discrete:
        return self.done

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.agents, self.t = self.possible_agents[:], 0
        self.places, self.goals = self.rng.uniform(-1, 1, (2, len(self.agents), 2)).astype(np.float32)
        return self._told(), {name: {} for name in self.agents}

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        names, self.t = self.agents, self.t + 1
        chosen = [int(actions[name]) for name in names]
        self.places = (self.places + MOVES[chosen]).clip(-1, 1)
        far = np.sqrt(((self.places - self.goals) ** 2).sum(-1))
        told, over = self._told(), self.t >= self.steps
        rewards = {name: -float(far[i]) for i, name in enumerate(names)}
        if over:
            self.agents = []
        return told, rewards, dict.fromkeys(names, False), dict.fromkeys(names, over), {name: {} for name in names}

    def render(self) -> np.ndarray | None:
        """Agents are discs, their goals squares of the same colour."""
        if self.render_mode is None:
            return None
        line = np.linspace(1.2, -1.2, 120)
        x, y = -line[None, :], line[:, None]
        picture = np.full((len(line), len(line), 3), 255, np.uint8)
        for i, ((px, py), (gx, gy)) in enumerate(zip(self.places, self.goals, strict=True)):
            edge = np.maximum(abs(x - gx), abs(y - gy))
            picture[(edge < 0.14) & (edge > 0.08)] = COLOURS[i % len(COLOURS)]
            picture[(x - px) ** 2 + (y - py) ** 2 < 0.08**2] = COLOURS[i % len(COLOURS)]
        return picture

    def _told(self) -> dict[str, np.ndarray]:
        seen = np.concatenate([self.places, np.roll(self.goals, -1, 0)], 1)
        return dict(zip(self.agents, seen, strict=True))


def errands(render_mode: str | None = None) -> Errands:
    """For `--env worlds:errands`."""
    return Errands(render_mode=render_mode)


class Wordless(BaseParallelWrapper):
    """Speaker and listener, but what the speaker says in the world is not heard: the last three numbers of what the
    listener sees are 0. So only who talks over a bus of the team's own can tell which landmark it is."""

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict, dict]:
        obs, infos = super().reset(seed=seed, options=options)
        return self._deaf(obs), infos

    def step(self, actions: dict[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        obs, *rest = super().step(actions)
        return self._deaf(obs), *rest  # type: ignore[return-value]

    def _deaf(self, obs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if "listener_0" in obs:
            obs["listener_0"] = np.concatenate([obs["listener_0"][:-3], np.zeros(3, np.float32)])
        return obs


def wordless(render_mode: str | None = None) -> Wordless:
    """For `--env worlds:wordless`."""
    from mpe2 import simple_speaker_listener_v4

    return Wordless(simple_speaker_listener_v4.parallel_env(render_mode=render_mode))


TEAM: dict[str, Any] = {
    "env": "worlds:errands", "steps": 12, "identity_size": 0, "message_size": 8, "hidden_size": 32, "learner": "ppo",
    "batch": 64, "lr": 5e-3, "gamma": 0.6, "reward_scale": 0.3, "outer_steps": 50,
}  # fmt: skip

ERRANDS = Study(
    name="errands",
    claim="Who sees only where others shall go gets further when they talk.",
    arms={"talking": Arm("pettingzoo", TEAM), "silent": Arm("pettingzoo", TEAM | {"bus": "silent"})},
    score="episodic_return",
    threshold=-7.0,
    episodes=128,
    seeds=5,
)
"""A study of one's own, of a world of one's own: `cd notebooks && badger study worlds:ERRANDS`."""
