"""Environments of Gymnasium as tasks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from tasks.adapters.inbound.checked_env import EnvFactory, EnvLimits
from tasks.adapters.inbound.env_pool import EnvHandle, EnvPool, EnvStep
from tasks.adapters.inbound.gymnasium_spec import EnvDescription, env_factory, env_name, probe_env
from tasks.adapters.inbound.spaces.observations import ACTION_MASK_KEY
from tasks.adapters.inbound.workers.worker_count import choose_num_workers, measure_step
from tasks.adapters.pictures import picture_env
from tasks.observations import ObsPart, visible_parts
from tasks.task import ActionSpace, Step, Task, check_positive

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
"""Indices of the velocities in an observation, by environment."""

DEFAULT_STEPS = 10_000
"""The time limit of an environment that has none of its own."""

SCORES = ("episodic_return", "episodic_length")


class GymnasiumState(NamedTuple):
    """State of a batch of environments.

    Args:
        handle: the handle to the external environments.
        total: the sum of rewards.
        length: the number of steps until the end.
        done: whether the episode has ended.
    """

    handle: EnvHandle
    total: Float[Tensor, " B"]
    length: Float[Tensor, " B"]
    done: Bool[Tensor, " B"]


@dataclass(frozen=True)
class Gymnasium(Task):
    """Batched copies of an environment of Gymnasium as a task (Towers et al. 2024, arXiv:2407.17032).

    Observations of any space are flattened: one-hot for a Discrete space, counts of hashed words for a text,
    concatenated for a Dict or Tuple; `obs_parts` describes the parts. Actions are choices, and real numbers, of all
    parts of the action space. An action mask is read from the observation, a Dict with the key `action_mask`, or from
    `info["action_mask"]`. Termination and truncation are those of the environment. As the environments are external, a
    state can be stepped once only and is not saved in checkpoints; a resumed run starts new episodes, while other tasks
    resume bit-exactly. Seeds are sampled from rng, so that the same rng gives the same episodes.

    Scores, at the end of an episode: `episodic_return` and `episodic_length`.

    Args:
        env: an id of `gymnasium.make` (`package:id` imports the package first); a callable that returns an environment;
            or `module:function`.
        options: keyword arguments of the environment.
        mask_obs: indices of the flattened observation that are hidden from the agent.
        mask_velocity: whether velocities are hidden, too, for environments in `VELOCITIES`.
        frame_stack: the number of last observations that an agent observes at once, for agents without memory.
        num_workers: 1: the copies are stepped in this process; more: by as many workers, for slow environments. None:
            as many as there are cores, if a step takes a millisecond or more (a few are timed), else 1. An environment
            that draws from its own generator plays the same episodes with any number.
        timeout: the maximum duration of a step or reset in seconds, and from 60 s on of a constructor; needs workers.
        steps: the step after which an episode is truncated; 0: the time limit of the environment, found in its spec or
            in any wrapper; if it has none, 10,000.

    Raises:
        ValueError: an environment that cannot be constructed, or has unsupported spaces; indices in `mask_obs` out of
            range; no observation left.
        ModuleNotFoundError: gymnasium is not installed.
    """

    env: str | Callable[..., Any] = "CartPole-v1"
    options: Mapping[str, Any] = field(default_factory=dict)
    mask_obs: tuple[int, ...] = ()
    mask_velocity: bool = False
    frame_stack: int = field(default=1, kw_only=True)
    num_workers: int | None = None
    timeout: float | None = None
    steps: int = field(default=0, kw_only=True)

    fixed_length: ClassVar[bool] = False
    external: ClassVar[bool] = True
    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps={self.steps}, want at least 1, or 0 for the time limit of the environment")
        check_positive(frame_stack=self.frame_stack)
        description = self._description
        object.__setattr__(self, "steps", self.steps or description.max_episode_steps or DEFAULT_STEPS)
        if not self._visible:
            raise ValueError(
                f"mask_obs={self.mask_obs} hides all {description.observations.size} of {description.name}, want fewer"
            )
        _ = self._pool  # checks num_workers and timeout

    @cached_property
    def _description(self) -> EnvDescription:
        return probe_env(self._factory, env_name(self.env), self.options.get("render_mode"))

    @cached_property
    def _factory(self) -> EnvFactory:
        return env_factory(self.env, self.options, self.steps, self.frame_stack)

    @cached_property
    def _visible(self) -> list[int]:
        """The indices of an observation that are not hidden."""
        description, hidden = self._description, set(self.mask_obs)
        if self.mask_velocity:
            if description.name not in VELOCITIES:
                raise ValueError(
                    f"mask_velocity: the indices of velocities are unknown for {description.name}, want one of "
                    f"{', '.join(VELOCITIES)}; or give the indices, as in mask_obs=(1, 3)"
                )
            hidden |= set(VELOCITIES[description.name])
        size = description.observations.size
        wrong = sorted(hidden - set(range(size)))
        if wrong:
            raise ValueError(f"mask_obs: {description.name} has no component {wrong[0]}, want 0 to {size - 1}")
        return [i for i in range(size) if i not in hidden]

    @cached_property
    def _pool(self) -> EnvPool:
        name, info_mask = self._description.name, self._description.info_mask
        masked = info_mask if self._description.actions.nvec and not self._description.observations.has_mask else None
        limits = EnvLimits(name, max_episode_steps=self.steps, timeout=self.timeout, action_mask=masked)
        return EnvPool(self._factory, limits, num_workers=self.num_workers)

    def _num_workers(self, batch: int) -> int:
        return self.num_workers or choose_num_workers(batch, self.timeout, lambda: self._step_seconds)

    @cached_property
    def _step_seconds(self) -> float:
        seconds = measure_step(self, self._description.name)
        self._pool.close_idle()
        return seconds

    @property
    def obs_size(self) -> int:
        return len(self._visible)

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return visible_parts(self._description.observations.parts, self._visible)

    @property
    def action_space(self) -> ActionSpace:
        return self._description.actions.action_space

    def reset(self, batch: int, rng: torch.Generator) -> tuple[GymnasiumState, Step]:
        handle, env_step = self._pool.reset(batch, rng, self._num_workers(batch))
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        return self._make_step(handle, env_step, zeros, zeros, torch.ones_like(zeros, dtype=torch.bool))

    def step(self, state: GymnasiumState, action: Tensor, rng: torch.Generator) -> tuple[GymnasiumState, Step]:
        handle, env_step = state.handle.step(self._description.actions.to_env(self._to_numpy(action)))
        return self._make_step(handle, env_step, state.total, state.length + 1, state.done)

    def restart(
        self, state: GymnasiumState, mask: Bool[Tensor, " B"], rng: torch.Generator
    ) -> tuple[GymnasiumState, Step]:
        handle, env_step = state.handle.restart(mask, rng)
        env_step = env_step._replace(reward=np.zeros_like(env_step.reward))  # repeated rewards are already counted
        total, length = (torch.where(mask, 0, value) for value in (state.total, state.length))
        return self._make_step(handle, env_step, total, length, torch.ones_like(mask))

    def _make_step(
        self, handle: EnvHandle, env_step: EnvStep, total: Tensor, length: Tensor, no_score: Tensor
    ) -> tuple[Any, Step]:
        """The step of the task; `no_score` masks episodes that had ended before or just start."""
        batch, device = len(total), total.device
        flat = self._description.observations.encode(env_step.obs, batch)
        hidden = len(self._visible) < flat.shape[1]
        obs = torch.as_tensor(flat[:, self._visible] if hidden else flat, dtype=self.dtype, device=device)
        reward = torch.as_tensor(env_step.reward, dtype=self.dtype, device=device)
        terminated, truncated = (torch.as_tensor(x, device=device) for x in (env_step.terminated, env_step.truncated))
        state = GymnasiumState(handle, total + reward, length, terminated | truncated)
        if env_step.terminated.any() or env_step.truncated.any():
            scored = state.done & ~no_score
            values = [torch.where(scored, value, torch.nan) for value in state[1:3]]
        else:
            values = [torch.full_like(total, torch.nan)] * len(SCORES)
        scores = dict(zip(SCORES, values, strict=True))
        return state, Step(obs, reward, terminated, truncated, scores, None, self._action_mask(env_step, device))

    def _action_mask(self, env_step: EnvStep, device: torch.device) -> Tensor | None:
        """The mask (B, A) of the environment, from the observation or the infos."""
        description = self._description
        masks = env_step.obs[ACTION_MASK_KEY] if description.observations.has_mask else env_step.action_mask
        if masks is None or not description.actions.nvec:
            return None
        rows = [description.actions.flat_mask(mask) for mask in _rows(masks, len(env_step.reward))]
        return torch.tensor(np.array(rows), device=device)

    def _to_numpy(self, action: Tensor) -> np.ndarray:
        """Checks the shape and kind of actions and converts them to NumPy."""
        actions = self._description.actions
        dims = 1 if actions.single else 2
        if not actions.size and (action.is_floating_point() or action.dim() != dims):
            want = "(batch,)" if actions.single else "(batch, choices)"
            raise ValueError(
                f"actions {tuple(action.shape)} of {action.dtype}, want integers {want}: {self._description.name} "
                "gives no gradient to logits; roll out with a policy that samples actions from them"
            )
        return action.detach().cpu().numpy()

    def encode_obs(self, obs: Any) -> np.ndarray:
        """The flat observation that the agent reads, (O,), or (B, O).

        Args:
            obs: of one environment, or of a batch; with `frame_stack` the stacked frames.

        Raises:
            ValueError: an observation of another shape.
        """
        try:
            return self._description.observations.flatten(obs)[..., self._visible]
        except ValueError as error:
            if self.frame_stack == 1:
                raise
            wrapper = f"gymnasium.wrappers.FrameStackObservation(env, {self.frame_stack}, padding_type='reset')"
            raise ValueError(f"{error}; the agent observes {self.frame_stack} frames, as those of {wrapper}") from None

    def encode_action_mask(self, obs: Any, action_mask: Any, batch: int | None) -> np.ndarray | None:
        actions = self._description.actions
        if action_mask is None and self._description.observations.has_mask:
            action_mask = obs.get(ACTION_MASK_KEY)
        if action_mask is None or not actions.nvec:
            return None
        if batch is None:
            return actions.flat_mask(action_mask)
        return np.stack([actions.flat_mask(mask) for mask in _rows(action_mask, batch)])

    def decode_action(self, action: Tensor) -> Any:
        return self._description.actions.to_env(self._to_numpy(action))

    def with_pictures(self, pictures: list[np.ndarray]) -> "Gymnasium":
        factory = env_factory(self.env, {**self.options, "render_mode": "rgb_array"}, self.steps)
        make = partial(picture_env, self._description.name, factory, pictures)
        return replace(self, env=make, options={}, num_workers=1, timeout=None)

    def references(self) -> dict[str, dict[str, float]]:
        """The return at which the environment counts as solved, if it is defined."""
        threshold = self._description.reward_threshold
        return {} if threshold is None else {"episodic_return": {"threshold": threshold}}


def _rows(masks: Any, batch: int) -> list[Any]:
    """The masks of the rows of a batch."""
    if not isinstance(masks, dict | tuple) and len(masks) != batch:
        raise ValueError(f"action_mask has {len(masks)} rows, want those of obs, {batch}")
    return [_row(masks, row) for row in range(batch)]


def _row(masks: Any, row: int) -> Any:
    """One row of masks in nested dicts and tuples of arrays."""
    if isinstance(masks, dict):
        return {key: _row(part, row) for key, part in masks.items()}
    if isinstance(masks, tuple):
        return tuple(_row(part, row) for part in masks)
    return masks[row]
