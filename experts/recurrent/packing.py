"""Rows cut into pieces where they begin anew, packed so that a recurrent function takes all pieces side by side.

Shapes: T step, R row, P piece.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class PackedRows(NamedTuple):
    """Longest first, as `torch.gru` and its kin want packed sequences: the first step of all, then the second, ...

    sorted_indices: steps in that order, as places r * T + t. unsorted_indices: where each place is in that order. batch_sizes: for each step, how
    many pieces are as long, on the host. row_index: of a piece. continues: it goes on from the state before. last_piece: each row's last
    piece.
    """

    sorted_indices: Int[Tensor, " TR"]
    unsorted_indices: Int[Tensor, " TR"]
    batch_sizes: Int[Tensor, " longest"]
    row_index: Int[Tensor, " P"]
    continues: Bool[Tensor, " P"]
    last_piece: Int[Tensor, " R"]


def pack_at_resets(reset: Bool[Tensor, "T R"]) -> PackedRows:
    """Of rows that begin anew before the steps that are set. The device is waited for, once."""
    device, reset = reset.device, reset.cpu().T  # (R, T)
    rows, steps = reset.shape
    starts = reset.clone()
    starts[:, 0] = True
    starts = starts.flatten()
    begun = starts.nonzero().squeeze(-1)  # (P,) places
    length = begun.diff(append=begun.new_tensor([rows * steps]))
    longest = length.argsort(descending=True, stable=True)
    rank = torch.empty_like(longest)
    rank[longest] = torch.arange(len(longest))
    piece = starts.cumsum(0) - 1  # of each place
    step = torch.arange(rows * steps) - begun[piece]
    order = (step * len(begun) + rank[piece]).argsort()
    back = torch.empty_like(order)
    back[order] = torch.arange(len(order))
    sizes = torch.bincount(step)
    row, on = begun[longest] // steps, ~reset.flatten()[begun[longest]]
    last = rank[piece[steps - 1 :: steps]]
    return PackedRows(order.to(device), back.to(device), sizes, row.to(device), on.to(device), last.to(device))
