"""Dec-Tiger: two agents hear the tiger on their own and must open a door together.

Shapes: B episode, P agent.
"""

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.observations import ObsPart
from tasks.pomdp.model import PomdpModel
from tasks.pomdp.reference_values import reference_values
from tasks.pomdp.task import Pomdp, PomdpState
from tasks.task import Discrete, Step, Task

ACTIONS, AGENTS = ("listen", "open-left", "open-right"), 2
HEARS_RIGHT = 0.85  # probability that an agent hears the right side, if both listen
OPTIMUM = {2: -4.0, 3: 5.190812, 4: 4.802755, 5: 7.026451}  # by steps; of agents that cannot talk
SHARED = {2: 10.815, 3: 13.0154875, 4: 22.701124, 5: 26.810325}  # of one player who makes all moves and hears all


@dataclass(frozen=True)
class DecTiger(Task):
    """Dec-Tiger: two agents listen, each on its own, and should open the same door, behind which there is no tiger.

    If both listen, at a cost of 2, each hears the right side with probability 0.85, independently. If one opens a door,
    the tiger is placed anew and both hear noise. Both are paid the same: 20 if both open the door of the treasure, -50
    if both open that of the tiger, -100 if they open different ones; 9 or -101 if one opens that of the treasure or of
    the tiger while the other listens. Returns are not discounted. An agent observes neither the reward nor the action
    of the other one; experts may tell each other by messages.

    Actions are integers (B, 2): listen, open-left, open-right. Observations (B, 2, 6): the side that was heard and the
    agent's own last action, one-hot, zeros at the start, and the fraction of the steps that are over.

    Score: `team_return` at the end, the sum of the rewards, of which each agent is paid all.

    Args:
        steps: the length of an episode, which the agents know: its end is a termination.

    Raises:
        ValueError: `steps` below 1.

    Source: Nair et al. 2003, Taming decentralized POMDPs.
    """

    steps: int = 3
    joint: Pomdp = field(init=False, repr=False, compare=False)

    score: ClassVar[str] = "team_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        object.__setattr__(self, "joint", Pomdp(self.steps, joint_model(), dtype=self.dtype))

    @property
    def agents(self) -> int:
        return AGENTS

    @property
    def obs_size(self) -> int:
        return 2 + len(ACTIONS) + 1

    @property
    def obs_parts(self) -> tuple[ObsPart, ...]:
        return (ObsPart("one_hot", (2,)), ObsPart("one_hot", (len(ACTIONS),)), ObsPart("vector", (1,)))

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(ACTIONS))

    def reset(self, batch: int, rng: torch.Generator) -> tuple[PomdpState, Step]:
        state, step = self.joint.reset(batch, rng)
        obs = step.obs.new_zeros(batch, AGENTS, self.obs_size)
        return state, self._of_both(step, obs)

    def step(self, state: PomdpState, action: Tensor, rng: torch.Generator) -> tuple[PomdpState, Step]:
        """Advances every episode by one step.

        Args:
            state: the state after the previous step.
            action: integers (B, 2).
            rng: the random generator.

        Raises:
            ValueError: logits, or not an action for each agent.
        """
        if action.is_floating_point() or action.shape != (state.t.shape[0], AGENTS):
            raise ValueError(
                f"actions {tuple(action.shape)} of {action.dtype}, want integers (batch, {AGENTS}) from 0 to "
                f"{len(ACTIONS) - 1}: rewards of DecTiger give no gradient to logits; roll out with a policy that "
                "samples actions from them"
            )
        state, step = self.joint.step(state, action[:, 0] * len(ACTIONS) + action[:, 1], rng)
        heard = step.obs.unflatten(-1, (2, 2))  # (B, heard by the first, heard by the second)
        sides = torch.stack([heard.sum(2), heard.sum(1)], 1)  # (B, P, 2)
        clock = (state.t / self.steps).to(self.dtype).view(-1, 1, 1).expand(-1, AGENTS, 1)
        obs = torch.cat([sides, one_hot(action, len(ACTIONS)).to(self.dtype), clock], -1)
        return state, self._of_both(step, obs)

    def _of_both(self, step: Step, obs: Tensor) -> Step:
        """The step of the joint process as both agents see it; its end is a termination."""
        reward, over = (part.unsqueeze(-1).expand(-1, AGENTS) for part in (step.reward, step.truncated))
        scores = {self.score: step.scores[Pomdp.score]}
        return Step(obs, reward, over, torch.zeros_like(over), scores)

    def references(self) -> dict[str, dict[str, float]]:
        """Returns of chance, of the best pair of actions that is always taken, and, of 2 to 5 steps, optima.

        `optimum` is that of agents that cannot talk (published); `all is shared` that of one player who hears both.
        """
        found = reference_values(joint_model(), self.steps)
        lines = {"chance": found["chance"], "best blind": found["best blind"]}
        if self.steps in OPTIMUM:
            lines |= {"optimum": OPTIMUM[self.steps], "all is shared": SHARED[self.steps]}
        return {self.score: lines}


@lru_cache
def joint_model() -> PomdpModel:
    """Dec-Tiger as a POMDP of one player who makes both moves and hears what both hear; its discount is 1."""
    states, sides = ("tiger-left", "tiger-right"), ("left", "right")
    pairs = list(product(range(len(ACTIONS)), repeat=AGENTS))
    clear = np.array([[HEARS_RIGHT, 1 - HEARS_RIGHT], [1 - HEARS_RIGHT, HEARS_RIGHT]])
    heard = np.einsum("si,sj->sij", clear, clear).reshape(2, 4)
    listening = [pair == (0, 0) for pair in pairs]
    return PomdpModel(
        states=states,
        actions=tuple(f"{ACTIONS[a]}_{ACTIONS[b]}" for a, b in pairs),
        observations=tuple(f"{a}_{b}" for a, b in product(sides, repeat=AGENTS)),
        discount=1.0,
        transition=np.stack([np.eye(2) if both else np.full((2, 2), 0.5) for both in listening]),
        observation=np.stack([heard if both else np.full((2, 4), 0.25) for both in listening]),
        reward=np.array([[_reward(pair, tiger) for tiger in range(2)] for pair in pairs])[..., None, None],
        start=np.full(2, 0.5),
    )


def _reward(pair: tuple[int, ...], tiger: int) -> float:
    """The reward of two actions, with the tiger on the left (0) or on the right (1)."""
    opened = [action - 1 for action in pair if action]
    bad = opened.count(tiger)
    if len(opened) == 2:
        return (20.0, -100.0, -50.0)[bad]
    return (9.0, -101.0)[bad] if opened else -2.0
