"""A task is a distribution of episodes: a frozen dataclass, batched, on the device; its state is a value.

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
    """One of n choices. A policy gives logits (..., n) or integers (...)."""

    n: int

    @property
    def size(self) -> int:
        """Numbers that an agent puts out for it."""
        return self.n


@dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once; logits lie side by side (..., sum(ns)), integers are (..., len(ns))."""

    nvec: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(self.nvec)


@dataclass(frozen=True)
class Continuous:
    """`size` real numbers between low and high."""

    size: int
    low: float = float("-inf")
    high: float = float("inf")


ActionSpace = Discrete | MultiDiscrete | Continuous


class Step(NamedTuple):
    """What a world tells after an action, or at the start of an episode.

    obs: (B, O), or (B, E, O) where each expert sees its own; in a world of P agents (B, P, O).
    reward, terminated, truncated: (B,), or (B, P). Only `terminated` ends the value of the future. The end of an agent
        is told until its episode is over, which it is when all agents' ends are.
    scores: named (B,) numbers computed where the truth is known, NaN where none is due.
    present: (B, P), which agents are there to see this: those who are alive, and those who were truncated in this very
        step, so that they see what they are worth; None: all. The obs and reward of the absent are numbers, too.
    action_mask: a mask over the action's numbers, (B, A) or (B, P, A); None: all.
    """

    obs: Float[Tensor, "B *EO"]
    reward: Float[Tensor, "B *P"]
    terminated: Bool[Tensor, "B *P"]
    truncated: Bool[Tensor, "B *P"]
    scores: dict[str, Float[Tensor, " B"]]
    present: Bool[Tensor, "B P"] | None = None
    action_mask: Bool[Tensor, "B *A"] | None = None


class Path(NamedTuple):
    """Where agents went on a grid: walls; row and column of each before the first step and after each one; of their
    goals; and whether a step reached the goal, and put the agent elsewhere."""

    walls: Bool[Tensor, "rows columns"]
    positions: Int[Tensor, "T1 B 2"]  # T + 1
    goals: Int[Tensor, "B 2"]
    reached: Bool[Tensor, "T B"]


@dataclass(frozen=True)
class Task(ABC):
    """A distribution of episodes of `steps` steps.

    differentiable: rewards carry gradient to the actions; a discrete task then takes logits (the reward is the
    log-probability of the right choice) as well as integers (0 or 1).
    fixed_length: every episode ends after exactly `steps` steps, so that its end is known without looking.
    open_loop: no action changes what will be seen, so that an agent may read ahead (`preview`).
    external: the state is a handle to worlds that are not ours (`tasks.EnvPool`), and not a value: only the latest can be
        stepped, and none is written to a checkpoint, so that after loading episodes begin anew.
    score: the name in `Step.scores` by which the task is judged; better: whether "lower" or "higher" is better.
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
    def obs_size(self) -> int: ...

    @property
    @abstractmethod
    def action_space(self) -> ActionSpace: ...

    @property
    def agents(self) -> int | None:
        """P, of a world in which several agents act: each sees (B, P, O), acts as `action_space` says, (B, P), (B, P, k) or
        (B, P, size), and has rewards and ends of its own, (B, P). None: one actor, whose shapes are without P."""
        return None

    @property
    def num_episodes(self) -> int | None:
        """How many there are in all, where they have numbers (the images of a data set); None: endless."""
        return None

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        """The episodes of these numbers, from 0 to episodes - 1, as `reset` opens those that it draws."""
        raise ValueError(f"{type(self).__name__} is endless: its episodes have no numbers, draw them with reset")

    @property
    def buckets(self) -> "Sequence[Task]":
        """Tasks that have the episodes of this one between them, in its order, and are quicker to play: where episodes
        differ in length, those of similar length."""
        return [self]

    @abstractmethod
    def reset(self, batch: int, rng: torch.Generator) -> tuple[Any, Step]:
        """New episodes, drawn from rng, on rng's device."""

    @abstractmethod
    def step(self, state: Any, action: Tensor, rng: torch.Generator) -> tuple[Any, Step]:
        """One step of every episode."""

    def restart(self, state: Any, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        """New episodes in the rows of mask. The returned step is that of the start, and is valid in these rows."""
        fresh, step = self.reset(mask.shape[0], rng)

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(mask.reshape(mask.shape + (1,) * (new.dim() - 1)), new, old)

        return type(state)(*(choose(new, old) for new, old in zip(fresh, state, strict=True))), step

    @property
    def evaluation_task(self) -> "Task":
        """The task by which an agent that was trained on this one is judged: this one, whose episodes are always new,
        unless they are finitely many."""
        return self

    def preview(self, state: Any, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        """The next `steps` observations of an open_loop task, the present one first. rng: a copy, to be drawn on."""
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
        """Sentences that belong beside scores of this task: what of its data was left out, or stands for what is not
        there."""
        return []

    @abstractmethod
    def references(self) -> dict[str, dict[str, float]]:
        """score -> {line: value}: what chance, an oracle or a plain algorithm reaches, computed, to draw beside."""

    def target(self, state: Any) -> Tensor | None:
        """What a continuous action should become, (B, A), to draw beside the agent's; None where there is none."""
        return None

    def path(self, opened: Any, action: Tensor) -> Path | None:
        """Where these actions, (T, B), led from the state `opened`, to be drawn; None where there is no grid."""
        return None

    def step_labels(self, state: Any, row: int = 0) -> list[str] | None:
        """What the episode of a row shows at each step, a short word each, to write along an axis; state: as `reset`
        gave it. Fewer where the episode ends earlier; None where it cannot be said in words."""
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
