"""Evolution strategies: the gradient of the mean return under random perturbations of the weights.

Shapes: K pairs of perturbations, P = 2 K members, B episodes.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from badger import distributed
from badger.agent import Agent
from badger.learners.requirements import check_critic, check_task
from badger.learners.schedules import LearningRate
from badger.learners.update import BASE_METRICS, GuardedAdamW, check_sizes, masked, metric_totals
from badger.policies import mixed
from badger.policies.policies import Greedy, MeanAction, Policy, identity_policy
from badger.rng import generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import first_episode_mask, initial_carry
from tasks import ActionSpace, Continuous, Mixed, Task, TaskDistribution, nominal, sample_task

RESERVED = BASE_METRICS | {"best_return"}


class Evolution:
    """Evolution strategies (ES): Adam on an estimate of the gradient from returns alone, without backpropagation.

    Each outer step draws K perturbations e of all weights w, and members play with w + sigma e and w - sigma e, all of
    them the same episodes. With u, the returns as centered ranks from -1/2 to 1/2, the gradient is the mean of
    (u(w + sigma e) - u(w - sigma e)) e / (2 sigma). It needs no gradient of rewards, actions or steps, and no memory
    for them, so that it suits episodes that are long or discrete; but its noise grows with the number of weights.

    Members are one batched computation (`torch.vmap`). Their actions are deterministic: the agent's outputs where the
    task is differentiable, else the most likely choices and the means of real numbers. Under torchrun each process
    plays a share of the members, and processes exchange returns and scores alone: all draw the same perturbations.

    Metrics: `loss` (minus `return`), `return` (mean over members), `best_return`, `episodes`, `gradient_norm` and
    `parameter_norm`, `finite`, `lr`, and the means of the task's scores.

    Args:
        agent: the agent to train, without a critic.
        task: a task in torch, or a distribution of tasks, of which each outer step samples one.
        experts: number of experts; None: the agent's own.
        batch: episodes that each member plays.
        population: P, a multiple of twice the number of processes.
        sigma: standard deviation of the perturbations.
        chunk_size: members that play at once in a process, which bounds memory; None: all.
        lr: learning rate: a number, or a function of the outer step.
        clip: largest norm of the gradient; None: no clipping.
        betas, weight_decay: of AdamW.
        seed: seed of all random streams of the learner.

    Raises:
        ValueError: an option out of range, an agent with a critic, or an environment that is not computed in torch.

    Source: Salimans et al. 2017, arXiv:1703.03864; antithetic pairs and ranks: sections 2 and 2.1.
    """

    takes_distributions = True
    takes_agents = False

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        experts: int | None = None,
        batch: int = 16,
        population: int = 64,
        sigma: float = 0.02,
        chunk_size: int | None = None,
        lr: LearningRate = 3e-2,
        clip: float | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 0.0,
        seed: int = 0,
    ):
        self.tasks, self.task = task, nominal(task)
        check_task(self, "Evolution", task)
        check_critic(self, "Evolution", agent)
        check_sizes({"batch": batch, "chunk_size": chunk_size}, {})
        ranks = distributed.world_size()
        if population < 2 or population % (2 * ranks):
            raise ValueError(f"population={population}, want a multiple of {2 * ranks}: pairs for each process")
        if not sigma > 0:
            raise ValueError(f"sigma={sigma}, want a number above 0")
        if self.task.external:
            raise ValueError(
                f"{type(self.task).__name__} is not computed in torch, and Evolution plays all members at once: use a "
                "task of the library, or another learner, such as ppo"
            )
        self.agent, self.experts, self.batch, self.seed = agent, experts, batch, seed
        self.population, self.sigma, self.chunk_size = population, sigma, chunk_size or population
        self.updater = GuardedAdamW(agent.parameters(), lr=lr, clip=clip, betas=betas, weight_decay=weight_decay)
        space = self.task.action_space
        self.eval_policy: Policy = identity_policy if self.task.differentiable else deterministic(space)
        self.step = 0

    @property
    def env_steps(self) -> int:
        """The environment steps so far, of episodes of nominal length."""
        return self.step * self.population * self.batch * self.task.steps

    @torch.no_grad()
    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics, on the device and without a synchronization."""
        lr = self.updater.schedule(self.step)
        task = sample_task(self.tasks, generator(self.seed, "sizes", self.step), self.step)
        noise = self._perturbations()
        return_, totals = self._play(task, noise)
        rank = centered_ranks(return_).view(2, -1)
        weight = (rank[0] - rank[1]) / (self.population * self.sigma)  # (K,)
        for parameter, drawn in zip(self.updater.parameters, noise, strict=True):
            parameter.grad = -torch.tensordot(weight, drawn, 1)
        finite = return_.isfinite()
        mean = torch.where(finite, return_, 0).sum() / finite.sum()
        means = {"loss": -mean, "return": mean, "best_return": torch.where(finite, return_, -torch.inf).max()}
        metrics = self.updater.apply(lr, means, totals)
        self.step += 1
        return {**metrics, "episodes": float(self.population * self.batch), "lr": lr}

    def _perturbations(self) -> list[Tensor]:
        """K perturbations of each parameter, equal in all processes."""
        rng = generator(self.seed, "perturbations", self.step, device=self.updater.device)
        pairs = self.population // 2
        return [
            torch.randn((pairs, *one.shape), generator=rng, dtype=one.dtype, device=one.device)
            for one in self.updater.parameters
        ]

    def _play(self, task: Task, noise: list[Tensor]) -> tuple[Float[Tensor, " P"], dict[str, Tensor]]:
        """The mean return of each member over its episodes, and sums and counts of scores over all of them."""
        share = self.population // distributed.world_size()
        first = distributed.rank() * share
        parts = [
            self._play_chunk(task, noise, range(start, min(start + self.chunk_size, first + share)))
            for start in range(first, first + share, self.chunk_size)
        ]
        return_ = parts[0][0].new_zeros(self.population)
        return_[first : first + share] = torch.cat([of_chunk for of_chunk, _ in parts])
        totals = {name: torch.stack([of_chunk[name] for _, of_chunk in parts]).sum(0) for name in parts[0][1]}
        distributed.all_reduce_mean_([return_, *totals.values()])
        return return_ * distributed.world_size(), totals  # totals are used as quotients only

    def _play_chunk(self, task: Task, noise: list[Tensor], members: range) -> tuple[Tensor, dict[str, Tensor]]:
        pairs = self.population // 2
        pair = torch.tensor([member % pairs for member in members], device=self.updater.device)
        sign = torch.tensor([1.0 if member < pairs else -1.0 for member in members], device=self.updater.device)
        weights = {
            name: parameter + self.sigma * drawn[pair] * sign.to(parameter).view(-1, *[1] * parameter.dim())
            for (name, parameter), drawn in zip(self._trained(), noise, strict=True)
        }
        rng = generator(self.seed, "train", self.step, device=self.updater.device)  # the same episodes for all

        def play(weights: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
            return functional_call(module, weights, (rng,))

        module = _Episodes(self, task)
        return_, totals = vmap(play, randomness="same")(weights)
        return return_, {name: total.sum(0) for name, total in totals.items()}

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(f"agent.{name}", parameter) for name, parameter in self.agent.named_parameters()]

    def state_dict(self) -> dict[str, Any]:
        """Agent, optimizer and number of outer steps, as plain types and tensors."""
        optimizer = self.updater.optimizer.state_dict()
        return {"agent": self.agent.state_dict(), "optimizer": optimizer, "step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state.

        Args:
            state: from `state_dict`.
        """
        self.agent.load_state_dict(state["agent"])
        self.updater.optimizer.load_state_dict(state["optimizer"])
        self.step = state["step"]


class _Episodes(nn.Module):
    """The first episode of each row as a module, so that functional_call can replace the agent's weights."""

    def __init__(self, learner: Evolution, task: Task):
        super().__init__()
        self.agent, self.learner, self.task = learner.agent, learner, task

    def forward(self, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        learner, task = self.learner, self.task
        carry = initial_carry(self.agent, task, learner.batch, rng, experts=learner.experts)
        trajectory, _ = rollout(self.agent, task, carry, rng, learner.eval_policy, steps=task.steps, keep_obs=False)
        mask = trajectory.active & first_episode_mask(trajectory)
        totals = metric_totals([masked(trajectory, mask)], task, learner, RESERVED)
        return torch.where(mask, trajectory.reward, 0).sum(0).mean(), totals


def centered_ranks(values: Float[Tensor, " P"]) -> Float[Tensor, " P"]:
    """Ranks from -1/2 for the lowest to 1/2 for the highest; equal values have their mean rank, and NaN is lowest.

    Args:
        values: at least two.
    """
    ordered = values.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    below, equal = ((ordered.unsqueeze(1) > ordered).sum(1), (ordered.unsqueeze(1) == ordered).sum(1) - 1)
    return (2 * below + equal).to(values.dtype) / (2 * (len(values) - 1)) - 0.5


def deterministic(space: ActionSpace) -> Policy:
    """The policy of the most likely choices and of the means of real numbers.

    Args:
        space: the action space.
    """
    if isinstance(space, Mixed):
        return mixed.Product(space, Greedy(space.choices), MeanAction(space.numbers))
    return MeanAction(space) if isinstance(space, Continuous) else Greedy(space)
