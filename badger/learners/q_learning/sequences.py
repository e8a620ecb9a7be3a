"""Overlapping replay sequences, cut from a stream of episodes; no sequence crosses the end of an episode.

Shapes: T step, B row of the stream, N sequence, L longest sequence.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from badger.agent import AgentState
from badger.learners import host
from badger.learners.q_learning.replay import SequenceBatch, Transitions
from experts import state as states
from experts.state import State

WHOLE_EPISODE = sys.maxsize
"""A `train_length` that no episode exceeds: one sequence for each episode."""


@dataclass(frozen=True)
class SequenceSpec:
    """The lengths of replay sequences: burn-in, training steps, overlap and lookahead.

    Sequence k of an episode (k = 0, 1, ...) trains on `train_length` steps from step k (train_length - overlap) on;
    the last sequence of an episode may be shorter. Up to `burn_in` steps before them are replayed without a loss, and
    up to `lookahead` steps after them are there for n-step returns alone. A sequence also has the observation after
    its last step. A row of the replay buffer therefore has context + burn_in + train_length + lookahead + 1
    observations.

    Args:
        train_length: steps that are trained on.
        burn_in: steps before them that only restore the recurrent state.
        overlap: training steps that two consecutive sequences share.
        lookahead: steps after them that only enter their returns.
        stored_state: start from the recurrent state that was stored in the rollout; False: from the initial state of
            an episode.
        context: steps before the burn-in that are stored, and not replayed in training; `RecurrentQ.discrepancy`
            replays episodes from their start.

    Raises:
        ValueError: a length that is out of range.
    """

    train_length: int = 80
    burn_in: int = 40
    overlap: int = 40
    lookahead: int = field(default=0, kw_only=True)
    stored_state: bool = True
    context: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if self.train_length < 1:
            raise ValueError(f"train_length={self.train_length}, want at least 1 step")
        if not 0 <= self.overlap < self.train_length:
            raise ValueError(f"overlap={self.overlap}, want 0 to train_length - 1 = {self.train_length - 1} steps")
        for name in ("burn_in", "lookahead", "context"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}, want 0 steps or more")

    @property
    def stride(self) -> int:
        """Steps between the starts of two consecutive sequences."""
        return self.train_length - self.overlap

    @property
    def total_length(self) -> int:
        """The longest sequence, L steps."""
        return self.context + self.burn_in + self.train_length + self.lookahead

    def clamp_to(self, steps: int) -> "SequenceSpec":
        """The spec that cuts the same sequences from episodes of at most `steps` steps, with the least padding.

        Args:
            steps: the longest episode.
        """
        train_length, last_start = min(self.train_length, steps), self.last_start(steps)
        return replace(
            self,
            train_length=train_length,
            burn_in=min(self.burn_in, last_start),
            overlap=self.overlap if train_length == self.train_length else 0,
            lookahead=min(self.lookahead, steps - train_length),
        )

    def last_start(self, steps: int) -> int:
        """The step from which the last sequence of an episode trains.

        Args:
            steps: of the episode.
        """
        return max(0, -(-(steps - self.train_length) // self.stride)) * self.stride

    def completed(self, episode_steps: int, ended: bool) -> range:
        """The numbers k of the sequences that are complete now and were not one step before.

        The end of an episode completes each sequence that has begun and trains on a step that no earlier one has.

        Args:
            episode_steps: steps of the episode so far.
            ended: the episode has ended.
        """
        first = max(0, -(-(episode_steps - self.train_length - self.lookahead) // self.stride))
        if ended and episode_steps > 0:
            return range(first, max(1, -(-(episode_steps - self.overlap) // self.stride)))
        is_complete = first * self.stride + self.train_length + self.lookahead == episode_steps
        return range(first, first + is_complete)


class _Completed(NamedTuple):
    """A complete sequence: the stream step and row of its last observation, and its place in the episode."""

    t: int
    row: int
    episode_steps: int  # before its last observation
    start: int  # of the burn-in, as a step of the episode; below 0: padding
    initial_state: State | None


class SequenceBuilder:
    """Cuts a stream of steps into sequences, with the last L steps of each row as its buffer.

    The number of sequences depends on where episodes end, so the mask of valid steps goes to the host. Everything else
    stays on the device.

    Args:
        spec: lengths of the sequences.
        rows: rows of the stream, B.
    """

    def __init__(self, spec: SequenceSpec, rows: int):
        self.spec = spec
        self.episode_steps = np.zeros(rows, dtype=np.int64)  # of the running episodes
        self.env_steps = 0  # in all
        self.recent_steps: Transitions | None = None
        self.stored_states: list[dict[int, State]] = [{} for _ in range(rows)]  # by row and step of the episode

    def add(
        self, steps: Transitions, agent_states: Sequence[AgentState], valid: np.ndarray | None = None
    ) -> SequenceBatch | None:
        """Adds the next steps of the stream; returns the sequences that are complete now, if any.

        Args:
            steps: T steps. The end of an episode is followed by a step with valid=False and its final observation.
            agent_states: T + 1 states, before each step and after the last.
            valid: the mask `steps.valid` on the host; None: it is read from the device.
        """
        valid = host.to_host(steps.valid) if valid is None else valid
        self.env_steps += int(valid.sum())
        stream, completed = self._prepend_recent(steps), []
        for t, valid_rows in enumerate(valid):
            self._store_states(agent_states[t], valid_rows)
            for row, episode_steps in enumerate(self.episode_steps.tolist()):
                for k in self.spec.completed(episode_steps, not valid_rows[row]):
                    start = k * self.spec.stride - self.spec.burn_in
                    completed.append(_Completed(t, row, episode_steps, start, self.stored_states[row].pop(start, None)))
                if not valid_rows[row]:
                    self.stored_states[row].clear()
            self.episode_steps = np.where(valid_rows, self.episode_steps + 1, 0)
        self.recent_steps = stream.map(lambda part: part[-self.spec.total_length :])
        return self._build_batch(stream, agent_states, completed) if completed else None

    def _prepend_recent(self, steps: Transitions) -> Transitions:
        """The steps, with the L steps before them, zeros at the start of the stream."""
        recent = self.recent_steps or steps.map(lambda part: part.new_zeros(self.spec.total_length, *part.shape[1:]))
        pairs = zip(recent, steps, strict=True)
        return Transitions(*(None if new is None else torch.cat([old, new]) for old, new in pairs))  # type: ignore

    def _store_states(self, state: AgentState, valid: np.ndarray) -> None:
        """Stores the state of rows where a sequence may start within an episode."""
        if self.spec.stored_state:
            position = self.episode_steps + self.spec.burn_in
            starts = valid & (self.episode_steps > 0) & (position % self.spec.stride == 0)
            for row in np.flatnonzero(starts).tolist():
                self.stored_states[row][int(self.episode_steps[row])] = recurrent_state(state, row)

    def _build_batch(
        self, stream: Transitions, agent_states: Sequence[AgentState], completed: list[_Completed]
    ) -> SequenceBatch:
        """Gathers the sequences from the stream, whose first L steps are those before the piece."""
        length, device = self.spec.total_length, stream.obs.device
        columns = [[done.t, done.row, done.episode_steps, done.start] for done in completed]
        t, row, episode_steps, start = torch.tensor(columns, device=device).unbind(1)
        offset = torch.arange(length + 1, device=device) - self.spec.context
        episode_step = start + offset.unsqueeze(-1)  # (L + 1, N)
        index = (length + t - episode_steps + episode_step).clamp(min=0).minimum(length + t)
        valid = (episode_step >= 0) & (episode_step < episode_steps)
        observed = (episode_step >= 0) & (episode_step <= episode_steps)

        def gather(part: Tensor, mask: Tensor) -> Tensor:
            piece = part[index, row]
            return torch.where(states.expand_mask(mask, piece.dim()), piece, torch.zeros_like(piece))

        steps = Transitions(
            gather(stream.obs, observed),
            gather(stream.action, valid),
            gather(stream.reward, valid),
            gather(stream.terminated, valid),
            valid,
            valid & (episode_step == 0),
            None if stream.action_mask is None else gather(stream.action_mask, observed),
        )
        identity = torch.stack([agent_states[done.t + 1].identity[done.row] for done in completed])
        assigned = [a[done.row] for done in completed if (a := agent_states[done.t + 1].assignment) is not None]
        initial_states = [done.initial_state for done in completed]
        assignment = torch.stack(assigned) if assigned else None
        drawn = [g[done.row] for done in completed if (g := agent_states[done.t + 1].graph) is not None]
        graph = torch.stack(drawn) if drawn else None
        return SequenceBatch(steps, identity, assignment, initial_states, graph)

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {
            "episode_steps": self.episode_steps.tolist(),
            "env_steps": self.env_steps,
            "recent_steps": None if self.recent_steps is None else list(self.recent_steps),
            "stored_states": [{step: states.pack(state) for step, state in row.items()} for row in self.stored_states],
        }

    def unpack(self, packed: dict[str, Any], like: State) -> None:
        """Restores a packed builder.

        Args:
            packed: the dict of `pack`.
            like: a recurrent state of the same agent, of any batch size.
        """
        self.episode_steps = np.array(packed["episode_steps"], dtype=np.int64)
        self.env_steps = packed["env_steps"]
        self.recent_steps = None if packed["recent_steps"] is None else Transitions(*packed["recent_steps"])
        self.stored_states = [
            {step: states.unpack(state, like) for step, state in row.items()} for row in packed["stored_states"]
        ]


def recurrent_state(state: AgentState, row: int | None = None) -> State:
    """The part of an agent's state that changes within an episode: core, bus and inbox.

    Args:
        state: of the agent.
        row: one episode of the batch; None: all.
    """
    recurrent = (state.core, state.bus, state.inbox)
    return recurrent if row is None else states.index(recurrent, torch.tensor([row], device=state.inbox.device))


def with_recurrent_states(rows: Sequence[State | None], initial: AgentState) -> AgentState:
    """The agent state whose rows have these recurrent states.

    Args:
        rows: recurrent states of one row each; None: that of `initial`.
        initial: the agent state that has everything else.
    """
    if all(row is None for row in rows):
        return initial
    core, bus, inbox = _concat_states(
        [recurrent_state(initial, i) if row is None else row for i, row in enumerate(rows)]
    )
    return initial._replace(core=core, bus=bus, delivery=initial.delivery._replace(inbox=inbox))


def _concat_states(rows: Sequence[State]) -> State:
    """One-row states as one state, by halves: a row log is copied whenever rows are added to it."""
    if len(rows) == 1:
        return rows[0]
    half = len(rows) // 2
    return states.cat([_concat_states(rows[:half]), _concat_states(rows[half:])], [half, len(rows) - half])
