"""A safe choice and a gamble that pays more at best and less on average: where luck is taken for skill."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action, check_positive

GAMBLE = 1  # the action; 0 is the safe one


class GamblingState(NamedTuple):
    """State of the game.

    Args:
        total: the sum of rewards.
        gambles: rounds in which the gamble was chosen.
        t: the number of actions taken.
    """

    total: Float[Tensor, " B"]
    gambles: Int[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class Gambling(Task):
    """Each round a safe choice pays a sure reward, and a gamble a higher one by luck, or a loss.

    The best returns of a recording are those of lucky gambles. An agent that is told to repeat them, such as a Decision
    Transformer that is asked for the best return, gambles, and gets the mean of the gamble, which is below the safe
    reward.

    Actions are integers (B,): 0 safe, 1 gamble. Observations (B, 1): the share of rounds that are left.

    Scores, at the end: `episodic_return`; `gambles`, the share of rounds with the gamble.

    Args:
        steps: number of rounds.
        safe: reward of the safe choice.
        win: reward of a gamble with luck.
        loss: reward of a gamble without.
        win_probability: of a gamble.

    Raises:
        ValueError: `steps` below 1, a probability that is none, or rewards of which the gamble's mean is not below
            `safe`, or `win` not above it.

    Source: after Paster, McIlraith and Ba 2022 (arXiv:2205.15967), figure 1.
    """

    steps: int = 1
    safe: float = 1.0
    win: float = 5.0
    loss: float = -15.0
    win_probability: float = 0.5

    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if not 0 <= self.win_probability <= 1:
            raise ValueError(f"win_probability={self.win_probability}, want a probability from 0 to 1")
        if not self.mean_gamble < self.safe < self.win:
            raise ValueError(
                f"win={self.win}, loss={self.loss} and win_probability={self.win_probability} are "
                f"{self.mean_gamble:g} on average, want less than safe={self.safe}, and win above it"
            )

    @property
    def mean_gamble(self) -> float:
        """The mean reward of a gamble."""
        return self.win_probability * self.win + (1 - self.win_probability) * self.loss

    @property
    def obs_size(self) -> int:
        return 1

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("vector", (1,)),)

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[GamblingState, Step]:
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        t = torch.zeros(batch, dtype=torch.long, device=rng.device)
        state = GamblingState(zeros, t, t)
        return state, self._make_step(state, zeros)

    def step(self, state: GamblingState, action: Tensor, rng: torch.Generator) -> tuple[GamblingState, Step]:
        check_integer_action(self, action)
        lucky = torch.rand(action.shape, generator=rng, dtype=self.dtype, device=rng.device) < self.win_probability
        gambled = action == GAMBLE
        paid = torch.where(lucky, self.win, self.loss)
        reward = torch.where(gambled, paid, self.safe).to(self.dtype)
        state = GamblingState(state.total + reward, state.gambles + gambled, state.t + 1)
        return state, self._make_step(state, reward)

    def _make_step(self, state: GamblingState, reward: Tensor) -> Step:
        done = state.t >= self.steps
        scores = {"episodic_return": state.total, "gambles": state.gambles.to(self.dtype) / self.steps}
        scores = {name: torch.where(done, score, torch.nan) for name, score in scores.items()}
        left = 1 - state.t.to(self.dtype) / self.steps
        return Step(left.unsqueeze(-1), reward, done, torch.zeros_like(done), scores)

    def references(self) -> dict[str, dict[str, float]]:
        """Mean returns of the safe choice, of the gamble, whose best return is the highest, and of random choices."""
        safe, gamble = self.steps * self.safe, self.steps * self.mean_gamble
        return {
            "episodic_return": {"optimum": safe, "greedy on luck": gamble, "chance": (safe + gamble) / 2},
            "gambles": {"optimum": 0.0, "greedy on luck": 1.0, "chance": 0.5},
        }
