"""The memory card game by example: name the move of a player who forgets nothing."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from tasks.games.card_game import CardGame, CardState
from tasks.task import Discrete, Step, Task, reward_and_correct


@dataclass(frozen=True)
class CardGameImitation(Task):
    """A `CardGame`, supervised: what is asked for in each step is the move of `CardGame.optimal_action`. What is seen and which
    moves there are is the same, so that an agent taught here can play there.

    Actions are logits (B, cards) or integers (B,). The reward of a step is the log-probability of the expert's move, or
    1 for the right integer, divided by `steps`.

    Who plays is either the expert, so that all games are good ones (learning from demonstrations); or, `dagger`, the
    agent: a card drawn from its logits is turned, legal or not, and the expert says what it would have done where the
    agent has come to (as in DAgger, Ross et al. 2011, arXiv:1011.0686, without the mixture), so that it meets its own
    mistakes.

    Scores: `accuracy` of each step; at the end of a game, the `reward` of who has played it.

    Args:
        cards: how many.
        dagger: whether the agent's moves are played, not the expert's.
    """

    steps: int = field(init=False, repr=False)
    cards: int = 8
    dagger: bool = False

    differentiable: ClassVar[bool] = True
    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", self.game.steps)

    @property
    def game(self) -> CardGame:
        return CardGame(self.cards, dtype=self.dtype)

    @property
    def obs_size(self) -> int:
        return self.game.obs_size

    @property
    def action_space(self) -> Discrete:
        return self.game.action_space

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CardState, Step]:
        state, step = self.game.reset(batch, rng)
        reward = step.scores["reward"]
        return state, step._replace(scores={"accuracy": reward, "reward": reward}, action_mask=None)

    def step(self, state: CardState, action: Tensor, rng: torch.Generator) -> tuple[CardState, Step]:
        due = ~state.taken.all(-1) & (state.t < self.steps)
        wanted = self.game.optimal_action(state)
        given, right = reward_and_correct(action, wanted, self.dtype)
        state, step = self.game.step(state, _sample_action(action, rng) if self.dagger else wanted, rng)
        scores = {"accuracy": torch.where(due, right, torch.nan), "reward": step.scores["reward"]}
        return state, step._replace(reward=torch.where(due, given / self.steps, 0), scores=scores, action_mask=None)

    def step_labels(self, state: CardState, row: int = 0) -> list[str] | None:
        return None if self.dagger else self.game.step_labels(state, row)

    def references(self) -> dict[str, dict[str, float]]:
        """Of who forgets nothing; and, of the game, exactly what random legal moves bring."""
        return {
            "accuracy": {"optimum": 1.0, "chance": 1 / self.cards},
            "reward": self.game.references()["reward"],
        }


def _sample_action(action: Tensor, rng: torch.Generator) -> Tensor:
    """Of logits a choice: the largest probability divided by a number from the exponential distribution."""
    if not action.is_floating_point():
        return action
    chance = action.detach().softmax(-1)
    return (chance / torch.empty_like(chance).exponential_(generator=rng)).argmax(-1)
