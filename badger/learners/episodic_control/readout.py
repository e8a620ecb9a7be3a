"""Output heads that answer with the values of an episodic store: how an agent of episodic control acts.

The store is part of the agent, so that a loaded agent acts, is evaluated and moves between devices as any other. Its
learner alone writes to it, as it alone updates the moments of a normalized observation.

Shapes: B episode, E expert, N query, K number of a key, k neighbor, D action.
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.act import Act
from badger.learners.episodic_control.store import EpisodicStore

Estimate = Callable[[Tensor, Tensor], Tensor]
"""(values (N, k), squared distances (N, k)) of the neighbors, nearest first, -> value of the query (N,)."""
KERNEL_DELTA = 1e-3


def exact_or_mean(values: Float[Tensor, "N k"], squared_distances: Float[Tensor, "N k"]) -> Float[Tensor, " N"]:
    """The value of the key itself where it is stored, else the mean of the neighbors.

    Args:
        values: stored values.
        squared_distances: of the keys.

    Source: Blundell et al. 2016 (MFEC), equation 2.
    """
    mean = values.mean(-1) + 0 * squared_distances.sum(-1)  # NaN for a key with a NaN
    return torch.where(squared_distances[:, 0] == 0, values[:, 0], mean)


def kernel_mean(values: Float[Tensor, "N k"], squared_distances: Float[Tensor, "N k"]) -> Float[Tensor, " N"]:
    """The mean of the neighbors' values with weights 1 / (d^2 + 1e-3), differentiable in both.

    Args:
        values: stored values.
        squared_distances: of the keys.

    Source: Pritzel et al. 2017 (NEC), equations 2 and 5.
    """
    weights = 1 / (squared_distances + KERNEL_DELTA)
    return (weights * values).sum(-1) / weights.sum(-1)


class StoreReadout(Act):
    """The value of each action, estimated from the rows of the store that are nearest to the key of the step.

    Args:
        store: keys and values of each action.
        k: number of neighbors; where an action has fewer, all of its rows.
        estimate: from neighbors to a value.
        empty_value: value of an action without any row.
    """

    def __init__(self, store: EpisodicStore, k: int, estimate: Estimate, empty_value: float = 0.0):
        super().__init__()
        self.input_size, self.outputs = store.key_size, len(store.tables)
        self.store, self.k, self.estimate, self.empty_value = store, k, estimate, empty_value

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> None:
        if outputs != self.outputs:
            raise ValueError(f"outputs={outputs}, want {self.outputs}: an episodic store has values of these actions")

    def key(self, y: Float[Tensor, "B E Y"], present: Bool[Tensor, "B E"] | None) -> Float[Tensor, "B Y"]:
        """The key of a step: the mean of the experts' outputs.

        Args:
            y: the outputs of all experts.
            present: experts that take part; None: all.
        """
        if present is None:
            return y.mean(1)
        mask = present.unsqueeze(-1)
        return torch.where(mask, y, 0).sum(1) / mask.sum(1).clamp(min=1)

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        key = self.key(y, present)
        return torch.stack([self._value(key, action) for action in range(self.outputs)], -1)

    def _value(self, key: Float[Tensor, "N K"], action: int) -> Float[Tensor, " N"]:
        values, distances, _ = self.store.query(key, action, self.k)
        if not values.shape[1]:
            return key.new_full((len(key),), self.empty_value)
        return self.estimate(values, distances)
