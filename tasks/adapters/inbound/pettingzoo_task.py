"""Multi-agent environments of PettingZoo (Terry et al. 2021, arXiv:2009.14471) as tasks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.adapters.inbound.checked_env import EnvLimits
from tasks.adapters.inbound.env_pool import EnvHandle, EnvPool, EnvStep
from tasks.adapters.inbound.gymnasium_spec import env_name
from tasks.adapters.inbound.multi_agent_env import MultiAgentEnv, parallel_env_factory
from tasks.adapters.inbound.workers.worker_count import choose_num_workers, measure_step
from tasks.adapters.pictures import picture_parallel_env
from tasks.observations import ObsPart
from tasks.task import ActionSpace, Step, Task


@dataclass(frozen=True, kw_only=True)
class PettingZoo(Task):
    """Batched copies of a PettingZoo environment as a multi-agent task; the P `possible_agents` are its agents.

    Observations of any space are flattened and padded with zeros to one size. The action mask combines
    the `action_mask` of the environment with the options that an agent does not have. Agents that have ended or have
    not appeared yet are not `present`. Discrete spaces become `Discrete` or `MultiDiscrete`, a Box becomes
    `Continuous`: with its bounds, or -1 and 1 if the bounds of the agents differ. Both together become `Mixed`.

    States are handles (`tasks.adapters.inbound.env_pool`). Scores, at the end of an episode: `episodic_return`, the
    mean over the agents that have acted, and `episodic_length`. Errors while stepping are `EnvError`s with row, seed
    and step.

    Args:
        env: a function that returns a `ParallelEnv`, an `AECEnv`, in which agents may take turns, or a `gymnasium.Env`
            with a tuple of spaces, one for each agent; `module:function`; `package:id`, an id of Gymnasium; or a module
            with a `parallel_env` or `env`, such as "mpe2.simple_spread_v3".
        steps: the step after which all remaining agents are truncated; 0: the limit of the environment, its
            `max_cycles`; if it has none, 10,000.
        agent_indicator: whether the one-hot index of the agent is appended to its observation, so that agents that
            share a policy can have different roles.
        num_workers: 1: the copies are stepped in this process; more: by as many workers, for slow environments. None:
            as many as there are cores, if a step takes a millisecond or more (a few are timed), else 1. An environment
            that draws from its own generator plays the same episodes with any number.
        timeout: the maximum duration of a step or reset in seconds; needs workers. None: no limit.

    Raises:
        ValueError: no such environment, no names of agents, unsupported spaces, or a size below 1.
    """

    env: str | Callable[[], Any]
    steps: int = 0
    agent_indicator: bool = False
    num_workers: int | None = None
    timeout: float | None = None

    fixed_length: ClassVar[bool] = False
    external: ClassVar[bool] = True
    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps={self.steps}, want at least 1, or 0 for the limit of the environment")
        object.__setattr__(self, "steps", self._probe.steps)
        _ = self._pool  # checks num_workers and timeout

    @cached_property
    def _factory(self) -> Callable[[], MultiAgentEnv]:
        return partial(MultiAgentEnv, self.env, self.steps, agent_indicator=self.agent_indicator)

    @cached_property
    def _probe(self) -> MultiAgentEnv:
        """A closed copy, for its names and spaces."""
        env = self._factory()
        env.close()
        return env

    @cached_property
    def _pool(self) -> EnvPool:
        return EnvPool(self._factory, EnvLimits(self._name, timeout=self.timeout), num_workers=self.num_workers)

    def _num_workers(self, batch: int) -> int:
        return self.num_workers or choose_num_workers(batch, self.timeout, lambda: self._step_seconds)

    @cached_property
    def _step_seconds(self) -> float:
        seconds = measure_step(self, self._name)
        self._pool.close_idle()
        return seconds

    @property
    def _name(self) -> str:
        return self.env if isinstance(self.env, str) else env_name(self.env)

    @property
    def agent_names(self) -> tuple[str, ...]:
        """The names of the agents, in the order of the axis P."""
        return tuple(map(str, self._probe.agent_names))

    @property
    def obs_size(self) -> int:
        return self._probe.size

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        indicator = (ObsPart("one_hot", (len(self.agent_names),), "[agent]"),) if self.agent_indicator else ()
        return (*self._probe.obs_codec.parts, *indicator)

    @property
    def action_space(self) -> ActionSpace:
        return self._probe.action_codec.action_space

    @property
    def agents(self) -> int:
        return len(self.agent_names)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[EnvHandle, Step]:
        return self._make_step(*self._pool.reset(batch, rng, self._num_workers(batch)), rng)

    def step(self, state: EnvHandle, action: Tensor, rng: torch.Generator) -> tuple[EnvHandle, Step]:
        return self._make_step(*state.step(action.detach().cpu().numpy()), rng)

    def restart(self, state: EnvHandle, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple[EnvHandle, Step]:
        return self._make_step(*state.restart(mask, rng), rng)

    def with_pictures(self, pictures: list[np.ndarray]) -> "PettingZoo":
        factory: Callable[..., Any] = parallel_env_factory(self.env)
        make = partial(picture_parallel_env, self._name, partial(factory, render_mode="rgb_array"), pictures)
        return replace(self, env=make, num_workers=1, timeout=None)

    def references(self) -> dict[str, dict[str, float]]:
        return {}

    def _make_step(self, handle: EnvHandle, env_step: EnvStep, rng: torch.Generator) -> tuple[EnvHandle, Step]:
        def numbers(name: str) -> Tensor:
            return torch.as_tensor(env_step.obs[name], dtype=self.dtype).to(rng.device)

        def flags(name: str) -> Tensor:
            return torch.as_tensor(env_step.obs[name], dtype=torch.bool).to(rng.device)

        stepped = torch.as_tensor(env_step.reward > 0).to(rng.device)  # False after the end and at the start
        done = torch.as_tensor(env_step.terminated | env_step.truncated).to(rng.device) & stepped
        scores = {"episodic_return": "mean_return", "episodic_length": "length"}
        return handle, Step(
            numbers("obs"),
            torch.where(stepped.unsqueeze(-1), numbers("reward"), 0),
            flags("terminated"),
            flags("truncated"),
            {name: torch.where(done, numbers(key), torch.nan) for name, key in scores.items()},
            flags("present"),
            flags("action_mask") if "action_mask" in env_step.obs else None,
        )
