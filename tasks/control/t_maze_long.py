"""T-Maze-Long: the agent moves automatically, and only the cue at the start matters, with optional noise."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.distributions import IntOrRange, size_range
from tasks.task import Discrete, Step, Task, check_integer_action

UP, DOWN = 0, 1


class LongState(NamedTuple):
    """State of T-Maze-Long.

    Args:
        cue: 1 up, -1 down.
        length: of the corridor.
        noise: the noise of all steps, 0 or 1 component each.
        t: the number of actions taken.
    """

    cue: Int[Tensor, " B"]
    length: Int[Tensor, " B"]
    noise: Float[Tensor, "B T bits"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class TMazeLong(Task):
    """T-Maze-Long, and T-Maze-Long-Noise: recall the cue at the start of a corridor at its end (Beck et al. 2020).

    After "AMRL: Aggregated Memory For Reinforcement Learning". The cue gives the direction of the turn `length` - 1
    steps later. The correct turn pays 4, the other -3; all other rewards are 0.

    As in the authors' public configuration the agent moves automatically, so that all episodes have `length` steps and
    only the last action counts; noise is 1 or -1, sampled for each step, including the first and the last. The original
    has four actions, of which at the end two count as up and two as down; here there are two, with equal chance level.

    Actions are integers (B,): up, down. Observations: at the start, the cue (1 or -1, at the start only), at the end
    (B, 3); the noise is a fourth component (B, 4).

    Scores, at the end of the episode: `episodic_return` and `success`.

    Args:
        steps: the largest length; derived.
        length: the number of observations from the start to the end; two numbers: a range, drawn for each episode.
        noise: whether observations include noise.

    Raises:
        ValueError: `length` below 2, or a range that is empty.
    """

    steps: int = field(init=False, repr=False)
    length: IntOrRange = 100
    noise: bool = False

    open_loop: ClassVar[bool] = True
    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"
    CORRECT_REWARD: ClassVar[float] = 4.0
    WRONG_PENALTY: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        shortest, longest = self.lengths
        if shortest < 2:
            raise ValueError(f"length={self.length}, want at least 2: a start, and an end without the cue")
        for name, value in {"steps": longest, "fixed_length": shortest == longest}.items():
            object.__setattr__(self, name, value)

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest corridor."""
        return size_range(length=self.length)

    @property
    def obs_size(self) -> int:
        return 4 if self.noise else 3

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[LongState, Step]:
        cue = torch.randint(2, (batch,), generator=rng, device=rng.device) * 2 - 1
        shape = (batch, self.steps, self.obs_size - 3)
        noise = torch.randint(2, shape, generator=rng, device=rng.device).to(self.dtype) * 2 - 1
        length = torch.full_like(cue, self.steps)
        if not self.fixed_length:
            length = torch.randint(self.lengths[0], self.steps + 1, (batch,), generator=rng, device=rng.device)
        state = LongState(cue, length, noise, torch.zeros_like(cue))
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        scores = dict.fromkeys(("episodic_return", "success"), torch.full_like(zeros, torch.nan))
        return state, self._make_step(state, zeros, scores)

    def step(self, state: LongState, action: Tensor, rng: torch.Generator) -> tuple[LongState, Step]:
        check_integer_action(self, action)
        state = state._replace(t=state.t + 1)
        done = state.t >= state.length
        success = ((action == UP) == (state.cue > 0)).to(self.dtype)
        reward = success * (self.CORRECT_REWARD + self.WRONG_PENALTY) - self.WRONG_PENALTY
        scores = {"episodic_return": reward, "success": success}
        scores = {name: torch.where(done, score, torch.nan) for name, score in scores.items()}
        return state, self._make_step(state, torch.where(done, reward, 0), scores)

    def _make_step(self, state: LongState, reward: Tensor, scores: dict[str, Tensor]) -> Step:
        """The step of the current state; the final observation repeats the one at the end of the corridor."""
        at_start, at_end = state.t == 0, state.t >= state.length - 1
        obs = torch.stack([at_start, state.cue * at_start, at_end], -1).to(self.dtype)
        done = state.t >= state.length
        if self.noise:
            t = state.t.minimum(state.length - 1).view(-1, 1, 1)
            obs = torch.cat([obs, state.noise.gather(1, t).squeeze(1)], -1)
        return Step(obs, reward, done, torch.zeros_like(done), scores)

    def step_labels(self, state: LongState, row: int = 0) -> list[str]:
        cue = "up" if state.cue[row].item() > 0 else "down"
        length = int(state.length[row])
        noise = state.noise[row, :length, 0].tolist() if self.noise else [0.0] * length
        signs = {1.0: "+", -1.0: "-", 0.0: ""}
        labels = [cue, *[""] * (length - 2), "turn"]
        return [f"{label}{signs[bit]}" if label or bit else "." for label, bit in zip(labels, noise, strict=True)]

    def references(self) -> dict[str, dict[str, float]]:
        """Exact values of an optimal policy, and of the chance level, which no memoryless policy exceeds."""
        half = (self.CORRECT_REWARD - self.WRONG_PENALTY) / 2
        return {
            "episodic_return": {"optimum": self.CORRECT_REWARD, "memoryless": half, "chance": half},
            "success": {"optimum": 1.0, "memoryless": 0.5, "chance": 0.5},
        }
