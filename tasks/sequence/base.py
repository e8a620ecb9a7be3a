"""Base class of sequence tasks: a sampled input sequence is observed step by step, and some steps have a target."""

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from tasks.task import Discrete, MultiDiscrete, Step, Task, reward_and_correct


class SequenceState(NamedTuple):
    """State of a sequence task: all inputs and targets, sampled at the start, as actions do not change them.

    Args:
        inputs: tokens (B, T), or vectors (B, T, O).
        targets: the correct answer of each step, (B, T), or (B, T, n) for n choices; -1: no answer in this step.
        num_answers: the number of answers in the episode, at least 1.
        all_correct: whether all answers so far are correct.
        t: the number of actions taken.
    """

    inputs: Tensor
    targets: Int[Tensor, "B T *n"]
    num_answers: Int[Tensor, " B"]
    all_correct: Bool[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class SequenceTask(Task):
    """Abstract sequence task with targets in some of the steps; a subclass samples inputs and targets in `_sample`.

    Observations are one-hot tokens of `obs_size` kinds, or vectors. Actions are logits or integers. The reward of an
    answer is its log-probability, or 1 for the correct integer (the mean over the choices of a `MultiDiscrete` answer),
    divided by the number of answers, so that the return of an episode is a mean.

    Scores: `error` and `accuracy` of the answers (fractions of the choices of a `MultiDiscrete` answer); `solved` at
    the last step: 1 if all answers of the episode are correct.

    Args:
        steps: derived from the sizes; a subclass sets it in `__post_init__` by `_set_steps`.
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
    def _sample(self, batch: int, rng: torch.Generator) -> tuple[Tensor, Int[Tensor, "B T *n"]]:
        """Inputs and targets of new episodes, on the device of rng."""

    @abstractmethod
    def _reference_accuracy(self) -> dict[str, float]:
        """Accuracies of strategies with less than a perfect memory."""

    def _set_steps(self, steps: int) -> None:
        object.__setattr__(self, "steps", steps)  # the dataclass is frozen

    def reset(self, batch: int, rng: torch.Generator) -> tuple[SequenceState, Step]:
        return self._initial_step(*self._sample(batch, rng))

    def _initial_step(self, inputs: Tensor, targets: Tensor) -> tuple[SequenceState, Step]:
        answer_mask = _answer_mask(targets, 2)  # (B, T)
        t = torch.zeros_like(answer_mask[:, 0], dtype=torch.long)
        num_answers = answer_mask.sum(1).clamp(min=1)
        state = SequenceState(inputs, targets, num_answers, torch.ones_like(answer_mask[:, 0]), t)
        zeros = torch.zeros_like(t, dtype=self.dtype)
        return state, self._make_step(state, zeros, torch.full_like(zeros, torch.nan))

    def step(self, state: SequenceState, action: Tensor, rng: torch.Generator) -> tuple[SequenceState, Step]:
        target = self._at(state.targets, state.t)
        answer_mask = _answer_mask(target, 1)
        nvec = self.action_space.nvec if isinstance(self.action_space, MultiDiscrete) else None
        reward, correct = reward_and_correct(action, target.clamp(min=0), self.dtype, nvec)
        reward = torch.where(answer_mask, reward / state.num_answers, 0)
        error = torch.where(answer_mask, 1 - correct, torch.nan)
        state = state._replace(all_correct=state.all_correct & ~(error > 0), t=state.t + 1)
        return state, self._make_step(state, reward, error)

    def _make_step(self, state: SequenceState, reward: Tensor, error: Tensor) -> Step:
        done = state.t >= self.steps
        solved = torch.where(done, state.all_correct.to(self.dtype), torch.nan)
        scores = {"error": error, "accuracy": 1 - error, "solved": solved}
        return Step(self._observe(self._at(state.inputs, state.t)), reward, done, torch.zeros_like(done), scores)

    def _at(self, sequence: Tensor, t: Int[Tensor, "*S B"]) -> Tensor:
        """The elements of each row at these steps, (*S, B, ...); after the end, the last element."""
        rows = torch.arange(len(sequence), device=sequence.device)
        return sequence[rows, t.clamp(max=self.steps - 1)]

    def _observe(self, inputs: Tensor) -> Float[Tensor, "*S O"]:
        if inputs.is_floating_point():
            return inputs
        # one-hot vectors in the right dtype by a single kernel
        return embedding(inputs, torch.eye(self.obs_size, dtype=self.dtype, device=inputs.device))

    def preview(self, state: SequenceState, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        t = state.t + torch.arange(steps, device=state.t.device).unsqueeze(-1)  # (steps, B)
        return list(self._observe(self._at(state.inputs, t)).unbind())

    def references(self) -> dict[str, dict[str, float]]:
        accuracies = self._reference_accuracy() | {"perfect memory": 1.0}
        return {"error": {name: 1 - accuracy for name, accuracy in accuracies.items()}, "accuracy": accuracies}


def _answer_mask(targets: Tensor, axes: int) -> Bool[Tensor, "*S"]:
    """Mask of the steps with a target, with the given number of axes."""
    return targets.reshape(*targets.shape[:axes], -1)[..., 0] >= 0
