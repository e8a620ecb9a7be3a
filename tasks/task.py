"""A task is a distribution of episodes: a frozen dataclass, batched, on the device; its state is a value.

Shapes: B episode, E expert, O observation, A action.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


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

    ns: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(self.ns)


@dataclass(frozen=True)
class Continuous:
    """`size` real numbers between low and high."""

    size: int
    low: float = float("-inf")
    high: float = float("inf")


Action = Discrete | MultiDiscrete | Continuous


class Step(NamedTuple):
    """What a world tells after an action, or at the start of an episode.

    obs: (B, O), or (B, E, O) where each expert sees its own.
    reward, terminated, truncated: (B,) or (B, E). Only `terminated` ends the value of the future.
    scores: named (B,) numbers computed where the truth is known, NaN where none is due.
    present: (B, E), which agents are alive; None: all. legal: a mask over the action's numbers; None: all.
    """

    obs: Float[Tensor, "B *EO"]
    reward: Float[Tensor, "B *E"]
    terminated: Bool[Tensor, "B *E"]
    truncated: Bool[Tensor, "B *E"]
    scores: dict[str, Float[Tensor, " B"]]
    present: Bool[Tensor, "B E"] | None = None
    legal: Bool[Tensor, "B *A"] | None = None


@dataclass(frozen=True)
class Task(ABC):
    """A distribution of episodes of `steps` steps.

    differentiable: rewards carry gradient to the actions; a discrete task then takes logits (the reward is the
    log-probability of the right choice) as well as integers (0 or 1).
    fixed_length: every episode ends after exactly `steps` steps, so that its end is known without looking.
    open_loop: no action changes what will be seen, so that an agent may read ahead (`preview`).
    score: the name in `Step.scores` by which the task is judged; better: whether "lower" or "higher" is better.
    """

    steps: int
    dtype: torch.dtype = field(default=torch.float32, kw_only=True)

    differentiable: ClassVar[bool] = False
    fixed_length: ClassVar[bool] = True
    open_loop: ClassVar[bool] = False
    score: ClassVar[str]
    better: ClassVar[str]

    @property
    @abstractmethod
    def obs_size(self) -> int: ...

    @property
    @abstractmethod
    def action(self) -> Action: ...

    @property
    def episodes(self) -> int | None:
        """How many there are in all, where they have numbers (the images of a data set); None: endless."""
        return None

    def pick(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[Any, Step]:
        """The episodes of these numbers, from 0 to episodes - 1, as `reset` opens those that it draws."""
        raise ValueError(f"{type(self).__name__} is endless: its episodes have no numbers, draw them with reset")

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
    def unseen(self) -> "Task":
        """The task by which an agent that was trained on this one is judged: this one, whose episodes are always new,
        unless they are finitely many."""
        return self

    def preview(self, state: Any, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        """The next `steps` observations of an open_loop task, the present one first. rng: a copy, to be drawn on."""
        seen = [step.obs]
        nothing = step.obs.new_zeros(step.obs.shape[0], self.action.size)
        with torch.no_grad():
            for _ in range(steps - 1):
                state, step = self.step(state, nothing, rng)
                seen.append(step.obs)
        return seen

    @abstractmethod
    def references(self) -> dict[str, dict[str, float]]:
        """score -> {line: value}: what chance, an oracle or a plain algorithm reaches, computed, to draw beside."""

    def target(self, state: Any) -> Tensor | None:
        """What a continuous action should become, (B, A), to draw beside the agent's; None where there is none."""
        return None

    def words(self, state: Any) -> list[str] | None:
        """What the first episode shows at each step, a short word each, to write along an axis; state: as `reset` gave
        it. Fewer where the episode ends earlier; None where it cannot be said in words."""
        return None


def judged(
    action: Tensor, wanted: Int[Tensor, " B"], dtype: torch.dtype
) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """The reward of a discrete choice, the log-probability of what was wanted for logits and 1 or 0 for integers; and
    whether it was right, 1 or 0."""
    if not action.is_floating_point():
        right = (action == wanted).to(dtype)
        return right, right
    right = (action.argmax(-1) == wanted).to(dtype)
    return action.log_softmax(-1).gather(-1, wanted.unsqueeze(-1)).squeeze(-1), right


def positive(**sizes: int) -> None:
    """Raises ValueError unless every size is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}, want at least 1")
