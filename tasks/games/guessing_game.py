"""Guessing game: find a hidden vector when the only feedback is the error of the last guess."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.task import Continuous, Step, Task, check_positive, opposite_pairs


class GuessingState(NamedTuple):
    """State of the guessing game.

    Args:
        target: the hidden vector.
        t: the number of guesses made.
    """

    target: Float[Tensor, "B D"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class GuessingGame(Task):
    """Black-box optimization of a hidden vector, U[-1, 1]^dims: the observation is the error of the last guess.

    The error is 3 mean_d (guess_d - target_d)^2. The initial guess is 0, so the first observation is the error of 0.
    The factor 3 makes 1.0 the expected error of always answering 0. The reward is minus the error of the **last** guess
    and 0 before: with a reward for every guess, agents did not explore. (Andersson 2020; Rosa et al. 2019,
    arXiv:1912.01513, app. A.)

    Scores: `error` of each guess, `final_error` of the last.

    Args:
        steps: the number of guesses in an episode.
        dims: the dimension D of the vector.
        antithetic: episodes come in pairs of opposite vectors, as those of `mirrored`.
    """

    steps: int = 20
    dims: int = 4
    antithetic: bool = False

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

    @property
    def mirrored(self) -> "GuessingGame":
        return replace(self, antithetic=True)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[GuessingState, Step]:
        def draw(rows: int) -> Tensor:
            return torch.rand(rows, self.dims, generator=rng, device=rng.device, dtype=self.dtype) * 2 - 1

        target = opposite_pairs(draw, batch) if self.antithetic else draw(batch)
        state = GuessingState(target, torch.zeros(batch, dtype=torch.long, device=rng.device))
        return state, self._make_step(state, torch.zeros_like(target))

    def step(
        self, state: GuessingState, action: Float[Tensor, "B D"], rng: torch.Generator
    ) -> tuple[GuessingState, Step]:
        state = GuessingState(state.target, state.t + 1)
        return state, self._make_step(state, action)

    def _make_step(self, state: GuessingState, guess: Tensor) -> Step:
        error = 3 * (guess - state.target).square().mean(-1)
        done = state.t >= self.steps
        score = error.detach()
        scores = {
            "error": torch.where(state.t > 0, score, torch.nan),
            "final_error": torch.where(done, score, torch.nan),
        }
        return Step(error.unsqueeze(-1), torch.where(done, -error, 0), done, torch.zeros_like(done), scores)

    def target(self, state: GuessingState) -> Float[Tensor, "B D"]:
        return state.target

    def references(self) -> dict[str, dict[str, float]]:
        """Simulated final errors of three simple players.

        They answer 0; the best vector with equal components (1 - 1/D, the plateau of agents whose experts have not
        specialized); and by finite differences.
        """
        players = {
            "answer 0": self._zero,
            "all outputs equal": self._equal,
            "finite differences": self.finite_difference_player,
        }
        return {"final_error": {name: self._simulate(player) for name, player in players.items()}}

    def _simulate(self, player: Callable[[list[Tensor], GuessingState], Tensor], episodes: int = 20_000) -> float:
        rng = torch.Generator().manual_seed(0)  # a separate stream that no agent shares
        state, step = self.reset(episodes, rng)
        errors = [step.obs.squeeze(-1)]
        for _ in range(self.steps):
            state, step = self.step(state, player(errors, state), rng)
            errors.append(step.obs.squeeze(-1))
        return step.scores["final_error"].mean().item()

    def _zero(self, errors: list[Tensor], state: GuessingState) -> Tensor:
        return torch.zeros_like(state.target)

    def _equal(self, errors: list[Tensor], state: GuessingState) -> Tensor:
        return state.target.mean(-1, keepdim=True).expand_as(state.target)

    def finite_difference_player(self, errors: list[Tensor], state: GuessingState) -> Tensor:
        """The next guess of a finite-difference player, which uses the observed errors only.

        It guesses the unit vector of one dimension after the other, and answers the estimated target with its last
        guess; dimensions without a probe stay 0. e(u_d) - e(0) = 3/D (1 - 2 target_d), so that each dimension takes one
        guess; the error of 0 is the first observation.

        Args:
            errors: the errors observed so far, (B,) each.
            state: the state of the game, for the shape of a guess.
        """
        guess, dims = torch.zeros_like(state.target), self.dims
        num_probes = min(dims, self.steps - 1)
        num_guesses = len(errors) - 1
        if num_guesses < num_probes:
            guess[:, num_guesses] = 1
            return guess
        for d in range(num_probes):
            guess[:, d] = (1 - (errors[1 + d] - errors[0]) * dims / 3) / 2
        return guess
