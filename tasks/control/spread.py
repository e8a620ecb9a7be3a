"""Cooperative navigation: agents cover landmarks and avoid each other, batched in torch.

Shapes: B episode, P agent, as many as landmarks.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from tasks.control.spread_physics import (
    DAMPING,
    DIRECTIONS,
    OCCUPIED,
    PUSH,
    TAU,
    SpreadState,
    contact_forces,
    landmark_distances,
    touches,
)
from tasks.control.spread_script import mean_returns
from tasks.task import Discrete, Step, Task, check_positive


@dataclass(frozen=True)
class Spread(Task):
    """Cooperative navigation: P agents cover P landmarks without touching each other (Lowe et al. 2017).

    Equal to simple_spread_v3 of PettingZoo and MPE2 step by step, up to rounding, with discrete actions; only the
    random starts differ. An agent observes its velocity and position, the landmarks and the other agents relative to
    itself, and two zeros for each other agent, which has no words here. Actions are integers (B, P): 0 nothing, 1 left,
    2 right, 3 down, 4 up. The reward is (1 - local_ratio) times that of all, minus the sum over landmarks of the
    distance of the nearest agent; and local_ratio times an agent's own, -1 for each agent that it touches.

    Scores, at the end: `episodic_return`, mean over agents; `occupied`, the fraction of landmarks with an agent at a
    distance below 0.1; `collisions`, contacts of an agent in the episode.

    Args:
        steps: the length of an episode; its end is a truncation.
        num_agents: P.
        local_ratio: weight of an agent's own reward.

    Raises:
        ValueError: a size below 1, or a local_ratio outside of 0 to 1.

    Source: Lowe et al. 2017 (arXiv:1706.02275); Terry et al. 2021 (arXiv:2009.14471).
    """

    steps: int = 25
    num_agents: int = 3
    local_ratio: float = 0.5

    score: ClassVar[str] = "episodic_return"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, num_agents=self.num_agents)
        if not 0 <= self.local_ratio <= 1:
            raise ValueError(f"local_ratio={self.local_ratio}, want 0 to 1")

    @property
    def agents(self) -> int:
        return self.num_agents

    @property
    def obs_size(self) -> int:
        return 4 + 2 * self.num_agents + 4 * (self.num_agents - 1)

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(DIRECTIONS))

    def reset(self, batch: int, rng: torch.Generator) -> tuple[SpreadState, Step]:
        places = torch.empty(batch, 2, self.num_agents, 2, dtype=self.dtype, device=rng.device)
        position, landmarks = places.uniform_(-1, 1, generator=rng).unbind(1)
        zeros = torch.zeros_like(position[:, 0, 0])
        state = SpreadState(position, torch.zeros_like(position), landmarks, zeros, zeros, zeros.long())
        return state, self._make_step(state, torch.zeros_like(position[..., 0]))

    def step(self, state: SpreadState, action: Tensor, rng: torch.Generator) -> tuple[SpreadState, Step]:
        """Moves all agents at once, by their actions and by their contacts before.

        Args:
            state: before the step.
            action: integers (B, P).
            rng: not used.

        Raises:
            ValueError: logits, or not an action for each agent.
        """
        if action.is_floating_point() or action.shape != state.position.shape[:-1]:
            raise ValueError(
                f"actions {tuple(action.shape)} of {action.dtype}, want integers (batch, agents) from 0 to "
                f"{len(DIRECTIONS) - 1}: rewards of Spread give no gradient to logits; roll out with a policy that "
                "samples actions from them"
            )
        force = PUSH * state.position.new_tensor(DIRECTIONS)[action] + contact_forces(state.position)
        position = state.position + TAU * state.velocity
        velocity = (1 - DAMPING) * state.velocity + TAU * force
        touching = touches(position).sum(-1).to(self.dtype)  # (B, P)
        shared = -landmark_distances(position, state.landmarks).sum(-1, keepdim=True)
        reward = (1 - self.local_ratio) * shared - self.local_ratio * touching
        state = SpreadState(
            position, velocity, state.landmarks, state.total + reward.mean(-1), state.collisions + touching.mean(-1),
            state.t + 1,
        )  # fmt: skip
        return state, self._make_step(state, reward)

    def _make_step(self, state: SpreadState, reward: Tensor) -> Step:
        ended = state.t >= self.steps
        occupied = (landmark_distances(state.position, state.landmarks) < OCCUPIED).to(self.dtype).mean(-1)
        scores = {"episodic_return": state.total, "occupied": occupied, "collisions": state.collisions}
        scores = {name: torch.where(ended, score, torch.nan) for name, score in scores.items()}
        truncated = ended.unsqueeze(-1).expand_as(reward)
        return Step(self._observe(state), reward, torch.zeros_like(truncated), truncated, scores)

    def _observe(self, state: SpreadState) -> Float[Tensor, "B P O"]:
        batch, count, _ = state.position.shape
        place = state.position.unsqueeze(2)
        landmarks = (state.landmarks.unsqueeze(1) - place).flatten(2)  # (B, P, 2 P)
        between = state.position.unsqueeze(1) - place  # (B, P, P, 2), of agent j as seen by i
        others = between.flatten(1, 2)[:, _other_pairs(count, between.device)].reshape(batch, count, 2 * (count - 1))
        return torch.cat([state.velocity, state.position, landmarks, others, torch.zeros_like(others)], -1)

    def references(self) -> dict[str, dict[str, float]]:
        """Mean returns of random actions, of agents that stay, and of a script.

        In the script, each agent goes to the landmark that makes the sum of all distances smallest, without a look at
        the others on its way; it knows all positions. Means over 1,000 simulated episodes.
        """
        return {"episodic_return": mean_returns(self)}


@lru_cache(maxsize=16)
def _other_pairs(count: int, device: torch.device) -> Int[Tensor, " pairs"]:
    """The places of all pairs of different agents in the flat list of all pairs."""
    return (~torch.eye(count, dtype=torch.bool)).flatten().nonzero().flatten().to(device)
