"""Key-to-Door: a door pays only if a key was taken two rooms before, which nothing shows in between."""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.control.mazes.maze_tables import MOVES
from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action, check_positive

KEY_ROOM, DISTRACTOR_ROOM, DOOR_ROOM = ROOMS = range(3)
SAMPLED_EPISODES = 20_000  # of which the success of random moves is the mean


class KeyToDoorState(NamedTuple):
    """State of an episode.

    Args:
        place: row and column of the agent in its room.
        target: row and column of the key, and of the door.
        has_key: whether the key was taken.
        opened: whether the door was reached.
        t: the number of actions taken.
    """

    place: Int[Tensor, "B 2"]
    target: Int[Tensor, "B 2 2"]
    has_key: Bool[Tensor, " B"]
    opened: Bool[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class KeyToDoor(Task):
    """Three rooms, one after the other: the first has a key, the second nothing, the third a door.

    The agent is in each room for a fixed number of steps. It takes the key by stepping on it, and the door's reward
    is 1 if it has the key, else 0. The door ends the episode, as does the end of its room's time. Whether one has the
    key is not observed once the first room is left: in it, a key that was taken is no longer seen.

    Actions are integers (B,): up, right, down, left; a move into a wall has no effect. The key, the door and the place
    where each room is entered are random cells; neither key nor door are entered upon.

    Observations (B, 3 + 4 side): the room; row and column of the agent; row and column of the key or the door, zeros
    where there is none. All of them one-hot.

    Score: `success`, 1 if the door was reached with the key, at the end.

    Args:
        steps: the maximum length of an episode; derived.
        side: cells in a row and in a column of a room.
        room_steps: steps in the room of the key and in that of the door.
        distractor_steps: steps in the room between them.

    Raises:
        ValueError: a side below 2, or `room_steps` or `distractor_steps` below 1.

    Source: after Mesnard et al. 2021 (arXiv:2011.09464); Hung et al. 2019, "Optimizing agent behavior over long time
    scales by transporting value"; without apples and images.
    """

    steps: int = field(init=False, repr=False)
    side: int = 5
    room_steps: int = 8
    distractor_steps: int = 8

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "success"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(room_steps=self.room_steps, distractor_steps=self.distractor_steps)
        if self.side < 2:
            raise ValueError(f"side={self.side}, want at least 2 cells in a row")
        object.__setattr__(self, "steps", 2 * self.room_steps + self.distractor_steps)

    @property
    def obs_size(self) -> int:
        return len(ROOMS) + 4 * self.side

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        side = self.side
        return (
            ObsPart("one_hot", (len(ROOMS),), "room"),
            ObsPart("one_hot", (2, side), "place"),
            ObsPart("one_hot", (2, side), "object"),
        )

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(MOVES))

    def reset(self, batch: int, rng: torch.Generator) -> tuple[KeyToDoorState, Step]:
        target = self._cells(torch.randint(self.side**2, (batch, 2), generator=rng, device=rng.device))
        no = torch.zeros(batch, dtype=torch.bool, device=rng.device)
        state = KeyToDoorState(self._enter(target[:, 0], rng), target, no, no, torch.zeros_like(target[:, 0, 0]))
        return state, self._make_step(state, torch.zeros(batch, dtype=self.dtype, device=rng.device))

    def step(self, state: KeyToDoorState, action: Tensor, rng: torch.Generator) -> tuple[KeyToDoorState, Step]:
        check_integer_action(self, action)
        place = (state.place + torch.tensor(MOVES, device=action.device)[action]).clamp(0, self.side - 1)
        room = self._room(state.t)
        at_key, at_door = (place.unsqueeze(1) == state.target).all(-1).unbind(1)
        has_key = state.has_key | (at_key & (room == KEY_ROOM))
        opened = at_door & (room == DOOR_ROOM)
        reward = (opened & has_key).to(self.dtype)
        t = state.t + 1
        entered = self._enter(state.target[:, 1], rng)
        place = torch.where((self._room(t) != room).unsqueeze(1), entered, place)
        state = KeyToDoorState(place, state.target, has_key, state.opened | opened, t)
        return state, self._make_step(state, reward)

    def _enter(self, taken: Int[Tensor, "B 2"], rng: torch.Generator) -> Int[Tensor, "B 2"]:
        """A random cell other than one that is taken."""
        number = taken[:, 0] * self.side + taken[:, 1]
        other = torch.randint(self.side**2 - 1, number.shape, generator=rng, device=rng.device)
        return self._cells(other + (other >= number))

    def _cells(self, number: Int[Tensor, "*B"]) -> Int[Tensor, "*B 2"]:
        return torch.stack([number // self.side, number % self.side], -1)

    def _room(self, t: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
        """The room in which the action of step t is taken."""
        first = t >= self.room_steps
        return first.long() + (t >= self.room_steps + self.distractor_steps)

    def _make_step(self, state: KeyToDoorState, reward: Float[Tensor, " B"]) -> Step:
        done = state.opened | (state.t >= self.steps)
        room = self._room(state.t)
        shown = torch.where((room == DOOR_ROOM).unsqueeze(1), state.target[:, 1], state.target[:, 0])
        visible = (room == DOOR_ROOM) | ((room == KEY_ROOM) & ~state.has_key)
        target = one_hot(shown, self.side) * visible[:, None, None]
        parts = [one_hot(room, len(ROOMS)), one_hot(state.place, self.side).flatten(1), target.flatten(1)]
        scores = {"success": torch.where(done, (state.opened & state.has_key).to(self.dtype), torch.nan)}
        return Step(torch.cat(parts, -1).to(self.dtype), reward, done, torch.zeros_like(done), scores)

    def references(self) -> dict[str, dict[str, float]]:
        """The optimum where both rooms leave time for the farthest cell; success of random moves, of many episodes."""
        rng = torch.Generator().manual_seed(0)
        state, step = self.reset(SAMPLED_EPISODES, rng)
        won = torch.zeros(SAMPLED_EPISODES, dtype=torch.bool)
        over = won.clone()
        for _ in range(self.steps):
            action = torch.randint(len(MOVES), (SAMPLED_EPISODES,), generator=rng)
            state, step = self.step(state, action, rng)
            won, over = won | ((step.reward > 0) & ~over), over | step.terminated
        return {"success": {"optimum": self._optimum(), "chance": won.double().mean().item()}}

    def _optimum(self) -> float:
        """The probability that both targets are within reach."""
        cells = self._cells(torch.arange(self.side**2))
        distance = (cells.unsqueeze(0) - cells.unsqueeze(1)).abs().sum(-1)
        near = (distance <= self.room_steps).sum() - len(cells)
        return (near / (len(cells) * (len(cells) - 1))).item() ** 2
