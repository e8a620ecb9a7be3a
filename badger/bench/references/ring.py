"""The reference of episodic memory: a dense ring buffer, cloned at each step, in plain operations under autograd."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Read = Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]  # -> scores and values of the best rows


def dense_read(
    query: Float[Tensor, "B N K"], store: Float[Tensor, "B S W"], filled: int, top_k: int
) -> tuple[Float[Tensor, "B N k"], Float[Tensor, "B N k V"]]:
    """Scores of all rows that are filled, all of them under autograd. W = K + V."""
    size = query.shape[-1]
    scores, index = (query @ store[:, :filled, :size].mT).topk(min(top_k, filled), -1)  # of (B, N, filled)
    return scores, _picked(store, index)[..., size:]


def selected_read(
    query: Float[Tensor, "B N K"], store: Float[Tensor, "B S W"], filled: int, top_k: int
) -> tuple[Float[Tensor, "B N k"], Float[Tensor, "B N k V"]]:
    """The best rows are selected without gradient and scored again, so that autograd keeps no copy of the store."""
    size = query.shape[-1]
    with torch.no_grad():
        index = (query @ store[:, :filled, :size].mT).topk(min(top_k, filled), -1).indices
    keys, values = _picked(store, index).split([size, store.shape[-1] - size], -1)
    return (keys @ query.unsqueeze(-1)).squeeze(-1), values


def _picked(store: Tensor, index: Tensor) -> Tensor:
    """(B, S, W) at (B, N, k) -> (B, N, k, W). By index_select, which saves no rows; gather would."""
    first = torch.arange(0, store.shape[0] * store.shape[1], store.shape[1], device=store.device)
    flat = (index + first.view(-1, 1, 1)).flatten()
    return store.flatten(0, 1).index_select(0, flat).view(*index.shape, -1)


class DenseRing(nn.Module):
    """What `EpisodicMemory` with softmax of scaled dot products computes; its parameters have the same names.

    The rows that were never written are left out by a slice, not by a mask; the gates are torch's own GRU cell.

    Args:
        keep: what a row holds beside its key: "x" or "both" x and h.
        read: one of the two functions above.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        slots: int,
        top_k: int,
        key_size: int,
        keep: str = "both",
        read: Read = dense_read,
    ):
        super().__init__()
        self.value_size = {"x": input_size, "both": input_size + hidden_size}[keep]
        self.key = nn.Linear(input_size + hidden_size, key_size)
        self.query = nn.Linear(input_size + hidden_size, key_size)
        self.controller = nn.GRUCell(input_size + self.value_size, hidden_size)
        self.slots, self.top_k, self.read = slots, top_k, read

    def forward(
        self, xs: Float[Tensor, "T B N D"], store: Float[Tensor, "B S W"] | None = None
    ) -> Float[Tensor, "T B N H"]:
        """Outputs of an episode. store: rows [key | value] that fill the buffer, the oldest first; None: none."""
        _, batch, n, _ = xs.shape
        size = self.slots // n * n  # a window over n members moves by whole steps
        at, filled = 0, 0 if store is None else size
        if store is None:
            store = xs.new_zeros(batch, size, self.key.out_features + self.value_size)
        h = xs.new_zeros(batch, n, self.controller.hidden_size)
        ys: list[Tensor] = []
        for t, x in enumerate(xs):
            if t:  # the row of the step before
                store = store.clone()
                store[:, at : at + n] = self._row(xs[t - 1], h)
                at, filled = (at + n) % size, min(filled + n, size)
            h = self._step(x, h, store, filled)
            ys.append(h)
        return torch.stack(ys)

    def _row(self, x: Tensor, h: Tensor) -> Tensor:
        seen = torch.cat([x, h], -1)
        return torch.cat([self.key(seen), seen[..., : self.value_size]], -1)

    def _step(self, x: Tensor, h: Tensor, store: Tensor, filled: int) -> Tensor:
        m = x.new_zeros(*x.shape[:2], self.value_size)
        if filled:
            query = self.query(torch.cat([x, h], -1)) * self.key.out_features**-0.5
            scores, values = self.read(query, store, filled, self.top_k)
            m = (scores.softmax(-1).unsqueeze(-2) @ values).squeeze(-2)
        eaten = torch.cat([x, m], -1)
        return self.controller(eaten.flatten(0, 1), h.flatten(0, 1)).view_as(h)
