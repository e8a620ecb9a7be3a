"""Repeat what was seen k steps ago: the plainest test of memory."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.task import Discrete, Step, Task, check_positive, reward_and_correct


class RepeatState(NamedTuple):
    symbols: Int[Tensor, "B T"]
    t: Int[Tensor, " B"]  # actions made


@dataclass(frozen=True)
class RepeatPrevious(Task):
    """A symbol is shown at each step; from step k on, name the one shown k steps before (Morad et al. 2023, POPGym).

    Actions are logits (B, symbols) or integers (B,). The reward of an answer that is due is its log-probability, or
    1 for the right integer, divided by the number of answers due.

    Scores: `accuracy` of the answers due.

    Args:
        steps: symbols shown in an episode.
        k: how far back.
        symbols: how many there are.
    """

    steps: int = 16
    k: int = 4
    symbols: int = 4

    differentiable: ClassVar[bool] = True
    open_loop: ClassVar[bool] = True
    score: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, k=self.k, symbols=self.symbols)
        if self.k >= self.steps:
            raise ValueError(f"k={self.k} leaves no answer due in steps={self.steps}; want k < steps")

    @property
    def obs_size(self) -> int:
        return self.symbols

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.symbols)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[RepeatState, Step]:
        shape = (batch, self.steps)
        symbols = torch.randint(self.symbols, shape, generator=rng, device=rng.device)
        state = RepeatState(symbols, torch.zeros(batch, dtype=torch.long, device=rng.device))
        nothing = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        return state, self._make_step(state, nothing, torch.full_like(nothing, torch.nan))

    def step(self, state: RepeatState, action: Tensor, rng: torch.Generator) -> tuple[RepeatState, Step]:
        rows = torch.arange(len(action), device=action.device)
        wanted = state.symbols[rows, (state.t - self.k).clamp(0, self.steps - 1)]
        given, right = reward_and_correct(action, wanted, self.dtype)
        due = state.t >= self.k
        reward = torch.where(due, given / (self.steps - self.k), 0)
        accuracy = torch.where(due, right, torch.nan)
        state = RepeatState(state.symbols, state.t + 1)
        return state, self._make_step(state, reward, accuracy)

    def _make_step(self, state: RepeatState, reward: Tensor, accuracy: Tensor) -> Step:
        rows = torch.arange(len(state.t), device=state.t.device)
        now = state.symbols[rows, state.t.clamp(max=self.steps - 1)]
        last = state.t >= self.steps
        obs = one_hot(now, self.symbols).to(self.dtype)
        return Step(obs, reward, last, torch.zeros_like(last), {"accuracy": accuracy})

    def references(self) -> dict[str, dict[str, float]]:
        """Chance, and perfect recall."""
        return {"accuracy": {"chance": 1 / self.symbols, "perfect recall": 1.0}}
