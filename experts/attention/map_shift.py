"""Shift of a map, so that what is around an agent stays around it when it moves."""

import torch
from jaxtyping import Float
from torch import Tensor


def shift_map(cells: Float[Tensor, "B N S S C"], move: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N S S C"]:
    """The map against a move: new[i, j] = old[i + rows, j + columns], and zeros from beyond its edges.

    Args:
        cells: the map by row and column.
        move: whole numbers, rows and columns.

    Source: Parisotto and Salakhutdinov 2017 (arXiv:1702.08360), "CounterTransform" of the ego-centric neural map.
    """
    size = cells.shape[2]
    sources = move.long().unsqueeze(-1) + torch.arange(size, device=cells.device)  # (B, N, 2, S)
    row_inside, column_inside = ((sources >= 0) & (sources < size)).unbind(2)
    row, column = sources.clamp(0, size - 1).unbind(2)
    index = (row.unsqueeze(-1) * size + column.unsqueeze(-2)).flatten(2)  # (B, N, S * S)
    moved = cells.flatten(2, 3).gather(2, index.unsqueeze(-1).expand(-1, -1, -1, cells.shape[-1]))
    inside = row_inside.unsqueeze(-1) & column_inside.unsqueeze(-2)  # (B, N, S, S)
    return torch.where(inside.unsqueeze(-1), moved.view_as(cells), 0)
