"""The guessing game: find a hidden vector when told nothing but one number, the error of the last guess."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.task import Continuous, Step, Task, check_positive


class GuessingState(NamedTuple):
    target: Float[Tensor, "B D"]
    t: Int[Tensor, " B"]  # guesses made


@dataclass(frozen=True)
class GuessingGame(Task):
    """Guess a target drawn from U[-1, 1]^dims; be told e = 3 mean_d (guess_d - target_d)^2, and guess again.

    The guess before the first is 0, so that the first observation is the error of 0. The factor 3 makes 1.0 the
    expected error of always answering 0. The reward is minus the error of the **last** guess and 0 before: agents
    that pay for every guess were seen never to explore. (Andersson 2020; Rosa et al. 2019, arXiv:1912.01513, app. A.)

    Scores: `error` of each guess, `final_error` of the last.

    Args:
        steps: guesses in an episode.
        dims: D.
    """

    steps: int = 20
    dims: int = 4

    differentiable: ClassVar[bool] = True
    score: ClassVar[str] = "final_error"
    better: ClassVar[str] = "lower"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, dims=self.dims)

    @property
    def obs_size(self) -> int:
        return 1

    @property
    def action_space(self) -> Continuous:
        return Continuous(self.dims)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[GuessingState, Step]:
        target = torch.rand(batch, self.dims, generator=rng, device=rng.device, dtype=self.dtype) * 2 - 1
        state = GuessingState(target, torch.zeros(batch, dtype=torch.long, device=rng.device))
        return state, self._make_step(state, torch.zeros_like(target))

    def step(
        self, state: GuessingState, action: Float[Tensor, "B D"], rng: torch.Generator
    ) -> tuple[GuessingState, Step]:
        state = GuessingState(state.target, state.t + 1)
        return state, self._make_step(state, action)

    def _make_step(self, state: GuessingState, guess: Tensor) -> Step:
        error = 3 * (guess - state.target).square().mean(-1)
        last = state.t >= self.steps
        known = error.detach()
        scores = {
            "error": torch.where(state.t > 0, known, torch.nan),
            "final_error": torch.where(last, known, torch.nan),
        }
        return Step(error.unsqueeze(-1), torch.where(last, -error, 0), last, torch.zeros_like(last), scores)

    def target(self, state: GuessingState) -> Float[Tensor, "B D"]:
        return state.target

    def references(self) -> dict[str, dict[str, float]]:
        """Played through the task: answering 0; the best answer whose outputs are all equal (the plateau of agents
        whose experts have not told themselves apart, 1 - 1/D); and a finite-difference prober."""
        players = {
            "answer 0": self._zero,
            "all outputs equal": self._equal,
            "finite differences": self.finite_difference_player,
        }
        return {"final_error": {name: self._play(player) for name, player in players.items()}}

    def _play(self, player: Callable[[list[Tensor], GuessingState], Tensor], episodes: int = 20_000) -> float:
        rng = torch.Generator().manual_seed(0)  # a stream of its own: not one that an agent sees
        state, step = self.reset(episodes, rng)
        told = [step.obs.squeeze(-1)]
        for _ in range(self.steps):
            state, step = self.step(state, player(told, state), rng)
            told.append(step.obs.squeeze(-1))
        return step.scores["final_error"].mean().item()

    def _zero(self, told: list[Tensor], state: GuessingState) -> Tensor:
        return torch.zeros_like(state.target)

    def _equal(self, told: list[Tensor], state: GuessingState) -> Tensor:
        return state.target.mean(-1, keepdim=True).expand_as(state.target)

    def finite_difference_player(self, told: list[Tensor], state: GuessingState) -> Tensor:
        """The next guess of a player that sees only the errors told so far: it tries 1 in one dimension after the
        other, and with its last guess answers what the differences say; dimensions that it had no time for stay 0.

        e(u_d) - e(0) = 3/D (1 - 2 target_d), so that a dimension costs one guess, and the error of 0 is told free.
        """
        zero, dims = torch.zeros_like(state.target), self.dims
        probes = min(dims, self.steps - 1)
        made = len(told) - 1
        if made < probes:
            zero[:, made] = 1
            return zero
        for d in range(probes):
            zero[:, d] = (1 - (told[1 + d] - told[0]) * dims / 3) / 2
        return zero
