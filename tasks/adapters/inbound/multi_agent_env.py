"""A PettingZoo environment as one Gymnasium environment with arrays for all agents, for batching in an `EnvPool`.

This module also runs in worker processes; it does not import torch.

Shapes: P agent, O components of the longest observation, A outputs of the largest action.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from tasks.adapters.inbound.as_parallel import as_parallel_env, own_limit
from tasks.adapters.inbound.gymnasium_spec import env_name
from tasks.adapters.inbound.multi_agent_spaces import JointActions, JointObservations
from tasks.adapters.inbound.results import RESET_RESULTS, STEP_RESULTS, check_results
from tasks.adapters.inbound.rewards import as_number
from tasks.adapters.named_imports import env_maker
from tasks.adapters.optional_imports import import_env_module, require_gymnasium
from tasks.task import Discrete

EnvId = str | Callable[[], Any]
DEFAULT_STEPS = 10_000
"""The time limit of an environment that has none of its own."""


class MultiAgentEnv:
    """One PettingZoo environment; agents have the indices 0 to P - 1 of `possible_agents`, present or not.

    The observation is a dict: obs (P, O); reward, terminated and truncated of the last step (P,); present (P,), agents
    that receive this observation; action_mask (P, A), of discrete actions; mean_return, the mean over the agents that
    have acted; length. The reward of the environment is 1 for each step taken. Values of absent agents are 0.

    End flags are repeated until the episode is over, that is, until no agent is left; then agents that never appeared
    are also terminated. A truncated agent is present in the step of its truncation, if the environment returns its
    observation, and absent afterwards.

    Args:
        env: a factory of an environment that `as_parallel_env` accepts; see `parallel_env_factory`.
        steps: the step after which all remaining agents are truncated; 0: the limit of the environment, or 10,000.
        agent_indicator: whether the one-hot index of the agent is appended to its observation.

    Raises:
        ValueError: no such environment, one that cannot be constructed, or an unsupported one.
    """

    metadata: Mapping[str, Any] = {}
    render_mode = None

    def __init__(self, env: EnvId, steps: int, *, agent_indicator: bool = False):
        self.env, self.agent_indicator = as_parallel_env(_construct(parallel_env_factory(env), env)), agent_indicator
        self.steps = steps or own_limit(self.env) or DEFAULT_STEPS
        self.agent_names = list(getattr(self.env, "possible_agents", None) or [])
        if not self.agent_names:
            raise ValueError(f"{self.env} has no possible_agents, want a list of names")
        self.agent_obs_spaces, self.agent_action_spaces = self._agent_spaces()
        self.obs_codec = JointObservations(self.agent_obs_spaces)
        self.action_codec = JointActions(self.agent_action_spaces)
        self.size = self.obs_codec.size + len(self.agent_names) * agent_indicator
        self.none, self.identities = np.zeros(len(self.agent_names), bool), np.eye(len(self.agent_names))
        all_allowed = [self.action_codec.action_mask(name) for name in self.agent_names]
        self.full_masks = np.array(all_allowed)  # (P, A); of None for continuous actions
        self.observation_space, self.action_space = self._make_obs_space(), self._make_action_space()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        obs, infos = check_results(self.env.reset(seed=seed), RESET_RESULTS)
        self._check_agents()
        count = len(self.agent_names)
        self.t, self.total, self.has_acted = 0, np.zeros(count), np.zeros(count, bool)
        self.terminated, self.truncated = np.zeros(count, bool), np.zeros(count, bool)
        self.alive, self.listed = self._agent_mask(self.env.agents), list(self.env.agents)
        return self._observe(obs, infos, self.alive, np.zeros(count)), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        acting = self.alive
        names = [name for name, acts in zip(self.agent_names, acting.tolist(), strict=True) if acts]
        actions = self.action_codec.to_env(names, np.asarray(action)[acting])
        obs, rewards, terminated, truncated, infos = check_results(self.env.step(actions), STEP_RESULTS)
        self.t += 1
        numbers = [as_number(rewards.get(name, 0), agent=name) if name in actions else 0.0 for name in self.agent_names]
        reward = np.array(numbers, float)
        newly_truncated = self._update_ends(terminated, truncated)
        self.total, self.has_acted = self.total + reward, self.has_acted | acting
        present = self.alive
        if newly_truncated.any():
            present = present | (newly_truncated & np.array([name in obs for name in self.agent_names]))
        return self._observe(obs, infos, present, reward), 1.0, not self.alive.any(), False, {}

    def close(self) -> None:
        self.env.close()

    def _update_ends(self, terminated: Mapping[str, Any], truncated: Mapping[str, Any]) -> np.ndarray:
        """Updates the end flags; returns the mask (P,) of agents that were truncated in this step."""
        if self.t < self.steps and self.env.agents == self.listed and not _any_end(terminated, truncated):
            return self.none
        previous, listed = self.terminated | self.truncated, self._agent_mask(self.env.agents)
        self.listed = list(self.env.agents)
        newly_terminated = self._agent_mask(name for name, end in terminated.items() if end) & ~previous
        newly_truncated = (
            self._agent_mask(name for name, end in truncated.items() if end) & ~previous & ~newly_terminated
        )
        newly_terminated |= self.alive & ~listed & ~newly_truncated  # no longer in `agents`, without an end flag
        if self.t >= self.steps:
            newly_truncated |= listed & ~previous & ~newly_terminated
        self.terminated, self.truncated = self.terminated | newly_terminated, self.truncated | newly_truncated
        self.alive = listed & ~self.terminated & ~self.truncated
        if not self.alive.any():
            self.terminated |= ~self.truncated
        return newly_truncated

    def _observe(
        self, obs: Mapping[str, Any], infos: Mapping[str, Any], present: np.ndarray, reward: np.ndarray
    ) -> dict[str, Any]:
        self._agent_mask(obs)  # checks the names
        observed, masks = {}, self.full_masks.copy()
        for p, name in enumerate(self.agent_names):
            if not present[p]:
                continue
            if name not in obs:
                raise ValueError(f"agent {name!r} is alive but has no observation; there are those of {list(obs)}")
            observed[name] = obs[name]
            mask = self.obs_codec.mask(obs[name], infos.get(name) or {})
            if mask is not None:
                masks[p] = self.action_codec.action_mask(name, mask)
        flat = np.zeros((len(self.agent_names), self.size), self.obs_codec.dtype)
        flat[present, : self.obs_codec.size] = self.obs_codec.encode(observed)
        if self.agent_indicator:
            flat[present, self.obs_codec.size :] = self.identities[present]
        values = {"obs": flat, "reward": reward, "present": present.copy()}
        values |= {"terminated": self.terminated.copy(), "truncated": self.truncated.copy()}
        values |= {"mean_return": np.float64(self.total.sum() / max(1, self.has_acted.sum()))}
        values |= {"length": np.float64(self.t)}
        return values | ({"action_mask": masks} if self.action_codec.nvec else {})

    def _agent_mask(self, names: Iterable[str]) -> np.ndarray:
        """Mask (P,) of the agents with these names. Raises ValueError for a name not in `possible_agents`."""
        names = set(names)
        unknown = names.difference(self.agent_names)
        if unknown:
            raise ValueError(
                f"the environment names the agents {sorted(map(str, unknown))}, want some of: {self.agent_names}"
            )
        return np.array([name in names for name in self.agent_names])

    def _agent_spaces(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Observation and action space of each agent."""
        obs_spaces = {name: self.env.observation_space(name) for name in self.agent_names}
        return obs_spaces, {name: self.env.action_space(name) for name in self.agent_names}

    def _check_agents(self) -> None:
        """Raises ValueError if the agents or their spaces have changed."""
        if list(self.env.possible_agents) != self.agent_names:
            raise ValueError(f"possible_agents changed from {self.agent_names} to {list(self.env.possible_agents)}")
        fixed = self.agent_obs_spaces, self.agent_action_spaces
        for previous, current in zip(fixed, self._agent_spaces(), strict=True):
            for name, space in current.items():
                if space != previous[name]:
                    raise ValueError(f"the space of agent {name!r} changed from {previous[name]} to {space}")

    def _make_obs_space(self) -> Any:
        spaces, count = require_gymnasium().spaces, len(self.agent_names)
        flags = spaces.MultiBinary(count)
        parts = {"terminated": flags, "truncated": flags, "present": flags}
        parts |= {name: spaces.Box(-np.inf, np.inf, (), np.float64) for name in ("mean_return", "length")}
        parts["reward"] = spaces.Box(-np.inf, np.inf, (count,), np.float64)
        parts["obs"] = spaces.Box(-np.inf, np.inf, (count, self.size), self.obs_codec.dtype)
        if self.action_codec.nvec:
            parts["action_mask"] = spaces.MultiBinary((count, sum(self.action_codec.nvec)))
        return spaces.Dict(parts)

    def _make_action_space(self) -> Any:
        """The space of the actions of all agents, the argument of `step`."""
        spaces, count = require_gymnasium().spaces, len(self.agent_names)
        if self.action_codec.size:
            width = len(self.action_codec.nvec) + self.action_codec.size
            return spaces.Box(-np.inf, np.inf, (count, width), np.float64)
        nvec = np.array([self.action_codec.nvec] * count)
        return spaces.MultiDiscrete(nvec[:, 0] if isinstance(self.action_codec.action_space, Discrete) else nvec)


def parallel_env_factory(env: EnvId) -> Callable[[], Any]:
    """The factory of a PettingZoo environment.

    Args:
        env: a factory itself; `module:function`; a module with a `parallel_env` or an `env`, as those of PettingZoo; or
            `package:id`, an id of Gymnasium.

    Raises:
        ValueError: no such module or function, or a file has named it and it is not trusted.
    """
    if callable(env):
        return env
    module_name, _, function = env.partition(":")
    if function and not function.isidentifier():  # an id, as rware-tiny-2ag-v2
        import_env_module(module_name, env)
        return partial(require_gymnasium().make, env, disable_env_checker=True)
    module = import_env_module(module_name, env)
    maker = env_maker(module, [function] if function else ["parallel_env", "env"], env)
    if maker is not None:
        return maker
    missing = f"function {function}" if function else "parallel_env or env; name a function as module:function"
    raise ValueError(f"env={env!r}: module {module_name} has no {missing}")


def _any_end(terminated: Mapping[str, Any], truncated: Mapping[str, Any]) -> bool:
    return any(terminated.values()) or any(truncated.values())


def _construct(factory: Callable[[], Any], env: EnvId) -> Any:
    try:
        return factory()
    except (Exception, SystemExit) as error:  # code of others, which may end the process
        raise ValueError(f"env={env_name(env)!r} cannot be constructed: {type(error).__name__}: {error}") from error
