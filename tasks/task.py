"""The base class of tasks, action spaces, and the values that a task returns.

Shapes: B episode, E expert, P agent of the world, O observation, A action.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True)
class Discrete:
    """The action space of one choice out of n: logits (..., n) or integers (...).

    Args:
        n: the number of choices.
    """

    n: int

    @property
    def size(self) -> int:
        """The number of outputs that an agent needs for this action space."""
        return self.n


@dataclass(frozen=True)
class MultiDiscrete:
    """The action space of several choices at once: concatenated logits (..., sum(ns)) or integers (..., len(ns)).

    Args:
        nvec: the number of choices of each.
    """

    nvec: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of outputs that an agent needs for this action space."""
        return sum(self.nvec)


@dataclass(frozen=True)
class Continuous:
    """The action space of `size` real numbers between low and high.

    Args:
        size: how many numbers.
        low: the lower bound of each.
        high: the upper bound of each.
    """

    size: int
    low: float = float("-inf")
    high: float = float("inf")


ActionSpace = Discrete | MultiDiscrete | Continuous
"""An action space."""


class Step(NamedTuple):
    """The observation, reward, ends and scores after an action, or at the start of an episode.

    Args:
        obs: (B, O), or (B, E, O) with an observation for each expert; with P agents (B, P, O).
        reward: (B,), or (B, P) with P agents.
        terminated: episodes, or agents, that have ended, so that no future reward is bootstrapped. With P agents an
            agent's end is repeated until its episode is over, which it is when all agents have ended.
        truncated: the same for ends by a time limit, at which the value of the future is bootstrapped.
        scores: (B,) values by name, computed from the hidden truth; NaN where there is none in this step.
        present: (B, P), agents that observe this step: those that are alive, and those that were truncated in this very
            step, whose value is bootstrapped; None: all. Observations and rewards of absent agents are finite.
        action_mask: the action mask, (B, A) or (B, P, A); None: all actions are allowed.
    """

    obs: Float[Tensor, "B *EO"]
    reward: Float[Tensor, "B *P"]
    terminated: Bool[Tensor, "B *P"]
    truncated: Bool[Tensor, "B *P"]
    scores: dict[str, Float[Tensor, " B"]]
    present: Bool[Tensor, "B P"] | None = None
    action_mask: Bool[Tensor, "B *A"] | None = None


class Path(NamedTuple):
    """The paths of agents through a grid.

    Args:
        walls: the cells that are walls.
        positions: row and column of each agent, before the first step and after each of T steps (T1 = T + 1).
        goals: row and column of each goal.
        reached: steps that reached the goal, after which the agent is moved elsewhere.
    """

    walls: Bool[Tensor, "rows columns"]
    positions: Int[Tensor, "T1 B 2"]
    goals: Int[Tensor, "B 2"]
    reached: Bool[Tensor, "T B"]


@dataclass(frozen=True)
class Task(ABC):
    """A distribution of episodes: a frozen dataclass, batched, on one device; its state is a value.

    Class attributes say what kind of task it is:

    - `differentiable`: rewards carry gradient to the actions. A discrete task then takes logits (the reward is the
      log-probability of the right choice) as well as integers (the reward is 1 or 0).
    - `fixed_length`: every episode ends after exactly `steps` steps, so that its end is known on the host.
    - `open_loop`: observations do not depend on actions, so that they can be computed in advance (`preview`).
    - `external`: the state is a handle to external environments (`tasks.EnvPool`), not a value: only the latest state can
      be stepped, and none is saved in a checkpoint, so that a loaded run begins new episodes.
    - `score`: the name in `Step.scores` by which the task is judged. `better`: "lower" or "higher".

    Args:
        steps: the length of an episode, or its maximum.
        dtype: of observations and rewards.
    """

    steps: int
    dtype: torch.dtype = field(default=torch.float32, kw_only=True)

    differentiable: ClassVar[bool] = False
    fixed_length: ClassVar[bool] = True
    open_loop: ClassVar[bool] = False
    external: ClassVar[bool] = False
    score: ClassVar[str]
    better: ClassVar[str]

    @property
    @abstractmethod
    def obs_size(self) -> int:
        """The size O of an observation."""

    @property
    @abstractmethod
    def action_space(self) -> ActionSpace:
        """The action space."""

    @property
    def agents(self) -> int | None:
        """The number P of agents in a multi-agent environment; None for one actor, whose shapes have no axis P.

        Observations are (B, P, O), actions (B, P), (B, P, k) or (B, P, size), rewards and ends (B, P).
        """
        return None

    @property
    def num_episodes(self) -> int | None:
        """The number of episodes of a finite task, such as the images of a data set; None: unlimited."""
        return None

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        """Resets to given episodes of a finite task.

        Args:
            index: their numbers, from 0 to `num_episodes` - 1.
            rng: the generator of all that is random in them.

        Returns:
            The state and the first step, as `reset` does.

        Raises:
            ValueError: the task is not finite.
        """
        raise ValueError(f"{type(self).__name__} is endless: its episodes have no numbers, draw them with reset")

    @property
    def buckets(self) -> "Sequence[Task]":
        """Tasks that partition the episodes of this one, in its order, by similar length, for faster evaluation."""
        return [self]

    @abstractmethod
    def reset(self, batch: int, rng: torch.Generator) -> tuple[Any, Step]:
        """Samples new episodes.

        Args:
            batch: how many.
            rng: the generator; its device is that of the episodes.

        Returns:
            The state, and the step that holds the first observation.
        """

    @abstractmethod
    def step(self, state: Any, action: Tensor, rng: torch.Generator) -> tuple[Any, Step]:
        """One step of every episode.

        Args:
            state: the state after the previous step.
            action_space: one action for each episode.
            rng: the generator of all that is random in the step.

        Returns:
            The state after this step, and the step.
        """

    def restart(self, state: Any, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        """Replaces some episodes by new ones.

        Args:
            state: the state of all episodes.
            mask: the episodes that are replaced.
            rng: the generator.

        Returns:
            The state of all episodes, and the first step of the new ones, which is valid in the rows of mask only.
        """
        fresh, step = self.reset(mask.shape[0], rng)

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(mask.reshape(mask.shape + (1,) * (new.dim() - 1)), new, old)

        return type(state)(*(choose(new, old) for new, old in zip(fresh, state, strict=True))), step

    @property
    def evaluation_task(self) -> "Task":
        """The task for evaluation: by default this one, as its episodes are always new; a test set if it is finite."""
        return self

    def preview(self, state: Any, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        """The next observations of an `open_loop` task, from the present one on.

        Args:
            state: the present state.
            step: the present step.
            steps: how many observations.
            rng: a copy of the generator, which is advanced.
        """
        seen = [step.obs]
        actors = () if self.agents is None else (self.agents,)
        nothing = step.obs.new_zeros(step.obs.shape[0], *actors, self.action_space.size)
        if isinstance(self.action_space, Discrete) and not self.differentiable:
            nothing = nothing[..., 0].long()
        with torch.no_grad():
            for _ in range(steps - 1):
                state, step = self.step(state, nothing, rng)
                seen.append(step.obs)
        return seen

    @property
    def notes(self) -> list[str]:
        """Remarks to be printed beside scores of this task, such as data that was left out or substituted."""
        return []

    @abstractmethod
    def references(self) -> dict[str, dict[str, float]]:
        """Reference values of each score, {score: {name: value}}: of chance, an oracle, or a simple algorithm."""

    def target(self, state: Any) -> Tensor | None:
        """The ideal value of a continuous action, (B, A), for figures; None where there is none.

        Args:
            state: a state of the episodes.
        """
        return None

    def path(self, opened: Any, action: Tensor) -> Path | None:
        """The paths through a grid, for figures; None for a task without a grid.

        Args:
            opened: the state that `reset` returned.
            action_space: the actions of all steps, (T, B).
        """
        return None

    def step_labels(self, state: Any, row: int = 0) -> list[str] | None:
        """A label for the observation of each step of one episode, for the axes of figures; None without labels.

        There are fewer labels than steps where the episode ends early.

        Args:
            state: the state that `reset` returned.
            row: the number of the episode in the batch.
        """
        return None


def reward_and_correct(
    action: Tensor, wanted: Int[Tensor, "B *n"], dtype: torch.dtype, ns: tuple[int, ...] | None = None
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """The reward of a discrete choice, the log-probability of what was wanted for logits and 1 or 0 for integers; and
    whether it was right, 1 or 0.

    ns: of a `MultiDiscrete` action, of how many each choice is one. `wanted` and integers are then (B, len(ns)),
    logits (B, sum(ns)), and both numbers are means over the choices: the log-probability of one, the share of right.
    """
    if ns is None:
        return _judged(action, wanted, dtype)
    reward, right = _judged(_split_logits(action, ns) if action.is_floating_point() else action, wanted, dtype)
    return reward.mean(-1), 1 - (1 - right).mean(-1)  # 1 exactly where all are right: a mean may multiply by 1 / n


def _judged(action: Tensor, wanted: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Of each choice, (..., n) logits or (...) integers."""
    if not action.is_floating_point():
        right = (action == wanted).to(dtype)
        return right, right
    right = (action.argmax(-1) == wanted).to(dtype)
    return action.log_softmax(-1).gather(-1, wanted.unsqueeze(-1)).squeeze(-1), right


def _split_logits(logits: Tensor, ns: tuple[int, ...]) -> Tensor:
    """(B, sum(ns)) -> (B, len(ns), max(ns)); what a choice does not have is impossible."""
    if len(set(ns)) == 1:
        return logits.unflatten(-1, (len(ns), ns[0]))
    parts = logits.split(ns, -1)
    return torch.stack([pad(part, (0, max(ns) - part.shape[-1]), value=-torch.inf) for part in parts], -2)


def check_integer_action(task: Task, action: Tensor) -> None:
    """Raises ValueError unless these are choices of a `Discrete` action, for a task whose rewards give no gradient."""
    if action.is_floating_point() or action.dim() != 1:
        raise ValueError(
            f"actions {tuple(action.shape)} of {action.dtype}, want integers (batch,) from 0 to "
            f"{task.action_space.size - 1}: rewards of {type(task).__name__} give no gradient to logits; roll out with a "
            "policy that draws a choice from them"
        )


def init_fields(task: Task) -> list[str]:
    """The fields that `dataclasses.replace` may change: all but those that follow from others."""
    return [one.name for one in fields(task) if one.init]


def check_positive(**sizes: int) -> None:
    """Raises ValueError unless every size is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}, want at least 1")
