"""Four rooms: a goal in a grid of four rooms with a door between each two of them."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import networkx as nx
import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from tasks.control.mazes.maze_tables import MOVES
from tasks.observations import ObsPart
from tasks.task import Discrete, Path, Step, Task, check_integer_action, check_positive


class FourRoomsState(NamedTuple):
    """State of a walk; free cells are numbered row by row.

    Args:
        cell: where it is.
        start: where it began.
        goal: where it should end.
        t: the number of actions taken.
    """

    cell: Int[Tensor, " B"]
    start: Int[Tensor, " B"]
    goal: Int[Tensor, " B"]
    t: Int[Tensor, " B"]


class FourRoomsTables(NamedTuple):
    """Tables by free cell.

    Args:
        walls: the cells of the grid that are walls.
        positions: row and column.
        next_cell: the cell after each action; the cell itself where a wall blocks the move.
        distance: steps of the shortest path between each two cells.
    """

    walls: Bool[Tensor, "size size"]
    positions: Int[Tensor, "C 2"]
    next_cell: Int[Tensor, "C 4"]
    distance: Int[Tensor, "C C"]


@dataclass(frozen=True)
class FourRooms(Task):
    """Goal search in a grid of four rooms: start and goal are random cells, both observed.

    The grid has `size` x `size` cells with the walls around; walls in its middle row and column leave a door in the
    middle of each of their four parts. Actions are integers (B,): up, right, down, left. A move into a wall has no
    effect. The goal pays 1 and ends the episode, which is otherwise truncated after `steps` steps.

    Observations (B, 4): row and column of the position, and of the goal, from 0 to 1.

    Scores, at the end: `reached`; `path_ratio`, steps over those of the shortest path, of episodes that reach the goal.

    Args:
        steps: the longest episode.
        size: rows and columns, an odd number of at least 7.

    Raises:
        ValueError: `steps` below 1, or a size that is even or below 7.

    Source: after Sutton, Precup and Singh 1999, "Between MDPs and semi-MDPs", section 3.
    """

    steps: int = 60
    size: int = 11

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "reached"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if self.size < 7 or self.size % 2 == 0:
            raise ValueError(f"size={self.size}, want an odd number of at least 7, so that a room has two cells a side")

    @property
    def obs_size(self) -> int:
        return 4

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("vector", (2,), "position"), ObsPart("vector", (2,), "goal"))

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(MOVES))

    def tables(self, device: torch.device) -> FourRoomsTables:
        """The grid, and the lengths of all shortest paths.

        Args:
            device: of the tables.
        """
        return _build_tables(self.size, device)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[FourRoomsState, Step]:
        cells = len(self.tables(rng.device).positions)
        start = torch.randint(cells, (batch,), generator=rng, device=rng.device)
        other = torch.randint(cells - 1, (batch,), generator=rng, device=rng.device)
        state = FourRoomsState(start, start, other + (other >= start), torch.zeros_like(start))
        return state, self._make_step(state)

    def step(self, state: FourRoomsState, action: Tensor, rng: torch.Generator) -> tuple[FourRoomsState, Step]:
        check_integer_action(self, action)
        cell = self.tables(action.device).next_cell[state.cell, action]
        state = state._replace(cell=cell, t=state.t + 1)
        return state, self._make_step(state)

    def _make_step(self, state: FourRoomsState) -> Step:
        tables = self.tables(state.cell.device)
        reached = state.cell == state.goal
        truncated = (state.t >= self.steps) & ~reached
        shortest = tables.distance[state.start, state.goal]
        ratio = torch.where(reached, state.t.to(self.dtype) / shortest, torch.nan)
        scores = {"reached": torch.where(reached | truncated, reached.to(self.dtype), torch.nan), "path_ratio": ratio}
        places = torch.stack([state.cell, state.goal], -1)
        obs = tables.positions[places].flatten(1).to(self.dtype) / (self.size - 1)
        return Step(obs, reached.to(self.dtype), reached, truncated, scores)

    def path(self, initial: FourRoomsState, action: Tensor) -> Path:
        tables = self.tables(action.device)
        cells = [initial.cell]
        for step_action in action:
            cells.append(tables.next_cell[cells[-1], step_action])
        positions = tables.positions[torch.stack(cells)]  # (T + 1, B, 2)
        goals = tables.positions[initial.goal]
        return Path(tables.walls, positions, goals, (positions[1:] == goals).all(-1))

    def references(self) -> dict[str, dict[str, float]]:
        """Of shortest paths; of random moves the exact chance to reach the goal, over all starts and goals."""
        tables = self.tables(torch.device("cpu"))
        return {"reached": {"optimum": 1.0, "chance": self._chance(tables)}, "path_ratio": {"optimum": 1.0}}

    def _chance(self, tables: FourRoomsTables) -> float:
        cells = len(tables.positions)
        moves = torch.zeros(cells, cells, dtype=torch.float64)
        for column in tables.next_cell.T:
            moves[torch.arange(cells), column] += 1 / len(MOVES)
        missed = 1 - torch.eye(cells, dtype=torch.float64)  # from each cell, each goal
        for _ in range(self.steps):
            missed = (moves @ missed).fill_diagonal_(0)
        return 1 - float(missed.sum()) / (cells * (cells - 1))


@lru_cache(maxsize=16)
def _build_tables(size: int, device: torch.device) -> FourRoomsTables:
    walls = np.zeros((size, size), dtype=bool)
    half, door = size // 2, (size // 2) // 2 + (size // 2) % 2
    walls[[0, half, -1]] = walls[:, [0, half, -1]] = True
    for place in (door, size - 1 - door):
        walls[half, place] = walls[place, half] = False
    positions = np.argwhere(~walls)
    index = {tuple(position): i for i, position in enumerate(positions.tolist())}
    next_cell = np.array([[index.get((r + dr, c + dc), i) for dr, dc in MOVES] for (r, c), i in index.items()])
    graph = nx.Graph((cell, after) for cell, row in enumerate(next_cell.tolist()) for after in row)
    lengths = dict(nx.all_pairs_shortest_path_length(graph))
    distance = np.array([[lengths[a][b] for b in range(len(index))] for a in range(len(index))])
    return FourRoomsTables(*(torch.as_tensor(table).to(device) for table in (walls, positions, next_cell, distance)))
