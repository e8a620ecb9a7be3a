"""References for many experts: a Python loop over experts, and dense attention between all pairs.

Shapes: E expert, I identity, O observation, M message.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class LoopExperts(nn.Module):
    """Experts with a GRU cell, a private memory and attention to their neighbors, in a Python loop.

    Computes the same as an `Agent` with `Private(EpisodicMemory)`, `Attention` with one head and `act.Mean`; all
    experts share their weights. There are no gradients: buffers are allocated once and written in place.

    Args:
        identity: of each expert.
        neighbors: of each expert, the indices of those whose messages it receives.
        obs_size: O.
        hidden_size: of the GRU cell.
        message_size: M.
        slots: rows of each memory.
        top_k: rows of a read.
        key_size: of the memory and of the bus.
        outputs: numbers in an action.
    """

    def __init__(
        self,
        identity: Float[Tensor, "E I"],
        neighbors: Sequence[Sequence[int]],
        *,
        obs_size: int,
        hidden_size: int,
        message_size: int,
        slots: int,
        top_k: int,
        key_size: int,
        outputs: int,
    ):
        super().__init__()
        input_size = obs_size + message_size + identity.shape[1]
        self.key = nn.Linear(input_size + hidden_size, key_size)
        self.query = nn.Linear(input_size + hidden_size, key_size)
        self.controller = nn.GRUCell(2 * input_size + hidden_size, hidden_size)
        self.query_key_value = nn.Linear(hidden_size, 2 * key_size + message_size)  # of the bus
        self.act = nn.Linear(hidden_size, outputs)
        self.sizes, self.slots, self.top_k = [key_size, key_size, message_size], slots, top_k
        self.identity, self.neighbors, self.t = identity, [torch.tensor(n) for n in neighbors], 0
        experts = len(neighbors)
        self.h = [identity.new_zeros(hidden_size) for _ in range(experts)]
        self.inbox = [identity.new_zeros(message_size) for _ in range(experts)]
        self.keys = [identity.new_zeros(slots, key_size) for _ in range(experts)]
        self.values = [identity.new_zeros(slots, input_size + hidden_size) for _ in range(experts)]

    @torch.no_grad()
    def forward(self, obs: Float[Tensor, " O"]) -> Float[Tensor, " D"]:
        """Runs one step of every expert and one round of communication; returns the action."""
        for i in range(len(self.h)):
            self._step(i, torch.cat([obs, self.inbox[i], self.identity[i]]))
        self.t += 1
        projections = [self.query_key_value(h).split(self.sizes) for h in self.h]
        keys, values = (
            torch.stack([key for _, key, _ in projections]),
            torch.stack([value for *_, value in projections]),
        )
        for i, (query, _, _) in enumerate(projections):
            senders = self.neighbors[i]
            weights = (keys[senders] @ query * query.shape[0] ** -0.5).softmax(0)
            self.inbox[i] = weights @ values[senders]
        return torch.stack([self.act(h) for h in self.h]).mean(0)

    def _step(self, i: int, x: Tensor) -> None:
        filled, slot = min(self.t, self.slots), self.t % self.slots
        m = self.values[i].new_zeros(self.values[i].shape[1])
        if filled:
            query = self.query(torch.cat([x, self.h[i]])) * self.key.out_features**-0.5
            scores, index = (self.keys[i][:filled] @ query).topk(min(self.top_k, filled))
            m = scores.softmax(0) @ self.values[i][index]
        self.h[i] = self.controller(torch.cat([x, m]), self.h[i])
        row = torch.cat([x, self.h[i]])
        self.keys[i][slot], self.values[i][slot] = self.key(row), row


class DenseAttention(nn.Module):
    """Dense attention between all E x E pairs, by torch's own function; equal to `comms.Attention`.

    Args:
        input_size: Y.
        message_size: M.
        heads: number of heads.
        key_size: size of a key in each head.
    """

    def __init__(self, input_size: int, message_size: int, *, heads: int, key_size: int):
        super().__init__()
        self.heads, self.sizes = heads, [heads * key_size, heads * key_size, message_size]
        self.query_key_value = nn.Linear(input_size, sum(self.sizes))

    def forward(self, y: Float[Tensor, "B E Y"], mask: Bool[Tensor, "E E"] | None = None) -> Float[Tensor, "B E M"]:
        """Returns the inboxes.

        Args:
            y: outputs of the experts.
            mask: receiver x sender, True where there is an edge; None: every pair, itself included.
        """
        parts = self.query_key_value(y).split(self.sizes, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
