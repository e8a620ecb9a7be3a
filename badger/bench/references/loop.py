"""The references of many experts: a Python loop over them, and attention of all to all.

Shapes: E expert, I identity, M message, H hidden, k neighbours.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class LoopExperts(nn.Module):
    """Experts with a GRU cell, a memory of their own and attention to their neighbours, one after the other.

    The same mathematics as `Agent` of `Private(EpisodicMemory)`, `Attention` with one head and `act.Mean`, with weights
    that all share. It acts only: buffers are allocated once and written in place.
    """

    def __init__(
        self,
        identity: Float[Tensor, "E I"],
        neighbours: Sequence[Sequence[int]],
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
        eaten = obs_size + message_size + identity.shape[1]
        self.key = nn.Linear(eaten + hidden_size, key_size)
        self.query = nn.Linear(eaten + hidden_size, key_size)
        self.controller = nn.GRUCell(2 * eaten + hidden_size, hidden_size)
        self.query_key_value = nn.Linear(hidden_size, 2 * key_size + message_size)  # of the bus, keys as of the memory
        self.act = nn.Linear(hidden_size, outputs)
        self.sizes, self.slots, self.top_k = [key_size, key_size, message_size], slots, top_k
        self.identity, self.neighbours, self.t = identity, [torch.tensor(n) for n in neighbours], 0
        experts = len(neighbours)
        self.h = [identity.new_zeros(hidden_size) for _ in range(experts)]
        self.inbox = [identity.new_zeros(message_size) for _ in range(experts)]
        self.keys = [identity.new_zeros(slots, key_size) for _ in range(experts)]
        self.values = [identity.new_zeros(slots, eaten + hidden_size) for _ in range(experts)]

    @torch.no_grad()
    def forward(self, obs: Float[Tensor, " O"]) -> Float[Tensor, " D"]:
        """One step of every expert, one round of communication, one action."""
        for i in range(len(self.h)):
            self._step(i, torch.cat([obs, self.inbox[i], self.identity[i]]))
        self.t += 1
        said = [self.query_key_value(h).split(self.sizes) for h in self.h]
        keys, values = torch.stack([key for _, key, _ in said]), torch.stack([value for *_, value in said])
        for i, (query, _, _) in enumerate(said):
            heard = self.neighbours[i]
            share = (keys[heard] @ query * query.shape[0] ** -0.5).softmax(0)
            self.inbox[i] = share @ values[heard]
        return torch.stack([self.act(h) for h in self.h]).mean(0)

    def _step(self, i: int, x: Tensor) -> None:
        filled, at = min(self.t, self.slots), self.t % self.slots
        m = self.values[i].new_zeros(self.values[i].shape[1])
        if filled:
            query = self.query(torch.cat([x, self.h[i]])) * self.key.out_features**-0.5
            scores, index = (self.keys[i][:filled] @ query).topk(min(self.top_k, filled))
            m = scores.softmax(0) @ self.values[i][index]
        self.h[i] = self.controller(torch.cat([x, m]), self.h[i])
        row = torch.cat([x, self.h[i]])
        self.keys[i][at], self.values[i][at] = self.key(row), row


class DenseAttention(nn.Module):
    """What `comms.Attention` delivers, from the scores of all E x E pairs, by torch's own attention."""

    def __init__(self, input_size: int, message_size: int, *, heads: int, key_size: int):
        super().__init__()
        self.heads, self.sizes = heads, [heads * key_size, heads * key_size, message_size]
        self.query_key_value = nn.Linear(input_size, sum(self.sizes))

    def forward(self, y: Float[Tensor, "B E Y"], hears: Bool[Tensor, "E E"] | None = None) -> Float[Tensor, "B E M"]:
        """The inboxes. hears: receiver x sender; None: everyone hears everyone, and itself."""
        parts = self.query_key_value(y).split(self.sizes, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        return scaled_dot_product_attention(query, key, value, attn_mask=hears).transpose(1, 2).flatten(2)
