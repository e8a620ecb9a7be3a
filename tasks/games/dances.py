"""The thirteen dances of the ballet task, their order in an episode, and what is observed of them.

Shapes: B episode, T step, n dancer.
"""

from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import one_hot

COMPASS = {
    "N": (-1, 0), "NE": (-1, 1), "E": (0, 1), "SE": (1, 1), "S": (1, 0), "SW": (1, -1), "W": (0, -1), "NW": (-1, -1),
}  # fmt: skip
"""Row and column of a move in each direction, in the order of actions."""


def _mirrored(moves: str) -> str:
    """The same dance seen in a mirror: east and west change places."""
    return moves.translate(str.maketrans("EW", "WE"))


def _turned(moves: str) -> str:
    """The same dance, turned by half a circle."""
    return moves.translate(str.maketrans("NESW", "SWNE"))


_CIRCLE = "N E S S W W N N E E S S W W N E"
_DIAGONAL = "NW SE SE NW " * 4
_PLUS = "N S E W S N W E " * 2
_TIMES = "NE SW SE NW SW NE NW SE " * 2
_CHEVRON = "NW S SE NE N SW NE SW NE S SW NW N SE NW SE"

DANCES: dict[str, list[str]] = {
    name: moves.split()
    for name, moves in {
        "circle_cw": _CIRCLE,
        "circle_ccw": _mirrored(_CIRCLE),
        "up_and_down": "N S S N " * 4,
        "left_and_right": "E W W E " * 4,
        "diagonal_uldr": _DIAGONAL,
        "diagonal_urdl": _mirrored(_DIAGONAL),
        "plus_cw": _PLUS,
        "plus_ccw": _mirrored(_PLUS),
        "times_cw": _TIMES,
        "times_ccw": _mirrored(_TIMES),
        "zee": "NE W W E E SW NE SW SW E E W W NE SW NE",
        "chevron_down": _CHEVRON,
        "chevron_up": _turned(_CHEVRON),
    }.items()
}
"""The moves of each dance, by its name; each ends where it began."""

MOVES = 16  # of a dance
PLACES, CELLS, NAMES = len(COMPASS), 9, len(DANCES) + 1  # of dancers; of a dancer's square; "watch", and the dances
SEEN_SIZE = PLACES + CELLS + NAMES


class Program(NamedTuple):
    """What is danced in an episode.

    Args:
        place: of each dancer, as its direction from the middle, in the order in which they dance.
        dance: of each dancer.
        target: the dancer whose dance is named at the end.
    """

    place: Int[Tensor, "B n"]
    dance: Int[Tensor, "B n"]
    target: Int[Tensor, " B"]

    @classmethod
    def sample(cls, batch: int, dances: int, rng: torch.Generator) -> "Program":
        """Draws different places, different dances, and one of the dancers as the target.

        Args:
            batch: number of episodes.
            dances: n.
            rng: the random generator.
        """
        place, dance = (
            torch.rand(batch, options, generator=rng, device=rng.device).argsort(-1)[:, :dances]
            for options in (PLACES, len(DANCES))
        )
        return cls(place, dance, torch.randint(dances, (batch,), generator=rng, device=rng.device))

    @property
    def target_place(self) -> Int[Tensor, " B"]:
        """The place of the dancer whose dance is named."""
        return self.place.gather(1, self.target.unsqueeze(1)).squeeze(1)

    def observe(self, t: Int[Tensor, "B T"], delay: int) -> Int[Tensor, "B T S"]:
        """The dancing one's place, its cell within its square, and the instruction, one-hot; zeros where none dances.

        Args:
            t: actions since the start of the episode.
            delay: steps from the last move of a dance to the first of the next.
        """
        dances = self.place.shape[1]
        turn, move = t // dance_period(delay), t % dance_period(delay)
        dancing = ((turn < dances) & (move < MOVES)).unsqueeze(-1)
        turn, move = turn.clamp(max=dances - 1), move.clamp(max=MOVES - 1)
        cell = _cells(t.device)[self.dance.gather(1, turn), move]
        named = 1 + self.dance.gather(1, self.target.unsqueeze(1))
        name = torch.where(t < dances * dance_period(delay), 0, named)
        place = one_hot(self.place.gather(1, turn), PLACES)
        return torch.cat([place * dancing, one_hot(cell, CELLS) * dancing, one_hot(name, NAMES)], -1)

    def labels(self, delay: int, row: int) -> list[str]:
        """The direction of each dancer where its dance begins, and the name at the end; points elsewhere.

        Args:
            delay: as for `observe`.
            row: the index of the episode in the batch.
        """
        period, places = dance_period(delay), self.place[row].tolist()
        labels = [label for place in places for label in [list(COMPASS)[place], *["."] * (period - 1)]]
        return [*labels, list(DANCES)[int(self.dance[row, self.target[row]])]]


def dance_period(delay: int) -> int:
    """Steps from the first move of a dance to the first of the next.

    Args:
        delay: steps from the last move to the first of the next.
    """
    return MOVES - 1 + delay


def question_step(dances: int, delay: int) -> int:
    """The number of actions until a dance is named.

    Args:
        dances: the number of dancers.
        delay: as for `dance_period`.

    Raises:
        ValueError: a number of dances or a delay that is out of range.
    """
    if not 1 <= dances <= PLACES:
        raise ValueError(f"dances={dances}, want from 1 to {PLACES}: each dancer has one of {PLACES} places")
    if delay < 1:
        raise ValueError(f"delay={delay}, want at least 1")
    return dances * dance_period(delay)


@lru_cache(maxsize=16)
def compass(device: torch.device) -> Int[Tensor, "8 2"]:
    """Row and column of a move in each direction.

    Args:
        device: of the result.
    """
    return torch.tensor(list(COMPASS.values()), device=device)


@lru_cache(maxsize=16)
def _cells(device: torch.device) -> Int[Tensor, "13 16"]:
    """The cell of a square of 3 x 3, numbered by rows, in which each dancer is after each move, from the middle on."""
    steps = ([3 * COMPASS[move][0] + COMPASS[move][1] for move in moves] for moves in DANCES.values())
    return torch.tensor([list(accumulate(cells, initial=4))[1:] for cells in steps], device=device)
