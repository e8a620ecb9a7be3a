"""Imitation learning of the memory card game, from demonstrations or with DAgger."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from tasks.games.card_game import CardGame, CardState
from tasks.task import Discrete, Step, Task, reward_and_correct


@dataclass(frozen=True)
class CardGameImitation(Task):
    """Supervised imitation of optimal play in `CardGame`: the target of each step is `CardGame.optimal_action`.

    Observations and actions are those of `CardGame`, so that a trained agent can play the game.

    Actions are logits (B, cards) or integers (B,). The reward of a step is the log-probability of the optimal action,
    or 1 for the correct integer, divided by `steps`.

    The cards that are turned are either those of the expert (learning from demonstrations), or, with `dagger`, sampled
    from the logits of the agent, allowed or not, so that the expert labels the states that the agent visits (DAgger,
    Ross et al. 2011, arXiv:1011.0686, without mixing).

    Scores: `accuracy` of each step; at the end of a game, the `episodic_return` of the cards that were turned.

    Args:
        steps: as in `CardGame`; derived.
        cards: the number of cards.
        dagger: whether the actions of the agent are executed instead of those of the expert.
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
        """The game that is imitated."""
        return CardGame(self.cards, dtype=self.dtype)

    @property
    def obs_size(self) -> int:
        return self.game.obs_size

    @property
    def action_space(self) -> Discrete:
        return self.game.action_space

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CardState, Step]:
        state, step = self.game.reset(batch, rng)
        nan_score = step.scores["episodic_return"]
        return state, step._replace(scores={"accuracy": nan_score, "episodic_return": nan_score}, action_mask=None)

    def step(self, state: CardState, action: Tensor, rng: torch.Generator) -> tuple[CardState, Step]:
        answer_mask = ~state.taken.all(-1) & (state.t < self.steps)
        target = self.game.optimal_action(state)
        reward, correct = reward_and_correct(action, target, self.dtype)
        state, step = self.game.step(state, _sample_action(action, rng) if self.dagger else target, rng)
        accuracy = torch.where(answer_mask, correct, torch.nan)
        scores = {"accuracy": accuracy, "episodic_return": step.scores["episodic_return"]}
        reward = torch.where(answer_mask, reward / self.steps, 0)
        return state, step._replace(reward=reward, scores=scores, action_mask=None)

    def step_labels(self, state: CardState, row: int = 0) -> list[str] | None:
        return None if self.dagger else self.game.step_labels(state, row)

    def references(self) -> dict[str, dict[str, float]]:
        """Accuracy of the expert and of chance; exact returns as in `CardGame`."""
        return {
            "accuracy": {"optimum": 1.0, "chance": 1 / self.cards},
            "episodic_return": self.game.references()["episodic_return"],
        }


def _sample_action(action: Tensor, rng: torch.Generator) -> Tensor:
    """Samples from logits by an exponential race; integers are returned unchanged."""
    if not action.is_floating_point():
        return action
    probability = action.detach().softmax(-1)
    return (probability / torch.empty_like(probability).exponential_(generator=rng)).argmax(-1)
