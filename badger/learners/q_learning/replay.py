"""The replay buffer of sequences, with uniform or prioritized sampling.

Shapes: T step, B sequence, C sequences in the buffer, O observation, A action, E expert, I identity.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from badger.learners import host
from experts import state as states
from experts.state import State

MIN_PRIORITY = 1e-12  # so that a sequence without any error may be sampled


class Transitions(NamedTuple):
    """Steps of B episodes, time first.

    Args:
        obs: observations; 0 in padding.
        action: actions.
        reward: rewards.
        terminated: the step terminated its episode.
        valid: False in padding, and for the final observation of an episode, which follows its last step.
        episode_start: the first step of an episode.
        action_mask: allowed actions; None: all.
    """

    obs: Float[Tensor, "T B *EO"]
    action: Shaped[Tensor, "T B *D"]
    reward: Float[Tensor, "T B"]
    terminated: Bool[Tensor, "T B"]
    valid: Bool[Tensor, "T B"]
    episode_start: Bool[Tensor, "T B"]
    action_mask: Bool[Tensor, "T B A"] | None

    def map(self, function: Callable[[Tensor], Tensor]) -> "Transitions":
        """The transitions with a function applied to each tensor.

        Args:
            function: tensor -> tensor.
        """
        return Transitions(*(None if part is None else function(part) for part in self))  # type: ignore[arg-type]


class SequenceBatch(NamedTuple):
    """Sequences for replay, each a piece of one episode.

    Args:
        steps: observations, actions and rewards.
        identity: identity vectors of the experts in that episode (`AgentState.identity`).
        assignment: output assignment in that episode (`AgentState.assignment`).
        initial_states: recurrent state before the first step, or after the `context` of a `SequenceSpec`, one row each;
            None: the initial state of an episode.
        graph: index of the communication graph in that episode (`AgentState.graph`).
    """

    steps: Transitions
    identity: Float[Tensor, "B E I"]
    assignment: Tensor | None
    initial_states: Sequence[State | None]
    graph: Int[Tensor, " B"] | None = None


@runtime_checkable
class Sampler(Protocol):
    """The sampling distribution of a replay buffer, and its importance weights."""

    def sampling_weights(self, priority: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
        """Unnormalized sampling probabilities.

        Args:
            priority: priorities of all sequences.
        """

    def importance_weights(self, weights: Float[Tensor, " B"], mean: Float[Tensor, ""]) -> Float[Tensor, " B"]:
        """Weights of the sampled sequences in the loss.

        Args:
            weights: their sampling weights.
            mean: the mean sampling weight of all sequences.
        """


@dataclass(frozen=True)
class UniformSampler:
    """Uniform sampling; all importance weights are 1."""

    def sampling_weights(self, priority: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
        """Ones."""
        return torch.ones_like(priority)

    def importance_weights(self, weights: Float[Tensor, " B"], mean: Float[Tensor, ""]) -> Float[Tensor, " B"]:
        """Ones."""
        return torch.ones_like(weights)


@dataclass(frozen=True)
class PrioritizedSampler:
    """Prioritized sampling: P(i) proportional to priority^alpha, importance weights (C P(i))^-beta.

    Importance weights are divided by their maximum in the batch.

    Args:
        alpha: exponent of the priority; 0: uniform sampling.
        beta: exponent of the importance weights; 0: all weights are 1.

    Raises:
        ValueError: an exponent outside of 0 to 1.

    Source: Schaul et al. 2016, arXiv:1511.05952.
    """

    alpha: float = 0.9
    beta: float = 0.6

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}, want 0 to 1")

    def sampling_weights(self, priority: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
        """The powers of the priorities."""
        return priority.clamp(min=MIN_PRIORITY) ** self.alpha

    def importance_weights(self, weights: Float[Tensor, " B"], mean: Float[Tensor, ""]) -> Float[Tensor, " B"]:
        """The normalized importance weights."""
        importance = (weights / mean) ** -self.beta
        return importance / importance.max()


class ReplayBuffer:
    """A circular buffer of sequences on the device: the newest sequence replaces the oldest.

    Recurrent states are stored as the core keeps them, one row for each sequence that starts within an episode: for an
    episodic memory that is its whole window. A new sequence gets the largest priority in the buffer.

    Args:
        capacity: number of sequences.
        sampler: sampling distribution.
        bytes_of: observations are whole numbers from 0 to 255, kept as bytes and returned in this dtype; None: they are
            kept as they are.

    Raises:
        ValueError: capacity < 1.
    """

    def __init__(self, capacity: int, sampler: Sampler, bytes_of: torch.dtype | None = None):
        if capacity < 1:
            raise ValueError(f"capacity={capacity}, want room for at least 1 sequence")
        self.capacity, self.sampler, self.bytes_of = capacity, sampler, bytes_of
        self.count, self.position = 0, 0  # sequences in the buffer, and the index of the next one
        self.num_new = 0  # sequences that `sample(new=...)` has not taken
        self.storage: list[Any] = []  # (capacity, ...) each; its width is that of the first batch
        self.priority = torch.zeros(0)
        self.states: dict[int, State] = {}  # of sequences that have one

    def __len__(self) -> int:
        return self.count

    def add(self, batch: SequenceBatch) -> None:
        """Adds sequences; of more than `capacity` the last ones.

        Args:
            batch: new sequences, oldest first.
        """
        parts, total = _batch_first(batch), len(batch.initial_states)
        skipped = max(0, total - self.capacity)
        if not self.storage:
            self._allocate(parts)
        indices = [(self.position + i) % self.capacity for i in range(skipped, total)]
        index = torch.tensor(indices, device=self.priority.device, dtype=torch.long)
        for stored, part in zip(self.storage, parts, strict=True):
            if stored is not None:
                stored[index] = part[skipped:].to(stored.dtype)
        self.priority[index] = torch.where(self.priority.max() > 0, self.priority.max(), 1.0)
        for i, state in zip(indices, batch.initial_states[skipped:], strict=True):
            self.states.pop(i, None)
            if state is not None:
                self.states[i] = state
        self.position = (self.position + total) % self.capacity
        self.count = min(self.capacity, self.count + total)
        self.num_new = min(self.capacity, self.num_new + total)

    def sample(
        self, size: int, rng: torch.Generator, *, new: int = 0
    ) -> tuple[SequenceBatch, Int[Tensor, " B"], Float[Tensor, " B"]]:
        """Samples with replacement: the sequences, their indices and their importance weights.

        Args:
            size: number of sequences, B.
            rng: generator of the samples; gives the device.
            new: so many of them are the oldest that were not taken by `new` before, as long as there are any.

        Raises:
            ValueError: the buffer is empty.
        """
        if not self.count:
            raise ValueError("the replay buffer is empty, want at least 1 sequence: call add before sample")
        weights = self.sampler.sampling_weights(self.priority[: self.count])
        cumulative = weights.cumsum(0)
        threshold = torch.rand(size, generator=rng, device=rng.device, dtype=cumulative.dtype) * cumulative[-1]
        indices = torch.searchsorted(cumulative, threshold, right=True).clamp(max=self.count - 1)
        new = min(new, size, self.num_new)
        indices[:new] = (
            torch.arange(self.position - self.num_new, self.position, device=rng.device)[:new] % self.capacity
        )
        self.num_new -= new
        importance = self.sampler.importance_weights(weights[indices], cumulative[-1] / self.count)
        return self.get(indices), indices, importance

    def get(self, indices: Int[Tensor, " B"]) -> SequenceBatch:
        """The sequences at these indices.

        Args:
            indices: positions in the buffer.
        """
        found: list[Any] = [None if stored is None else stored[indices] for stored in self.storage]
        *steps, identity, assignment, graph = found
        steps[0] = steps[0].to(self.bytes_of or steps[0].dtype)
        initial_states: list[State | None] = [None] * len(indices)
        if self.states:  # else the indices need not go to the host
            initial_states = [self.states.get(i) for i in host.to_host(indices).tolist()]
        transitions = Transitions(*steps).map(lambda part: part.transpose(0, 1))
        return SequenceBatch(transitions, identity, assignment, initial_states, graph)

    def update_priorities(self, indices: Int[Tensor, " B"], priority: Float[Tensor, " B"]) -> None:
        """Sets priorities; one that is not finite leaves the old one.

        Args:
            indices: positions in the buffer; a repeated index has the same priority each time.
            priority: new priorities.
        """
        priority = priority.to(self.priority)
        self.priority[indices] = torch.where(priority.isfinite(), priority, self.priority[indices])

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors, for a checkpoint."""
        return {
            "capacity": self.capacity,
            "position": self.position,
            "num_new": self.num_new,
            "storage": [None if stored is None else stored[: self.count].clone() for stored in self.storage],
            "priority": self.priority[: self.count].clone(),
            "states": {index: [states.pack(state)] for index, state in self.states.items()},
        }

    def unpack(self, packed: dict[str, Any], like: State) -> None:
        """Replaces the content with that of a packed buffer.

        Args:
            packed: the dict of `pack`.
            like: a recurrent state of the same agent, of any batch size.

        Raises:
            ValueError: a buffer of another capacity.
        """
        if packed["capacity"] != self.capacity:
            raise ValueError(
                f"capacity={self.capacity}, and the saved replay buffer has {packed['capacity']}: load it with that"
            )
        self.count, self.position = len(packed["priority"]), packed["position"]
        self.num_new = packed["num_new"]
        self.storage = []
        if packed["storage"]:
            self._allocate(packed["storage"])
        for stored, part in zip(self.storage, packed["storage"], strict=True):
            if stored is not None:
                stored[: self.count] = part
        self.priority[: self.count] = packed["priority"]
        initial = {index: first for index, (first, *_) in packed["states"].items()}  # 0.2 has the final one, too
        self.states = {index: states.unpack(state, like) for index, state in initial.items() if state is not None}

    def _allocate(self, parts: list[Any]) -> None:
        self.storage = [None if part is None else part.new_zeros(self.capacity, *part.shape[1:]) for part in parts]
        if self.bytes_of is not None:
            self.storage[0] = self.storage[0].to(torch.uint8)
        self.priority = torch.zeros(self.capacity, dtype=torch.float64, device=parts[0].device)


def _batch_first(batch: SequenceBatch) -> list[Any]:
    return [*batch.steps.map(lambda part: part.transpose(0, 1)), batch.identity, batch.assignment, batch.graph]


def check_prefill(prefill: int, capacity: int) -> None:
    """Refuses a prefill for which a replay buffer has no room.

    Args:
        prefill: sequences in the buffer before the first update.
        capacity: of the buffer.

    Raises:
        ValueError: more than its capacity.
    """
    if prefill > capacity:
        raise ValueError(f"prefill={prefill}, want at most capacity={capacity}, the number of sequences in the buffer")
