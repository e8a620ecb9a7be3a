"""A world of PettingZoo as one environment of Gymnasium, which tells of all its agents at once: what a copy is.

Nothing here knows torch: it runs in worker processes, too.

Shapes: P agent, O numbers of the longest observation, A numbers of the largest action.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tasks.adapters.inbound.multi_agent_actions import BoxCodec, DiscreteCodec, make_action_codec
from tasks.adapters.inbound.multi_agent_observations import ObservationCodec
from tasks.adapters.optional_imports import import_env_module, require_gymnasium, require_pettingzoo

EnvId = str | Callable[[], Any]


class MultiAgentEnv:
    """The agents of a world have places, 0 to P - 1, in the order of `possible_agents`, whether they are there or not.

    The observation is a dictionary: obs (P, O); of the last step reward, terminated, truncated, (P,); present (P,),
    who is there to see it; legal (P, A), of choices; mean, of the rewards so far over those that have acted, and
    length. The reward is 1 for a step that was made. What is told of the absent is 0.

    Ends are told until the episode is over, and it is over when nobody is left: whoever never came has then ended, too.
    Whoever is cut short is there to see the observation of that step, if the world tells it, and then no more.

    Args:
        world: a factory of a `ParallelEnv`, or of an `AECEnv` whose agents act at once; see `parallel_env_factory` for names.
        steps: after which all who are left are truncated.
        numbered: whether each agent sees its place besides, as a choice of P.

    Raises:
        ValueError: no such world, or one that cannot be served.
    """

    metadata: Mapping[str, Any] = {}
    render_mode = None

    def __init__(self, world: EnvId, steps: int, *, numbered: bool = False):
        self.env, self.steps, self.numbered = _as_parallel_env(parallel_env_factory(world)()), steps, numbered
        self.agent_names = list(getattr(self.env, "possible_agents", None) or [])
        if not self.agent_names:
            raise ValueError(f"{self.env} does not say who its possible_agents are, and an agent for each is wanted")
        self.observed, self.acted = self._spaces()
        self.obs_codec, self.action_codec = ObservationCodec(self.observed), make_action_codec(self.acted)
        gym, count = require_gymnasium(), len(self.agent_names)
        self.size = self.obs_codec.size + count * numbered
        self.full_masks: list[Any] = [
            self.action_codec.action_mask(name) for name in self.agent_names
        ]  # where the world forbids nothing
        box, flags = gym.spaces.Box, gym.spaces.MultiBinary(count)
        parts = {"terminated": flags, "truncated": flags, "present": flags}
        parts |= {name: box(-np.inf, np.inf, (), np.float64) for name in ("mean", "length")}
        parts["reward"] = box(-np.inf, np.inf, (count,), np.float64)
        parts["obs"] = box(-np.inf, np.inf, (count, self.size), self.obs_codec.dtype)
        if isinstance(self.action_codec, DiscreteCodec):
            parts["legal"] = gym.spaces.MultiBinary((count, self.action_codec.action_space.size))
        self.observation_space, self.action_space = gym.spaces.Dict(parts), self._actions()

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        obs, infos = self.env.reset(seed=seed)
        self._unchanged()
        count = len(self.agent_names)
        self.t, self.total, self.has_acted = 0, np.zeros(count), np.zeros(count, bool)
        self.terminated, self.truncated = np.zeros(count, bool), np.zeros(count, bool)
        self.alive = self._agent_mask(self.env.agents)
        return self._observe(obs, infos, self.alive, np.zeros(count)), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        acts = self.alive
        given = {
            name: self.action_codec.to_env(name, np.asarray(action[p]))
            for p, name in enumerate(self.agent_names)
            if acts[p]
        }
        obs, rewards, terminated, truncated, infos = self.env.step(given)
        self.t += 1
        reward = np.array([rewards.get(name, 0) if acts[p] else 0 for p, name in enumerate(self.agent_names)], float)
        if not np.isfinite(reward).all():
            raise ValueError(f"agent {self.agent_names[int(np.argmin(np.isfinite(reward)))]!r} got the reward {reward}")
        cut = self._ended(terminated, truncated)
        self.total, self.has_acted = self.total + reward, self.has_acted | acts
        seen = self.alive | (cut & np.array([name in obs for name in self.agent_names]))
        return self._observe(obs, infos, seen, reward), 1.0, not self.alive.any(), False, {}

    def close(self) -> None:
        self.env.close()

    def _ended(self, terminated: Mapping[str, Any], truncated: Mapping[str, Any]) -> np.ndarray:
        """(P,) who was cut short in this step."""
        before, there = self.terminated | self.truncated, self._agent_mask(self.env.agents)
        died = self._agent_mask(name for name, end in terminated.items() if end) & ~before
        cut = self._agent_mask(name for name, end in truncated.items() if end) & ~before & ~died
        died |= self.alive & ~there & ~cut  # who is no longer named has gone, whatever is said
        if self.t >= self.steps:
            cut |= there & ~before & ~died
        self.terminated, self.truncated = self.terminated | died, self.truncated | cut
        self.alive = there & ~self.terminated & ~self.truncated
        if not self.alive.any():
            self.terminated |= ~self.truncated
        return cut

    def _observe(self, obs: Mapping[str, Any], infos: Mapping[str, Any], seen: np.ndarray, reward: np.ndarray) -> dict:
        self._agent_mask(obs)  # nobody else is told anything
        told = np.zeros((len(self.agent_names), self.size), self.obs_codec.dtype)
        legal = self.full_masks[:]
        for p in seen.nonzero()[0]:
            name = self.agent_names[p]
            if name not in obs:
                raise ValueError(f"agent {name!r} is alive and was told no observation; those of {list(obs)} were told")
            told[p, : self.obs_codec.size] = self.obs_codec.flatten(name, obs[name])
            mask = self.obs_codec.mask(obs[name], infos.get(name) or {})
            if mask is not None:
                legal[p] = self.action_codec.action_mask(name, mask)
        if self.numbered:
            told[seen, self.obs_codec.size :] = np.eye(len(self.agent_names))[seen]
        answer = {"obs": told, "reward": reward, "present": seen.copy()}
        answer |= {"terminated": self.terminated.copy(), "truncated": self.truncated.copy()}
        answer |= {"mean": np.float64(self.total.sum() / max(1, self.has_acted.sum())), "length": np.float64(self.t)}
        return answer | ({"legal": np.stack(legal)} if isinstance(self.action_codec, DiscreteCodec) else {})

    def _agent_mask(self, names: Iterable[str]) -> np.ndarray:
        """(P,) who is among the names. Raises ValueError for a name that is none of the possible agents."""
        names = list(names)
        strange = [name for name in names if name not in self.agent_names]
        if strange:
            raise ValueError(f"the world names {strange}, who are not in its possible_agents: {self.agent_names}")
        return np.array([name in names for name in self.agent_names])

    def _spaces(self) -> tuple[dict[str, Any], dict[str, Any]]:
        asked = self.env.observation_space, self.env.action_space
        seen, done = ({name: of(name) for name in self.agent_names} for of in asked)
        return seen, done

    def _unchanged(self) -> None:
        if list(self.env.possible_agents) != self.agent_names:
            raise ValueError(f"possible_agents changed from {self.agent_names} to {list(self.env.possible_agents)}")
        for before, now in zip((self.observed, self.acted), self._spaces(), strict=True):
            for name, space in now.items():
                if space != before[name]:
                    raise ValueError(f"the space of agent {name!r} changed from {before[name]} to {space}")

    def _actions(self) -> Any:
        """The space of what `step` is given, for all agents."""
        spaces, count = require_gymnasium().spaces, len(self.agent_names)
        if isinstance(self.action_codec, BoxCodec):
            return spaces.Box(-np.inf, np.inf, (count, self.action_codec.action_space.size), np.float64)
        each = self.action_codec.ns[0] if self.action_codec.plain else self.action_codec.ns
        return spaces.MultiDiscrete(np.array([each] * count))


def parallel_env_factory(world: EnvId) -> Callable[[], Any]:
    """What makes a world: itself; or of a name, `module:function`, or a module that has a `parallel_env` or an `env`,
    as those of PettingZoo do.

    Raises:
        ValueError: no such module or function.
    """
    if callable(world):
        return world
    module, _, own = world.partition(":")
    there = import_env_module(module, world)
    for name in [own] if own else ["parallel_env", "env"]:
        if callable(getattr(there, name, None)):
            return getattr(there, name)
    wanted = f"function {own}" if own else "parallel_env or env; name a function of yours as module:function"
    raise ValueError(f"env={world!r}: module {module} has no {wanted}")


def _as_parallel_env(env: Any) -> Any:
    """The world whose agents act at once. Raises ValueError for one in which they take turns, and for other things."""
    if all(hasattr(env, name) for name in ("agent_iter", "last", "observe")):
        if not getattr(env, "metadata", {}).get("is_parallelizable", False):
            raise ValueError(
                f"in {env} agents take turns, and here all act at once; if they may (PettingZoo's aec_to_parallel "
                "tells when), say so in its metadata: is_parallelizable=True"
            )
        return require_pettingzoo().utils.aec_to_parallel(env)
    if not all(callable(getattr(env, name, None)) for name in ("reset", "step", "observation_space", "action_space")):
        raise ValueError(f"the world made {type(env).__name__}, want a pettingzoo.ParallelEnv, or an AECEnv")
    return env
