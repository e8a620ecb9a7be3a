"""Repeat previous (POPGym): output the symbol that was observed k steps ago."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.task import Discrete, Step, Task, check_positive, reward_and_correct


class RepeatState(NamedTuple):
    """State of the repeat-previous task.

    Args:
        symbols: the symbols of the episode.
        t: the number of actions taken.
    """

    symbols: Int[Tensor, "B T"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class RepeatPrevious(Task):
    """Working-memory task: from step k on, output the symbol observed k steps before (POPGym, Morad et al. 2023).

    Observations are one-hot symbols. Actions are logits (B, symbols) or integers (B,). The reward of an answer is its
    log-probability, or 1 for the correct integer, divided by the number of answers.

    Score: `accuracy` of the answers.

    Args:
        steps: the number of symbols in an episode.
        k: the delay in steps.
        symbols: the number of different symbols.

    Raises:
        ValueError: `k` not below `steps`, or a size below 1.
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
            raise ValueError(f"k={self.k} leaves no answer in steps={self.steps}; want k < steps")

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
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        return state, self._make_step(state, zeros, torch.full_like(zeros, torch.nan))

    def step(self, state: RepeatState, action: Tensor, rng: torch.Generator) -> tuple[RepeatState, Step]:
        rows = torch.arange(len(action), device=action.device)
        target = state.symbols[rows, (state.t - self.k).clamp(0, self.steps - 1)]
        reward, correct = reward_and_correct(action, target, self.dtype)
        answer_mask = state.t >= self.k
        reward = torch.where(answer_mask, reward / (self.steps - self.k), 0)
        accuracy = torch.where(answer_mask, correct, torch.nan)
        state = RepeatState(state.symbols, state.t + 1)
        return state, self._make_step(state, reward, accuracy)

    def _make_step(self, state: RepeatState, reward: Tensor, accuracy: Tensor) -> Step:
        rows = torch.arange(len(state.t), device=state.t.device)
        symbol = state.symbols[rows, state.t.clamp(max=self.steps - 1)]
        done = state.t >= self.steps
        obs = one_hot(symbol, self.symbols).to(self.dtype)
        return Step(obs, reward, done, torch.zeros_like(done), {"accuracy": accuracy})

    def references(self) -> dict[str, dict[str, float]]:
        """Accuracy of chance and of perfect recall."""
        return {"accuracy": {"chance": 1 / self.symbols, "perfect recall": 1.0}}
