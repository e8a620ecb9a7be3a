"""Ballet: dancers dance in turn, and the agent goes to the one whose dance is named (Lampinen et al. 2021)."""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from tasks.games.dances import COMPASS, SEEN_SIZE, Program, compass, question_step
from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action

REACH = 4  # cells from the middle to the wall
DISTANCE = 3  # moves from the middle to a dancer
MIN_MOVES = 72  # steps that are left when the dance is named
OBS_PARTS = (ObsPart("one_hot", (SEEN_SIZE,)), ObsPart("vector", (2,)))


class BalletState(NamedTuple):
    """State of the ballet.

    Args:
        place: of each dancer, as its direction from the middle, in the order in which they dance.
        dance: of each dancer.
        target: the dancer whose dance is named.
        position: row and column of the agent, from the middle.
        t: the number of actions taken.
    """

    place: Int[Tensor, "B n"]
    dance: Int[Tensor, "B n"]
    target: Int[Tensor, " B"]
    position: Int[Tensor, "B 2"]
    t: Int[Tensor, " B"]

    @property
    def program(self) -> Program:
        """What is danced."""
        return Program(*self[:3])


@dataclass(frozen=True)
class Ballet(Task):
    """Ballet: the agent watches dances, and then goes to the dancer whose dance is named: memory for sequences.

    The agent is in the middle of a room of 9 x 9 cells within walls. Dancers are three cells away, in different ones of
    the eight directions. One after the other dances within its square of 3 x 3 cells, each another one of 13 dances of
    16 moves; after each, also the last, comes a delay. Until then the agent cannot move, and its instruction is to
    watch. Then it is the name of one of the dances. Now the agent moves one cell a step, in eight directions; a move
    into a wall has no effect. When it reaches a dancer the episode terminates, with reward 1 if it is the right one.

    Episodes are truncated after 320 steps, or 1,024 if the delay is above 16; later where fewer than 72 steps would be
    left for the moves. As in the public code the first observation shows the first move, the first move of a dance
    comes `delay` steps after the last of the one before, and the action that leads to the name moves nobody.

    Actions are integers (B,): N, NE, E, SE, S, SW, W, NW; three moves in the direction of a dancer reach it.
    Observations (B, 33) are symbols, in place of the pictures of the original: the direction of the dancer that dances
    and its cell within its square, one-hot, zeros where none dances; the instruction, one-hot, first that to watch; row
    and column of the agent, from -1 to 1.

    Score, at the end of the episode: `success`.

    Args:
        steps: the maximum length of an episode; derived.
        dances: the number of dancers, from 1 to 8; 2, 4 and 8 in the paper.
        delay: steps from the last move of a dance to the first of the next; 16 and 48 in the paper.

    Raises:
        ValueError: a number of dances or a delay that is out of range.

    Source: Lampinen et al. 2021 (arXiv:2105.14039), section 4.1.
    """

    steps: int = field(init=False, repr=False)
    dances: int = 2
    delay: int = 16

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "success"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        limit = 320 if self.delay <= 16 else 1024
        object.__setattr__(self, "steps", max(limit, question_step(self.dances, self.delay) + MIN_MOVES))

    @property
    def obs_size(self) -> int:
        return sum(part.size for part in OBS_PARTS)

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return OBS_PARTS

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(COMPASS))

    def reset(self, batch: int, rng: torch.Generator) -> tuple[BalletState, Step]:
        program = Program.sample(batch, self.dances, rng)
        t, position = torch.zeros_like(program.target), program.place.new_zeros(batch, 2)
        state = BalletState(*program, position, t)
        zeros, not_done = torch.zeros_like(t, dtype=self.dtype), torch.zeros_like(t, dtype=torch.bool)
        scores = {"success": torch.full_like(zeros, torch.nan)}
        return state, Step(self._observe(state), zeros, not_done, not_done, scores)

    def step(self, state: BalletState, action: Tensor, rng: torch.Generator) -> tuple[BalletState, Step]:
        check_integer_action(self, action)
        directions = compass(action.device)
        moved = state.position + directions[action]
        free = (moved.abs() <= REACH).all(-1) & (state.t >= question_step(self.dances, self.delay))
        state = state._replace(position=torch.where(free.unsqueeze(-1), moved, state.position), t=state.t + 1)
        at_dancer = (state.position.unsqueeze(1) == DISTANCE * directions[state.place]).all(-1)  # (B, n)
        reached = at_dancer.any(-1)
        truncated = (state.t >= self.steps) & ~reached
        reward = at_dancer.gather(1, state.target.unsqueeze(1)).squeeze(1).to(self.dtype)
        scores = {"success": torch.where(reached | truncated, reward, torch.nan)}
        return state, Step(self._observe(state), reward, reached, truncated, scores)

    def _observe(self, state: BalletState) -> Tensor:
        seen = state.program.observe(state.t.unsqueeze(1), self.delay).squeeze(1)
        return torch.cat([seen.to(self.dtype), state.position.to(self.dtype) / REACH], -1)

    def step_labels(self, state: BalletState, row: int = 0) -> list[str]:
        return [*state.program.labels(self.delay, row), *["."] * (DISTANCE - 1)]

    def references(self) -> dict[str, dict[str, float]]:
        """Exact values of the best player, of one that goes to any of the dancers, and of random moves."""
        moves = self.steps - question_step(self.dances, self.delay)
        chance = _random_walk(self.dances, moves) / self.dances
        return {"success": {"optimum": 1.0, "any dancer": 1 / self.dances, "chance": chance}}


@lru_cache(maxsize=64)
def _random_walk(dances: int, moves: int) -> float:
    """The probability that random moves reach any dancer, by propagating the distribution for each choice of places."""
    side = 2 * REACH + 1
    step = torch.zeros(side**2, side**2, dtype=torch.float64)
    for cell in range(side**2):
        for row, column in COMPASS.values():
            to = cell // side + row, cell % side + column
            free = all(0 <= place < side for place in to)
            step[cell, to[0] * side + to[1] if free else cell] += 1 / len(COMPASS)
    middle = REACH * side + REACH
    cells = [middle + DISTANCE * (row * side + column) for row, column in COMPASS.values()]
    chosen = torch.tensor(list(combinations(cells, dances)))
    dancers = torch.zeros(len(chosen), side**2, dtype=torch.bool).scatter_(1, chosen, True)
    occupancy = torch.zeros(len(chosen), side**2, dtype=torch.float64)
    occupancy[:, middle] = 1
    reached = 0.0
    for _ in range(moves):
        occupancy = occupancy @ step
        reached += float((occupancy * dancers).sum())
        occupancy = occupancy * ~dancers
    return reached / len(chosen)
