"""What tasks have in common in which a sequence is shown step by step and some of the steps ask for an answer."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from tasks.task import Discrete, MultiDiscrete, Step, Task, reward_and_correct


class SequenceState(NamedTuple):
    """All that will be shown, and all that is wanted: drawn at the start, for nothing that is done changes it.

    inputs: tokens (B, T), or numbers (B, T, O). targets: the answer to what is shown in this step, -1 where none is due;
    (B, T), or (B, T, n) where an answer is n choices at once. num_answers: how many answers are, in the episode, at least 1.
    all_correct: none was wrong until now.
    """

    inputs: Tensor
    targets: Int[Tensor, "B T *n"]
    num_answers: Int[Tensor, " B"]
    all_correct: Bool[Tensor, " B"]
    t: Int[Tensor, " B"]  # actions made


@dataclass(frozen=True)
class SequenceTask(Task):
    """A sequence is shown step by step; in some steps an answer is due. A task is what `_draw` draws.

    Tokens are seen one-hot, of `obs_size` kinds; numbers are seen as they are. Actions are logits or integers. The
    reward of an answer that is due is its log-probability, or 1 for the right integer (their means over the choices,
    where an answer is several), divided by the number of answers that are due, so that an episode returns a mean.

    Scores: `error` and `accuracy` of the answers due (shares, where an answer is several choices); at the last step
    `solved`: 1 where no answer of the episode was wrong.

    steps: follow from the sizes; a task sets them in `__post_init__` by `_set_steps`.
    """

    steps: int = field(init=False, repr=False)

    differentiable: ClassVar[bool] = True
    open_loop: ClassVar[bool] = True
    score: ClassVar[str] = "error"
    better: ClassVar[str] = "lower"

    @property
    @abstractmethod
    def action_space(self) -> Discrete | MultiDiscrete: ...

    @abstractmethod
    def _draw(self, batch: int, rng: torch.Generator) -> tuple[Tensor, Int[Tensor, "B T *n"]]:
        """`shown` and `wanted` of new episodes, on rng's device."""

    @abstractmethod
    def _reference_accuracy(self) -> dict[str, float]:
        """Accuracy that is reached with less than a perfect memory."""

    def _set_steps(self, steps: int) -> None:
        object.__setattr__(self, "steps", steps)  # frozen: once, as it is made

    def reset(self, batch: int, rng: torch.Generator) -> tuple[SequenceState, Step]:
        return self._initial_step(*self._draw(batch, rng))

    def _initial_step(self, shown: Tensor, wanted: Tensor) -> tuple[SequenceState, Step]:
        due = _answer_mask(wanted, 2)  # (B, T)
        begun = torch.zeros_like(due[:, 0], dtype=torch.long)
        state = SequenceState(shown, wanted, due.sum(1).clamp(min=1), torch.ones_like(due[:, 0]), begun)
        nothing = torch.zeros_like(begun, dtype=self.dtype)
        return state, self._make_step(state, nothing, torch.full_like(nothing, torch.nan))

    def step(self, state: SequenceState, action: Tensor, rng: torch.Generator) -> tuple[SequenceState, Step]:
        wanted = self._at(state.targets, state.t)
        due = _answer_mask(wanted, 1)
        ns = self.action_space.nvec if isinstance(self.action_space, MultiDiscrete) else None
        given, right = reward_and_correct(action, wanted.clamp(min=0), self.dtype, ns)
        reward = torch.where(due, given / state.num_answers, 0)
        error = torch.where(due, 1 - right, torch.nan)
        state = state._replace(all_correct=state.all_correct & ~(error > 0), t=state.t + 1)
        return state, self._make_step(state, reward, error)

    def _make_step(self, state: SequenceState, reward: Tensor, error: Tensor) -> Step:
        last = state.t >= self.steps
        solved = torch.where(last, state.all_correct.to(self.dtype), torch.nan)
        scores = {"error": error, "accuracy": 1 - error, "solved": solved}
        return Step(self._observe(self._at(state.inputs, state.t)), reward, last, torch.zeros_like(last), scores)

    def _at(self, sequence: Tensor, t: Int[Tensor, "*S B"]) -> Tensor:
        """What stands in these steps of each row, (*S, B, ...); after the end, what stands in the last."""
        rows = torch.arange(len(sequence), device=sequence.device)
        return sequence[rows, t.clamp(max=self.steps - 1)]

    def _observe(self, shown: Tensor) -> Float[Tensor, "*S O"]:
        if shown.is_floating_point():
            return shown
        return embedding(shown, torch.eye(self.obs_size, dtype=self.dtype, device=shown.device))  # one-hot, in one go

    def preview(self, state: SequenceState, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        to_come = state.t + torch.arange(steps, device=state.t.device).unsqueeze(-1)  # (steps, B)
        return list(self._observe(self._at(state.inputs, to_come)).unbind())

    def references(self) -> dict[str, dict[str, float]]:
        accuracy = self._reference_accuracy() | {"perfect memory": 1.0}
        return {"error": {name: 1 - share for name, share in accuracy.items()}, "accuracy": accuracy}


def _answer_mask(wanted: Tensor, axes: int) -> Bool[Tensor, "*S"]:
    """Whether an answer is, of as many axes; one of several choices is due as a whole."""
    return wanted.reshape(*wanted.shape[:axes], -1)[..., 0] >= 0
