"""Proof of memory: a corridor whose good and bad end are observed only in the first steps."""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.task import Discrete, Step, Task, check_integer_action

END, STARTS = 5, 2  # cells from the middle to an end; maximum distance of the start from the middle
STEP_PENALTY, END_REWARD = 0.1, 1.6  # per step; at an end, which offsets END + 1 steps


class ProofState(NamedTuple):
    """State of the corridor.

    Args:
        position: the cell of the agent, 0 in the middle.
        good_side: 1 if the right end is the good one, else -1.
        total: the sum of rewards.
        t: the number of actions taken.
    """

    position: Int[Tensor, " B"]
    good_side: Int[Tensor, " B"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class ProofOfMemory(Task):
    """Corridor with one rewarded end, which is visible only at the start: a minimal test of memory.

    One end pays 1.6, the other -1.6. The ends are observed at the start and in two more steps, in which the agent
    cannot move. Then the agent moves one cell per step at a cost of 0.1, until it reaches an end.

    The rules are those of ProofofMemory-v0 of Pleines et al. 2023 (arXiv:2309.17207) and their public code: 11 cells, a
    start among the 5 in the middle, truncation after 16 steps. The only distractor is the position of the agent; the
    start is independent of the good end.

    Actions are integers (B,): 0 moves left, 1 right. Observations (B, 3): the value of the left end, 1 or -1 while it
    is visible and then 0; the position, from -1 to 1; the value of the right end.

    Scores, at the end of the episode: `episodic_return`, and `success`, 1 if the good end was reached.

    Args:
        steps: the maximum length of an episode.
        shown: the number of steps after the start in which the ends are visible and the agent cannot move.

    Raises:
        ValueError: `shown` below 0, or `steps` too small to reach the good end.
    """

    steps: int = 16
    shown: int = 2

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        if self.shown < 0 or self.steps < self.shown + END + STARTS:
            raise ValueError(
                f"steps={self.steps}, shown={self.shown}, want shown >= 0 and steps >= shown + {END + STARTS}, the "
                "longest distance from a start to the good end"
            )

    @property
    def obs_size(self) -> int:
        return 3

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[ProofState, Step]:
        position = torch.randint(-STARTS, STARTS + 1, (batch,), generator=rng, device=rng.device)
        good_side = torch.randint(2, (batch,), generator=rng, device=rng.device) * 2 - 1
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        state = ProofState(position, good_side, zeros, torch.zeros_like(position))
        not_done = torch.zeros_like(position, dtype=torch.bool)
        scores = dict.fromkeys(("episodic_return", "success"), torch.full_like(zeros, torch.nan))
        return state, Step(self._observe(state), zeros, not_done, not_done, scores)

    def step(self, state: ProofState, action: Tensor, rng: torch.Generator) -> tuple[ProofState, Step]:
        check_integer_action(self, action)
        can_move = state.t >= self.shown
        position = (state.position + (2 * action - 1) * can_move).clamp(-END, END)
        reached = position.abs() == END
        success = (reached & (position.sign() == state.good_side)).to(self.dtype)
        reward = torch.where(reached, 2 * END_REWARD * success - END_REWARD, -STEP_PENALTY * can_move.to(self.dtype))
        state = ProofState(position, state.good_side, state.total + reward, state.t + 1)
        truncated = (state.t >= self.steps) & ~reached
        done = reached | truncated
        scores = {"episodic_return": state.total, "success": success}
        scores = {name: torch.where(done, score, torch.nan) for name, score in scores.items()}
        return state, Step(self._observe(state), reward, reached, truncated, scores)

    def _observe(self, state: ProofState) -> Tensor:
        value = torch.where(state.t <= self.shown, state.good_side, 0) * END
        return torch.stack([-value, state.position, value], -1).to(self.dtype) / END

    def step_labels(self, state: ProofState, row: int = 0) -> list[str]:
        """Labels of the shortest path to the good end.

        Args:
            state: the state that `reset` returned.
            row: the index of the episode in the batch.
        """
        good_side, position = int(state.good_side[row]), int(state.position[row])
        arrow = ">" if good_side > 0 else "<"
        return [f"good {arrow}"] * (self.shown + 1) + [arrow] * (END - good_side * position - 1)

    def references(self) -> dict[str, dict[str, float]]:
        """Exact values of an optimal, a memoryless and a random policy.

        The memoryless policy makes its first move towards the good end, as the ends are still visible; then it takes
        the nearest end.
        """
        distances = range(END - STARTS, END + STARTS + 1)
        best = sum(END_REWARD - STEP_PENALTY * (distance - 1) for distance in distances) / len(distances)
        remaining = [distance - 1 for distance in distances]  # after one move towards the good end
        success = [1.0 if left < END else 0.5 if left == END else 0.0 for left in remaining]  # 0.5: in the middle
        returns = [
            END_REWARD * (2 * good - 1) - STEP_PENALTY * min(left, 2 * END - left)
            for left, good in zip(remaining, success, strict=True)
        ]
        chance, reached = _random_walk(self.steps - self.shown)
        return {
            "episodic_return": {"optimum": best, "memoryless": sum(returns) / len(returns), "chance": chance},
            "success": {"optimum": 1.0, "memoryless": sum(success) / len(success), "chance": reached / 2},
        }


@lru_cache(maxsize=16)
def _random_walk(moves: int) -> tuple[float, float]:
    """Expected return of a random walk and its probability of reaching an end, by propagating the distribution."""
    occupancy = torch.zeros(2 * END + 1, dtype=torch.float64)
    occupancy[END - STARTS : END + STARTS + 1] = 1 / (2 * STARTS + 1)
    total = reached = 0.0
    for _ in range(moves):
        left, right = occupancy.roll(-1) / 2, occupancy.roll(1) / 2  # the ends are empty, so nothing wraps around
        occupancy = left + right
        newly_reached = (occupancy[0] + occupancy[-1]).item()
        occupancy[0] = occupancy[-1] = 0
        total -= STEP_PENALTY * occupancy.sum().item()  # each end is good in half of the episodes: expected reward 0
        reached += newly_reached
    return total, reached
