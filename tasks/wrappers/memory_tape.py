"""Task wrapper that adds a memory tape outside of the agent, with a head that actions move and write with."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, pad

from tasks.observations import ObsPart
from tasks.task import ActionSpace, Continuous, Mixed, Path, Step, check_positive
from tasks.wrappers.base import TaskWrapper, append_to_obs
from tasks.wrappers.joint_actions import joint_space, split_joint_action

MOVES = 3  # left, stay, right


class MemoryTapeState(NamedTuple):
    """State of a task with a memory tape.

    Args:
        inner: the state of the wrapped task.
        tape: the content of the cells.
        head: the cell at which the head is.
        last_move: one-hot; zeros at the start.
    """

    inner: Any
    tape: Float[Tensor, "B cells size"]
    head: Int[Tensor, " B"]
    last_move: Float[Tensor, "B moves"]


@dataclass(frozen=True)
class MemoryTape(TaskWrapper):
    """A tape of vectors that the agent reads and writes at a head, which its actions move by a cell at a time.

    In each step the cell m under the head becomes (1 - sigmoid(e)) m + a, where e and the vector a are real numbers of
    the action; then a choice moves the head to the left (0), not at all (1), or to the right (2). The cell under the
    head, and the last move, are observed next. The tape starts empty, with the head at its left end; a move beyond an
    end has no effect.

    The action has the choices of the wrapped task, the move, the task's real numbers, e, and a. A differentiable task
    stays so where its own action has real numbers: then the moves can be learned by reward, and what is written by the
    gradient through the tape, as in an RL-NTM (learner `reinforce`). With other tasks all is learned by reward.

    Args:
        steps: the steps of the wrapped task.
        task: the wrapped task, of a single agent.
        cells: the number of cells.
        size: the numbers in a cell.
        dtype: replaces the dtype of the task; None: its own.

    Raises:
        ValueError: `task` is not a Task or has several agents, or a size is below 1.

    Source: Zaremba and Sutskever 2015, "Reinforcement Learning Neural Turing Machines" (arXiv:1505.00521). That a cell
    is erased by a gate is ours.
    """

    cells: int = 16
    size: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(cells=self.cells, size=self.size)
        if self.task.agents is not None:
            raise ValueError(f"task={type(self.task).__name__} has {self.task.agents} agents, want a task of one agent")
        differentiable = self.task.differentiable and isinstance(self.task.action_space, Continuous | Mixed)
        object.__setattr__(self, "differentiable", differentiable)

    @property
    def obs_size(self) -> int:
        return self.task.obs_size + MOVES + self.size

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (*self.task.obs_parts, ObsPart("one_hot", (MOVES,), "[move]"), ObsPart("vector", (self.size,), "[tape]"))

    @property
    def action_space(self) -> ActionSpace:
        return joint_space(self.task.action_space, (MOVES,), 1 + self.size)

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[MemoryTapeState, Step]:
        return self._start(*self.task.reset_to(index, rng))

    def reset(self, batch: int, rng: torch.Generator) -> tuple[MemoryTapeState, Step]:
        return self._start(*self.task.reset(batch, rng))

    def restart(
        self, state: MemoryTapeState, mask: Bool[Tensor, " B"], rng: torch.Generator
    ) -> tuple[MemoryTapeState, Step]:
        new, step = self._start(*self.task.restart(state.inner, mask, rng))
        tape = torch.where(mask[:, None, None], new.tape, state.tape)
        last_move = torch.where(mask.unsqueeze(1), new.last_move, state.last_move)
        return MemoryTapeState(new.inner, tape, torch.where(mask, new.head, state.head), last_move), step

    def step(self, state: MemoryTapeState, action: Tensor, rng: torch.Generator) -> tuple[MemoryTapeState, Step]:
        inner_action, move, numbers = self._split(action)
        inner, step = self.task.step(state.inner, inner_action, rng)
        erase, add = numbers.split([1, self.size], -1)
        here = one_hot(state.head, self.cells).to(add).unsqueeze(-1)  # (B, cells, 1)
        tape = state.tape * (1 - here * torch.sigmoid(erase).unsqueeze(1)) + here * add.unsqueeze(1)
        head = (state.head + move.squeeze(-1) - 1).clamp(0, self.cells - 1)
        return self._with_cell(MemoryTapeState(inner, tape, head, one_hot(move.squeeze(-1), MOVES).to(tape)), step)

    def _split(self, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return split_joint_action(self.task.action_space, action, 1, 1 + self.size)

    def _start(self, inner: Any, step: Step) -> tuple[MemoryTapeState, Step]:
        tape = step.reward.new_zeros(len(step.reward), self.cells, self.size)
        head = torch.zeros_like(step.terminated, dtype=torch.long)
        return self._with_cell(MemoryTapeState(inner, tape, head, tape.new_zeros(len(tape), MOVES)), step)

    def _with_cell(self, state: MemoryTapeState, step: Step) -> tuple[MemoryTapeState, Step]:
        """The state, and the step with the cell under the head in its observation and all moves allowed."""
        cell = state.tape[torch.arange(len(state.head), device=state.head.device), state.head]
        mask = None if step.action_mask is None else pad(step.action_mask, (0, MOVES), value=True)
        return state, append_to_obs(step, [state.last_move, cell])._replace(action_mask=mask)

    def _inner_state(self, state: MemoryTapeState) -> Any:
        return state.inner

    def path(self, initial: MemoryTapeState, action: Tensor) -> Path | None:
        return self.task.path(initial.inner, self._split(action)[0])
