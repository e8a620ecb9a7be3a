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
from badger.learners.q_learning.replay import Sequences, Steps
from experts import state as states
from experts.state import State

WHOLE = sys.maxsize  # steps that no episode has


@dataclass(frozen=True)
class Cut:
    """How episodes are cut: sequence k of an episode has the steps from k (train - overlap) on, `train` of them at
    most, and before them up to `burn_in` more, which are lived through again but teach nothing. Each shows the
    observation after its last step, too. The last one of an episode may be shorter, for no more steps were made.

    stored: a sequence begins with what the agent knew when it was there; else with nothing, as episodes do.
    last: keep what the agent knew before the last observation, too, to compare with (`qlearning.discrepancy`).

    A row of a replay has room for burn_in + train + 1 observations.
    """

    train: int = 80
    burn_in: int = 40
    overlap: int = 40
    stored: bool = True
    last: bool = False

    def __post_init__(self) -> None:
        if self.train < 1:
            raise ValueError(f"train={self.train}, want at least 1 step to learn from")
        if not 0 <= self.overlap < self.train:
            raise ValueError(f"overlap={self.overlap}, want 0 to train - 1 = {self.train - 1} steps")
        if self.burn_in < 0:
            raise ValueError(f"burn_in={self.burn_in}, want 0 steps or more")

    @property
    def stride(self) -> int:
        return self.train - self.overlap

    @property
    def length(self) -> int:
        """Steps of a sequence at most, L."""
        return self.burn_in + self.train

    def within(self, steps: int) -> "Cut":
        """The same sequences of episodes of so many steps at most, less what would always be padding."""
        train = min(self.train, steps)
        last = max(0, -(-(steps - self.train) // self.stride)) * self.stride  # where the last sequence begins to learn
        overlap = self.overlap if train == self.train else 0
        return replace(self, train=train, burn_in=min(self.burn_in, last), overlap=overlap)

    def done(self, age: int, ended: bool) -> int | None:
        """Which sequence is done where so many steps of an episode have been made; None: none of those that hold a step
        which no sequence before did."""
        over = age - self.train
        if over >= 0 and over % self.stride == 0:
            return over // self.stride
        return max(0, over // self.stride + 1) if ended and age > 0 else None


class Trail:
    """The last L steps of each row, and where its episode stands; what is complete is given out.

    How many sequences that are depends on where episodes end, so the host looks at that, once for each piece of the
    stream that is added. All else stays on the device.
    """

    def __init__(self, cut: Cut, rows: int):
        self.cut = cut
        self.age = np.zeros(rows, dtype=np.int64)  # steps of the episode so far
        self.made = 0  # steps in all
        self.tail: Steps | None = None
        self.known: list[dict[int, State]] = [{} for _ in range(rows)]  # of each row: age -> what the agent knew

    def add(self, steps: Steps, lived: Sequence[AgentState]) -> Sequences | None:
        """What these steps complete.

        steps: the next of the stream. Where an episode has ended, a step follows that is none (`there` False) and shows
        its last observation. lived: the agent before each, and after the last.
        """
        there = steps.there.cpu().numpy()
        self.made += int(there.sum())
        whole, found = self._joined(steps), []
        for t, now in enumerate(there):
            self._remember(lived[t], now)
            for row in range(len(now)):
                k = self.cut.done(int(self.age[row]), not now[row])
                if k is not None:
                    begin = k * self.cut.stride - self.cut.burn_in
                    last = knowledge(lived[t], row) if self.cut.last else None
                    found.append((t, row, int(self.age[row]), begin, self.known[row].pop(begin, None), last))
                if not now[row]:
                    self.known[row].clear()
            self.age = np.where(now, self.age + 1, 0)
        self.tail = whole.each(lambda part: part[-self.cut.length :])
        return self._gathered(whole, lived, found) if found else None

    def _joined(self, steps: Steps) -> Steps:
        tail = self.tail or steps.each(lambda part: part.new_zeros(self.cut.length, *part.shape[1:]))
        pairs = zip(tail, steps, strict=True)
        return Steps(*(None if new is None else torch.cat([old, new]) for old, new in pairs))  # type: ignore

    def _remember(self, state: AgentState, there: np.ndarray) -> None:
        """Where a sequence may begin in the midst of an episode."""
        if self.cut.stored:
            begins = there & (self.age > 0) & ((self.age + self.cut.burn_in) % self.cut.stride == 0)
            for row in np.flatnonzero(begins).tolist():
                self.known[row][int(self.age[row])] = knowledge(state, row)

    def _gathered(self, whole: Steps, lived: Sequence[AgentState], found: list[tuple]) -> Sequences:
        """whole: with the L steps before those that were added."""
        frame, row, age, begin, first, last = zip(*found, strict=True)
        t, b, a, begun = (torch.tensor(part, device=whole.obs.device) for part in (frame, row, age, begin))
        ages = begun + torch.arange(self.cut.length + 1, device=b.device).unsqueeze(-1)  # (L + 1, n)
        places = (self.cut.length + t - a + ages).clamp(min=0).minimum(self.cut.length + t)
        there, seen = (ages >= 0) & (ages < a), (ages >= 0) & (ages <= a)

        def taken(part: Tensor, mask: Tensor) -> Tensor:
            piece = part[places, b]
            return torch.where(states.along(mask, piece.dim()), piece, torch.zeros_like(piece))

        steps = Steps(
            taken(whole.obs, seen),
            taken(whole.action, there),
            taken(whole.reward, there),
            taken(whole.terminated, there),
            there,
            there & (ages == 0),
            None if whole.legal is None else taken(whole.legal, seen),
        )
        own = [(lived[i + 1].identity[j], lived[i + 1].address) for i, j in zip(frame, row, strict=True)]
        address = None if own[0][1] is None else torch.stack([one[j] for (_, one), j in zip(own, row, strict=True)])
        return Sequences(steps, torch.stack([one for one, _ in own]), address, first, last)

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors only."""
        return {
            "age": self.age.tolist(),
            "made": self.made,
            "tail": None if self.tail is None else list(self.tail),
            "known": [{age: states.pack(state) for age, state in row.items()} for row in self.known],
        }

    def unpack(self, packed: dict[str, Any], like: State) -> None:
        """What `pack` gave; like: what an agent knows, of any batch."""
        self.age = np.array(packed["age"], dtype=np.int64)
        self.made = packed["made"]
        self.tail = None if packed["tail"] is None else Steps(*packed["tail"])
        self.known = [{age: states.unpack(state, like) for age, state in row.items()} for row in packed["known"]]


def knowledge(state: AgentState, row: int | None = None) -> State:
    """All that an agent's next steps follow from besides what was drawn for the episode: of a row alone, or of all."""
    known = (state.core, state.bus, state.inbox)
    return known if row is None else states.index(known, torch.tensor([row], device=state.inbox.device))


def knowing(known: Sequence[State | None], fresh: AgentState) -> AgentState:
    """The state of an agent that knows this, row by row; None: what is fresh."""
    if all(one is None for one in known):
        return fresh
    core, bus, inbox = _beside([knowledge(fresh, row) if one is None else one for row, one in enumerate(known)])
    return fresh._replace(core=core, bus=bus, delivery=fresh.delivery._replace(inbox=inbox))


def _beside(rows: Sequence[State]) -> State:
    """One-row states as one state, by halves: a log is copied whenever rows are added to it."""
    if len(rows) == 1:
        return rows[0]
    half = len(rows) // 2
    return states.cat([_beside(rows[:half]), _beside(rows[half:])], [half, len(rows) - half])
