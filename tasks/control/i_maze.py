"""I-maze: an indicator at one end of a corridor says which of two goals at the other end is the right one."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tasks.distributions import IntOrRange, size_range
from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action

FORWARD, TURN_LEFT, TURN_RIGHT = range(3)  # actions
AHEAD = ((0, 1), (1, 0), (0, -1), (-1, 0))  # (x, y) of a move by heading: up the corridor, right, down, left
DEPTH, WIDTH = 2, 3  # cells of a view
PLANES = ("wall", "green", "yellow", "red", "blue")
SHORTEST = 3  # so that the indicator is never seen from where the goals are


class IMazeState(NamedTuple):
    """State of the I-maze.

    Args:
        x: -1 at the red goal, 0 in the corridor, 1 at the blue goal.
        y: the position along the corridor, 0 at the indicator.
        heading: 0 up the corridor, 1 right, 2 down, 3 left.
        length: of the corridor.
        cue: the side of the right goal, -1 red (the indicator is green), 1 blue (yellow).
        total: the sum of rewards.
        t: the number of actions taken.
    """

    x: Int[Tensor, " B"]
    y: Int[Tensor, " B"]
    heading: Int[Tensor, " B"]
    length: Int[Tensor, " B"]
    cue: Int[Tensor, " B"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class IMaze(Task):
    """I-maze: the indicator's color at the foot of a corridor decides which of two goals at its head is rewarded.

    The I-Maze of Oh et al. 2016 on a grid. The agent starts at the foot with a random heading, between two tiles of the
    indicator, which it sees only if it looks there. The red goal is left of the head, the blue one right of it. Where
    the indicator is green the red goal pays 1 and the blue one -1; where it is yellow it is the other way round. Either
    ends the episode. Each step costs 0.04. An episode of 2 length + 16 steps is truncated.

    Actions are integers (B,): forward, turn left, turn right. There is no step backward, with which an agent without
    memory could keep the color in its heading. A move into a wall or a tile has no effect.

    Observations (B, 30): the 2 x 3 cells ahead, the nearer row first, from left to right as the agent sees them. Each
    cell is one-hot: wall, indicator green, indicator yellow, red goal, blue goal; zeros where it is free. Walls hide
    nothing.

    Scores, at the end of the episode: `success`, 1 if the right goal was reached; `episodic_return`.

    Args:
        steps: the maximum length of an episode; derived, 2 length + 16 of the longest corridor.
        length: the number of steps from the foot to the head; two numbers: a range, drawn for each episode.

    Raises:
        ValueError: a range that is empty, or a length below 3.
    """

    steps: int = field(init=False, repr=False)
    length: IntOrRange = (5, 9)

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "success"
    better: ClassVar[str] = "higher"
    STEP_PENALTY: ClassVar[float] = 0.04

    def __post_init__(self) -> None:
        shortest, longest = self.lengths
        if shortest < SHORTEST:
            raise ValueError(f"length={self.length}, want at least {SHORTEST}: both ends must not be in sight at once")
        object.__setattr__(self, "steps", 2 * longest + 16)

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest corridor."""
        return size_range(length=self.length)

    @property
    def obs_size(self) -> int:
        return DEPTH * WIDTH * len(PLANES)

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("one_hot", (DEPTH, WIDTH, len(PLANES))),)

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[IMazeState, Step]:
        shortest, longest = self.lengths
        length = torch.randint(shortest, longest + 1, (batch,), generator=rng, device=rng.device)
        heading = torch.randint(len(AHEAD), (batch,), generator=rng, device=rng.device)
        cue = torch.randint(2, (batch,), generator=rng, device=rng.device) * 2 - 1
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        start = torch.zeros_like(cue)
        state = IMazeState(start, start, heading, length, cue, zeros, start)
        not_done = torch.zeros_like(cue, dtype=torch.bool)
        scores = dict.fromkeys(("success", "episodic_return"), torch.full_like(zeros, torch.nan))
        return state, Step(self._view(state), zeros, not_done, not_done, scores)

    def step(self, state: IMazeState, action: Tensor, rng: torch.Generator) -> tuple[IMazeState, Step]:
        check_integer_action(self, action)
        dx, dy = _ahead(action.device)[state.heading].unbind(-1)
        x, y = state.x + dx, state.y + dy
        moves = (action == FORWARD) & _is_free(x, y, state.length)
        turn = (action == TURN_RIGHT).long() - (action == TURN_LEFT).long()
        x, y = torch.where(moves, x, state.x), torch.where(moves, y, state.y)
        at_goal, success = x != 0, (x == state.cue).to(self.dtype)
        reward = torch.where(at_goal, 2 * success - 1, 0) - self.STEP_PENALTY
        heading = (state.heading + turn) % len(AHEAD)
        state = IMazeState(x, y, heading, state.length, state.cue, state.total + reward, state.t + 1)
        truncated = (state.t >= self.steps) & ~at_goal
        scores = {"success": success, "episodic_return": state.total}
        scores = {name: torch.where(at_goal | truncated, score, torch.nan) for name, score in scores.items()}
        return state, Step(self._view(state), reward, at_goal, truncated, scores)

    def _view(self, state: IMazeState) -> Float[Tensor, "B O"]:
        ahead = _ahead(state.x.device)
        forward, right = ahead[state.heading], ahead[(state.heading + 1) % len(AHEAD)]  # (B, 2)
        depth = torch.arange(1, DEPTH + 1, device=state.x.device).view(1, -1, 1, 1)
        side = torch.arange(-1, WIDTH - 1, device=state.x.device).view(1, 1, -1, 1)
        here = torch.stack([state.x, state.y], -1)
        offset = depth * forward[:, None, None] + side * right[:, None, None]
        x, y = (here[:, None, None] + offset).unbind(-1)  # (B, depth, width)
        cue, length = state.cue.view(-1, 1, 1), state.length.view(-1, 1, 1)
        indicator, goal = (x.abs() == 1) & (y == 0), (x.abs() == 1) & (y == length)
        wall = ~(indicator | _is_free(x, y, length))
        planes = [wall, indicator & (cue < 0), indicator & (cue > 0), goal & (x < 0), goal & (x > 0)]
        return torch.stack(planes, -1).flatten(1).to(self.dtype)

    def references(self) -> dict[str, dict[str, float]]:
        """Exact values of an optimal and of a random policy, and the success that no memoryless one exceeds.

        An optimal policy looks at the indicator, which costs one turn more where it starts with its face up or down
        the corridor.
        """
        shortest, longest = self.lengths
        lengths = range(shortest, longest + 1)
        best = sum(1 - self.STEP_PENALTY * (length + 3.5) for length in lengths) / len(lengths)
        walks = [_random_walk(length, self.steps) for length in lengths]
        reached, moves = (sum(column) / len(walks) for column in zip(*walks, strict=True))
        return {
            "success": {"optimum": 1.0, "memoryless": 0.5, "chance": reached / 2},
            "episodic_return": {"optimum": best, "chance": -self.STEP_PENALTY * moves},
        }


def _is_free(x: Tensor, y: Tensor, length: Tensor) -> Bool[Tensor, "*B"]:
    """Whether one can stand on a cell: the corridor, and the goals beside its head."""
    return ((x == 0) & (y >= 0) & (y <= length)) | ((x.abs() == 1) & (y == length))


@lru_cache(maxsize=16)
def _ahead(device: torch.device) -> Int[Tensor, "4 2"]:
    return torch.tensor(AHEAD, device=device)


@lru_cache(maxsize=256)
def _random_walk(length: int, steps: int) -> tuple[float, float]:
    """The probability that random actions reach a goal, and the expected number of actions."""
    occupancy = torch.zeros(length + 1, len(AHEAD), dtype=torch.float64)
    occupancy[0] = 1 / len(AHEAD)
    reached = moves = 0.0
    for _ in range(steps):
        moves += occupancy.sum().item()
        after = (occupancy.roll(1, 1) + occupancy.roll(-1, 1)) / 3  # turns
        after[1:, 0] += occupancy[:-1, 0] / 3
        after[-1, 0] += occupancy[-1, 0] / 3
        after[:-1, 2] += occupancy[1:, 2] / 3
        after[0, 2] += occupancy[0, 2] / 3
        after[:-1, 1::2] += occupancy[:-1, 1::2] / 3
        reached += (occupancy[-1, 1::2].sum() / 3).item()
        occupancy = after
    return reached, moves
