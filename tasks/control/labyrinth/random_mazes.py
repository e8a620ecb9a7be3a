"""Random mazes, a batch at a time: spanning trees of a grid of rooms, with some walls opened to loops.

Shapes: B maze, R rooms in all, W inner walls between two rooms, G rows and columns of cells.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.nn.functional import one_hot


class RandomMazes(NamedTuple):
    """A batch of mazes on a grid of cells, which are numbered row by row.

    Args:
        walls: the cells that are walls.
        dead_ends: the cells of two rooms with a single door.
        start: the cell of another room.
    """

    walls: Bool[Tensor, "B GG"]
    dead_ends: Int[Tensor, "B 2"]
    start: Int[Tensor, " B"]


class Grid(NamedTuple):
    """Rooms and the walls between them.

    Args:
        rooms: the cell of each room.
        walls: the cell of each wall between two rooms.
        sides: the two rooms of each wall.
    """

    rooms: Int[Tensor, " R"]
    walls: Int[Tensor, " W"]
    sides: Int[Tensor, "W 2"]


@lru_cache(maxsize=16)
def build_grid(side: int, device: torch.device) -> Grid:
    """The grid of side x side rooms, which stand at odd rows and columns of 2 side + 1 cells."""
    width = 2 * side + 1
    rooms = [(2 * i + 1) * width + 2 * j + 1 for i in range(side) for j in range(side)]
    right = [(r, r + 1, rooms[r] + 1) for r in range(side**2) if (r + 1) % side]
    below = [(r, r + side, rooms[r] + width) for r in range(side * (side - 1))]
    first, second, walls = zip(*right, *below, strict=True)
    table = torch.tensor([first, second, walls], device=device)
    return Grid(torch.tensor(rooms, device=device), table[2], table[:2].T)


def random_mazes(batch: int, side: int, loops: float, rng: torch.Generator) -> RandomMazes:
    """Random mazes of side x side rooms, by Prim's algorithm with random weights of the walls.

    Every room is reached from every other. Walls that are left are opened with a probability, other than those of the
    two dead ends, so that no way leads through a dead end.

    Args:
        batch: B.
        side: rooms in a row and in a column, at least 2.
        loops: probability that a wall which is left is opened.
        rng: the generator; the mazes are on its device.
    """
    grid, width = build_grid(side, rng.device), 2 * side + 1
    weight = torch.rand(batch, len(grid.walls), generator=rng, device=rng.device)
    reached = torch.zeros(batch, side**2, dtype=torch.bool, device=rng.device)
    reached[:, 0] = True
    opened = torch.zeros_like(weight, dtype=torch.bool)
    for _ in range(side**2 - 1):
        frontier = reached[:, grid.sides[:, 0]] ^ reached[:, grid.sides[:, 1]]
        chosen = weight.masked_fill(~frontier, torch.inf).argmin(-1)
        opened.scatter_(1, chosen.unsqueeze(1), True)
        reached.scatter_(1, grid.sides[chosen], True)
    incidence = one_hot(grid.sides, side**2).sum(1)  # (W, R)
    doors = (opened.unsqueeze(-1) & incidence.bool()).sum(1)  # (B, R)
    key = torch.rand(doors.shape, generator=rng, device=rng.device)
    ends = key.masked_fill(doors != 1, -1).topk(2, dim=-1).indices  # a tree has two leaves at least
    is_end = one_hot(ends, side**2).bool().any(1)
    start = key.masked_fill(is_end, -1).argmax(-1)
    beside_end = is_end[:, grid.sides].any(-1)  # (B, W)
    drawn = torch.rand(weight.shape, generator=rng, device=rng.device) < loops
    opened = opened | (drawn & ~beside_end)
    walls = torch.ones(batch, width**2, dtype=torch.bool, device=rng.device)
    walls[:, grid.rooms] = False
    walls[:, grid.walls] = ~opened
    return RandomMazes(walls, grid.rooms[ends], grid.rooms[start])
