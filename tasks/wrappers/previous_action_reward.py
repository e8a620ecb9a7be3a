"""Task wrapper that appends the previous action and reward to the observation, as in RL^2."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, pad

from tasks.observations import ObsPart
from tasks.task import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete, Path, Step
from tasks.wrappers.base import TaskWrapper, append_to_obs, next_acting, of_present


@dataclass(frozen=True)
class PreviousActionReward(TaskWrapper):
    """Wrapper that appends the previous action, its reward and its end flag to the observation.

    All three are zeros at the start of an episode. This is the usual input of a recurrent meta-RL agent (Duan et al.
    2016, arXiv:1611.02779; Wang et al. 2016, arXiv:1611.05763), and necessary for one that spans several episodes.

    A discrete action is appended one-hot, several choices side by side, logits by their argmax without gradient, real
    numbers unchanged. With an observation for each expert, (B, E, O), the same values are appended to all of them;
    with P agents, (B, P, O), each observes its own; agents that are absent, or that have just come, are told nothing.

    In a task of fixed length a rollout has no final observation, so the last reward is not observed.

    Args:
        steps: the steps of the wrapped task.
        task: the wrapped task.
        dtype: replaces the dtype of the task; None: its own.

    Raises:
        ValueError: `task` is not a Task.
    """

    @property
    def obs_size(self) -> int:
        return self.task.obs_size + self.task.action_space.size + 2

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        space = self.task.action_space
        choices, numbers = _part_sizes(space)
        parts = ObsPart("one_hot", (choices,), "[action]"), ObsPart("vector", (numbers,), "[action]")
        action = (part for part in parts if part.size)
        return (*self.task.obs_parts, *action, ObsPart("vector", (1,), "[reward]"), ObsPart("one_hot", (1,), "[first]"))

    @property
    def action_space(self) -> ActionSpace:
        return self.task.action_space

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        state, step = self.task.reset_to(index, rng)
        return self._with_acting(state, step), self._initial_step(step)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[Any, Step]:
        state, step = self.task.reset(batch, rng)
        return self._with_acting(state, step), self._initial_step(step)

    def restart(self, state: Any, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        inner, step = self.task.restart(self._inner_state(state), mask, rng)
        new = self._with_acting(inner, step)
        if isinstance(state, _TeamState):  # valid in the masked rows only
            new = new._replace(acting=torch.where(mask.unsqueeze(-1), new.acting, state.acting))
        return new, self._initial_step(step)

    def step(self, state: Any, action: Tensor, rng: torch.Generator) -> tuple[Any, Step]:
        """Advances every episode by one step.

        Args:
            state: the state of the wrapped task.
            action: one action for each episode.
            rng: the random generator.

        Raises:
            ValueError: rewards per agent, but one observation for all of them.
        """
        inner, step = self.task.step(self._inner_state(state), action, rng)
        done = step.terminated | step.truncated
        features = [
            encode_action(self.action_space, action.detach()),
            step.reward.detach().unsqueeze(-1),
            done.unsqueeze(-1),
        ]
        if isinstance(state, _TeamState):
            features[0] = torch.where(state.acting.unsqueeze(-1), features[0], 0)
            features = [of_present(feature, step) for feature in features]
        if step.reward.dim() >= step.obs.dim():
            raise ValueError(
                f"task={type(self.task).__name__} returns rewards per agent, {tuple(step.reward.shape)}, but one "
                f"observation for all, {tuple(step.obs.shape)}; want an observation per agent"
            )
        return self._with_acting(inner, step), append_to_obs(step, features)

    def append_recorded(
        self, obs: Float[Tensor, "B T1 *EO"], action: Tensor, reward: Float[Tensor, "B T"], done: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B T1 *EO2"]:
        """Recorded observations of the wrapped task with the previous action, reward and end flag of each step.

        The first step has zeros, as at the start of an episode.

        Args:
            obs: one more than there are steps.
            action: the actions chosen from them.
            reward: the rewards after the actions.
            done: the end flags after the actions.
        """
        parts = [encode_action(self.action_space, action), reward.unsqueeze(-1), done.unsqueeze(-1)]
        features = pad(torch.cat([part.to(obs) for part in parts], -1), (0, 0, 1, 0))  # (B, T + 1, k)
        lead = obs.shape[:-1]
        if len(lead) > 2:  # an observation for each expert
            features = features.unsqueeze(2).expand(*lead, -1)
        return torch.cat([obs, features], -1)

    def _with_acting(self, inner: Any, step: Step) -> Any:
        """The state of the wrapped task; with several agents also which of them will act."""
        return inner if self.task.agents is None else _TeamState(inner, next_acting(step))

    def _inner_state(self, state: Any) -> Any:
        return state.inner if isinstance(state, _TeamState) else state

    def _initial_step(self, step: Step) -> Step:
        zeros = step.obs.new_zeros(*step.obs.shape[:-1], self.action_space.size + 2)
        return step._replace(obs=torch.cat([step.obs, zeros], -1))

    def encode_action_mask(self, obs: Any, action_mask: Any, batch: int | None) -> Any:
        return self.task.encode_action_mask(obs, action_mask, batch)

    def decode_action(self, action: Tensor) -> Any:
        return self.task.decode_action(action)

    def target(self, state: Any) -> Tensor | None:
        return self.task.target(self._inner_state(state))

    def path(self, initial: Any, action: Tensor) -> Path | None:
        return self.task.path(self._inner_state(initial), action)


class _TeamState(NamedTuple):
    """The state of a wrapped task of several agents, and the agents (B, P) that act in the next step."""

    inner: Any
    acting: Bool[Tensor, "B P"]


def _part_sizes(space: ActionSpace) -> tuple[int, int]:
    """The sizes of choices and of real numbers in `encode_action`."""
    match space:
        case Continuous(size=size):
            return 0, size
        case Mixed(choices=choices, numbers=numbers):
            return choices.size, numbers.size
    return space.size, 0


def encode_action(space: ActionSpace, action: Tensor) -> Tensor:
    """The action as an input vector (..., size): choices one-hot, real numbers as they are.

    Args:
        space: the action space.
        action: integers of choices, or logits; real numbers.
    """
    match space:
        case Continuous():
            return action
        case Discrete(n=n):
            return one_hot(action.argmax(-1) if action.is_floating_point() else action, n)
        case Mixed(choices=choices):
            chosen, numbers = space.split(action)
            return torch.cat([encode_action(choices, chosen), numbers], -1)
        case MultiDiscrete(nvec=nvec):
            if action.is_floating_point():
                action = torch.stack([part.argmax(-1) for part in action.split(nvec, -1)], -1)
            return torch.cat([one_hot(choice, n) for choice, n in zip(action.unbind(-1), nvec, strict=True)], -1)
