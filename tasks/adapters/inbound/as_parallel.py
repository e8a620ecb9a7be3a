"""Environments of several agents in other interfaces, as a `ParallelEnv`, in which all act in a step.

- `ActAtOnce`, `TakeTurns`: an `AECEnv` of PettingZoo, in which agents act one after the other.
- `TupleAgents`: an environment of Gymnasium with a tuple of observations and actions, and a list of rewards.

This module also runs in worker processes; it does not import torch.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tasks.adapters.inbound.spaces.actions import ActionCodec
from tasks.adapters.optional_imports import require_gymnasium, require_pettingzoo

WAITING_MASK_KEY = "waiting_mask"
"""In the info of an agent that waits for its turn: replaces its action mask."""
Results = tuple[dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any], dict[str, Any]]


def as_parallel_env(env: Any) -> Any:
    """The environment as a `ParallelEnv`.

    PettingZoo's own conversion of an AEC environment is replaced by `ActAtOnce`, which observes half as often, and that
    of a parallel environment to AEC and back by the parallel environment itself. Wrappers that only check are left out,
    as actions are in their spaces, and calls in order: each costs as much as a small environment.

    Args:
        env: a `ParallelEnv`, an `AECEnv`, or a `gymnasium.Env` whose spaces are tuples.

    Raises:
        ValueError: another object.
    """
    conversions, gym = require_pettingzoo().utils.conversions, require_gymnasium()
    if isinstance(env, gym.Env):
        return TupleAgents(env)
    if isinstance(env, conversions.aec_to_parallel_wrapper):
        env = env.aec_env
    if all(hasattr(env, name) for name in ("agent_iter", "last", "observe")):
        env = _without_checks(env)
        if isinstance(env, conversions.parallel_to_aec_wrapper):
            return env.env
        return ActAtOnce(env) if getattr(env, "metadata", {}).get("is_parallelizable", False) else TakeTurns(env)
    if not all(callable(getattr(env, name, None)) for name in ("reset", "step", "observation_space", "action_space")):
        raise ValueError(f"env returned a {type(env).__name__}, want a pettingzoo.ParallelEnv, or an AECEnv")
    return env


def _without_checks(env: Any) -> Any:
    """An AEC environment without outer wrappers that only raise errors; a subclass may do more, and stays."""
    wrappers = require_pettingzoo().utils.wrappers
    while type(env) in (wrappers.OrderEnforcingWrapper, wrappers.AssertOutOfBoundsWrapper):
        env = env.env
    return env


def own_limit(env: Any) -> int | None:
    """The `max_cycles` of an environment or of one that it wraps; None if there is none.

    Args:
        env: a `ParallelEnv`.
    """
    limits = (vars(part).get("max_cycles") for part in _wrapped(env))
    return next((int(limit) for limit in limits if isinstance(limit, int) and limit > 0), None)


def _wrapped(env: Any) -> Iterator[Any]:
    """The environment, and all that it wraps."""
    seen: list[Any] = []
    while hasattr(env, "__dict__") and not any(env is part for part in seen):
        seen.append(env)
        yield env
        env = next((vars(env)[name] for name in ("env", "aec_env") if name in vars(env)), None)


class _AsParallel(ABC):
    """Base class: an AEC environment in the interface of a `ParallelEnv`.

    Args:
        env: the AEC environment.
    """

    def __init__(self, env: Any):
        self.env, self.possible_agents = env, list(getattr(env, "possible_agents", None) or [])
        self.metadata, self.render_mode = env.metadata, getattr(env, "render_mode", None)
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return self.env.observation_space(agent)

    def action_space(self, agent: str) -> Any:
        return self.env.action_space(agent)

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.env.reset(seed=seed, options=options)
        self.agents, self.possible_agents = self.env.agents[:], list(self.env.possible_agents)
        live = [name for name in self.agents if not self._has_ended(name)]
        return {name: self.env.observe(name) for name in live}, self._infos()

    @abstractmethod
    def step(self, actions: Mapping[str, Any]) -> Results:
        """Advances all agents.

        Args:
            actions: of the agents that have not ended.

        Returns:
            Observations, rewards, terminations, truncations and infos by agent.
        """

    def close(self) -> None:
        self.env.close()

    def render(self) -> Any:
        return self.env.render()

    def _has_ended(self, name: str) -> bool:
        return self.env.terminations[name] or self.env.truncations[name]

    def _results(self, rewards: dict[str, Any]) -> Results:
        """The results of a step; agents that have ended are removed afterwards."""
        terminated, truncated = dict(self.env.terminations), dict(self.env.truncations)
        obs, infos = {name: self.env.observe(name) for name in self.env.agents}, self._infos()
        while self.env.agents and self._has_ended(self.env.agent_selection):
            self.env.step(None)
        self.agents = self.env.agents[:]
        return obs, rewards, terminated, truncated, infos

    def _infos(self) -> dict[str, Any]:
        return dict(self.env.infos)


class ActAtOnce(_AsParallel):
    """An AEC environment that changes only after all agents have acted; each agent is observed once a step."""

    def step(self, actions: Mapping[str, Any]) -> Results:
        env, names = self.env, self.env.agents[:]  # attributes of wrapped environments are slow
        rewards: dict[str, Any] = dict.fromkeys(names, 0)
        for name in names:
            if name != env.agent_selection:
                raise ValueError(
                    f"it is the turn of agent {env.agent_selection!r}, want {name!r}: where is_parallelizable is "
                    "True, agents act in the order of `agents`, and end after the last"
                )
            env.step(actions[name])
            for agent, reward in env.rewards.items():
                rewards[agent] = rewards.get(agent, 0) + reward
        return self._results(rewards)


class TakeTurns(_AsParallel):
    """An AEC environment in which one agent acts in each step, such as a board game.

    The others observe as well, but wait: all but one of their actions are masked, and the action is not used, so that
    it has no gradient. Every agent receives its reward in the step in which it arises.

    Args:
        env: the AEC environment.
    """

    def __init__(self, env: Any):
        super().__init__(env)
        self.waiting_masks = {name: _one_option(env.action_space(name), name) for name in self.possible_agents}

    def step(self, actions: Mapping[str, Any]) -> Results:
        self.env.step(actions[self.env.agent_selection])
        return self._results(dict(self.env.rewards))

    def _infos(self) -> dict[str, Any]:
        infos = {name: dict(info) for name, info in self.env.infos.items()}
        for name, mask in self.waiting_masks.items():
            if name in infos and name != self.env.agent_selection and mask is not None:
                infos[name][WAITING_MASK_KEY] = mask
        return infos


class TupleAgents:
    """An environment of Gymnasium that lists what each of its agents observes, does and receives.

    So do rware, lbforaging and others. The agents are named agent_0, agent_1 ...; all act until the episode ends.

    Args:
        env: its observation and action space are tuples of the same length.

    Raises:
        ValueError: other spaces.
    """

    metadata: Mapping[str, Any] = {}

    def __init__(self, env: Any):
        tuples = require_gymnasium().spaces.Tuple
        spaces = env.observation_space, env.action_space
        if not all(isinstance(space, tuples) for space in spaces) or len(spaces[0]) != len(spaces[1]):
            raise ValueError(
                f"env returned an environment of one agent, with the spaces {spaces}, want a pettingzoo.ParallelEnv, "
                "or tuples with a space for each agent; use tasks.Gymnasium, or badger train gymnasium"
            )
        self.env, self.render_mode = env, env.render_mode
        self.possible_agents = [f"agent_{i}" for i in range(len(spaces[0]))]
        self.agents: list[str] = []

    def observation_space(self, agent: str) -> Any:
        return self.env.observation_space[self.possible_agents.index(agent)]

    def action_space(self, agent: str) -> Any:
        return self.env.action_space[self.possible_agents.index(agent)]

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        obs, _ = self.env.reset(seed=seed, options=options)
        self.agents = self.possible_agents[:]
        return self._by_agent(obs), {name: {} for name in self.agents}

    def step(self, actions: Mapping[str, Any]) -> Results:
        obs, rewards, terminated, truncated, _ = self.env.step(tuple(actions[name] for name in self.possible_agents))
        died, cut = (self._by_agent(np.broadcast_to(end, len(self.possible_agents))) for end in (terminated, truncated))
        infos: dict[str, Any] = {name: {} for name in self.agents}
        if np.all(terminated) or np.all(truncated):
            self.agents = []
        return self._by_agent(obs), self._by_agent(rewards), died, cut, infos

    def close(self) -> None:
        self.env.close()

    def render(self) -> Any:
        return self.env.render()

    def _by_agent(self, values: Any) -> dict[str, Any]:
        if len(values) != len(self.possible_agents):
            raise ValueError(
                f"the environment returned {len(values)} values, want one for each of its agents: {values}"
            )
        return dict(zip(self.possible_agents, values, strict=True))


def _one_option(space: Any, name: str) -> np.ndarray | None:
    """A mask that allows the first option of each choice; None of continuous actions."""
    codec = ActionCodec(space, f"agent {name!r}")
    if not codec.nvec:
        return None
    return np.concatenate([np.arange(n) == 0 for n in codec.nvec])
