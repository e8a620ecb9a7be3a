"""Any environment of Gymnasium as a task."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tasks.adapters.inbound.checked_env import EnvFactory, EnvLimits
from tasks.adapters.inbound.env_pool import EnvHandle, EnvPool, EnvStep
from tasks.adapters.inbound.gymnasium_spec import EnvDescription, env_factory, env_name, probe_env
from tasks.task import ActionSpace, Step, Task

VELOCITIES: dict[str, tuple[int, ...]] = {
    "CartPole-v0": (1, 3),
    "CartPole-v1": (1, 3),
    "MountainCar-v0": (1,),
    "MountainCarContinuous-v0": (1,),
    "Acrobot-v1": (4, 5),
    "Pendulum-v1": (2,),
    "LunarLander-v2": (2, 3, 5),
    "LunarLander-v3": (2, 3, 5),
    "LunarLanderContinuous-v3": (2, 3, 5),
}
"""Which numbers of an observation are velocities."""

SCORES = ("reward", "length")


class GymnasiumState(NamedTuple):
    """total: reward so far. length: steps so far, until it has ended. done: whether the episode has ended."""

    handle: EnvHandle
    total: Float[Tensor, " B"]
    length: Float[Tensor, " B"]
    done: Bool[Tensor, " B"]


@dataclass(frozen=True)
class Gymnasium(Task):
    """Copies of an environment of Gymnasium (Towers et al. 2024, arXiv:2407.17032), with all its wrappers.

    Observations are made flat by `gymnasium.spaces.flatten`: of a Discrete one number for each option, of a Dict part
    by part, by name. What ends an episode, terminated or truncated, is as the environment says. Its copies live outside
    torch: a state can be stepped from once only, and is not part of a checkpoint, so that a resumed run begins new
    episodes where one of our own tasks goes on bit for bit. Seeds are drawn from rng: the same rng, the same episodes.

    Scores, at the end of an episode: `reward`, its total, and `length`, its steps.

    Args:
        env: an id, as for `gymnasium.make` (`package:id` imports the package first); a callable that returns an
            environment; or where to find one, `module:function`.
        options: keyword arguments of the environment.
        mask_obs: numbers of the flat observation that the agent does not see.
        mask_velocity: nor the velocities, of environments in `VELOCITIES`.
        num_workers: 1: the copies are stepped in this process; more: by so many workers, for slow environments.
        timeout: seconds that a step or reset may take; needs workers.
        steps: after which an episode is truncated; 0: as the environment has it.

    Raises:
        ValueError: an environment that cannot be made, has no limit of steps, or has spaces that no agent fits; numbers
            to hide that are not there.
        ModuleNotFoundError: gymnasium is not installed.
    """

    env: str | Callable[..., Any] = "CartPole-v1"
    options: Mapping[str, Any] = field(default_factory=dict)
    mask_obs: tuple[int, ...] = ()
    mask_velocity: bool = False
    num_workers: int = 1
    timeout: float | None = None
    steps: int = field(default=0, kw_only=True)

    fixed_length: ClassVar[bool] = False
    external: ClassVar[bool] = True
    score: ClassVar[str] = "reward"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps={self.steps}, want at least 1, or 0: as many as the environment has")
        facts = self._description
        if not self.steps and facts.max_episode_steps is None:
            raise ValueError(f"{facts.name} has no limit of steps; say after how many it is cut short: steps=1000")
        object.__setattr__(self, "steps", self.steps or facts.max_episode_steps)
        if not self._visible:
            raise ValueError(f"nothing is left to see of the {facts.obs_size} numbers of {facts.name}; hide fewer")
        _ = self._pool  # which has something to say of processes and timeout

    @cached_property
    def _description(self) -> EnvDescription:
        return probe_env(self._factory, env_name(self.env), self.options.get("render_mode"))

    @cached_property
    def _factory(self) -> EnvFactory:
        return env_factory(self.env, self.options, self.steps)

    @cached_property
    def _visible(self) -> list[int]:
        """The numbers of an observation that are not hidden."""
        facts, hidden = self._description, set(self.mask_obs)
        if self.mask_velocity:
            if facts.name not in VELOCITIES:
                raise ValueError(
                    f"mask_velocity: nobody has written down which numbers of {facts.name} are velocities, only those "
                    f"of {', '.join(VELOCITIES)}; say which to hide with mask=(1, 3)"
                )
            hidden |= set(VELOCITIES[facts.name])
        wrong = sorted(hidden - set(range(facts.obs_size)))
        if wrong:
            raise ValueError(f"mask: {facts.name} has no number {wrong[0]} to hide, want 0 to {facts.obs_size - 1}")
        return [i for i in range(facts.obs_size) if i not in hidden]

    @cached_property
    def _pool(self) -> EnvPool:
        watch = EnvLimits(self._description.name, max_episode_steps=self.steps, timeout=self.timeout, flatten=True)
        return EnvPool(self._factory, watch, processes=self.num_workers)

    @property
    def obs_size(self) -> int:
        return len(self._visible)

    @property
    def action_space(self) -> ActionSpace:
        return self._description.action_adapter.space

    def reset(self, batch: int, rng: torch.Generator) -> tuple[GymnasiumState, Step]:
        world, told = self._pool.reset(batch, rng)
        nothing = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        return self._make_step(world, told, nothing, nothing, torch.ones_like(nothing, dtype=torch.bool))

    def step(self, state: GymnasiumState, action: Tensor, rng: torch.Generator) -> tuple[GymnasiumState, Step]:
        world, told = state.handle.step(self._description.action_adapter.to_env(action))
        return self._make_step(world, told, state.total, state.length + 1, state.done)

    def restart(
        self, state: GymnasiumState, mask: Bool[Tensor, " B"], rng: torch.Generator
    ) -> tuple[GymnasiumState, Step]:
        world, told = state.handle.restart(mask, rng)
        told = told._replace(reward=np.zeros_like(told.reward))  # what it paid before has been counted
        total, length = (torch.where(mask, 0, value) for value in (state.total, state.length))
        return self._make_step(world, told, total, length, torch.ones_like(mask))

    def _make_step(
        self, world: EnvHandle, told: EnvStep, total: Tensor, length: Tensor, before: Tensor
    ) -> tuple[Any, Step]:
        """before: in which rows the episode had ended, or just begins, so that no score is due."""
        obs, reward = (torch.tensor(x, dtype=self.dtype, device=total.device) for x in (told.obs, told.reward))
        terminated, truncated = (torch.tensor(x, device=total.device) for x in (told.terminated, told.truncated))
        state = GymnasiumState(world, total + reward, length, terminated | truncated)
        due = state.done & ~before
        scores = {name: torch.where(due, value, torch.nan) for name, value in zip(SCORES, state[1:3], strict=True)}
        return state, Step(obs[:, self._visible], reward, terminated, truncated, scores)

    def references(self) -> dict[str, dict[str, float]]:
        """The reward at which the environment's authors call it solved, where they say."""
        threshold = self._description.reward_threshold
        return {} if threshold is None else {"reward": {"threshold": threshold}}
