"""Labyrinth: a goal of the right color must be found in a random maze, of which one sees the cells around."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.control.labyrinth.random_mazes import random_mazes
from tasks.control.maze_tables import MOVES
from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action

COLORS = 2  # red, blue
SAMPLED_MAZES = 256  # over which the chance level is a mean


class LabyrinthState(NamedTuple):
    """State of the labyrinth; cells are numbered row by row.

    Args:
        walls: the cells that are walls.
        goals: the cells of the red and of the blue goal.
        start: the cell in which the indicator is seen.
        cell: the cell of the agent.
        cue: the goal that pays, 0 red, 1 blue.
        total: the sum of rewards.
        t: the number of actions taken.
    """

    walls: Bool[Tensor, "B GG"]
    goals: Int[Tensor, "B 2"]
    start: Int[Tensor, " B"]
    cell: Int[Tensor, " B"]
    cue: Int[Tensor, " B"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class Labyrinth(Task):
    """Goal search with an indicator in random mazes: which of two goals pays is seen at the start alone.

    After the 2D goal search of Parisotto and Salakhutdinov 2017. Each episode has a new maze of `side` x `side` rooms
    (`tasks.control.labyrinth.random_mazes`), a red and a blue goal in two of its dead ends, and a start elsewhere. The
    goal of the indicated color pays 1, the other one -1; either ends the episode. Each step costs 0.01. An episode of
    4 side^2 - 4 steps is truncated: as long as a depth-first search through a maze without loops takes at most.

    Actions are integers (B,): up, right, down, left. A move into a wall has no effect.

    Observations (B, 31): the 3 x 3 cells around the agent, row by row, each one-hot, wall, red, blue, or zeros where it
    is free; the indicator, red or blue, one-hot, zeros outside of the start; the part named "position", row and column
    from 0 to 1.

    Scores, at the end of the episode: `success`, 1 if the right goal was reached; `episodic_return`.

    Args:
        steps: the maximum length of an episode; derived, 4 side^2 - 4.
        side: rooms in a row and in a column.
        loops: probability that a wall between two rooms, none of them a goal's, is opened besides those of a tree.

    Raises:
        ValueError: a side below 2, or a probability that is none.
    """

    steps: int = field(init=False, repr=False)
    side: int = 4
    loops: float = 0.1

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "success"
    better: ClassVar[str] = "higher"
    STEP_PENALTY: ClassVar[float] = 0.01

    def __post_init__(self) -> None:
        if self.side < 2:
            raise ValueError(f"side={self.side}, want at least 2 rooms in a row")
        if not 0 <= self.loops <= 1:
            raise ValueError(f"loops={self.loops}, want a probability from 0 to 1")
        object.__setattr__(self, "steps", 4 * self.side**2 - 4)

    @property
    def width(self) -> int:
        """Rows and columns of cells, with the walls around."""
        return 2 * self.side + 1

    @property
    def obs_size(self) -> int:
        return sum(part.size for part in self.obs_parts)

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (
            ObsPart("one_hot", (3, 3, 1 + COLORS), "view"),
            ObsPart("one_hot", (COLORS,), "indicator"),
            ObsPart("vector", (2,), "position"),
        )

    @property
    def action_space(self) -> Discrete:
        return Discrete(4)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[LabyrinthState, Step]:
        mazes = random_mazes(batch, self.side, self.loops, rng)
        cue = torch.randint(COLORS, (batch,), generator=rng, device=rng.device)
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        t = torch.zeros_like(cue)
        state = LabyrinthState(mazes.walls, mazes.dead_ends, mazes.start, mazes.start, cue, zeros, t)
        scores = dict.fromkeys(("success", "episodic_return"), torch.full_like(zeros, torch.nan))
        return state, Step(self._observe(state), zeros, t > 0, t > 0, scores)

    def step(self, state: LabyrinthState, action: Tensor, rng: torch.Generator) -> tuple[LabyrinthState, Step]:
        check_integer_action(self, action)
        target = state.cell + _moves(self.width, action.device)[action]
        blocked = state.walls.gather(1, target.unsqueeze(1)).squeeze(1)
        cell = torch.where(blocked, state.cell, target)
        at = cell.unsqueeze(1) == state.goals
        ended = at.any(1)
        success = at.gather(1, state.cue.unsqueeze(1)).squeeze(1).to(self.dtype)
        reward = torch.where(ended, 2 * success - 1, 0) - self.STEP_PENALTY
        state = state._replace(cell=cell, total=state.total + reward, t=state.t + 1)
        truncated = (state.t >= self.steps) & ~ended
        scores = {"success": success, "episodic_return": state.total}
        scores = {name: torch.where(ended | truncated, score, torch.nan) for name, score in scores.items()}
        return state, Step(self._observe(state), reward, ended, truncated, scores)

    def _observe(self, state: LabyrinthState) -> Float[Tensor, "B O"]:
        around = state.cell.unsqueeze(1) + _around(self.width, state.cell.device)  # (B, 9)
        planes = [state.walls.gather(1, around), *(around == goal.unsqueeze(1) for goal in state.goals.unbind(1))]
        indicator = one_hot(state.cue, COLORS) * (state.cell == state.start).unsqueeze(1)
        position = torch.stack([state.cell // self.width, state.cell % self.width], -1) / (self.width - 1)
        parts = [torch.stack(planes, -1).flatten(1), indicator, position]
        return torch.cat([part.to(self.dtype) for part in parts], -1)

    def references(self) -> dict[str, dict[str, float]]:
        """Success of a depth-first search for the indicated color in a maze without loops, and of random moves.

        The latter is exact for each of some mazes, of which it is the mean.
        """
        state, _ = self.reset(SAMPLED_MAZES, torch.Generator().manual_seed(0))
        cells = torch.arange(self.width**2)
        target = (cells.unsqueeze(1) + _moves(self.width, cells.device)).clamp(0, len(cells) - 1)  # (GG, 4)
        target = torch.where(state.walls[:, target], cells.unsqueeze(1), target)  # (B, GG, 4)
        occupancy = one_hot(state.start, len(cells)).double()
        reached = torch.zeros(SAMPLED_MAZES, COLORS, dtype=torch.float64)
        for _ in range(self.steps):
            share = (occupancy / 4).unsqueeze(-1).expand(-1, -1, 4)
            occupancy = torch.zeros_like(occupancy).scatter_add(1, target.flatten(1), share.flatten(1))
            reached += occupancy.gather(1, state.goals)
            occupancy = occupancy.scatter(1, state.goals, 0)
        return {"success": {"optimum": 1.0, "chance": reached.mean().item()}}


@lru_cache(maxsize=16)
def _moves(width: int, device: torch.device) -> Int[Tensor, " 4"]:
    return torch.tensor([row * width + column for row, column in MOVES], device=device)


@lru_cache(maxsize=16)
def _around(width: int, device: torch.device) -> Int[Tensor, " 9"]:
    return torch.tensor([row * width + column for row in (-1, 0, 1) for column in (-1, 0, 1)], device=device)
