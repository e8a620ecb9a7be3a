"""Catch: a paddle must be below a falling ball when it lands."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action


class CatchState(NamedTuple):
    """State of the game.

    Args:
        ball: the column of the ball, which does not change.
        paddle: the column of the paddle.
        t: the row of the ball, the number of actions taken.
    """

    ball: Int[Tensor, " B"]
    paddle: Int[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class Catch(Task):
    """A ball falls one row a step from a random column; the paddle in the last row moves left, stays, or moves right.

    The reward is 1 if the ball lands on the paddle, else -1, and 0 before. The paddle starts in the middle; at an edge
    it stays. The observation is the board, with 1 where ball and paddle are. There are as many episodes as columns.

    Score: `episodic_return`, at the end.

    Args:
        steps: rows - 1; derived.
        rows: of the board.
        columns: of the board.

    Raises:
        ValueError: fewer than 2 rows, or no column.

    Source: Mnih et al. 2014 (arXiv:1406.6247); the sizes are those of bsuite (Osband et al. 2020, arXiv:1908.03568).
    """

    steps: int = field(init=False, repr=False)
    rows: int = 10
    columns: int = 5

    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        for name, value, lowest in (("rows", self.rows, 2), ("columns", self.columns, 1)):
            if value < lowest:
                raise ValueError(f"{name}={value}, want at least {lowest}")
        object.__setattr__(self, "steps", self.rows - 1)

    @property
    def obs_size(self) -> int:
        return self.rows * self.columns

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("image", (self.rows, self.columns), layout="HW"),)

    @property
    def action_space(self) -> Discrete:
        return Discrete(3)

    @property
    def num_episodes(self) -> int:
        return self.columns

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CatchState, Step]:
        return self.reset_to(torch.randint(self.columns, (batch,), generator=rng, device=rng.device), rng)

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[CatchState, Step]:
        state = CatchState(index, torch.full_like(index, self.columns // 2), torch.zeros_like(index))
        return state, self._make_step(state)

    def step(self, state: CatchState, action: Tensor, rng: torch.Generator) -> tuple[CatchState, Step]:
        check_integer_action(self, action)
        paddle = (state.paddle + action - 1).clamp(0, self.columns - 1)
        state = CatchState(state.ball, paddle, state.t + 1)
        return state, self._make_step(state)

    def _make_step(self, state: CatchState) -> Step:
        done = state.t >= self.steps
        caught = torch.where(state.ball == state.paddle, 1, -1).to(self.dtype)
        scores = {"episodic_return": torch.where(done, caught, torch.nan)}
        return Step(self._board(state), torch.where(done, caught, 0), done, torch.zeros_like(done), scores)

    def _board(self, state: CatchState) -> Float[Tensor, "B O"]:
        column = torch.arange(self.columns, device=state.t.device)
        row = torch.arange(self.rows, device=state.t.device).unsqueeze(-1)

        def cell(of_row: Tensor, of_column: Tensor) -> Bool[Tensor, "B rows columns"]:
            return (row == of_row.reshape(-1, 1, 1)) & (column == of_column.reshape(-1, 1, 1))

        paddle = cell(torch.full_like(state.t, self.steps), state.paddle)
        return (cell(state.t, state.ball) | paddle).flatten(1).to(self.dtype)

    def references(self) -> dict[str, dict[str, float]]:
        """Exact returns of random moves and of the best player, by enumeration of balls and of the paddle's ways."""
        paddle = [0.0] * self.columns  # the probability that random moves lead to a column
        paddle[self.columns // 2] = 1.0
        for _ in range(self.steps):
            after = [0.0] * self.columns
            for column, probability in enumerate(paddle):
                for move in (-1, 0, 1):
                    after[min(max(column + move, 0), self.columns - 1)] += probability / 3
            paddle = after

        def mean_return(caught: Any) -> float:
            return sum(2 * caught(probability) - 1 for probability in paddle) / self.columns

        chance, optimum = mean_return(lambda probability: probability), mean_return(lambda probability: probability > 0)
        return {"episodic_return": {"chance": chance, "optimum": optimum}}
