"""What tasks have in common in which a sequence is shown step by step and some of the steps ask for an answer."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from tasks.task import Discrete, MultiDiscrete, Step, Task, judged


class SequenceState(NamedTuple):
    """All that will be shown, and all that is wanted: drawn at the start, for nothing that is done changes it.

    shown: tokens (B, T), or numbers (B, T, O). wanted: the answer to what is shown in this step, -1 where none is due;
    (B, T), or (B, T, n) where an answer is n choices at once. due: how many answers are, in the episode, at least 1.
    flawless: none was wrong until now.
    """

    shown: Tensor
    wanted: Int[Tensor, "B T *n"]
    due: Int[Tensor, " B"]
    flawless: Bool[Tensor, " B"]
    t: Int[Tensor, " B"]  # actions made


@dataclass(frozen=True)
class Sequences(Task):
    """A sequence is shown step by step; in some steps an answer is due. A task is what `_draw` draws.

    Tokens are seen one-hot, of `obs_size` kinds; numbers are seen as they are. Actions are logits or integers. The
    reward of an answer that is due is its log-probability, or 1 for the right integer (their means over the choices,
    where an answer is several), divided by the number of answers that are due, so that an episode returns a mean.

    Scores: `error` and `accuracy` of the answers due (shares, where an answer is several choices); at the last step
    `solved`: 1 where no answer of the episode was wrong.

    steps: follow from the sizes; a task sets them in `__post_init__` by `_lasts`.
    """

    steps: int = field(init=False, repr=False)

    differentiable: ClassVar[bool] = True
    open_loop: ClassVar[bool] = True
    score: ClassVar[str] = "error"
    better: ClassVar[str] = "lower"

    @property
    @abstractmethod
    def action(self) -> Discrete | MultiDiscrete: ...

    @abstractmethod
    def _draw(self, batch: int, rng: torch.Generator) -> tuple[Tensor, Int[Tensor, "B T *n"]]:
        """`shown` and `wanted` of new episodes, on rng's device."""

    @abstractmethod
    def _lines(self) -> dict[str, float]:
        """Accuracy that is reached with less than a perfect memory."""

    def _lasts(self, steps: int) -> None:
        object.__setattr__(self, "steps", steps)  # frozen: once, as it is made

    def reset(self, batch: int, rng: torch.Generator) -> tuple[SequenceState, Step]:
        return self._opened(*self._draw(batch, rng))

    def _opened(self, shown: Tensor, wanted: Tensor) -> tuple[SequenceState, Step]:
        due = _due(wanted, 2)  # (B, T)
        begun = torch.zeros_like(due[:, 0], dtype=torch.long)
        state = SequenceState(shown, wanted, due.sum(1).clamp(min=1), torch.ones_like(due[:, 0]), begun)
        nothing = torch.zeros_like(begun, dtype=self.dtype)
        return state, self._told(state, nothing, torch.full_like(nothing, torch.nan))

    def step(self, state: SequenceState, action: Tensor, rng: torch.Generator) -> tuple[SequenceState, Step]:
        wanted = self._at(state.wanted, state.t)
        due = _due(wanted, 1)
        ns = self.action.ns if isinstance(self.action, MultiDiscrete) else None
        given, right = judged(action, wanted.clamp(min=0), self.dtype, ns)
        reward = torch.where(due, given / state.due, 0)
        error = torch.where(due, 1 - right, torch.nan)
        state = state._replace(flawless=state.flawless & ~(error > 0), t=state.t + 1)
        return state, self._told(state, reward, error)

    def _told(self, state: SequenceState, reward: Tensor, error: Tensor) -> Step:
        last = state.t >= self.steps
        solved = torch.where(last, state.flawless.to(self.dtype), torch.nan)
        scores = {"error": error, "accuracy": 1 - error, "solved": solved}
        return Step(self._seen(self._at(state.shown, state.t)), reward, last, torch.zeros_like(last), scores)

    def _at(self, sequence: Tensor, t: Int[Tensor, "*S B"]) -> Tensor:
        """What stands in these steps of each row, (*S, B, ...); after the end, what stands in the last."""
        rows = torch.arange(len(sequence), device=sequence.device)
        return sequence[rows, t.clamp(max=self.steps - 1)]

    def _seen(self, shown: Tensor) -> Float[Tensor, "*S O"]:
        if shown.is_floating_point():
            return shown
        return embedding(shown, torch.eye(self.obs_size, dtype=self.dtype, device=shown.device))  # one-hot, in one go

    def preview(self, state: SequenceState, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        to_come = state.t + torch.arange(steps, device=state.t.device).unsqueeze(-1)  # (steps, B)
        return list(self._seen(self._at(state.shown, to_come)).unbind())

    def references(self) -> dict[str, dict[str, float]]:
        accuracy = self._lines() | {"perfect memory": 1.0}
        return {"error": {name: 1 - share for name, share in accuracy.items()}, "accuracy": accuracy}


def _due(wanted: Tensor, axes: int) -> Bool[Tensor, "*S"]:
    """Whether an answer is, of as many axes; one of several choices is due as a whole."""
    return wanted.reshape(*wanted.shape[:axes], -1)[..., 0] >= 0
