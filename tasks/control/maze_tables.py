"""The grid of the maze as tables, so that a step of any number of mazes is a few look-ups.

Shapes: N rows and columns of the grid, C free cell, which has a number row by row.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left


class MazeTables(NamedTuple):
    """walls: of the grid. positions: row and column of a free cell. next_cell: where a move leads, to the cell itself where
    there is a wall. local_walls: the walls around it, row by row."""

    walls: Bool[Tensor, "N N"]
    positions: Int[Tensor, "C 2"]
    next_cell: Int[Tensor, "C 4"]
    local_walls: Bool[Tensor, "C 9"]

    @property
    def centre(self) -> int:
        """The cell in the middle, as many before it as behind: the grid is the same upside down."""
        return len(self.positions) // 2


@lru_cache(maxsize=16)
def build_maze_tables(size: int, device: torch.device) -> MazeTables:
    """Walls around, and a pillar where row and column are even; the centre is free (Miconi et al. 2018)."""
    walls = np.ones((size, size), dtype=bool)
    walls[1:-1, 1:-1] = False
    walls[::2, ::2] = True
    walls[size // 2, size // 2] = False
    places = np.argwhere(~walls)
    number = np.full_like(walls, -1, dtype=int)
    number[~walls] = np.arange(len(places))
    near = places[:, None] + np.array(MOVES)  # (C, 4, 2)
    there = number[near[..., 0], near[..., 1]]
    around = places[:, None] + np.argwhere(np.ones((3, 3))) - 1  # (C, 9, 2)
    ahead = np.where(there < 0, np.arange(len(places))[:, None], there)
    view = walls[around[..., 0], around[..., 1]]
    return MazeTables(*(torch.tensor(table, device=device) for table in (walls, places, ahead, view)))


def distances(grid: MazeTables) -> Int[Tensor, "C C"]:
    """Moves that the shortest way between two cells takes."""
    cells = len(grid.positions)
    steps = torch.where(torch.eye(cells, dtype=torch.bool), 0, cells)  # no way is as long as there are cells
    while True:
        nearer = torch.minimum(steps, 1 + steps[grid.next_cell].amin(1))  # over the four neighbours
        if torch.equal(nearer, steps):
            return steps
        steps = nearer
