"""Copying and reversing from an input tape, of which one symbol is seen at a time, at a head that actions move."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.observations import ObsPart
from tasks.task import Continuous, Mixed, MultiDiscrete, Step, Task, check_positive

Order = Literal["copy", "reverse"]


class InputTapeState(NamedTuple):
    """State of an episode.

    Args:
        symbols: on the tape.
        head: the cell at which the head is; `length` at the end mark.
        last: what is seen of the last choices: the move, one-hot, and whether it has written; zeros at the start.
        written: the number of outputs.
        all_correct: whether all outputs so far are correct.
        t: the number of actions taken.
    """

    symbols: Int[Tensor, "B length"]
    head: Int[Tensor, " B"]
    last: Float[Tensor, "B choices"]
    written: Int[Tensor, " B"]
    all_correct: Bool[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class InputTape(Task):
    """The symbols of a tape are output in the same or the reverse order; actions decide when to move and when to write.

    In each step the agent sees the symbol under the head, or the end mark behind the last one, one-hot, and its last
    choices: the move, one-hot, and whether it has written; so that no memory is needed to go on as before.
    Its action has two choices, the head's move, to the left (0), not at all (1) or to the right (2), and whether it
    writes (1) the next output; and real numbers, the logits of that output. With `forward` the head only stays (0) or
    moves to the right (1), so that a reversal needs a memory. With `timed` it writes in the last `length` steps, and
    the second choice has only one allowed option.

    The reward of an output is its log-probability, divided by `length`; it gives a gradient to the logits. The episode
    ends with the last output. There are 2 length + 1 steps, enough to reach the end mark and to come back; where as
    many are left as outputs, an output is due: only writing is allowed, and done. That is observed, too.

    Scores: `error` and `accuracy` of each output; `solved` at the end: 1 if all outputs are correct.

    Args:
        steps: derived from the length.
        length: the number of symbols on the tape.
        symbols: the number of different symbols.
        order: "copy" or "reverse".
        forward: whether the head cannot move back.
        timed: whether outputs are written when they are due alone.

    Raises:
        ValueError: a size below 1, or another `order`.

    Source: Zaremba and Sutskever 2015, "Reinforcement Learning Neural Turing Machines" (arXiv:1505.00521), tasks Copy,
    Reverse and ForwardReverse; how much time there is, is ours.
    """

    steps: int = field(init=False, repr=False)
    length: int = 10
    symbols: int = 10
    order: Order = "reverse"
    forward: bool = False
    timed: bool = False

    differentiable: ClassVar[bool] = True
    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(length=self.length, symbols=self.symbols)
        if self.order not in ("copy", "reverse"):
            raise ValueError(f"order={self.order!r}, want copy or reverse")
        object.__setattr__(self, "steps", 2 * self.length + 1)

    @property
    def obs_size(self) -> int:
        return self.symbols + 1 + self._moves + 2

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("one_hot", (self.obs_size,)),)

    @property
    def action_space(self) -> Mixed:
        return Mixed(MultiDiscrete((self._moves, 2)), Continuous(self.symbols))

    @property
    def _moves(self) -> int:
        return 2 if self.forward else 3

    def reset(self, batch: int, rng: torch.Generator) -> tuple[InputTapeState, Step]:
        symbols = torch.randint(self.symbols, (batch, self.length), generator=rng, device=rng.device)
        start = torch.zeros_like(symbols[:, 0])
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        last = zeros.unsqueeze(1).expand(-1, self._moves + 1)
        state = InputTapeState(symbols, start, last, start, torch.ones_like(start, dtype=torch.bool), start)
        return state, self._make_step(state, zeros, torch.full_like(zeros, torch.nan))

    def step(self, state: InputTapeState, action: Tensor, rng: torch.Generator) -> tuple[InputTapeState, Step]:
        move, write, logits = action[..., 0].long(), action[..., 1] > 0.5, action[..., 2:]
        due = self._is_due(state)
        write = (due if self.timed else write | due) & (state.written < self.length)
        position = state.written if self.order == "copy" else self.length - 1 - state.written
        target = state.symbols.gather(1, position.clamp(0, self.length - 1).unsqueeze(1))  # (B, 1)
        log_probability = logits.log_softmax(-1).gather(1, target).squeeze(1)
        correct = logits.argmax(-1) == target.squeeze(1)
        state = InputTapeState(
            state.symbols,
            (state.head + (move if self.forward else move - 1)).clamp(0, self.length),
            torch.cat([one_hot(move, self._moves), write.unsqueeze(1)], 1).to(self.dtype),
            state.written + write,
            state.all_correct & (correct | ~write),
            state.t + 1,
        )
        accuracy = torch.where(write, correct.to(self.dtype), torch.nan)
        return state, self._make_step(state, torch.where(write, log_probability / self.length, 0), accuracy)

    def _is_due(self, state: InputTapeState) -> Bool[Tensor, " B"]:
        return self.steps - state.t <= self.length - state.written

    def _make_step(self, state: InputTapeState, reward: Tensor, accuracy: Tensor) -> Step:
        marked = torch.cat([state.symbols, torch.full_like(state.symbols[:, :1], self.symbols)], 1)
        seen = one_hot(marked.gather(1, state.head.unsqueeze(1)).squeeze(1), self.symbols + 1)
        due = self._is_due(state)
        obs = torch.cat([seen.to(self.dtype), state.last, due.unsqueeze(1).to(self.dtype)], 1)
        done = state.written >= self.length
        solved = torch.where(done, state.all_correct.to(self.dtype), torch.nan)
        mask = torch.ones(len(done), self.action_space.choices.size, dtype=torch.bool, device=done.device)
        mask[:, -2], mask[:, -1] = ~due, due | (not self.timed)
        scores = {"error": 1 - accuracy, "accuracy": accuracy, "solved": solved}
        return Step(obs, reward, done, torch.zeros_like(done), scores, action_mask=mask)

    def references(self) -> dict[str, dict[str, float]]:
        chance = 1 / self.symbols
        return {"accuracy": {"chance": chance, "optimum": 1.0}, "error": {"chance": 1 - chance, "optimum": 0.0}}
