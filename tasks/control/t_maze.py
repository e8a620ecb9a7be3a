"""The passive T-maze: a cue is seen once, and says many steps later which way to turn."""

from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from tasks.task import Discrete, Path, Step, Task, check_integer_action, check_positive

MOVES = ((1, 0, -1, 0), (0, 1, 0, -1))  # right, up, left, down: ahead; and to the side


class TMazeState(NamedTuple):
    """x: how far along the corridor. cue: 1 up, -1 down, where the reward is. t: actions made."""

    x: Int[Tensor, " B"]
    cue: Int[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class TMaze(Task):
    """A corridor of `length` steps leads to a junction with an arm up and one down; the cue that is seen at the start,
    and never again, tells which arm pays 1 (Bakker 2001, "Reinforcement Learning with Long Short-Term Memory").

    Reward and time are those of the passive T-maze of Ni et al. 2023 (arXiv:2307.03864), where only remembering is
    hard: an episode has length + 1 steps, just enough to walk and to turn. The last step pays 1 in the right arm, and 0
    anywhere else. Every step before it costs `penalty` where one is behind, x < t: who never moves is paid -1 in all. A
    wrong move therefore makes the goal unreachable, but ends nothing. As the horizon belongs to the problem, its end
    is a termination: nothing is expected of the time beyond.

    Actions are integers (B,): right, up, left, down. To run into a wall moves nothing.

    Observations (B, 2): 1 at the junction and in its arms, else 0; and beside it the cue, 1 or -1, at the very start,
    in an arm its side, and elsewhere 0. The corridor looks the same everywhere.

    Score: `success` at the end, 1 in the right arm, else 0.

    Args:
        length: steps from the start to the junction.
        penalty: for a step behind; 1 / length if not given. 0: Bakker's hard exploration.
    """

    steps: int = field(init=False, repr=False)
    length: int = 20
    penalty: float | None = None

    score: ClassVar[str] = "success"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(length=self.length)
        if self.penalty is not None and not self.penalty >= 0:
            raise ValueError(f"penalty={self.penalty}, want at least 0: it is what a step costs; None for 1 / length")
        object.__setattr__(self, "steps", self.length + 1)

    @property
    def obs_size(self) -> int:
        return 2

    @property
    def action_space(self) -> Discrete:
        return Discrete(4)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[TMazeState, Step]:
        cue = torch.randint(2, (batch,), generator=rng, device=rng.device) * 2 - 1
        zero = torch.zeros_like(cue)
        seen = torch.stack([zero, cue], -1).to(self.dtype)
        nothing = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        unended = torch.zeros(batch, dtype=torch.bool, device=rng.device)
        scores = {"success": torch.full_like(nothing, torch.nan)}
        return TMazeState(zero, cue, zero), Step(seen, nothing, unended, unended, scores)

    def step(self, state: TMazeState, action: Tensor, rng: torch.Generator) -> tuple[TMazeState, Step]:
        check_integer_action(self, action)
        state, y = self._transition(state, action)
        junction, last = state.x == self.length, state.t >= self.steps
        success = (y == state.cue).to(self.dtype)
        behind = (state.x < state.t).to(self.dtype)
        reward = torch.where(last, success, behind * -self._cost)
        obs = torch.stack([junction, y], -1).to(self.dtype)
        scores = {"success": torch.where(last, success, torch.nan)}
        return state, Step(obs, reward, last, torch.zeros_like(last), scores)

    def _transition(self, state: TMazeState, action: Tensor) -> tuple[TMazeState, Tensor]:
        """And which arm one is in: it takes all the time there is to get into one, so that nobody comes out again."""
        ahead, aside = _moves(action.device).index_select(1, action)
        y = torch.where(state.x == self.length, aside, 0)
        return TMazeState((state.x + ahead).clamp(0, self.length), state.cue, state.t + 1), y

    @property
    def _cost(self) -> float:
        return 1 / self.length if self.penalty is None else self.penalty

    def step_labels(self, state: TMazeState, row: int = 0) -> list[str]:
        """Of the way without a wrong move."""
        cue = "up" if state.cue[row].item() > 0 else "down"
        return [cue, *["-"] * (self.length - 1), "turn"]

    def path(self, opened: TMazeState, action: Int[Tensor, "T B"]) -> Path:
        walls = torch.ones(5, self.length + 3, dtype=torch.bool, device=action.device)
        walls[2, 1:-1] = walls[1:4, -2] = False
        places, state, y = [], opened, torch.zeros_like(opened.x)
        for given in [None, *action]:
            if given is not None:
                state, y = self._transition(state, given)
            places.append(torch.stack([2 - y, 1 + state.x], -1))
        goals = torch.stack([2 - opened.cue, torch.full_like(opened.cue, 1 + self.length)], -1)
        went = torch.stack(places)
        return Path(walls, went, goals, (went[1:] == goals).all(-1))

    def references(self) -> dict[str, dict[str, float]]:
        """Exact: of who remembers the cue; of who walks on and turns at will, which is the best that can be done
        without remembering; and of who draws all moves, one in four of which is right in each step."""
        return {"success": {"optimum": 1.0, "memoryless": 0.5, "chance": 0.25**self.steps}}


@lru_cache(maxsize=16)
def _moves(device: torch.device) -> Int[Tensor, "2 4"]:
    return torch.tensor(MOVES, device=device)
