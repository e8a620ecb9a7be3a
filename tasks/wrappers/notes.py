"""Task wrapper that adds a memory outside of the agent: notes that actions write and observations show."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from tasks.observations import ObsPart
from tasks.task import ActionSpace, Continuous, Mixed, Path, Step
from tasks.wrappers.base import TaskWrapper, append_to_obs, next_acting, of_present
from tasks.wrappers.joint_actions import joint_space, split_joint_action

BIT_ACTIONS = 3  # keep, set, clear


class NotesState(NamedTuple):
    """State of a task with notes.

    Args:
        inner: the state of the wrapped task.
        notes: bits, 0 or 1, then real numbers, of each episode or agent.
        acting: the agents that act in the next step; None for a task of a single agent.
    """

    inner: Any
    notes: Float[Tensor, "B *P notes"]
    acting: Bool[Tensor, "B P"] | None


@dataclass(frozen=True)
class Notes(TaskWrapper):
    """Memory as an action: the agent writes notes beside its action, and reads them with its next observation.

    An agent without memory can thereby solve a task that needs one, by any learner, as reward alone teaches it what to
    write. In each step it also keeps (0), sets (1) or clears (2) each of `bits` bits; and adds a number to each of
    `size` real notes, which are clipped to -1 to 1. All notes are 0 at the start of an episode.

    The action has the choices of the wrapped task, a choice for each bit, then its real numbers, and one for each real
    note: a `MultiDiscrete`, `Continuous` or `Mixed` space. Real notes have the bounds of the task's own numbers, or -1
    to 1 beside choices. With several agents each has notes of its own, which only it reads; an absent one keeps them.
    A differentiable task stays so where its own action has real numbers, to which alone rewards give a gradient.

    Args:
        steps: the steps of the wrapped task.
        task: the wrapped task.
        bits: the number of bits.
        size: the number of real notes.
        dtype: replaces the dtype of the task; None: its own.

    Raises:
        ValueError: `task` is not a Task, or there are no notes.

    Source: bits: Peshkin, Meuleau and Kaelbling 1999, "Learning Policies with External Memory" (arXiv:cs/0103003); real
    notes: Zhang et al. 2015, "Learning Deep Neural Network Policies with Continuous Memory States" (arXiv:1507.01273).
    What a real action does to a real note is ours.
    """

    bits: int = 0
    size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.bits, self.size) < 0 or not self.bits + self.size:
            raise ValueError(f"bits={self.bits}, size={self.size}, want at least 0 each, and at least one note in all")
        differentiable = self.task.differentiable and isinstance(self.task.action_space, Continuous | Mixed)
        object.__setattr__(self, "differentiable", differentiable)

    @property
    def obs_size(self) -> int:
        return self.task.obs_size + self.bits + self.size

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        parts = ObsPart("one_hot", (self.bits,), "[bits]"), ObsPart("vector", (self.size,), "[notes]")
        return (*self.task.obs_parts, *(part for part in parts if part.size))

    @property
    def action_space(self) -> ActionSpace:
        return joint_space(self.task.action_space, (BIT_ACTIONS,) * self.bits, self.size)

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[NotesState, Step]:
        return self._start(*self.task.reset_to(index, rng))

    def reset(self, batch: int, rng: torch.Generator) -> tuple[NotesState, Step]:
        return self._start(*self.task.reset(batch, rng))

    def restart(self, state: NotesState, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple[NotesState, Step]:
        new, step = self._start(*self.task.restart(state.inner, mask, rng))
        notes = torch.where(mask.reshape(mask.shape + (1,) * (state.notes.dim() - 1)), new.notes, state.notes)
        if new.acting is None or state.acting is None:
            return new._replace(notes=notes), step
        return new._replace(notes=notes, acting=torch.where(mask.unsqueeze(-1), new.acting, state.acting)), step

    def step(self, state: NotesState, action: Tensor, rng: torch.Generator) -> tuple[NotesState, Step]:
        """Advances every episode by one step.

        Args:
            state: the state after the previous step.
            action: one action for each episode, or agent.
            rng: the random generator.

        Raises:
            ValueError: choices that are no integers.
        """
        inner_action, bits, numbers = split_joint_action(self.task.action_space, action, self.bits, self.size)
        inner, step = self.task.step(state.inner, inner_action, rng)
        old_bits, old_numbers = state.notes.split([self.bits, self.size], -1)
        written = torch.where(bits > 0, (bits == 1).to(old_bits.dtype), old_bits)
        notes = torch.cat([written, (old_numbers + numbers).clamp(-1, 1)], -1)
        if state.acting is None:
            return self._with_notes(NotesState(inner, notes, None), step)
        notes = torch.where(state.acting.unsqueeze(-1), notes, state.notes)
        return self._with_notes(NotesState(inner, notes, next_acting(step)), step)

    def _start(self, inner: Any, step: Step) -> tuple[NotesState, Step]:
        notes = step.reward.new_zeros(*step.reward.shape, self.bits + self.size)
        return self._with_notes(NotesState(inner, notes, None if self.agents is None else next_acting(step)), step)

    def _with_notes(self, state: NotesState, step: Step) -> tuple[NotesState, Step]:
        """The state, and the step with the notes in its observation and all actions on them allowed."""
        notes = state.notes if state.acting is None else of_present(state.notes, step)
        mask = step.action_mask
        if mask is not None:
            mask = pad(mask, (0, BIT_ACTIONS * self.bits), value=True)
        return state, append_to_obs(step, [notes])._replace(action_mask=mask)

    def _inner_state(self, state: NotesState) -> Any:
        return state.inner

    def path(self, initial: NotesState, action: Tensor) -> Path | None:
        return self.task.path(
            initial.inner, split_joint_action(self.task.action_space, action, self.bits, self.size)[0]
        )
