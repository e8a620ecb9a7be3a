"""Replay: the last sequences that were lived through, and which of them are lived through again.

Shapes: T step, B sequence, O observation, A action, E expert, I identity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from experts import state as states
from experts.state import State

MIN_PRIORITY = 1e-12  # of a priority: also a sequence without any error may be drawn


class Transitions(NamedTuple):
    """Steps of B episodes, T first, and all that their learner needs of them.

    valid: False where there is no step; an observation may be, the one after an episode's last step. seen: whether it
    is. episode_start: the episode's first step. action_mask: of the action; None: all.
    """

    obs: Float[Tensor, "T B *EO"]
    action: Int[Tensor, "T B"]
    reward: Float[Tensor, "T B"]
    terminated: Bool[Tensor, "T B"]
    valid: Bool[Tensor, "T B"]
    episode_start: Bool[Tensor, "T B"]
    action_mask: Bool[Tensor, "T B A"] | None

    def map(self, change: Callable[[Tensor], Tensor]) -> "Transitions":
        return Transitions(*(None if part is None else change(part) for part in self))  # type: ignore[arg-type]


class SequenceBatch(NamedTuple):
    """Pieces of one episode each. identity, address: of its agent (`AgentState`).

    initial_states: what the agent knew before the first step, one row each; None: nothing, an episode begins in the sequence, or
    is taken to. final_states: what it knew before the last observation; None where that is not kept."""

    steps: Transitions
    identity: Float[Tensor, "B E I"]
    address: Tensor | None
    initial_states: Sequence[State | None]
    final_states: Sequence[State | None]


@runtime_checkable
class Sampler(Protocol):
    """Which sequences are drawn, and how much they count then."""

    def sampling_weights(self, priority: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
        """In proportion to how often each shall be drawn."""

    def importance_weights(self, shares: Float[Tensor, " B"], mean: Float[Tensor, ""]) -> Float[Tensor, " B"]:
        """Of those that were drawn; mean: of all shares."""


@dataclass(frozen=True)
class UniformSampler:
    """Each as often as any other."""

    def sampling_weights(self, priority: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
        return torch.ones_like(priority)

    def importance_weights(self, shares: Float[Tensor, " B"], mean: Float[Tensor, ""]) -> Float[Tensor, " B"]:
        return torch.ones_like(shares)


@dataclass(frozen=True)
class PrioritizedSampler:
    """In proportion to priority ^ exponent; what is drawn more often counts less, (chance x number) ^ -correction, over
    the largest of those that are drawn together (Schaul et al. 2016, arXiv:1511.05952).

    correction=0: all count alike.
    """

    alpha: float = 0.9
    beta: float = 0.6

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}, want 0 to 1")

    def sampling_weights(self, priority: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
        return priority.clamp(min=MIN_PRIORITY) ** self.alpha

    def importance_weights(self, shares: Float[Tensor, " B"], mean: Float[Tensor, ""]) -> Float[Tensor, " B"]:
        weights = (shares / mean) ** -self.beta
        return weights / weights.max()


class ReplayBuffer:
    """The last `capacity` sequences, on the device; the oldest makes room for the newest.

    What an agent knew is kept as its core keeps it, a row for each sequence: a memory costs the rows of its window, as
    many as it may read, for each sequence that begins in the midst of an episode. A new sequence is as likely to be
    drawn as the likeliest so far.
    """

    def __init__(self, capacity: int, sampler: Sampler):
        if capacity < 1:
            raise ValueError(f"capacity={capacity}, want room for at least 1 sequence")
        self.capacity, self.sampler = capacity, sampler
        self.count, self.position = 0, 0  # sequences in it, and where the next one goes
        self.storage: list[Any] = []  # each (capacity, ...), as wide as what came first
        self.priority = torch.zeros(0)
        self.states: list[tuple[State | None, State | None]] = [(None, None)] * capacity  # first and last

    def __len__(self) -> int:
        return self.count

    def add(self, new: SequenceBatch) -> None:
        parts, total = _rows_first(new), len(new.initial_states)
        drop = max(0, total - self.capacity)
        if not self.storage:
            self._room(parts)
        places = [(self.position + i) % self.capacity for i in range(drop, total)]
        index = torch.tensor(places, device=self.priority.device, dtype=torch.long)
        for kept, part in zip(self.storage, parts, strict=True):
            if kept is not None:
                kept[index] = part[drop:]
        self.priority[index] = torch.where(self.priority.max() > 0, self.priority.max(), 1.0)
        for place, *known in zip(places, new.initial_states[drop:], new.final_states[drop:], strict=True):
            self.states[place] = (known[0], known[1])
        self.position = (self.position + total) % self.capacity
        self.count = min(self.capacity, self.count + total)

    def sample(self, size: int, rng: torch.Generator) -> tuple[SequenceBatch, Int[Tensor, " B"], Float[Tensor, " B"]]:
        """So many, one perhaps several times: the sequences, their places, and how much each counts.

        Raises:
            ValueError: there is none yet.
        """
        if not self.count:
            raise ValueError("the replay is empty: add sequences before they are drawn")
        shares = self.sampler.sampling_weights(self.priority[: self.count])
        upto = shares.cumsum(0)
        mark = torch.rand(size, generator=rng, device=rng.device, dtype=upto.dtype) * upto[-1]
        places = torch.searchsorted(upto, mark, right=True).clamp(max=self.count - 1)
        return self.get(places), places, self.sampler.importance_weights(shares[places], upto[-1] / self.count)

    def get(self, places: Int[Tensor, " B"]) -> SequenceBatch:
        *steps, identity, address = (None if kept is None else kept[places] for kept in self.storage)
        known: list[tuple[State | None, State | None]] = [(None, None)] * len(places)
        if any(pair != (None, None) for pair in self.states):  # else the host need not know which are wanted
            known = [self.states[i] for i in places.tolist()]
        first, last = zip(*known, strict=True)
        each = Transitions(*steps).map(lambda part: part.transpose(0, 1))  # type: ignore[arg-type]
        return SequenceBatch(each, identity, address, first, last)  # type: ignore[arg-type]

    def update_priorities(self, places: Int[Tensor, " B"], priority: Float[Tensor, " B"]) -> None:
        """One that was drawn twice has the same priority twice. What is not finite changes nothing."""
        priority = priority.to(self.priority)
        self.priority[places] = torch.where(priority.isfinite(), priority, self.priority[places])

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors only."""
        return {
            "capacity": self.capacity,
            "position": self.position,
            "kept": [None if kept is None else kept[: self.count].clone() for kept in self.storage],
            "priority": self.priority[: self.count].clone(),
            "states": [[states.pack(state) for state in pair] for pair in self.states[: self.count]],
        }

    def unpack(self, packed: dict[str, Any], like: State) -> None:
        """The content that `pack` gave; like: what an agent knows, of any batch.

        Raises:
            ValueError: of a replay with another capacity.
        """
        if packed["capacity"] != self.capacity:
            raise ValueError(
                f"capacity={self.capacity}, and the saved replay has {packed['capacity']}: load it with that"
            )
        self.count, self.position = len(packed["priority"]), packed["next"]
        self.storage = []
        if packed["kept"]:
            self._room(packed["kept"])
        for kept, part in zip(self.storage, packed["kept"], strict=True):
            if kept is not None:
                kept[: self.count] = part
        self.priority[: self.count] = packed["priority"]

        def unpacked(state: Any) -> State | None:
            return None if state is None else states.unpack(state, like)

        known = [(unpacked(first), unpacked(last)) for first, last in packed["states"]]
        self.states = [*known, *[(None, None)] * (self.capacity - self.count)]

    def _room(self, parts: list[Any]) -> None:
        self.storage = [None if part is None else part.new_zeros(self.capacity, *part.shape[1:]) for part in parts]
        self.priority = torch.zeros(self.capacity, dtype=torch.float64, device=parts[0].device)


def _rows_first(new: SequenceBatch) -> list[Any]:
    return [*new.steps.map(lambda part: part.transpose(0, 1)), new.identity, new.address]
