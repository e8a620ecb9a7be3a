"""Cooperative navigation: agents cover landmarks and avoid each other, batched in torch.

Shapes: B episode, P agent, as many as landmarks.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from tasks.task import Discrete, Step, Task, check_positive

DIRECTIONS = ((0.0, 0.0), (-1.0, 0.0), (1.0, 0.0), (0.0, -1.0), (0.0, 1.0))  # of the five actions
PUSH, TAU, DAMPING = 5.0, 0.1, 0.25  # force of an action, length of a step, velocity lost in it; all masses are 1
CONTACT, SOFTNESS, DIAMETER = 100.0, 1e-3, 0.3  # force of a contact, width of its onset, distance at which two touch
OCCUPIED = 0.1  # a landmark is occupied by an agent that is as close
MAX_ASSIGNED = 5  # agents for which all assignments to landmarks are compared


class SpreadState(NamedTuple):
    """The state of the episodes.

    Args:
        position: of each agent, first from -1 to 1.
        velocity: of each agent.
        landmarks: their positions.
        total: the sum of an agent's rewards, mean over agents.
        collisions: the number of contacts of an agent so far, one for each other agent and step, mean over agents.
        t: the number of actions taken.
    """

    position: Float[Tensor, "B P 2"]
    velocity: Float[Tensor, "B P 2"]
    landmarks: Float[Tensor, "B P 2"]
    total: Float[Tensor, " B"]
    collisions: Float[Tensor, " B"]
    t: Int[Tensor, " B"]


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
        shared = -_nearest(position, state.landmarks).sum(-1, keepdim=True)
        reward = (1 - self.local_ratio) * shared - self.local_ratio * touching
        state = SpreadState(
            position, velocity, state.landmarks, state.total + reward.mean(-1), state.collisions + touching.mean(-1),
            state.t + 1,
        )  # fmt: skip
        return state, self._make_step(state, reward)

    def _make_step(self, state: SpreadState, reward: Tensor) -> Step:
        ended = state.t >= self.steps
        occupied = (_nearest(state.position, state.landmarks) < OCCUPIED).to(self.dtype).mean(-1)
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
        return {"episodic_return": _mean_returns(self.steps, self.num_agents, self.local_ratio)}


def contact_forces(position: Float[Tensor, "B P 2"]) -> Float[Tensor, "B P 2"]:
    """The force on each agent from those that it touches: away from them, and softly from 0 on as they approach.

    Args:
        position: of each agent.
    """
    delta, distance = _pairs(position)
    depth = SOFTNESS * softplus((DIAMETER - distance) / SOFTNESS)
    return (CONTACT * depth / distance).unsqueeze(-1).mul(delta).sum(2)  # an agent's own delta is 0


def touches(position: Float[Tensor, "B P 2"]) -> Bool[Tensor, "B P P"]:
    """Whether an agent touches another one.

    Args:
        position: of each agent.
    """
    return _pairs(position)[1] < DIAMETER


def _pairs(position: Tensor) -> tuple[Tensor, Tensor]:
    """The vectors to each agent from each other, (B, P, P, 2), and distances; infinite from an agent to itself."""
    delta = position.unsqueeze(2) - position.unsqueeze(1)
    itself = torch.eye(position.shape[1], dtype=torch.bool, device=position.device)
    return delta, torch.linalg.vector_norm(delta, dim=-1).masked_fill(itself, torch.inf)


def _nearest(position: Tensor, landmarks: Tensor) -> Float[Tensor, "B P"]:
    """The distance of each landmark to the nearest agent."""
    return torch.linalg.vector_norm(position.unsqueeze(2) - landmarks.unsqueeze(1), dim=-1).amin(1)


@lru_cache(maxsize=16)
def _other_pairs(count: int, device: torch.device) -> Int[Tensor, " pairs"]:
    """The places of all pairs of different agents in the flat list of all pairs."""
    return (~torch.eye(count, dtype=torch.bool)).flatten().nonzero().flatten().to(device)


@lru_cache(maxsize=16)
def _mean_returns(steps: int, num_agents: int, local_ratio: float, episodes: int = 1000) -> dict[str, float]:
    task, rng = Spread(steps, num_agents, local_ratio), torch.Generator().manual_seed(0)
    shape = episodes, num_agents
    players = {
        "chance": lambda state: torch.randint(len(DIRECTIONS), shape, generator=rng),
        "nothing": lambda state: torch.zeros(shape, dtype=torch.long),
    } | ({"script": scripted_actions} if num_agents <= MAX_ASSIGNED else {})
    means = {}
    for name, act in players.items():
        state, step = task.reset(episodes, rng)
        for _ in range(steps):
            state, step = task.step(state, act(state), rng)
        means[name] = step.scores["episodic_return"].mean().item()
    return means


def scripted_actions(state: SpreadState) -> Int[Tensor, "B P"]:
    """Each agent pushes along the axis on which it would miss its landmark most.

    Args:
        state: of the episodes.
    """
    orders = torch.tensor(list(permutations(range(state.position.shape[1]))))  # (orders, P)
    distance = torch.linalg.vector_norm(state.position.unsqueeze(1) - state.landmarks[:, orders], dim=-1).sum(-1)
    goal = state.landmarks.gather(1, orders[distance.argmin(1)].unsqueeze(-1).expand(-1, -1, 2))
    miss = goal - state.position - state.velocity * TAU / DAMPING  # where it would come to rest
    axis = miss.abs().argmax(-1)
    along = miss.gather(-1, axis.unsqueeze(-1)).squeeze(-1)
    return torch.where(along.abs() < OCCUPIED / 2, 0, 1 + 2 * axis + (along > 0))
