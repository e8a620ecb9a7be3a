"""The memory card game: pairs of equal cards lie face down, and are to be found by turning two at a time."""

from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tasks.task import Discrete, Step, Task, check_integer_action

PAIR_REWARD, TURN_REWARD = 2, -1  # paid for a step that completes a pair, and for any other


class CardState(NamedTuple):
    """faces: of each card, pairs alike. taken: which are gone. seen: which were ever turned. first: the card that lies
    face up and waits for a second, -1 for none. total: reward so far. t: actions made."""

    faces: Int[Tensor, "B N"]
    taken: Bool[Tensor, "B N"]
    seen: Bool[Tensor, "B N"]
    first: Int[Tensor, " B"]
    total: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


class Turned(NamedTuple):
    """The cards that a step leaves to be seen, the first and the second of a turn; -1 for none."""

    first: Int[Tensor, " B"]
    second: Int[Tensor, " B"]


@dataclass(frozen=True)
class CardGame(Task):
    """An even number of cards, each face twice, shuffled and face down. A step turns one. The first of a turn stays
    face up until the second is turned; two alike are taken, others are turned back. A step that completes a pair is
    paid 2, any other -1. The game terminates when all are taken, and is cut short after 2 `cards` steps.

    To turn a card that is taken or lies face up already does nothing, and is paid -1; `action_mask` says which can be turned
    (all of them when the game is over, as a choice among none could not be made).

    Actions are integers (B,): which card.

    Observations (B, 4 cards), one-hot, zeros where there is none: place and face of the first card that lies face up,
    place and face of the second, as the step left them; and which cards are taken. What is turned back is seen once.

    Scores: `reward` of the game, and `pairs`, the share that was taken, at its end.

    Args:
        cards: how many.
    """

    steps: int = field(init=False, repr=False)
    cards: int = 8

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "reward"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        if self.cards < 2 or self.cards % 2:
            raise ValueError(f"cards={self.cards}, want an even number from 2 on: each face is there twice")
        object.__setattr__(self, "steps", 2 * self.cards)

    @property
    def obs_size(self) -> int:
        return 4 * self.cards

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.cards)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[CardState, Step]:
        faces = torch.rand(batch, self.cards, generator=rng, device=rng.device).argsort(-1) // 2
        none = torch.zeros_like(faces, dtype=torch.bool)
        nothing = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        t = torch.zeros_like(faces[:, 0])
        state = CardState(faces, none, none, t - 1, nothing, t)
        unknown = torch.full_like(nothing, torch.nan)
        over = torch.zeros_like(none[:, 0])
        scores = {"reward": unknown, "pairs": unknown}
        return state, Step(self._observe(state, Turned(t - 1, t - 1)), nothing, over, over, scores, action_mask=~none)

    def step(self, state: CardState, action: Tensor, rng: torch.Generator) -> tuple[CardState, Step]:
        check_integer_action(self, action)
        state, turned, reward = self.transition(state, action)
        done = state.taken.all(-1)
        cut = (state.t >= self.steps) & ~done
        over = done | cut
        scores = {
            "reward": torch.where(over, state.total, torch.nan),
            "pairs": torch.where(over, state.taken.to(self.dtype).mean(-1), torch.nan),
        }
        return state, Step(
            self._observe(state, turned), reward, done, cut, scores, action_mask=self.action_mask(state, over)
        )

    def transition(self, state: CardState, action: Int[Tensor, " B"]) -> tuple[CardState, Turned, Float[Tensor, " B"]]:
        """The game after a step, what it leaves to be seen, and what it pays."""
        place = torch.arange(self.cards, device=action.device)
        now, up = place == action.unsqueeze(-1), place == state.first.unsqueeze(-1)  # (B, N)
        possible = ~((state.taken | up) & now).any(-1)
        waiting = state.first >= 0
        second = possible & waiting
        pair = second & (_of(state.faces, action) == _of(state.faces, state.first))
        reward = torch.where(pair, PAIR_REWARD, TURN_REWARD).to(self.dtype)
        after = CardState(
            state.faces,
            state.taken | ((now | up) & pair.unsqueeze(-1)),
            state.seen | (now & possible.unsqueeze(-1)),
            torch.where(second, -1, torch.where(waiting | ~possible, state.first, action)),
            state.total + reward,
            state.t + 1,
        )
        return after, Turned(torch.where(second, state.first, after.first), torch.where(second, action, -1)), reward

    def action_mask(self, state: CardState, over: Bool[Tensor, " B"]) -> Bool[Tensor, "B N"]:
        up = torch.arange(self.cards, device=over.device) == state.first.unsqueeze(-1)
        return ~(state.taken | up) | over.unsqueeze(-1)

    def _observe(self, state: CardState, turned: Turned) -> Tensor:
        places, parts = torch.arange(self.cards, device=state.t.device), []
        for card in turned:
            face = torch.where(card >= 0, _of(state.faces, card), -1)
            parts += [places == card.unsqueeze(-1), places[: self.cards // 2] == face.unsqueeze(-1)]
        return torch.cat([*parts, state.taken], -1).to(self.dtype)

    def optimal_action(self, state: CardState) -> Int[Tensor, " B"]:
        """The move of a player who forgets nothing: the mate of the card that lies face up, if it was seen; else one of
        a pair of which both were; else the first card that was never turned. Nobody does better (see `references`)."""
        known, mates = state.seen & ~state.taken, _mates(state.faces)
        paired = known & known.gather(1, mates)  # both were seen
        unseen = (~state.seen).byte().argmax(-1)
        begun = torch.where(paired.any(-1), paired.byte().argmax(-1), unseen)
        return torch.where(
            state.first < 0, begun, torch.where(_of(paired, state.first), _of(mates, state.first), unseen)
        )

    def step_labels(self, state: CardState, row: int = 0) -> list[str]:
        """Of the game of one who forgets nothing: place and face of each card that is turned."""
        now, said = CardState(*(part[row : row + 1] for part in state)), []
        while not now.taken.all():
            card = self.optimal_action(now)
            now, _, _ = self.transition(now, card)
            said.append(f"{card.item()}{chr(ord('A') + int(now.faces[0, card]))}")
        return said

    def references(self) -> dict[str, dict[str, float]]:
        """Exact: of one who forgets nothing and plays as well as can be, by dynamic programming over what is known; and
        of one who draws a legal card, by carrying on how likely each number of pairs is."""
        reward, pairs = _random(self.cards)
        return {
            "reward": {"optimum": float(optimal_value(0, self.cards)), "chance": reward},
            "pairs": {"optimum": 1.0, "chance": pairs},
        }


def _of(cards: Tensor, place: Int[Tensor, " B"]) -> Tensor:
    """What is at that place, (B, N) -> (B,); at place -1, anything."""
    return cards.gather(1, place.clamp(min=0).unsqueeze(-1)).squeeze(-1)


def _mates(faces: Int[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """Where the other card of the same face lies."""
    order = faces.argsort(-1)
    swapped = order.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.empty_like(order).scatter_(-1, order, swapped)


@cache
def optimal_value(single: int, unseen: int) -> Fraction:
    """What is still to be gained at the start of a turn, at best: `single` cards are known whose mates are not, and
    `unseen` were never turned. A known pair is taken at once, for 2 - 1. Beyond that, the choice is whether to turn an
    unseen card or a known one, first and second. The limit of steps is never met."""
    if not unseen:
        return Fraction(0)
    gain = PAIR_REWARD + TURN_REWARD
    new, rest = unseen - single, unseen - 1  # unseen cards whose mates are unseen, too; unseen after the first
    first = Fraction(single, unseen) * (gain + optimal_value(single - 1, rest)) if single else Fraction(0)
    if new:
        match = gain + optimal_value(single, rest - 1)
        other = (
            2 * TURN_REWARD + gain + optimal_value(single, rest - 1) if single else 0
        )  # its mate is known, and so a pair
        fresh = 2 * TURN_REWARD + optimal_value(single + 2, rest - 1) if new > 2 else 0
        second = Fraction(1, rest) * match + Fraction(single, rest) * other + Fraction(new - 2, rest) * fresh
        if single:
            second = max(second, 2 * TURN_REWARD + optimal_value(single + 1, rest))  # turn a known card, in vain
        first += Fraction(new, unseen) * second
    if not single:
        return first
    match, other = gain + optimal_value(single - 1, rest), 2 * TURN_REWARD + gain + optimal_value(single - 1, rest)
    fresh = 2 * TURN_REWARD + optimal_value(single + 1, rest) if new else 0
    known = Fraction(1, unseen) * match + Fraction(single - 1, unseen) * other + Fraction(new, unseen) * fresh
    return max(first, known)


@lru_cache(maxsize=16)
def _random(cards: int) -> tuple[float, float]:
    """Expected reward and share of pairs, of legal moves that are drawn: of m pairs a turn finds one in 2 m - 1."""
    at, turns = {cards // 2: 1.0}, 0.0
    for _ in range(cards):
        turns += sum(share for left, share in at.items() if left)
        after: dict[int, float] = {}
        for left, share in at.items():
            found = share / (2 * left - 1) if left else 0.0
            after[left] = after.get(left, 0.0) + share - found
            after[max(left - 1, 0)] = after.get(max(left - 1, 0), 0.0) + found
        at = after
    pairs = cards // 2 - sum(left * share for left, share in at.items())
    return (PAIR_REWARD - TURN_REWARD) * pairs + 2 * TURN_REWARD * turns, pairs / (cards // 2)
