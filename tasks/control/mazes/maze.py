"""Grid maze with an invisible goal: find it by exploration, memorize its location, and return to it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.control.mazes.maze_tables import MazeTables, build_maze_tables, distances
from tasks.task import Discrete, Path, Step, Task, check_integer_action, check_positive

ACTIONS = 4
WALLS, ACTION, REWARD, TIME, ONE = slice(0, 9), slice(9, 13), 14, 15, 16  # indices into an observation


class MazeState(NamedTuple):
    """State of the maze; cells are indices of free cells.

    All randomness of an episode is sampled at its start, so that the same actions give the same episode.

    Args:
        cell: the cell of the agent.
        goal: the cell of the goal.
        respawn_cells: the cell to which the agent moves if it reaches the goal in that step.
        total: the sum of rewards.
        t: the number of actions taken.
    """

    cell: Int[Tensor, " B"]
    goal: Int[Tensor, " B"]
    respawn_cells: Int[Tensor, "B T"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class Maze(Task):
    """Grid maze with an invisible goal, for meta-RL with plastic or memory-augmented networks.

    The grid has walls around it and a pillar at every even row and column, except at the center, where the agent
    starts. The goal of an episode is one of the other free cells, uniformly sampled, and is not observed. Reaching it
    pays 10 and moves the agent to a random free cell. Running into a wall costs 0.1 and leaves the agent in place.
    Actions are integers (B,): up, right, down, left. Episodes terminate after `steps` steps, without bootstrapping.

    The start and the respawn cells are never the goal (the sources leave this open), so that the goal is always reached
    by a move.

    Observations (B, 17): the 3 x 3 cells around the agent, row by row, 1 for a wall; the last action, one-hot, or four
    zeros without `observe_action`; a zero; the last reward; the time; a one.

    Scores: `episodic_return`, at the end of the episode; `goal_reached` and `wall_collision` of each step, 1 or 0.

    `Maze.plasticity()` is the setting of Miconi et al. 2018 (arXiv:1804.02464), also used by Munkhdalai et al. 2019;
    `Maze.backpropamine()` that of Miconi et al. 2019 (arXiv:2002.10585).

    Args:
        steps: the length of an episode.
        size: the number of rows and of columns, walls included; odd.
        observe_action: whether the last action is observed.
        relative_time: whether the observed time is t / steps instead of t.

    Raises:
        ValueError: `steps` below 1, or a `size` that is even or below 5.
    """

    steps: int = 250
    size: int = 9
    observe_action: bool = False
    relative_time: bool = False

    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"
    GOAL_REWARD: ClassVar[float] = 10.0
    WALL_PENALTY: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if self.size < 5 or self.size % 2 == 0:
            raise ValueError(f"size={self.size}, want an odd number from 5 on: pillars stand at even rows and columns")

    @classmethod
    def plasticity(cls, *, dtype: torch.dtype = torch.float32) -> "Maze":
        """The setting of Miconi et al. 2018: 250 steps; the step number is observed.

        Args:
            dtype: the dtype of observations and rewards.
        """
        return cls(dtype=dtype)

    @classmethod
    def backpropamine(cls, *, dtype: torch.dtype = torch.float32) -> "Maze":
        """The setting of Miconi et al. 2019: 200 steps; the last action and the relative time are observed.

        Args:
            dtype: the dtype of observations and rewards.
        """
        return cls(steps=200, observe_action=True, relative_time=True, dtype=dtype)

    @property
    def obs_size(self) -> int:
        return ONE + 1

    @property
    def action_space(self) -> Discrete:
        return Discrete(ACTIONS)

    def _tables(self, device: torch.device) -> MazeTables:
        return build_maze_tables(self.size, device)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[MazeState, Step]:
        tables = self._tables(rng.device)
        start = torch.full((batch,), tables.center, device=rng.device)
        goal = _sample_other_cell(start, tables, rng)
        respawn_cells = _sample_other_cell(goal.unsqueeze(-1).expand(-1, self.steps), tables, rng)
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        state = MazeState(start, goal, respawn_cells, zeros, torch.zeros_like(start))
        nan_score = torch.full_like(zeros, torch.nan)
        return state, self._make_step(state, None, zeros, {"goal_reached": nan_score, "wall_collision": nan_score})

    def step(self, state: MazeState, action: Tensor, rng: torch.Generator) -> tuple[MazeState, Step]:
        check_integer_action(self, action)
        state, reached, collided = self._transition(state, action)
        scores = {"goal_reached": reached.to(self.dtype), "wall_collision": collided.to(self.dtype)}
        reward = self.GOAL_REWARD * scores["goal_reached"] - self.WALL_PENALTY * scores["wall_collision"]
        state = state._replace(total=state.total + reward)
        return state, self._make_step(state, action, reward, scores)

    def _transition(self, state: MazeState, action: Tensor) -> tuple[MazeState, Tensor, Tensor]:
        """The next state, and masks of goals reached and of collisions with a wall."""
        next_cell = self._tables(action.device).next_cell.take(torch.add(action, state.cell, alpha=ACTIONS))
        reached, collided = next_cell == state.goal, next_cell == state.cell
        respawn = state.respawn_cells.gather(1, state.t.clamp(max=self.steps - 1).unsqueeze(1)).squeeze(1)
        return state._replace(cell=torch.where(reached, respawn, next_cell), t=state.t + 1), reached, collided

    def _make_step(self, state: MazeState, action: Tensor | None, reward: Tensor, scores: dict[str, Tensor]) -> Step:
        row = state.cell * (ACTIONS + 1) + (action if self.observe_action and action is not None else ACTIONS)
        obs = _observation_table(self.size, self.dtype, state.cell.device).index_select(0, row)
        obs[:, REWARD] = reward
        obs[:, TIME] = state.t / self.steps if self.relative_time else state.t
        done = state.t >= self.steps
        scores = {"episodic_return": torch.where(done, state.total, torch.nan), **scores}
        return Step(obs, reward, done, torch.zeros_like(done), scores)

    def path(self, initial: MazeState, action: Int[Tensor, "T B"]) -> Path:
        tables = self._tables(action.device)
        cells, reached, state = [initial.cell], [], initial
        for step_action in action:
            state, at_goal, _ = self._transition(state, step_action)
            cells.append(state.cell)
            reached.append(at_goal)
        positions, goals = tables.positions[torch.stack(cells)], tables.positions[initial.goal]
        return Path(tables.walls, positions, goals, torch.stack(reached))

    def references(self) -> dict[str, dict[str, float]]:
        """Exact expectations of a random walk, and of the shortest paths to a known goal."""
        tables = self._tables(torch.device("cpu"))
        cells = len(tables.positions)
        distance = distances(tables)
        nearer = (distance[tables.next_cell] < distance.unsqueeze(1)).permute(2, 0, 1).double()  # (goal, cell, action)
        policies = {
            "random walk": torch.full((cells, cells, 4), 0.25, dtype=torch.float64),
            "knows the goal": nearer / nearer.sum(-1, keepdim=True).clamp(min=1),
        }
        values: dict[str, dict[str, float]] = {"episodic_return": {}, "goal_reached": {}, "wall_collision": {}}
        for name, policy in policies.items():
            goals, collisions = expected_counts(tables, policy, self.steps)
            values["episodic_return"][name] = self.GOAL_REWARD * goals - self.WALL_PENALTY * collisions
            values["goal_reached"][name], values["wall_collision"][name] = goals / self.steps, collisions / self.steps
        return values


def expected_counts(tables: MazeTables, policy: Float[Tensor, "C C 4"], steps: int) -> tuple[float, float]:
    """Expected numbers of goals reached and of wall collisions in an episode.

    The distribution over cells is propagated from step to step, for all goals at once.

    Args:
        tables: the tables of the maze.
        policy: the probability of each action, given the goal and the cell.
        steps: the length of an episode.
    """
    cells = len(tables.positions)
    all_cells = torch.arange(cells)
    goals = all_cells[all_cells != tables.center]
    policy = policy[goals]  # (G, C, 4)
    collision = (policy * (tables.next_cell == all_cells.unsqueeze(-1))).sum(-1)  # (G, C)
    transition = torch.einsum("gca,cad->gcd", policy, one_hot(tables.next_cell, cells).to(policy))
    index = goals.view(-1, 1, 1).expand(-1, cells, 1)
    reach = transition.gather(2, index)  # (G, C, 1)
    respawn = (all_cells != goals.unsqueeze(-1)).to(policy).unsqueeze(1) / (cells - 1)
    transition = transition.scatter(2, index, 0) + reach * respawn
    occupancy = one_hot(torch.tensor(tables.center), cells).to(policy).expand(len(goals), 1, -1)  # (G, 1, C)
    reached = collided = 0.0
    for _ in range(steps):
        reached += (occupancy @ reach).mean().item()
        collided += (occupancy @ collision.unsqueeze(-1)).mean().item()
        occupancy = occupancy @ transition
    return reached, collided


def _sample_other_cell(cell: Tensor, tables: MazeTables, rng: torch.Generator) -> Tensor:
    """A uniformly sampled free cell other than the given one."""
    sampled = torch.randint(len(tables.positions) - 1, cell.shape, generator=rng, device=rng.device)
    return sampled + (sampled >= cell)


@lru_cache(maxsize=16)
def _observation_table(size: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "C5 O"]:
    """The observation of each cell after each action, and after none, without reward and time: row 5 cell + action."""
    walls = build_maze_tables(size, device).local_walls.to(dtype)
    table = walls.new_zeros(len(walls), ACTIONS + 1, ONE + 1)
    table[..., WALLS], table[..., ONE] = walls.unsqueeze(1), 1
    table[:, :ACTIONS, ACTION] = torch.eye(ACTIONS, dtype=dtype, device=device)
    return table.flatten(0, 1)
