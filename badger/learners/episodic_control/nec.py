"""NEC: neural episodic control (Pritzel et al. 2017, arXiv:1703.01988).

Shapes: B sampled step, N step of one action, K number of a key, p neighbor.
"""

import math
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent
from badger.learners.episodic_control.control import EpisodicControl
from badger.learners.episodic_control.episodes import Episode
from badger.learners.episodic_control.nearest import squared_distances
from badger.learners.episodic_control.readout import StoreReadout, kernel_mean
from badger.learners.episodic_control.step_replay import StepReplay, Steps
from badger.learners.episodic_control.store import EpisodicStore
from badger.learners.episodic_control.table import MovingAverage, Table
from badger.learners.schedules import EpsilonSchedule, LearningRate, LinearEpsilon
from badger.learners.update import GuardedAdamW, check_sizes
from badger.rng import generator
from tasks import Task, TaskDistribution
from tasks.observations import fit_bytes


class NEC(EpisodicControl):
    """Neural episodic control: Q values from a dictionary whose keys a network learns.

    Q(s, a) is the mean of the `p` nearest values of a in the store, with weights 1 / (d^2 + 1e-3), where d is the
    distance of the network's key from theirs. When an episode ends, its N-step returns are written: an observation that
    its action has already moves its value by `store_rate` towards the return, and gets its present key; others take a
    new row. Then the network learns (Q - return)^2 from replayed steps, and the gradient moves the keys and values of
    the neighbors, too, which counts as a use of them: what was least recently used is overwritten.

    The agent that acts, `agent`, has sense and core of the given one, and as its act the store; a key is the output of
    the core, the mean over experts.

    Source: Pritzel et al. 2017, arXiv:1703.01988.

    Args:
        agent: without memory, such as with the core feedforward; of it everything but the act is used.
        task: a task with `Discrete` actions and one reward for the agent.
        p: neighbors of a query.
        capacity: rows of each action.
        index: exact: neighbors by brute force; hnsw: approximate above 50,000 rows (needs hnswlib).
        store_rate: of the moving average of a stored value.
        row_lr: step of gradient descent of stored keys and values; a key moves by at most this.
        n_steps: N, steps of the returns before the bootstrap value.
        empty_value: value of an action without any row.
        exploration: epsilon of each row; default: `LinearEpsilon()`.
        gamma: discount factor of a step.
        batch: rows that are rolled out in parallel.
        horizon: steps of each row in an outer step.
        gradient_steps: optimizer steps in an outer step.
        replay_batch: steps in an optimizer step.
        replay_capacity: steps in the replay buffer.
        prefill: steps in the replay buffer before the first optimizer step.
        lr: learning rate: a number, or a function of the outer step.
        clip: largest norm of the gradient; None: no clipping.
        betas, eps, weight_decay: of AdamW.
        seed: of all random streams.

    Raises:
        ValueError: a task without discrete actions, an agent with a memory, or an option that is out of range.
    """

    keeps_obs = True

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        p: int = 50,
        capacity: int = 100_000,
        index: Literal["exact", "hnsw"] = "exact",
        store_rate: float = 0.1,
        row_lr: float = 0.1,
        n_steps: int = 100,
        empty_value: float = 0.0,
        exploration: EpsilonSchedule | None = None,
        gamma: float = 0.99,
        batch: int = 1,
        horizon: int = 20,
        gradient_steps: int = 4,
        replay_batch: int = 32,
        replay_capacity: int = 100_000,
        prefill: int = 32,
        lr: LearningRate = 1e-3,
        clip: float | None = 10.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
    ):
        exploration = LinearEpsilon() if exploration is None else exploration
        super().__init__(agent, task, exploration=exploration, gamma=gamma, batch=batch, horizon=horizon, seed=seed)
        sizes: dict[str, int | None] = {
            "p": p, "n_steps": n_steps, "gradient_steps": gradient_steps, "replay_batch": replay_batch,
            "replay_capacity": replay_capacity, "prefill": prefill,
        }  # fmt: skip
        check_sizes(sizes, {"store_rate": store_rate})
        if not row_lr >= 0:
            raise ValueError(f"row_lr={row_lr}, want at least 0")
        self.n_steps, self.row_lr, self.gradient_steps = n_steps, row_lr, gradient_steps
        self.replay_batch, self.prefill = replay_batch, prefill
        store = EpisodicStore(
            self.task.action_space.size, agent.core.output_size, capacity=capacity, update=MovingAverage(store_rate),
            index=index,
        )  # fmt: skip
        self.agent = Agent(
            sense=agent.sense,
            core=agent.core,
            bus=agent.bus,
            act=StoreReadout(store.to(next(agent.parameters())), p, kernel_mean, empty_value),
            topology=agent.topology,
            experts=agent.experts,
            identity_size=agent.identity_size,
        )
        self.updater = GuardedAdamW(
            self.agent.parameters(), lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay
        )
        self.replay = StepReplay(replay_capacity, fit_bytes(self.task.obs_parts))

    def _learn(self, episodes: list[Episode], rng: torch.Generator) -> dict[str, Tensor | float]:
        lr, written, hits = self.updater.schedule(self.step), 0, 0
        for episode in episodes:
            returns = episode.returns(gamma=self.gamma, n=self.n_steps)
            if np.isfinite(episode.key).all() and np.isfinite(returns).all():
                hits += self.store.write(episode.key, episode.action, returns, episode.obs)
                self.replay.add(Steps(episode.obs, episode.action, returns))
                written += len(returns)
        metrics: dict[str, Tensor | float] = {"hit_rate": hits / written if written else math.nan, "lr": lr}
        if len(self.replay) < self.prefill:
            return metrics
        draws = generator(self.seed, "replay", self.step)
        steps = [
            self._gradient_step(self.replay.sample(self.replay_batch, draws), lr, rng)
            for _ in range(self.gradient_steps)
        ]
        means: dict[str, Tensor | float] = {
            name: torch.stack([step[name] for step in steps]).double().mean() for name in steps[0]
        }
        return metrics | means | {"finite": torch.stack([step["finite"] for step in steps]).all()}

    def _gradient_step(self, steps: Steps, lr: float, rng: torch.Generator) -> dict[str, Tensor]:
        """One step of the optimizer, and of the stored rows that it has used; its metrics."""
        like = next(self.agent.parameters())
        obs = torch.as_tensor(steps.obs).to(like).unflatten(-1, self._obs_shape)
        return_, key = torch.as_tensor(steps.return_).to(like), self._embed(obs, rng)
        q, used = torch.zeros_like(return_), list[DictionaryRows]()
        for action in np.unique(steps.action):
            index = torch.as_tensor(np.flatnonzero(steps.action == action), device=like.device)
            table = self.store.table(int(action))
            rows = DictionaryRows(table, table.query(key[index], self.readout.k).rows)
            q, used = q.index_copy(0, index, rows.value(key[index])), [*used, rows]
        error = q - return_
        loss = error.square().mean()
        self.updater.optimizer.zero_grad()
        loss.backward()
        means = {"loss": loss, "q_value": q.mean(), "td_error": error.abs().mean()}
        metrics = self.updater.step(lr, {name: mean.detach() for name, mean in means.items()}, {})
        for rows in used:
            rows.descend(self.row_lr * metrics["finite"])
        return metrics

    @property
    def _obs_shape(self) -> tuple[int, ...]:
        assert self.stream is not None
        return tuple(self.stream.carry.step.obs.shape[1:])

    def _embed(self, obs: Float[Tensor, "B *EO"], rng: torch.Generator) -> Float[Tensor, "B K"]:
        """The keys of observations, with gradient; experts have new random identities."""
        agent, outputs = self.agent, self.task.action_space.size
        state = agent.initial_state(obs, rng, agent.experts, outputs)
        inputs = torch.cat([agent.sense(obs, agent.experts, outputs), state.inbox, state.identity], -1)
        return self.readout.key(agent.core(inputs, state.core)[0], None)

    def state_dict(self) -> dict[str, Any]:
        """As of the base, and the optimizer and the replay buffer."""
        rest = {"optimizer": self.updater.optimizer.state_dict(), "replay": self.replay.pack()}
        return super().state_dict() | rest

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.updater.optimizer.load_state_dict(state["optimizer"])
        self.replay.unpack(state["replay"])


class DictionaryRows:
    """The neighbors of some queries as leaves of the graph, so that a gradient reaches their keys and values.

    Args:
        table: whose rows they are.
        rows: (N, p) their indices.
    """

    def __init__(self, table: Table, rows: Tensor):
        self.table, self.rows = table, rows
        self.keys = table.keys[rows].requires_grad_()  # (N, p, K)
        self.values = table.values[rows].requires_grad_()  # (N, p)

    def value(self, key: Float[Tensor, "N K"]) -> Float[Tensor, " N"]:
        """The value of the queries, differentiable in queries, stored keys and stored values.

        Args:
            key: the queries.
        """
        return kernel_mean(self.values, squared_distances(key, self.keys))

    def descend(self, lr: Tensor) -> None:
        """A step of gradient descent of the stored rows, which are used by it.

        Args:
            lr: factor of the gradient, 0 or more; a key moves by at most this for each query.
        """
        assert self.keys.grad is not None and self.values.grad is not None
        length = self.keys.grad.norm(dim=-1, keepdim=True).clamp(min=1)
        self.table.nudge(self.rows, -lr * (self.keys.grad / length).nan_to_num(), -lr * self.values.grad.nan_to_num())
        self.table.touch(self.rows)
