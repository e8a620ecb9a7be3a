"""The base class of tasks, action spaces, and the values that a task returns.

Shapes: B episode, E expert, P agent of the environment, O observation, A action.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from tasks.observations import ObsPart


@dataclass(frozen=True)
class Discrete:
    """Discrete action space with one choice out of n: logits (..., n) or integers (...).

    Args:
        n: the number of options.
    """

    n: int

    @property
    def size(self) -> int:
        """The number of outputs that an agent needs for this action space."""
        return self.n


@dataclass(frozen=True)
class MultiDiscrete:
    """Action space of several discrete choices: concatenated logits (..., sum(nvec)) or integers (..., len(nvec)).

    Args:
        nvec: the number of options of each choice.
    """

    nvec: tuple[int, ...]

    @property
    def size(self) -> int:
        """The number of outputs that an agent needs for this action space."""
        return sum(self.nvec)


@dataclass(frozen=True)
class Continuous:
    """Continuous action space of `size` real numbers between low and high.

    Args:
        size: the number of components.
        low: the lower bound of each component.
        high: the upper bound of each component.
    """

    size: int
    low: float = float("-inf")
    high: float = float("inf")


@dataclass(frozen=True)
class Mixed:
    """Action space of choices beside real numbers: actions (..., k + D), the k choices first, then D real numbers.

    Args:
        choices: the discrete part, whose options an action mask is for.
        numbers: the continuous part.
    """

    choices: MultiDiscrete
    numbers: Continuous

    @property
    def size(self) -> int:
        """The number of outputs that an agent needs for this action space."""
        return self.choices.size + self.numbers.size

    def split(self, action: Float[Tensor, "*B _"]) -> tuple[Int[Tensor, "*B k"], Float[Tensor, "*B D"]]:
        """The choices of an action as integers, and its real numbers.

        Args:
            action: of this space.
        """
        choices, numbers = action.split([len(self.choices.nvec), self.numbers.size], -1)
        return choices.long(), numbers


ActionSpace = Discrete | MultiDiscrete | Continuous | Mixed
"""Any of the four action spaces."""


def num_options(space: ActionSpace) -> int:
    """The number A of options of all choices of a space, which is the length of its action mask.

    Args:
        space: the action space.
    """
    match space:
        case Continuous():
            return 0
        case Mixed(choices=choices):
            return choices.size
    return space.size


class Step(NamedTuple):
    """Observation, reward, termination and scores after an action, or at the start of an episode.

    Args:
        obs: (B, O), or (B, E, O) with an observation for each expert; with P agents (B, P, O).
        reward: (B,), or (B, P) with P agents.
        terminated: mask of episodes, or agents, that have ended; no value is bootstrapped there. With P agents the flag
            of an agent is repeated until its episode is over, that is, until all agents have ended.
        truncated: the same for ends by a time limit, where the value of the final observation is bootstrapped.
        scores: (B,) metrics by name, computed from the hidden state of the task; NaN in steps without a value.
        present: (B, P), agents that receive this observation: the active ones, and those that were truncated in this
            step, whose value is bootstrapped; None: all. Observations and rewards of absent agents are finite.
        action_mask: (B, A) or (B, P, A), True for allowed actions; None: all actions are allowed.
    """

    obs: Float[Tensor, "B *EO"]
    reward: Float[Tensor, "B *P"]
    terminated: Bool[Tensor, "B *P"]
    truncated: Bool[Tensor, "B *P"]
    scores: dict[str, Float[Tensor, " B"]]
    present: Bool[Tensor, "B P"] | None = None
    action_mask: Bool[Tensor, "B *A"] | None = None


class Path(NamedTuple):
    """Trajectories of agents through a grid, for figures.

    Args:
        walls: the cells that are walls.
        positions: row and column of each agent, before the first step and after each of T steps (T1 = T + 1).
        goals: row and column of each goal.
        reached: True for steps that reached the goal, after which the agent is moved to another cell.
    """

    walls: Bool[Tensor, "rows columns"]
    positions: Int[Tensor, "T1 B 2"]
    goals: Int[Tensor, "B 2"]
    reached: Bool[Tensor, "T B"]


@dataclass(frozen=True)
class Task(ABC):
    """Abstract base class of tasks: a batched distribution of episodes whose state is passed explicitly.

    A task is a frozen dataclass. Class attributes declare its kind:

    - `differentiable`: rewards carry a gradient with respect to the actions. A discrete task then takes logits (the
      reward is the log-probability of the correct choice) as well as integers (the reward is 1 or 0).
    - `fixed_length`: every episode ends after exactly `steps` steps, so that its end is known without a device sync.
    - `open_loop`: observations do not depend on actions, so that they can be computed in advance (`preview`).
    - `external`: the state is a handle to external environments (`tasks.EnvPool`), not a value: only the latest state
      can be stepped. It is not saved in checkpoints; a resumed run starts new episodes.
    - `score`: the name of the main metric in `Step.scores`. `better`: "lower" or "higher".

    Args:
        steps: the length of an episode, or its maximum.
        dtype: the dtype of observations and rewards.
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
    def obs_parts(self) -> tuple[ObsPart, ...]:
        """The parts of a flat observation, for senses that treat parts differently; by default one vector."""
        return (ObsPart("vector", (self.obs_size,)),)

    @property
    def numeric_obs(self) -> tuple[bool, ...]:
        """Which of the O numbers are measurements, which may be normalized; others are codes, pixels or words."""
        return tuple(part.kind == "vector" for part in self.obs_parts for _ in range(part.size))

    @property
    @abstractmethod
    def action_space(self) -> ActionSpace:
        """The action space."""

    @property
    def agents(self) -> int | None:
        """The number P of agents of a multi-agent environment; None for a single agent, whose shapes have no axis P.

        Observations are (B, P, O), actions (B, P), (B, P, k) or (B, P, size), rewards and end flags (B, P).
        """
        return None

    @property
    def known_model(self) -> Any | None:
        """The model of the hidden state, for cores that compute beliefs; None for a task without one."""
        return None

    @property
    def num_episodes(self) -> int | None:
        """The number of episodes of a finite task, such as the images of a data set; None: unlimited."""
        return None

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        """Starts the given episodes of a finite task.

        Args:
            index: the numbers of the episodes, from 0 to `num_episodes` - 1.
            rng: the random generator.

        Returns:
            The state and the first step, as `reset` does.

        Raises:
            ValueError: the task is not finite.
        """
        raise ValueError(
            f"{type(self).__name__} is not a finite task, so its episodes have no numbers; sample them with reset"
        )

    @property
    def buckets(self) -> "Sequence[Task]":
        """Tasks that partition the episodes of this one, in its order, by similar length, for less padding."""
        return [self]

    @abstractmethod
    def reset(self, batch: int, rng: torch.Generator) -> tuple[Any, Step]:
        """Samples new episodes.

        Args:
            batch: the number of episodes B.
            rng: the random generator; the episodes are on its device.

        Returns:
            The state, and the step with the first observation.
        """

    @abstractmethod
    def step(self, state: Any, action: Tensor, rng: torch.Generator) -> tuple[Any, Step]:
        """Advances every episode by one step.

        Args:
            state: the state after the previous step.
            action: one action for each episode.
            rng: the random generator.

        Returns:
            The state after this step, and the step.
        """

    def restart(self, state: Any, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        """Resets the masked episodes and keeps the others.

        Args:
            state: the state of all episodes.
            mask: the episodes to reset.
            rng: the random generator.

        Returns:
            The state of all episodes, and the first step of the new ones, valid only in the masked rows.
        """
        initial, step = self.reset(mask.shape[0], rng)

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(mask.reshape(mask.shape + (1,) * (new.dim() - 1)), new, old)

        return type(state)(*(choose(new, old) for new, old in zip(initial, state, strict=True))), step

    @property
    def evaluation_task(self) -> "Task":
        """The task for evaluation: this one by default, as its episodes are sampled; held-out data of a finite task."""
        return self

    @property
    def mirrored(self) -> "Task":
        """The task with its episodes in mirrored pairs, for estimates with less variance; itself where it has no pairs.

        The first half of a batch, rounded up, is drawn as ever; the others have the opposite draws (antithetic
        variates), so that what a batch has by chance on one side, it has on the other side, too.
        """
        return self

    def preview(self, state: Any, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        """The next observations of an `open_loop` task, starting with the current one.

        Args:
            state: the current state.
            step: the current step.
            steps: the number of observations.
            rng: a copy of the generator, which is advanced.
        """
        observations = [step.obs]
        actors = () if self.agents is None else (self.agents,)
        zeros = step.obs.new_zeros(step.obs.shape[0], *actors, self.action_space.size)
        if isinstance(self.action_space, Discrete) and not self.differentiable:
            zeros = zeros[..., 0].long()
        with torch.no_grad():
            for _ in range(steps - 1):
                state, step = self.step(state, zeros, rng)
                observations.append(step.obs)
        return observations

    @property
    def notes(self) -> list[str]:
        """Remarks to print beside the scores of this task, such as data that was skipped or substituted."""
        return []

    @abstractmethod
    def references(self) -> dict[str, dict[str, float]]:
        """Reference values of the scores, {score: {name: value}}: of chance, an oracle or a simple algorithm."""

    def encode_obs(self, obs: Any) -> np.ndarray:
        """Observations of an environment as the agent reads them, for an agent that acts outside of a rollout.

        Args:
            obs: of one environment, (*obs), or of a batch, (B, *obs), in the form in which the environment has them.
        """
        return np.asarray(obs)

    def encode_action_mask(self, obs: Any, action_mask: Any, batch: int | None) -> np.ndarray | None:
        """The allowed actions (A,), or (B, A), for an agent that acts outside of a rollout; None: all.

        Args:
            obs: as for `encode_obs`.
            action_mask: in the form in which the environment has it, of a batch one for each row; None: the mask in the
                observation, if it has one.
            batch: B; None: the observation is of one environment.
        """
        levels = (batch is not None) + (self.agents is not None)
        return None if action_mask is None else _stack_masks(action_mask, levels)

    def decode_action(self, action: Tensor) -> Any:
        """Actions of a batch in the form that the environment takes, which is that of `tasks.to_gymnasium`.

        Args:
            action: as for `step`.

        Returns:
            An array; of a `Mixed` space a list of pairs, choices and real numbers, with several agents in lists.
        """
        space = self.action_space
        if not isinstance(space, Mixed):
            return action.detach().cpu().numpy()
        if action.dim() > 1:
            return [self.decode_action(row) for row in action]
        choices, numbers = space.split(action.detach().cpu())
        return choices.numpy(), numbers.numpy()

    def with_pictures(self, pictures: list[np.ndarray]) -> "Task":
        """This task with environments that append their pictures after each reset and step; itself if it has none.

        Args:
            pictures: bytes (height, width, 3); of several copies in turn.
        """
        return self

    def target(self, state: Any) -> Tensor | None:
        """The optimal continuous action, (B, A), for figures; None for a task without one.

        Args:
            state: a state of the episodes.
        """
        return None

    def path(self, initial: Any, action: Tensor) -> Path | None:
        """The trajectories through a grid, for figures; None for a task without a grid.

        Args:
            initial: the state that `reset` returned.
            action: the actions of all steps, (T, B).
        """
        return None

    def step_labels(self, state: Any, row: int = 0) -> list[str] | None:
        """Labels of the observations of one episode, one per step, for the axes of figures; None without labels.

        An episode that ends early has fewer labels than steps.

        Args:
            state: the state that `reset` returned.
            row: the index of the episode in the batch.
        """
        return None


def reward_and_correct(
    action: Tensor, target: Int[Tensor, "B *n"], dtype: torch.dtype, nvec: tuple[int, ...] | None = None
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """The reward of a discrete answer and whether it is correct, 1 or 0.

    The reward of logits is the log-probability of the target; the reward of integers is 1 or 0.

    Args:
        action: logits (B, n) or integers (B,); of a `MultiDiscrete` action logits (B, sum(nvec)) or integers
            (B, len(nvec)).
        target: the correct answer, (B,) or (B, len(nvec)).
        dtype: the dtype of both results.
        nvec: the number of options of each choice of a `MultiDiscrete` action. Both results are then means over the
            choices.
    """
    if nvec is None:
        return _reward_of_each(action, target, dtype)
    reward, correct = _reward_of_each(
        _split_logits(action, nvec) if action.is_floating_point() else action, target, dtype
    )
    return reward.mean(-1), 1 - (1 - correct).mean(-1)  # exactly 1 where all are correct: a mean may multiply by 1 / n


def _reward_of_each(action: Tensor, target: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Reward and correctness of each choice; action is logits (..., n) or integers (...)."""
    if not action.is_floating_point():
        correct = (action == target).to(dtype)
        return correct, correct
    correct = (action.argmax(-1) == target).to(dtype)
    return action.log_softmax(-1).gather(-1, target.unsqueeze(-1)).squeeze(-1), correct


def _split_logits(logits: Tensor, nvec: tuple[int, ...]) -> Tensor:
    """(B, sum(nvec)) -> (B, len(nvec), max(nvec)), padded with -inf."""
    if len(set(nvec)) == 1:
        return logits.unflatten(-1, (len(nvec), nvec[0]))
    parts = logits.split(nvec, -1)
    return torch.stack([pad(part, (0, max(nvec) - part.shape[-1]), value=-torch.inf) for part in parts], -2)


def opposite_pairs(draw: Callable[[int], Tensor], batch: int) -> Tensor:
    """Numbers of a batch of episodes, symmetric around 0: a half of them drawn, and their opposites.

    Args:
        draw: from a number of rows to random numbers, rows first.
        batch: B.
    """
    drawn = draw((batch + 1) // 2)
    return torch.cat([drawn, -drawn])[:batch]


def check_integer_action(task: Task, action: Tensor) -> None:
    """Checks that the actions are integers of a `Discrete` space, for a task whose rewards have no gradient.

    Args:
        task: the task, for the message.
        action: the actions.

    Raises:
        ValueError: the actions are logits, or not of shape (B,).
    """
    if action.is_floating_point() or action.dim() != 1:
        raise ValueError(
            f"actions {tuple(action.shape)} of {action.dtype}, want integers (batch,) from 0 to "
            f"{task.action_space.size - 1}: rewards of {type(task).__name__} give no gradient to logits; roll out with "
            "a policy that samples actions from them"
        )


def flatten_mask(mask: Any) -> np.ndarray:
    """An action mask of one agent as one array (A,), from the form of `gymnasium.Space.sample`.

    Args:
        mask: an array; of several choices a tuple of one for each, and of parts without options None.
    """
    if not isinstance(mask, tuple):
        return np.asarray(mask)
    return np.concatenate([flatten_mask(part) for part in mask if part is not None])


def _stack_masks(masks: Any, levels: int) -> np.ndarray:
    """Flat masks of the rows of a batch, of agents, or of agents in each row (levels 2), in one array."""
    if not levels or isinstance(masks, np.ndarray):
        return flatten_mask(masks)
    return np.stack([_stack_masks(mask, levels - 1) for mask in masks])


def init_fields(task: Task) -> list[str]:
    """The names of the fields that `dataclasses.replace` may change, without derived fields.

    Args:
        task: the task.
    """
    return [field.name for field in fields(task) if field.init]


def check_positive(**sizes: int) -> None:
    """Checks that every size is at least 1.

    Args:
        **sizes: the sizes by the names that the user typed.

    Raises:
        ValueError: a size is below 1.
    """
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}, want at least 1")
