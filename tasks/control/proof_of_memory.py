"""A line with a good end and a bad end, which are shown for a moment only: the smallest proof that a memory works."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.task import Discrete, Step, Task, check_integer_action

END, STARTS = 5, 2  # cells from the middle to an end; at most so far from the middle one starts
STEP_PENALTY, END_REWARD = 0.1, 1.6  # a step, and an end, which makes good for END + 1 of them


class ProofState(NamedTuple):
    """place: cell on the line, 0 in the middle. good_side: 1 where the right end is the good one, else -1.
    total: reward so far. t: actions made."""

    position: Int[Tensor, " B"]
    good_side: Int[Tensor, " B"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class ProofOfMemory(Task):
    """One end of a line is worth 1.6, the other -1.6; which is which is seen at the start and in two more steps, in
    which one cannot move, and never again. Then one walks, a cell a step, for -0.1 a step, until an end is reached.

    The rules are those of ProofofMemory-v0, the check of Pleines et al. 2023 (arXiv:2309.17207) and their public
    code: 11 cells, a start among the 5 in the middle, at most 16 steps, which truncate the episode. What distracts is
    the way: one's own place is all that is seen on it, and the start tells nothing.

    Actions are integers (B,): 0 goes left, 1 right.

    Observations (B, 3): worth of the left end, 1 or -1 while it is shown and then 0; the place, from -1 to 1; worth of
    the right end.

    Scores: `reward` of the episode, and `success`, whether the good end was reached, at its end.

    Args:
        steps: most in an episode.
        shown: steps after the start in which the ends are shown and one stands still.
    """

    steps: int = 16
    shown: int = 2

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "reward"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        least = self.shown + END + STARTS
        if self.shown < 0 or self.steps < least:
            raise ValueError(
                f"steps={self.steps}, shown={self.shown}, want shown >= 0 and steps >= shown + {END + STARTS}: "
                "so long is the way from the farthest start to the good end"
            )

    @property
    def obs_size(self) -> int:
        return 3

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[ProofState, Step]:
        place = torch.randint(-STARTS, STARTS + 1, (batch,), generator=rng, device=rng.device)
        good = torch.randint(2, (batch,), generator=rng, device=rng.device) * 2 - 1
        nothing = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        state = ProofState(place, good, nothing, torch.zeros_like(place))
        unended = torch.zeros_like(place, dtype=torch.bool)
        unknown = torch.full_like(nothing, torch.nan)
        return state, Step(self._observe(state), nothing, unended, unended, {"reward": unknown, "success": unknown})

    def step(self, state: ProofState, action: Tensor, rng: torch.Generator) -> tuple[ProofState, Step]:
        check_integer_action(self, action)
        walking = state.t >= self.shown
        place = (state.position + (2 * action - 1) * walking).clamp(-END, END)
        reached = place.abs() == END
        success = (reached & (place.sign() == state.good_side)).to(self.dtype)
        paid = torch.where(reached, 2 * END_REWARD * success - END_REWARD, -STEP_PENALTY * walking.to(self.dtype))
        state = ProofState(place, state.good_side, state.total + paid, state.t + 1)
        cut = (state.t >= self.steps) & ~reached
        over = reached | cut
        scores = {"reward": state.total, "success": success}
        due = {name: torch.where(over, score, torch.nan) for name, score in scores.items()}
        return state, Step(self._observe(state), paid, reached, cut, due)

    def _observe(self, state: ProofState) -> Tensor:
        worth = torch.where(state.t <= self.shown, state.good_side, 0) * END
        return torch.stack([-worth, state.position, worth], -1).to(self.dtype) / END

    def step_labels(self, state: ProofState, row: int = 0) -> list[str]:
        """Of the shortest way to the good end."""
        good, place = int(state.good_side[row]), int(state.position[row])
        arrow = ">" if good > 0 else "<"
        return [f"good {arrow}"] * (self.shown + 1) + [arrow] * (END - good * place - 1)

    def references(self) -> dict[str, dict[str, float]]:
        """Exact: of who goes the shortest way to the good end; of who remembers nothing: the first move is made while
        the ends are still shown, and then the nearest end is the best that can be gone to; and of a random walk."""
        ways = range(END - STARTS, END + STARTS + 1)
        best = sum(END_REWARD - STEP_PENALTY * (way - 1) for way in ways) / len(ways)
        left = [way - 1 for way in ways]  # to the good end, after a move towards it
        found = [1.0 if one < END else 0.5 if one == END else 0.0 for one in left]  # of the middle, one side is chosen
        near = [
            END_REWARD * (2 * good - 1) - STEP_PENALTY * min(one, 2 * END - one)
            for one, good in zip(left, found, strict=True)
        ]
        reward, reached = _random_walk(self.steps - self.shown)
        return {
            "reward": {"optimum": best, "memoryless": sum(near) / len(near), "chance": reward},
            "success": {"optimum": 1.0, "memoryless": sum(found) / len(found), "chance": reached / 2},
        }


@lru_cache(maxsize=16)
def _random_walk(moves: int) -> tuple[float, float]:
    """Its expected reward, and how often it reaches an end: the chance to be in each cell is carried on."""
    at = torch.zeros(2 * END + 1, dtype=torch.float64)
    at[END - STARTS : END + STARTS + 1] = 1 / (2 * STARTS + 1)
    reward = reached = 0.0
    for _ in range(moves):
        left, right = at.roll(-1) / 2, at.roll(1) / 2  # nobody is at the ends, so that nothing goes round
        at = left + right
        new = (at[0] + at[-1]).item()
        at[0] = at[-1] = 0
        reward, reached = (
            reward - STEP_PENALTY * at.sum().item(),
            reached + new,
        )  # both ends are good in half of the episodes
    return reward, reached
