"""The memory card game by example: name the move of a player who forgets nothing."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from tasks.games.card_game import CardGame, CardState
from tasks.task import Discrete, Step, Task, judged


@dataclass(frozen=True)
class CardLesson(Task):
    """A `CardGame`, supervised: what is asked for in each step is the move of `CardGame.expert`. What is seen and which
    moves there are is the same, so that an agent taught here can play there.

    Actions are logits (B, cards) or integers (B,). The reward of a step is the log-probability of the expert's move, or
    1 for the right integer, divided by `steps`.

    Who plays is either the expert, so that all games are good ones (learning from demonstrations); or, `own`, the
    agent: a card drawn from its logits is turned, legal or not, and the expert says what it would have done where the
    agent has come to (as in DAgger, Ross et al. 2011, arXiv:1011.0686, without the mixture), so that it meets its own
    mistakes.

    Scores: `accuracy` of each step; at the end of a game, the `reward` of who has played it.

    Args:
        cards: how many.
        own: whether the agent's moves are played, not the expert's.
    """

    steps: int = field(init=False, repr=False)
    cards: int = 8
    own: bool = False

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
    def action(self) -> Discrete:
        return self.game.action

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CardState, Step]:
        state, step = self.game.reset(batch, rng)
        reward = step.scores["reward"]
        return state, step._replace(scores={"accuracy": reward, "reward": reward}, legal=None)

    def step(self, state: CardState, action: Tensor, rng: torch.Generator) -> tuple[CardState, Step]:
        due = ~state.taken.all(-1) & (state.t < self.steps)
        wanted = self.game.expert(state)
        given, right = judged(action, wanted, self.dtype)
        state, step = self.game.step(state, _drawn(action, rng) if self.own else wanted, rng)
        scores = {"accuracy": torch.where(due, right, torch.nan), "reward": step.scores["reward"]}
        return state, step._replace(reward=torch.where(due, given / self.steps, 0), scores=scores, legal=None)

    def words(self, state: CardState, row: int = 0) -> list[str] | None:
        return None if self.own else self.game.words(state, row)

    def references(self) -> dict[str, dict[str, float]]:
        """Of who forgets nothing; and, of the game, exactly what random legal moves bring."""
        return {
            "accuracy": {"optimum": 1.0, "chance": 1 / self.cards},
            "reward": self.game.references()["reward"],
        }


def _drawn(action: Tensor, rng: torch.Generator) -> Tensor:
    """Of logits a choice: the largest probability divided by a number from the exponential distribution."""
    if not action.is_floating_point():
        return action
    chance = action.detach().softmax(-1)
    return (chance / torch.empty_like(chance).exponential_(generator=rng)).argmax(-1)
