"""A maze with a goal that cannot be seen: find it by chance, remember where, and come back."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.control.maze_tables import MazeTables, build_maze_tables, distances
from tasks.task import Discrete, Path, Step, Task, check_integer_action, check_positive

WALLS, ACTION, REWARD, TIME, ONE = slice(0, 9), slice(9, 13), 14, 15, 16  # places in an observation


class MazeState(NamedTuple):
    """Cells are the numbers of free cells. All that is random in an episode is here from its start, so that the same
    actions make the same episode again."""

    cell: Int[Tensor, " B"]
    goal: Int[Tensor, " B"]
    respawn_cells: Int[Tensor, "B T"]  # where one is put who reaches the goal in that step
    total: Float[Tensor, " B"]  # reward so far
    t: Int[Tensor, " B"]  # actions made


@dataclass(frozen=True)
class Maze(Task):
    """A grid with walls around it and a pillar at every even row and column, but for the centre, where one starts.

    One of the other free cells, all alike, is the goal of an episode; it cannot be seen. Who reaches it is paid 10 and
    put on a random free cell. To run into a wall costs 0.1 and moves nothing. Actions are integers (B,): up, right,
    down, left. Episodes terminate after `steps` steps, so that nothing is expected of the time beyond.

    The goal is never where one starts or lands (the sources leave it open), so that it is always reached by a move.

    Observations (B, 17): the 3 x 3 cells around, row by row, 1 for a wall; the last action, one-hot, if it is told, and
    else four zeros; a zero; the last reward; the time; a one.

    Scores: `total_reward` of the episode, at its end; `goal` and `bump` of each step, 1 or 0.

    `Maze.plasticity()` is that of Miconi et al. 2018 (arXiv:1804.02464), on which Munkhdalai et al. 2019 build;
    `Maze.backpropamine()` that of Miconi et al. 2019 (arXiv:2002.10585).

    Args:
        steps: in an episode.
        size: rows and columns, with the walls around; odd.
        tell_action: whether the last action is in the observation.
        relative_time: the time is t / steps, not t.
    """

    steps: int = 250
    size: int = 9
    tell_action: bool = False
    relative_time: bool = False

    score: ClassVar[str] = "total_reward"
    better: ClassVar[str] = "higher"
    GOAL_REWARD: ClassVar[float] = 10.0
    WALL_PENALTY: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if self.size < 5 or self.size % 2 == 0:
            raise ValueError(f"size={self.size}, want an odd number from 5 on: pillars stand at even rows and columns")

    @classmethod
    def plasticity(cls, *, dtype: torch.dtype = torch.float32) -> "Maze":
        """The setting of 2018: 250 steps, and the number of the step is seen as it is."""
        return cls(dtype=dtype)

    @classmethod
    def backpropamine(cls, *, dtype: torch.dtype = torch.float32) -> "Maze":
        """The setting of 2019: 200 steps, the last action is seen, and the time as a share of the episode."""
        return cls(steps=200, tell_action=True, relative_time=True, dtype=dtype)

    @property
    def obs_size(self) -> int:
        return ONE + 1

    @property
    def action_space(self) -> Discrete:
        return Discrete(4)

    def _grid(self, device: torch.device) -> MazeTables:
        return build_maze_tables(self.size, device)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[MazeState, Step]:
        grid = self._grid(rng.device)
        start = torch.full((batch,), grid.centre, device=rng.device)
        goal = _other_than(start, grid, rng)
        landings = _other_than(goal.unsqueeze(-1).expand(-1, self.steps), grid, rng)
        nothing = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        state = MazeState(start, goal, landings, nothing, torch.zeros_like(start))
        unknown = torch.full_like(nothing, torch.nan)
        return state, self._make_step(state, None, nothing, {"goal": unknown, "bump": unknown})

    def step(self, state: MazeState, action: Tensor, rng: torch.Generator) -> tuple[MazeState, Step]:
        check_integer_action(self, action)
        state, reached, bumped = self._transition(state, action)
        scores = {"goal": reached.to(self.dtype), "bump": bumped.to(self.dtype)}
        reward = self.GOAL_REWARD * scores["goal"] - self.WALL_PENALTY * scores["bump"]
        state = state._replace(total=state.total + reward)
        return state, self._make_step(state, action, reward, scores)

    def _transition(self, state: MazeState, action: Tensor) -> tuple[MazeState, Tensor, Tensor]:
        """And whether the goal was reached, or a wall was in the way."""
        at = self._grid(action.device).next_cell[state.cell, action]
        reached, bumped = at == state.goal, at == state.cell
        landing = state.respawn_cells.gather(1, state.t.clamp(max=self.steps - 1).unsqueeze(1)).squeeze(1)
        return state._replace(cell=torch.where(reached, landing, at), t=state.t + 1), reached, bumped

    def _make_step(self, state: MazeState, action: Tensor | None, reward: Tensor, scores: dict[str, Tensor]) -> Step:
        obs = _observation_table(self.size, self.dtype, state.cell.device).index_select(0, state.cell)
        if self.tell_action and action is not None:
            obs[:, ACTION] = one_hot(action, 4).to(self.dtype)
        obs[:, REWARD] = reward
        obs[:, TIME] = state.t / self.steps if self.relative_time else state.t
        last = state.t >= self.steps
        scores = {"total_reward": torch.where(last, state.total, torch.nan), **scores}
        return Step(obs, reward, last, torch.zeros_like(last), scores)

    def path(self, opened: MazeState, action: Int[Tensor, "T B"]) -> Path:
        grid = self._grid(action.device)
        cells, reached, state = [opened.cell], [], opened
        for given in action:
            state, hit, _ = self._transition(state, given)
            cells.append(state.cell)
            reached.append(hit)
        return Path(grid.walls, grid.positions[torch.stack(cells)], grid.positions[opened.goal], torch.stack(reached))

    def references(self) -> dict[str, dict[str, float]]:
        """Expectations, exact: of a random walk, and of one who knows the goal and takes the shortest way to it."""
        grid = self._grid(torch.device("cpu"))
        cells = len(grid.positions)
        to = distances(grid)
        nearer = (to[grid.next_cell] < to.unsqueeze(1)).permute(2, 0, 1).double()  # (goal, cell, action)
        ways = {
            "random walk": torch.full((cells, cells, 4), 0.25, dtype=torch.float64),
            "knows the goal": nearer / nearer.sum(-1, keepdim=True).clamp(min=1),
        }
        lines: dict[str, dict[str, float]] = {"total_reward": {}, "goal": {}, "bump": {}}
        for name, way in ways.items():
            goals, bumps = expected_counts(grid, way, self.steps)
            lines["total_reward"][name] = self.GOAL_REWARD * goals - self.WALL_PENALTY * bumps
            lines["goal"][name], lines["bump"][name] = goals / self.steps, bumps / self.steps
        return lines


def expected_counts(grid: MazeTables, way: Float[Tensor, "C C 4"], steps: int) -> tuple[float, float]:
    """Goals reached and walls run into in an episode, by who takes each action with the probability way[goal, cell].

    The chance to be in each cell is carried from step to step, for all goals at once.
    """
    cells = len(grid.positions)
    alone = torch.arange(cells)
    goals = alone[alone != grid.centre]
    way = way[goals]  # (G, C, 4)
    bump = (way * (grid.next_cell == alone.unsqueeze(-1))).sum(-1)  # (G, C)
    move = torch.einsum("gca,cad->gcd", way, one_hot(grid.next_cell, cells).to(way))
    index = goals.view(-1, 1, 1).expand(-1, cells, 1)
    reach = move.gather(2, index)  # (G, C, 1)
    landing = (alone != goals.unsqueeze(-1)).to(way).unsqueeze(1) / (cells - 1)
    move = move.scatter(2, index, 0) + reach * landing
    at = one_hot(torch.tensor(grid.centre), cells).to(way).expand(len(goals), 1, -1)  # (G, 1, C)
    reached = bumped = 0.0
    for _ in range(steps):
        reached += (at @ reach).mean().item()
        bumped += (at @ bump.unsqueeze(-1)).mean().item()
        at = at @ move
    return reached, bumped


def _other_than(cell: Tensor, grid: MazeTables, rng: torch.Generator) -> Tensor:
    """A free cell, but not this one."""
    drawn = torch.randint(len(grid.positions) - 1, cell.shape, generator=rng, device=rng.device)
    return drawn + (drawn >= cell)


@lru_cache(maxsize=16)
def _observation_table(size: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "C O"]:
    """What is seen in each cell, without action, reward and time."""
    view = build_maze_tables(size, device).local_walls.to(dtype)
    seen = view.new_zeros(len(view), ONE + 1)
    seen[:, WALLS], seen[:, ONE] = view, 1
    return seen
