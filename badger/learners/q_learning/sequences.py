"""A stream of episodes, cut into sequences that overlap and never go from one episode into the next.

Shapes: T step, B row of the stream, L longest sequence.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from badger.agent import AgentState
from badger.learners.q_learning.replay import SequenceBatch, Transitions
from experts import state as states
from experts.state import State

WHOLE_EPISODE = sys.maxsize  # steps that no episode has


@dataclass(frozen=True)
class SequenceSpec:
    """How episodes are cut: sequence k of an episode has the steps from k (train - overlap) on, `train_length` of them at
    most, and before them up to `burn_in` more, which are lived through again but teach nothing. Each shows the
    observation after its last step, too. The last one of an episode may be shorter, for no more steps were made.

    stored_state: a sequence begins with what the agent knew when it was there; else with nothing, as episodes do.
    keep_final_state: keep what the agent knew before the last observation, too, to compare with (`qlearning.discrepancy`).

    A row of a replay has room for burn_in + train + 1 observations.
    """

    train_length: int = 80
    burn_in: int = 40
    overlap: int = 40
    stored_state: bool = True
    keep_final_state: bool = False

    def __post_init__(self) -> None:
        if self.train_length < 1:
            raise ValueError(f"train_length={self.train_length}, want at least 1 step to learn from")
        if not 0 <= self.overlap < self.train_length:
            raise ValueError(f"overlap={self.overlap}, want 0 to train - 1 = {self.train_length - 1} steps")
        if self.burn_in < 0:
            raise ValueError(f"burn_in={self.burn_in}, want 0 steps or more")

    @property
    def stride(self) -> int:
        return self.train_length - self.overlap

    @property
    def total_length(self) -> int:
        """Steps of a sequence at most, L."""
        return self.burn_in + self.train_length

    def clamp_to(self, steps: int) -> "SequenceSpec":
        """The same sequences of episodes of so many steps at most, less what would always be padding."""
        train = min(self.train_length, steps)
        last = (
            max(0, -(-(steps - self.train_length) // self.stride)) * self.stride
        )  # where the last sequence begins to learn
        overlap = self.overlap if train == self.train_length else 0
        return replace(self, train_length=train, burn_in=min(self.burn_in, last), overlap=overlap)

    def completed_index(self, age: int, ended: bool) -> int | None:
        """Which sequence is done where so many steps of an episode have been made; None: none of those that hold a step
        which no sequence before did."""
        over = age - self.train_length
        if over >= 0 and over % self.stride == 0:
            return over // self.stride
        return max(0, over // self.stride + 1) if ended and age > 0 else None


class SequenceBuilder:
    """The last L steps of each row, and where its episode stands; what is complete is given out.

    How many sequences that are depends on where episodes end, so the host looks at that, once for each piece of the
    stream that is added. All else stays on the device.
    """

    def __init__(self, spec: SequenceSpec, rows: int):
        self.spec = spec
        self.episode_steps = np.zeros(rows, dtype=np.int64)  # steps of the episode so far
        self.env_steps = 0  # steps in all
        self.recent_steps: Transitions | None = None
        self.stored_states: list[dict[int, State]] = [
            {} for _ in range(rows)
        ]  # of each row: age -> what the agent knew

    def add(self, steps: Transitions, lived: Sequence[AgentState]) -> SequenceBatch | None:
        """What these steps complete.

        steps: the next of the stream. Where an episode has ended, a step follows that is none (`there` False) and shows
        its last observation. lived: the agent before each, and after the last.
        """
        there = steps.valid.cpu().numpy()
        self.env_steps += int(there.sum())
        whole, found = self._joined(steps), []
        for t, now in enumerate(there):
            self._store_states(lived[t], now)
            for row in range(len(now)):
                k = self.spec.completed_index(int(self.episode_steps[row]), not now[row])
                if k is not None:
                    begin = k * self.spec.stride - self.spec.burn_in
                    last = recurrent_state(lived[t], row) if self.spec.keep_final_state else None
                    found.append(
                        (t, row, int(self.episode_steps[row]), begin, self.stored_states[row].pop(begin, None), last)
                    )
                if not now[row]:
                    self.stored_states[row].clear()
            self.episode_steps = np.where(now, self.episode_steps + 1, 0)
        self.recent_steps = whole.map(lambda part: part[-self.spec.total_length :])
        return self._build_batch(whole, lived, found) if found else None

    def _joined(self, steps: Transitions) -> Transitions:
        tail = self.recent_steps or steps.map(lambda part: part.new_zeros(self.spec.total_length, *part.shape[1:]))
        pairs = zip(tail, steps, strict=True)
        return Transitions(*(None if new is None else torch.cat([old, new]) for old, new in pairs))  # type: ignore

    def _store_states(self, state: AgentState, there: np.ndarray) -> None:
        """Where a sequence may begin in the midst of an episode."""
        if self.spec.stored_state:
            begins = (
                there & (self.episode_steps > 0) & ((self.episode_steps + self.spec.burn_in) % self.spec.stride == 0)
            )
            for row in np.flatnonzero(begins).tolist():
                self.stored_states[row][int(self.episode_steps[row])] = recurrent_state(state, row)

    def _build_batch(self, whole: Transitions, lived: Sequence[AgentState], found: list[tuple]) -> SequenceBatch:
        """whole: with the L steps before those that were added."""
        frame, row, age, begin, first, last = zip(*found, strict=True)
        t, b, a, begun = (torch.tensor(part, device=whole.obs.device) for part in (frame, row, age, begin))
        ages = begun + torch.arange(self.spec.total_length + 1, device=b.device).unsqueeze(-1)  # (L + 1, n)
        places = (self.spec.total_length + t - a + ages).clamp(min=0).minimum(self.spec.total_length + t)
        there, seen = (ages >= 0) & (ages < a), (ages >= 0) & (ages <= a)

        def taken(part: Tensor, mask: Tensor) -> Tensor:
            piece = part[places, b]
            return torch.where(states.expand_mask(mask, piece.dim()), piece, torch.zeros_like(piece))

        steps = Transitions(
            taken(whole.obs, seen),
            taken(whole.action, there),
            taken(whole.reward, there),
            taken(whole.terminated, there),
            there,
            there & (ages == 0),
            None if whole.action_mask is None else taken(whole.action_mask, seen),
        )
        own = [(lived[i + 1].identity[j], lived[i + 1].assignment) for i, j in zip(frame, row, strict=True)]
        address = None if own[0][1] is None else torch.stack([one[j] for (_, one), j in zip(own, row, strict=True)])
        return SequenceBatch(steps, torch.stack([one for one, _ in own]), address, first, last)

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors only."""
        return {
            "episode_steps": self.episode_steps.tolist(),
            "env_steps": self.env_steps,
            "tail": None if self.recent_steps is None else list(self.recent_steps),
            "known": [{age: states.pack(state) for age, state in row.items()} for row in self.stored_states],
        }

    def unpack(self, packed: dict[str, Any], like: State) -> None:
        """What `pack` gave; like: what an agent knows, of any batch."""
        self.episode_steps = np.array(packed["age"], dtype=np.int64)
        self.env_steps = packed["made"]
        self.recent_steps = None if packed["tail"] is None else Transitions(*packed["tail"])
        self.stored_states = [
            {age: states.unpack(state, like) for age, state in row.items()} for row in packed["known"]
        ]


def recurrent_state(state: AgentState, row: int | None = None) -> State:
    """All that an agent's next steps follow from besides what was drawn for the episode: of a row alone, or of all."""
    known = (state.core, state.bus, state.inbox)
    return known if row is None else states.index(known, torch.tensor([row], device=state.inbox.device))


def with_recurrent_states(known: Sequence[State | None], fresh: AgentState) -> AgentState:
    """The state of an agent that knows this, row by row; None: what is fresh."""
    if all(one is None for one in known):
        return fresh
    core, bus, inbox = _concat_states(
        [recurrent_state(fresh, row) if one is None else one for row, one in enumerate(known)]
    )
    return fresh._replace(core=core, bus=bus, delivery=fresh.delivery._replace(inbox=inbox))


def _concat_states(rows: Sequence[State]) -> State:
    """One-row states as one state, by halves: a log is copied whenever rows are added to it."""
    if len(rows) == 1:
        return rows[0]
    half = len(rows) // 2
    return states.cat([_concat_states(rows[:half]), _concat_states(rows[half:])], [half, len(rows) - half])
