"""MFEC: model-free episodic control (Blundell et al. 2016, arXiv:1606.04460)."""

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from badger.agent import Agent
from badger.learners.episodic_control.control import EpisodicControl
from badger.learners.episodic_control.episodes import Episode
from badger.learners.episodic_control.keys import FixedKey
from badger.learners.episodic_control.readout import StoreReadout, exact_or_mean
from badger.learners.episodic_control.store import EpisodicStore
from badger.learners.schedules import EpsilonSchedule, LinearEpsilon
from badger.rng import drawing_from, generator
from comms import Silent
from tasks import Task, TaskDistribution


class MFEC(EpisodicControl):
    """Model-free episodic control: for each observation and action the best return that ever followed.

    When an episode ends, Q(s, a) becomes the larger one of Q(s, a) and the return after that step. The value of an
    action that was not taken at an observation is the mean of the `k` nearest observations at which it was. There is
    no gradient and no exploration but epsilon, so it repeats what has paid best in a world that is nearly
    deterministic, and finds nothing that it has not met by chance.

    The agent that acts, `agent`, has the sense of the given one; its core makes the keys, by a fixed random projection,
    and its act reads the store. Nothing else of the given agent is used.

    Source: Blundell et al. 2016, arXiv:1606.04460.

    Args:
        agent: without memory, such as with the core feedforward; gives the sense and the number of experts.
        task: a task with `Discrete` actions and one reward for the agent.
        key_size: numbers of a key, a random projection of the observation; 0: the observation itself.
        k: neighbors whose mean is the value of an action that was not taken.
        capacity: rows of each action; beyond them the least recently updated one is overwritten.
        index: exact: neighbors by brute force; hnsw: approximate above 50,000 rows (needs hnswlib).
        empty_value: value of an action that was never taken anywhere.
        exploration: epsilon of each row; default: .005.
        gamma: discount factor of a step; below 1 where an episode can return to where it was: at 1 a detour is as good
            as the shortest way, and a greedy agent may walk in a circle.
        batch: rows that are rolled out in parallel.
        horizon: steps of each row in an outer step; episodes that end in it are written after it.
        seed: of all random streams.

    Raises:
        ValueError: a task without discrete actions, an agent with a memory, or an option that is out of range.
    """

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        key_size: int = 64,
        k: int = 11,
        capacity: int = 100_000,
        index: Literal["exact", "hnsw"] = "exact",
        empty_value: float = 0.0,
        exploration: EpsilonSchedule | None = None,
        gamma: float = 1.0,
        batch: int = 1,
        horizon: int = 20,
        seed: int = 0,
    ):
        exploration = LinearEpsilon(0.005, 0.005, 0) if exploration is None else exploration
        super().__init__(agent, task, exploration=exploration, gamma=gamma, batch=batch, horizon=horizon, seed=seed)
        if k < 1:
            raise ValueError(f"k={k}, want at least 1 neighbor")
        like = next(agent.parameters())
        with drawing_from(generator(seed, "projection")):
            core = FixedKey(agent.sense.output_size, key_size, like)
        store = EpisodicStore(self.task.action_space.size, core.output_size, capacity=capacity, index=index)
        self.agent = Agent(
            sense=agent.sense,
            core=core,
            bus=Silent(core.output_size),
            act=StoreReadout(store.to(like), k, exact_or_mean, empty_value),
            topology="none",
            experts=agent.experts,
            identity_size=0,
        ).requires_grad_(False)

    def _learn(self, episodes: list[Episode], rng: torch.Generator) -> dict[str, Tensor | float]:
        written = hits = 0
        for episode in episodes:
            returns = episode.returns(gamma=self.gamma, n=0)
            if np.isfinite(episode.key).all() and np.isfinite(returns).all():
                backwards = slice(None, None, -1)
                hits += self.store.write(episode.key[backwards], episode.action[backwards], returns[backwards])
                written += len(returns)
        return {"hit_rate": hits / written if written else math.nan}
