"""Passive T-maze: a cue at the start of a corridor gives the direction of a turn many steps later."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from tasks.task import Discrete, Path, Step, Task, check_integer_action, check_positive

MOVES = ((1, 0, -1, 0), (0, 1, 0, -1))  # right, up, left, down: along the corridor; sideways


class TMazeState(NamedTuple):
    """State of the T-maze.

    Args:
        x: the position along the corridor.
        cue: the arm with the reward, 1 up, -1 down.
        t: the number of actions taken.
    """

    x: Int[Tensor, " B"]
    cue: Int[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class TMaze(Task):
    """Passive T-maze: a corridor of `length` steps to a junction, whose rewarded arm is cued at the start only.

    After Bakker 2001, "Reinforcement Learning with Long Short-Term Memory". Reward and time are those of the passive
    T-maze of Ni et al. 2023 (arXiv:2307.03864), which tests memory without exploration: an episode has length + 1
    steps, exactly enough for the corridor and the turn. The last step pays 1 in the cued arm and 0 elsewhere. Each
    earlier step costs `penalty` if the agent is late, x < t; an agent that never moves gets -1 in total. A wrong move
    thus makes the goal unreachable, but does not end the episode. The horizon is part of the task, so its end is a
    termination, without bootstrapping.

    Actions are integers (B,): right, up, left, down. A move into a wall has no effect.

    Observations (B, 2): first 1 at the junction and in its arms, else 0; then the cue, 1 or -1, at the start, the side
    in an arm, else 0. All cells of the corridor look the same.

    Score: `success` at the end, 1 in the cued arm, else 0.

    Args:
        steps: length + 1; derived.
        length: the number of steps from the start to the junction.
        penalty: the cost of a late step; None: 1 / length; 0: Bakker's hard exploration.

    Raises:
        ValueError: `length` below 1, or a negative `penalty`.
    """

    steps: int = field(init=False, repr=False)
    length: int = 20
    penalty: float | None = None

    score: ClassVar[str] = "success"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(length=self.length)
        if self.penalty is not None and not self.penalty >= 0:
            raise ValueError(f"penalty={self.penalty}, want a cost of at least 0; None for 1 / length")
        object.__setattr__(self, "steps", self.length + 1)

    @property
    def obs_size(self) -> int:
        return 2

    @property
    def action_space(self) -> Discrete:
        return Discrete(4)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[TMazeState, Step]:
        cue = torch.randint(2, (batch,), generator=rng, device=rng.device) * 2 - 1
        start = torch.zeros_like(cue)
        obs = torch.stack([start, cue], -1).to(self.dtype)
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        not_done = torch.zeros(batch, dtype=torch.bool, device=rng.device)
        scores = {"success": torch.full_like(zeros, torch.nan)}
        return TMazeState(start, cue, start), Step(obs, zeros, not_done, not_done, scores)

    def step(self, state: TMazeState, action: Tensor, rng: torch.Generator) -> tuple[TMazeState, Step]:
        check_integer_action(self, action)
        state, y = self._transition(state, action)
        junction, done = state.x == self.length, state.t >= self.steps
        success = (y == state.cue).to(self.dtype)
        late = (state.x < state.t).to(self.dtype)
        reward = torch.where(done, success, late * -self._step_cost)
        obs = torch.stack([junction, y], -1).to(self.dtype)
        scores = {"success": torch.where(done, success, torch.nan)}
        return state, Step(obs, reward, done, torch.zeros_like(done), scores)

    def _transition(self, state: TMazeState, action: Tensor) -> tuple[TMazeState, Tensor]:
        """The next state, and the arm entered, y; an arm is entered in the last step only, so it is never left."""
        dx, dy = _moves(action.device).index_select(1, action)
        y = torch.where(state.x == self.length, dy, 0)
        return TMazeState((state.x + dx).clamp(0, self.length), state.cue, state.t + 1), y

    @property
    def _step_cost(self) -> float:
        return 1 / self.length if self.penalty is None else self.penalty

    def step_labels(self, state: TMazeState, row: int = 0) -> list[str]:
        """Labels of an episode without a wrong move.

        Args:
            state: the state that `reset` returned.
            row: the index of the episode in the batch.
        """
        cue = "up" if state.cue[row].item() > 0 else "down"
        return [cue, *["-"] * (self.length - 1), "turn"]

    def path(self, initial: TMazeState, action: Int[Tensor, "T B"]) -> Path:
        walls = torch.ones(5, self.length + 3, dtype=torch.bool, device=action.device)
        walls[2, 1:-1] = walls[1:4, -2] = False
        state, y = initial, torch.zeros_like(initial.x)
        positions = [torch.stack([2 - y, 1 + state.x], -1)]
        for step_action in action:
            state, y = self._transition(state, step_action)
            positions.append(torch.stack([2 - y, 1 + state.x], -1))
        goals = torch.stack([2 - initial.cue, torch.full_like(initial.cue, 1 + self.length)], -1)
        path = torch.stack(positions)
        return Path(walls, path, goals, (path[1:] == goals).all(-1))

    def references(self) -> dict[str, dict[str, float]]:
        """Exact success rates of an optimal, a memoryless and a random policy.

        The memoryless policy walks to the junction and guesses the arm. The random one needs one correct move out of
        four in every step.
        """
        return {"success": {"optimum": 1.0, "memoryless": 0.5, "chance": 0.25**self.steps}}


@lru_cache(maxsize=16)
def _moves(device: torch.device) -> Int[Tensor, "2 4"]:
    return torch.tensor(MOVES, device=device)
