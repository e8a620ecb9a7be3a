"""Reference of the episodic memory: a dense ring buffer that is cloned at each step, under autograd.

Shapes: T step, B episode, N member, D input, H output, S slot, K key, V value, W = K + V, k rows of a read.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Read = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]
"""A top-k read: (query, store, filled, top_k) -> (scores, values)."""


def dense_read(
    query: Float[Tensor, "B N K"], store: Float[Tensor, "B S W"], filled: int, top_k: int
) -> tuple[Float[Tensor, "B N k"], Float[Tensor, "B N k V"]]:
    """Top-k read with the scores of all filled rows under autograd.

    Args:
        query: one for each member.
        store: rows [key | value].
        filled: number of rows that were written.
        top_k: maximum k.
    """
    size = query.shape[-1]
    scores, index = (query @ store[:, :filled, :size].mT).topk(min(top_k, filled), -1)  # of (B, N, filled)
    return scores, _gather_rows(store, index)[..., size:]


def selected_read(
    query: Float[Tensor, "B N K"], store: Float[Tensor, "B S W"], filled: int, top_k: int
) -> tuple[Float[Tensor, "B N k"], Float[Tensor, "B N k V"]]:
    """Top-k read whose search runs without gradient: the k rows are scored again, and autograd saves no store.

    Args:
        query: one for each member.
        store: rows [key | value].
        filled: number of rows that were written.
        top_k: maximum k.
    """
    size = query.shape[-1]
    with torch.no_grad():
        index = (query @ store[:, :filled, :size].mT).topk(min(top_k, filled), -1).indices
    keys, values = _gather_rows(store, index).split([size, store.shape[-1] - size], -1)
    return (keys @ query.unsqueeze(-1)).squeeze(-1), values


def _gather_rows(store: Tensor, index: Tensor) -> Tensor:
    """(B, S, W) at (B, N, k) -> (B, N, k, W), by index_select: it saves no rows for backward, gather does."""
    offsets = torch.arange(0, store.shape[0] * store.shape[1], store.shape[1], device=store.device)
    flat = (index + offsets.view(-1, 1, 1)).flatten()
    return store.flatten(0, 1).index_select(0, flat).view(*index.shape, -1)


class DenseRing(nn.Module):
    """Episodic memory as a dense ring buffer, equal to `EpisodicMemory` with scaled dot products and softmax.

    Parameters have the names of `EpisodicMemory`. Rows that were never written are excluded by a slice instead of a
    mask. The controller is torch's GRU cell.

    Args:
        input_size: D.
        hidden_size: H.
        slots: S.
        top_k: rows of a read.
        key_size: K.
        row_content: value of a row: "x", or "both" x and h.
        read: `dense_read` or `selected_read`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        slots: int,
        top_k: int,
        key_size: int,
        row_content: str = "both",
        read: Read = dense_read,
    ):
        super().__init__()
        self.value_size = {"x": input_size, "both": input_size + hidden_size}[row_content]
        self.key = nn.Linear(input_size + hidden_size, key_size)
        self.query = nn.Linear(input_size + hidden_size, key_size)
        self.controller = nn.GRUCell(input_size + self.value_size, hidden_size)
        self.slots, self.top_k, self.read = slots, top_k, read

    def forward(
        self, xs: Float[Tensor, "T B N D"], store: Float[Tensor, "B S W"] | None = None
    ) -> Float[Tensor, "T B N H"]:
        """Returns the outputs of an episode.

        Args:
            xs: inputs.
            store: rows [key | value] of a full buffer, the oldest first; None: an empty buffer.
        """
        _, batch, n, _ = xs.shape
        size = self.slots // n * n  # the n members write together
        slot, filled = 0, 0 if store is None else size
        if store is None:
            store = xs.new_zeros(batch, size, self.key.out_features + self.value_size)
        h = xs.new_zeros(batch, n, self.controller.hidden_size)
        ys: list[Tensor] = []
        for t, x in enumerate(xs):
            if t:  # write the row of the previous step
                store = store.clone()
                store[:, slot : slot + n] = self._row(xs[t - 1], h)
                slot, filled = (slot + n) % size, min(filled + n, size)
            h = self._step(x, h, store, filled)
            ys.append(h)
        return torch.stack(ys)

    def _row(self, x: Tensor, h: Tensor) -> Tensor:
        content = torch.cat([x, h], -1)
        return torch.cat([self.key(content), content[..., : self.value_size]], -1)

    def _step(self, x: Tensor, h: Tensor, store: Tensor, filled: int) -> Tensor:
        m = x.new_zeros(*x.shape[:2], self.value_size)
        if filled:
            query = self.query(torch.cat([x, h], -1)) * self.key.out_features**-0.5
            scores, values = self.read(query, store, filled, self.top_k)
            m = (scores.softmax(-1).unsqueeze(-2) @ values).squeeze(-2)
        inputs = torch.cat([x, m], -1)
        return self.controller(inputs.flatten(0, 1), h.flatten(0, 1)).view_as(h)
