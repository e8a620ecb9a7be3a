"""Memory card game (concentration): find pairs of equal cards by turning two cards at a time."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tasks.task import Discrete, Step, Task, check_integer_action

PAIR_REWARD, TURN_REWARD = 2, -1  # of a step that completes a pair, and of any other


class CardState(NamedTuple):
    """State of the card game; N cards.

    Args:
        faces: the face of each card; each face is on two cards.
        taken: the cards that are taken.
        seen: the cards that were turned at least once.
        first: the index of the card that is face up while the second of the turn is chosen, -1 for none.
        total: the sum of rewards.
        t: the number of actions taken.
    """

    faces: Int[Tensor, "B N"]
    taken: Bool[Tensor, "B N"]
    seen: Bool[Tensor, "B N"]
    first: Int[Tensor, " B"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


class Turned(NamedTuple):
    """Indices of the cards that are visible after a step.

    Args:
        first: the first card of the turn, -1 for none.
        second: the second card of the turn, -1 for none.
    """

    first: Int[Tensor, " B"]
    second: Int[Tensor, " B"]


@dataclass(frozen=True)
class CardGame(Task):
    """Memory card game for one player: each step turns a card; two equal cards in one turn are taken.

    The cards are shuffled and face down; each face is on two of them. The first card of a turn stays face up until the
    second is turned. A pair is taken, other cards are turned back. A step that completes a pair pays 2, any other -1.
    The game terminates when all cards are taken, and is truncated after 2 `cards` steps.

    Turning a card that is taken or already face up has no effect and pays -1. `action_mask` has the cards that can be
    turned (all of them when the game is over, as no policy can choose among none).

    Actions are integers (B,): the index of a card. Observations (B, 4 cards): one-hot index and face of the first
    visible card, one-hot index and face of the second, zeros for none; then a mask of the cards taken. Cards that are
    turned back are visible in one observation only.

    Scores, at the end of the game: `episodic_return`, and `pairs_found`, the fraction of pairs taken.

    Args:
        steps: 2 `cards`; derived.
        cards: the number of cards.

    Raises:
        ValueError: an odd number of cards, or fewer than 2.
    """

    steps: int = field(init=False, repr=False)
    cards: int = 8

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        if self.cards < 2 or self.cards % 2:
            raise ValueError(f"cards={self.cards}, want an even number from 2 on: each face is on two cards")
        object.__setattr__(self, "steps", 2 * self.cards)

    @property
    def obs_size(self) -> int:
        return 4 * self.cards

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.cards)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CardState, Step]:
        faces = torch.rand(batch, self.cards, generator=rng, device=rng.device).argsort(-1) // 2
        no_cards = torch.zeros_like(faces, dtype=torch.bool)
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        t = torch.zeros_like(faces[:, 0])
        state = CardState(faces, no_cards, no_cards, t - 1, zeros, t)
        scores = dict.fromkeys(("episodic_return", "pairs_found"), torch.full_like(zeros, torch.nan))
        obs, not_done = self._observe(state, Turned(t - 1, t - 1)), torch.zeros_like(no_cards[:, 0])
        return state, Step(obs, zeros, not_done, not_done, scores, action_mask=~no_cards)

    def step(self, state: CardState, action: Tensor, rng: torch.Generator) -> tuple[CardState, Step]:
        check_integer_action(self, action)
        state, turned, reward = self.transition(state, action)
        terminated = state.taken.all(-1)
        truncated = (state.t >= self.steps) & ~terminated
        done = terminated | truncated
        scores = {"episodic_return": state.total, "pairs_found": state.taken.to(self.dtype).mean(-1)}
        scores = {name: torch.where(done, score, torch.nan) for name, score in scores.items()}
        obs, mask = self._observe(state, turned), self.action_mask(state, done)
        return state, Step(obs, reward, terminated, truncated, scores, action_mask=mask)

    def transition(self, state: CardState, action: Int[Tensor, " B"]) -> tuple[CardState, Turned, Float[Tensor, " B"]]:
        """The next state, the visible cards and the reward.

        Args:
            state: the state of the game.
            action: the index of the card to turn.
        """
        index = torch.arange(self.cards, device=action.device)
        chosen, face_up = index == action.unsqueeze(-1), index == state.first.unsqueeze(-1)  # (B, N)
        allowed = ~((state.taken | face_up) & chosen).any(-1)
        waiting = state.first >= 0
        second = allowed & waiting
        pair = second & (_card_at(state.faces, action) == _card_at(state.faces, state.first))
        reward = torch.where(pair, PAIR_REWARD, TURN_REWARD).to(self.dtype)
        next_state = CardState(
            state.faces,
            state.taken | ((chosen | face_up) & pair.unsqueeze(-1)),
            state.seen | (chosen & allowed.unsqueeze(-1)),
            torch.where(second, -1, torch.where(waiting | ~allowed, state.first, action)),
            state.total + reward,
            state.t + 1,
        )
        turned = Turned(torch.where(second, state.first, next_state.first), torch.where(second, action, -1))
        return next_state, turned, reward

    def action_mask(self, state: CardState, done: Bool[Tensor, " B"]) -> Bool[Tensor, "B N"]:
        """Mask of the cards that can be turned.

        Args:
            state: the state of the game.
            done: games that are over, in which all cards are allowed.
        """
        face_up = torch.arange(self.cards, device=done.device) == state.first.unsqueeze(-1)
        return ~(state.taken | face_up) | done.unsqueeze(-1)

    def _observe(self, state: CardState, turned: Turned) -> Tensor:
        index, parts = torch.arange(self.cards, device=state.t.device), []
        for card in turned:
            face = torch.where(card >= 0, _card_at(state.faces, card), -1)
            parts += [index == card.unsqueeze(-1), index[: self.cards // 2] == face.unsqueeze(-1)]
        return torch.cat([*parts, state.taken], -1).to(self.dtype)

    def optimal_action(self, state: CardState) -> Int[Tensor, " B"]:
        """The action of an optimal player with perfect memory, whose expected return is `optimal_value`.

        It completes a pair if the second card is known; otherwise it starts a known pair; otherwise it turns the first
        card that was never turned.

        Args:
            state: the state of the game.
        """
        known, mates = state.seen & ~state.taken, _mates(state.faces)
        known_pair = known & known.gather(1, mates)
        unseen = (~state.seen).byte().argmax(-1)
        first = torch.where(known_pair.any(-1), known_pair.byte().argmax(-1), unseen)
        second = torch.where(_card_at(known_pair, state.first), _card_at(mates, state.first), unseen)
        return torch.where(state.first < 0, first, second)

    def step_labels(self, state: CardState, row: int = 0) -> list[str]:
        """Index and face of each card that a player with perfect memory turns.

        Args:
            state: the state that `reset` returned.
            row: the index of the episode in the batch.
        """
        state, labels = CardState(*(part[row : row + 1] for part in state)), []
        while not state.taken.all():
            card = self.optimal_action(state)
            state, _, _ = self.transition(state, card)
            labels.append(f"{card.item()}{chr(ord('A') + int(state.faces[0, card]))}")
        return labels

    def references(self) -> dict[str, dict[str, float]]:
        """Exact values of optimal play with perfect memory, and of random allowed cards."""
        episodic_return, pairs = _random_play(self.cards)
        return {
            "episodic_return": {"optimum": float(optimal_value(0, self.cards)), "chance": episodic_return},
            "pairs_found": {"optimum": 1.0, "chance": pairs},
        }


def _card_at(values: Tensor, index: Int[Tensor, " B"]) -> Tensor:
    """The value of the card at that index, (B, N) -> (B,); arbitrary at index -1."""
    return values.gather(1, index.clamp(min=0).unsqueeze(-1)).squeeze(-1)


def _mates(faces: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """The index of the other card with the same face."""
    order = faces.argsort(-1)
    swapped = order.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.empty_like(order).scatter_(-1, order, swapped)


@cache
def optimal_value(single: int, unseen: int) -> Fraction:
    """The optimal expected return from the start of a turn, by dynamic programming over what has been seen.

    A known pair is taken at once, for 2 - 1. Beyond that, the choice is whether to turn an unseen or a known card,
    first and second. The limit of steps is never reached.

    Args:
        single: the number of seen cards whose mate is unseen.
        unseen: the number of cards that were never turned.
    """
    if not unseen:
        return Fraction(0)
    gain = PAIR_REWARD + TURN_REWARD
    new, remaining = unseen - single, unseen - 1  # unseen cards with unseen mates; unseen cards after the first turn
    value = Fraction(single, unseen) * (gain + optimal_value(single - 1, remaining)) if single else Fraction(0)
    if new:
        match = gain + optimal_value(single, remaining - 1)
        known_mate = 2 * TURN_REWARD + gain + optimal_value(single, remaining - 1) if single else 0  # a known pair
        mismatch = 2 * TURN_REWARD + optimal_value(single + 2, remaining - 1) if new > 2 else 0
        second = (
            Fraction(1, remaining) * match
            + Fraction(single, remaining) * known_mate
            + Fraction(new - 2, remaining) * mismatch
        )
        if single:  # or turn a known card second, without information
            second = max(second, 2 * TURN_REWARD + optimal_value(single + 1, remaining))
        value += Fraction(new, unseen) * second
    if not single:
        return value
    match = gain + optimal_value(single - 1, remaining)
    known_mate = 2 * TURN_REWARD + gain + optimal_value(single - 1, remaining)
    mismatch = 2 * TURN_REWARD + optimal_value(single + 1, remaining) if new else 0
    known_first = (
        Fraction(1, unseen) * match + Fraction(single - 1, unseen) * known_mate + Fraction(new, unseen) * mismatch
    )
    return max(value, known_first)


@lru_cache(maxsize=16)
def _random_play(cards: int) -> tuple[float, float]:
    """Expected return and fraction of pairs of random allowed cards: with m pairs left, a turn finds one in 2 m - 1."""
    probability, turns = {cards // 2: 1.0}, 0.0  # by the number of pairs left
    for _ in range(cards):
        turns += sum(p for left, p in probability.items() if left)
        updated: dict[int, float] = {}
        for left, p in probability.items():
            success = p / (2 * left - 1) if left else 0.0
            updated[left] = updated.get(left, 0.0) + p - success
            updated[max(left - 1, 0)] = updated.get(max(left - 1, 0), 0.0) + success
        probability = updated
    pairs = cards // 2 - sum(left * p for left, p in probability.items())
    return (PAIR_REWARD - TURN_REWARD) * pairs + 2 * TURN_REWARD * turns, pairs / (cards // 2)
