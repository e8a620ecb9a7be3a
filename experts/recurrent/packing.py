"""Sequences split at resets and packed, so that a recurrent function processes all pieces in parallel.

Shapes: T step, R row (sequence of the batch), P piece (steps between two resets).
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class PackedRows(NamedTuple):
    """Pieces in the order of a `PackedSequence`: longest piece first; the first step of all, then the second, ...

    Args:
        sorted_indices: the steps in that order, as indices r * T + t.
        unsorted_indices: the position of each index r * T + t in that order.
        batch_sizes: number of pieces that have each step, on the host.
        row_index: the row of each piece.
        continues: whether a piece continues from the previous state, and not from an initial one.
        last_piece: the last piece of each row.
    """

    sorted_indices: Int[Tensor, " TR"]
    unsorted_indices: Int[Tensor, " TR"]
    batch_sizes: Int[Tensor, " longest"]
    row_index: Int[Tensor, " P"]
    continues: Bool[Tensor, " P"]
    last_piece: Int[Tensor, " R"]


def pack_at_resets(reset: Bool[Tensor, "T R"]) -> PackedRows:
    """Splits rows before the steps at which `reset` is set. Synchronizes with the device once."""
    device, reset = reset.device, reset.cpu().T  # (R, T)
    rows, steps = reset.shape
    starts = reset.clone()
    starts[:, 0] = True
    starts = starts.flatten()
    first = starts.nonzero().squeeze(-1)  # (P,) index r * T + t of the first step of each piece
    length = first.diff(append=first.new_tensor([rows * steps]))
    longest = length.argsort(descending=True, stable=True)
    rank = torch.empty_like(longest)
    rank[longest] = torch.arange(len(longest))
    piece = starts.cumsum(0) - 1  # (R * T,) of each step
    step = torch.arange(rows * steps) - first[piece]
    order = (step * len(first) + rank[piece]).argsort()
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    sizes = torch.bincount(step)
    row, continues = first[longest] // steps, ~reset.flatten()[first[longest]]
    last = rank[piece[steps - 1 :: steps]]
    return PackedRows(
        order.to(device), inverse.to(device), sizes, row.to(device), continues.to(device), last.to(device)
    )
