"""Load and unload: a cart carries goods along a line, and does not observe whether it is loaded."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.observations import ObsPart
from tasks.task import Discrete, Step, Task, check_integer_action, check_positive


class LoadUnloadState(NamedTuple):
    """State of load and unload.

    Args:
        place: the position on the line; goods are unloaded at 0, and loaded at the other end.
        loaded: whether the cart is loaded.
        t: the number of actions taken.
        discounted_return: the discounted sum of the rewards so far.
    """

    place: Int[Tensor, " B"]
    loaded: Bool[Tensor, " B"]
    t: Int[Tensor, " B"]
    discounted_return: Float[Tensor, " B"]


@dataclass(frozen=True)
class LoadUnload(Task):
    """A cart moves left or right on a line; it is loaded at the right end, and paid 1 where it unloads, at the left.

    Observations (B, places) are the place, one-hot: between the ends the cart does not know in which direction to go,
    so it needs one bit of memory. Actions are integers (B,): left, right. It starts empty at the left end. A move into
    an end of the line has no effect. Episodes are cut after `steps` steps, which is a truncation: the work has no end.

    Score: `discounted_return`, at the end.

    Args:
        steps: the length of an episode.
        places: on the line.
        discount: of the score, for each step.

    Raises:
        ValueError: `steps` below 1, fewer than 2 `places`, or a `discount` outside of 0 to 1.

    Source: Peshkin, Meuleau and Kaelbling 1999, "Learning Policies with External Memory" (arXiv:cs/0103003).
    """

    steps: int = 200
    places: int = 5
    discount: float = 0.95

    fixed_length: ClassVar[bool] = False  # so that the last observation is seen and its value bootstraps
    score: ClassVar[str] = "discounted_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if self.places < 2:
            raise ValueError(f"places={self.places}, want at least 2: one to load, and one to unload")
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount={self.discount}, want a number from 0 to 1")

    @property
    def obs_size(self) -> int:
        return self.places

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("one_hot", (self.places,)),)

    @property
    def action_space(self) -> Discrete:
        return Discrete(2)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[LoadUnloadState, Step]:
        place = torch.zeros(batch, dtype=torch.long, device=rng.device)
        zeros = torch.zeros(batch, dtype=self.dtype, device=rng.device)
        state = LoadUnloadState(place, place > 0, place, zeros)
        return state, self._make_step(state, zeros)

    def step(self, state: LoadUnloadState, action: Tensor, rng: torch.Generator) -> tuple[LoadUnloadState, Step]:
        check_integer_action(self, action)
        place = (state.place + 2 * action - 1).clamp(0, self.places - 1)
        unloads = state.loaded & (place == 0)
        reward = unloads.to(self.dtype)
        loaded = (state.loaded | (place == self.places - 1)) & ~unloads
        total = state.discounted_return + self.discount ** state.t.to(self.dtype) * reward
        state = LoadUnloadState(place, loaded, state.t + 1, total)
        return state, self._make_step(state, reward)

    def _make_step(self, state: LoadUnloadState, reward: Tensor) -> Step:
        over = state.t >= self.steps
        scores = {self.score: torch.where(over, state.discounted_return, torch.nan)}
        return Step(one_hot(state.place, self.places).to(self.dtype), reward, torch.zeros_like(over), over, scores)

    def references(self) -> dict[str, dict[str, float]]:
        """Exact returns: with the load observed, of the best policy without memory, and of random moves.

        Without memory it is best to turn at the ends, and to toss a coin in between.
        """
        trip = 2 * (self.places - 1)
        optimum = sum(self.discount ** (n * trip - 1) for n in range(1, self.steps // trip + 1))
        coin = np.full(self.places, 0.5)
        turning = coin.copy()
        turning[[0, -1]] = 1, 0
        returns = {"optimum": optimum, "memoryless": self._policy_return(turning), "chance": self._policy_return(coin)}
        return {self.score: returns}

    def _policy_return(self, right: np.ndarray) -> float:
        """The return of a policy without memory; right: the probability of a move to the right at each place."""
        place = np.arange(self.places)
        to_left, to_right = np.maximum(place - 1, 0), np.minimum(place + 1, self.places - 1)
        empty, loaded = np.zeros((2, self.places))  # values of the places, with the steps that are left
        for _ in range(self.steps):
            arrives_empty, arrives_loaded = self.discount * empty, self.discount * loaded
            arrives_empty[-1], arrives_loaded[0] = arrives_loaded[-1], 1 + arrives_empty[0]
            empty, loaded = (
                right * value[to_right] + (1 - right) * value[to_left] for value in (arrives_empty, arrives_loaded)
            )
        return float(empty[0])
