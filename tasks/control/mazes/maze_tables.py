"""Look-up tables of a grid maze, so that a step of a batch of mazes is a few gather operations.

Shapes: N rows and columns of the grid, C free cells, numbered row by row.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


class MazeTables(NamedTuple):
    """Tables of a grid maze by free cell.

    Args:
        walls: the cells of the grid that are walls.
        positions: row and column of each free cell.
        next_cell: the cell after each action; the cell itself where a wall blocks the move.
        local_walls: the walls among the 3 x 3 cells around it, row by row.
    """

    walls: Bool[Tensor, "N N"]
    positions: Int[Tensor, "C 2"]
    next_cell: Int[Tensor, "C 4"]
    local_walls: Bool[Tensor, "C 9"]

    @property
    def center(self) -> int:
        """The number of the cell in the middle; the grid is point-symmetric."""
        return len(self.positions) // 2


@lru_cache(maxsize=16)
def build_maze_tables(size: int, device: torch.device) -> MazeTables:
    """Tables of the maze of Miconi et al. 2018: outer walls, pillars at even rows and columns, a free center."""
    walls = np.ones((size, size), dtype=bool)
    walls[1:-1, 1:-1] = False
    walls[::2, ::2] = True
    walls[size // 2, size // 2] = False
    positions = np.argwhere(~walls)
    cell_index = np.full_like(walls, -1, dtype=int)  # -1: a wall
    cell_index[~walls] = np.arange(len(positions))
    neighbors = positions[:, None] + np.array(MOVES)  # (C, 4, 2)
    neighbor_index = cell_index[neighbors[..., 0], neighbors[..., 1]]
    around = positions[:, None] + np.argwhere(np.ones((3, 3))) - 1  # (C, 9, 2)
    next_cell = np.where(neighbor_index < 0, np.arange(len(positions))[:, None], neighbor_index)
    local_walls = walls[around[..., 0], around[..., 1]]
    return MazeTables(*(torch.tensor(table, device=device) for table in (walls, positions, next_cell, local_walls)))


def distances(tables: MazeTables) -> Int[Tensor, "C C"]:
    """Lengths of the shortest paths between all pairs of cells."""
    cells = len(tables.positions)
    steps = torch.where(torch.eye(cells, dtype=torch.bool), 0, cells)  # every path is shorter than the number of cells
    while True:
        relaxed = torch.minimum(steps, 1 + steps[tables.next_cell].amin(1))  # over the four neighbors
        if torch.equal(relaxed, steps):
            return steps
        steps = relaxed
