"""The long T-maze: one walks by oneself, and has only the cue of the start to remember, through noise."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.task import Discrete, Step, Task, check_integer_action

UP, DOWN = 0, 1


class LongState(NamedTuple):
    """cue: 1 up, -1 down. noise: of all steps, none or one bit each. t: actions made."""

    cue: Int[Tensor, " B"]
    noise: Float[Tensor, "B T bits"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class TMazeLong(Task):
    """T-Maze-Long, and with noise T-Maze-Long-Noise (Beck et al. 2020, "AMRL: Aggregated Memory For Reinforcement
    Learning"): a cue at the start of a corridor tells which way to turn at its end, `length` - 1 steps later. The right
    turn is paid 4, the other -3, and nothing else is paid.

    As in the authors' public configuration one is moved on whatever one does, so that all episodes have `length` steps
    and only the last action counts; and noise is a new 1 or -1 in each step, also in the first and the last. There,
    actions are the four directions, of which at the end two count as up and two as down; here these two are all there
    are, which gives the same chance.

    Actions are integers (B,): up, down.

    Observations: at the start, the cue (1 or -1, at the start alone), at the end (B, 3); with noise beside it (B, 4).

    Scores: `reward` and `success` of the episode, at its end.

    Args:
        length: observations in an episode, from the start to the end.
        noise: whether there is noise.
    """

    steps: int = field(init=False, repr=False)
    length: int = 100
    noise: bool = False

    open_loop: ClassVar[bool] = True
    score: ClassVar[str] = "reward"
    better: ClassVar[str] = "higher"
    CORRECT_REWARD: ClassVar[float] = 4.0
    WRONG_PENALTY: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        if self.length < 2:
            raise ValueError(f"length={self.length}, want at least 2: a start, and an end where the cue is gone")
        object.__setattr__(self, "steps", self.length)

    @property
    def obs_size(self) -> int:
        return 4 if self.noise else 3

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[LongState, Step]:
        cue = torch.randint(2, (batch,), generator=rng, device=rng.device) * 2 - 1
        shape = (batch, self.length, self.obs_size - 3)
        noise = torch.randint(2, shape, generator=rng, device=rng.device).to(self.dtype) * 2 - 1
        state = LongState(cue, noise, torch.zeros_like(cue))
        nothing = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        unknown = torch.full_like(nothing, torch.nan)
        return state, self._make_step(state, nothing, {"reward": unknown, "success": unknown})

    def step(self, state: LongState, action: Tensor, rng: torch.Generator) -> tuple[LongState, Step]:
        check_integer_action(self, action)
        state = state._replace(t=state.t + 1)
        last = state.t >= self.steps
        success = ((action == UP) == (state.cue > 0)).to(self.dtype)
        paid = success * (self.CORRECT_REWARD + self.WRONG_PENALTY) - self.WRONG_PENALTY
        scores = {"reward": torch.where(last, paid, torch.nan), "success": torch.where(last, success, torch.nan)}
        return state, self._make_step(state, torch.where(last, paid, 0), scores)

    def _make_step(self, state: LongState, reward: Tensor, scores: dict[str, Tensor]) -> Step:
        """After the last step one is where one was, at the end."""
        first, end = state.t == 0, state.t >= self.length - 1
        place = torch.stack([first, state.cue * first, end], -1).to(self.dtype)
        last = state.t >= self.steps
        if self.noise:
            now = state.t.clamp(max=self.length - 1).view(-1, 1, 1)
            place = torch.cat([place, state.noise.gather(1, now).squeeze(1)], -1)
        return Step(place, reward, last, torch.zeros_like(last), scores)

    def step_labels(self, state: LongState, row: int = 0) -> list[str]:
        cue = "up" if state.cue[row].item() > 0 else "down"
        noise = state.noise[row, :, 0].tolist() if self.noise else [0.0] * self.length
        signs = {1.0: "+", -1.0: "-", 0.0: ""}
        shown = [cue, *[""] * (self.length - 2), "turn"]
        return [f"{word}{signs[bit]}" if word or bit else "." for word, bit in zip(shown, noise, strict=True)]

    def references(self) -> dict[str, dict[str, float]]:
        """Exact: of who remembers the cue, and of who does not, who is right in half of the episodes, try as he may."""
        half = (self.CORRECT_REWARD - self.WRONG_PENALTY) / 2
        return {
            "reward": {"optimum": self.CORRECT_REWARD, "memoryless": half, "chance": half},
            "success": {"optimum": 1.0, "memoryless": 0.5, "chance": 0.5},
        }
