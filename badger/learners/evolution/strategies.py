"""Evolution strategies: the gradient of the mean return under random perturbations of the weights.

Shapes: K pairs of perturbations, P = 2 K members, B episodes.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners import host
from badger.learners.evolution.members import Members, Played, Running
from badger.learners.evolution.perturbations import Perturbations, add_perturbations, sample_perturbations
from badger.learners.evolution.ranks import centered_ranks
from badger.learners.evolution.share import Share
from badger.learners.requirements import check_critic, check_task
from badger.learners.schedules import LearningRate
from badger.learners.update import GuardedAdamW, check_sizes
from badger.normalized_sense import merge_obs_summaries, normalizer_metrics
from badger.policies.deterministic import deterministic_policy
from badger.policies.policies import Policy, identity_policy
from badger.rng import generator
from tasks import Task, TaskDistribution, nominal, sample_task


class Evolution:
    """Evolution strategies (ES): Adam on an estimate of the gradient from returns alone, without backpropagation.

    Each outer step draws K perturbations e of all weights w, and members play with w + sigma e and w - sigma e, all of
    them the same episodes, in mirrored pairs where the task has some (`Task.mirrored`). With u, the returns as centered
    ranks from -1/2 to 1/2, the gradient is the mean of (u(w + sigma e) - u(w - sigma e)) e / (2 sigma). It needs no
    gradient of rewards, actions or steps, and no memory for them, so that it suits episodes that are long or discrete;
    but its noise grows with the number of weights.

    **Long episodes** (`unroll`, persistent evolution strategies): an outer step plays the next `unroll` steps of
    episodes that all members continue, and the gradient has the sum of the perturbations since the episodes began in
    place of e. So it counts what earlier perturbations did to the state, and is unbiased where a truncated gradient is
    not; its noise grows with the number of unrolls in an episode. All members start anew when no episode is left.

    **Large matrices** (`noise_rank`): noise of a matrix is a product of two narrow ones, and members share the product
    with the matrix itself; that saves time and memory where layers have hundreds of units.

    Members are one batched computation (`torch.vmap`). Their actions are deterministic: the agent's outputs where the
    task is differentiable, else the most likely choices and the means of real numbers. Under torchrun each process
    plays a share of the members, and processes exchange returns, scores and moments of observations alone: all draw the
    same perturbations.

    Metrics: `return` (mean over members) and `best_return` of the episodes that ended last, and of those in progress
    before any has ended; `episodes` that ended; `loss`, minus the mean return of the steps played; `gradient_norm` and
    `parameter_norm`, `finite`, `lr`, and the means of the task's scores.

    Args:
        agent: the agent to train, without a critic.
        task: a task in torch, or a distribution of tasks, of which each outer step samples one.
        experts: number of experts; None: the agent's own.
        batch: episodes that each member plays.
        population: P, a multiple of twice the number of processes.
        sigma: standard deviation of the perturbations.
        noise_rank: rank of the noise of matrices; None: dense noise.
        unroll: environment steps between updates; None: whole episodes.
        use_ranks: ranks in place of returns, which limit outliers, and bias what is learned from parts of episodes;
            None: for whole episodes only.
        chunk_size: members that play at once in a process, which bounds memory; None: all.
        lr: learning rate: a number, or a function of the outer step.
        clip: largest norm of the gradient; None: no clipping.
        betas, weight_decay: of AdamW.
        seed: seed of all random streams of the learner.

    Raises:
        ValueError: an option out of range, an agent with a critic, or an environment that is not computed in torch.

    Source: Salimans et al. 2017, arXiv:1703.03864; antithetic pairs and ranks: sections 2 and 2.1. Unrolls: Vicol et
    al. 2021, arXiv:2112.13835. Low-rank noise: Sarkar et al. 2025, arXiv:2511.16652.
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
        noise_rank: int | None = None,
        unroll: int | None = None,
        use_ranks: bool | None = None,
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
        check_sizes({"batch": batch, "chunk_size": chunk_size, "noise_rank": noise_rank, "unroll": unroll}, {})
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
        self.noise_rank, self.unroll = noise_rank, unroll
        self.use_ranks = unroll is None if use_ranks is None else use_ranks
        self.updater = GuardedAdamW(agent.parameters(), lr=lr, clip=clip, betas=betas, weight_decay=weight_decay)
        space = self.task.action_space
        self.eval_policy: Policy = identity_policy if self.task.differentiable else deterministic_policy(space)
        self.step = self.env_steps = 0
        self._restart()
        self.last_return: Tensor | None = None  # mean and best of the episodes that ended last

    def _restart(self) -> None:
        """New episodes begin with the next outer step."""
        self.first_step, self.elapsed = self.step, 0  # outer step and environment steps of the episodes in progress
        self.running: Running | None = None
        self.noise: Perturbations | None = None  # sum of the perturbations since they began

    @torch.no_grad()
    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics. It waits for the device where parts of episodes may end early."""
        lr = self.updater.schedule(self.step)
        task = sample_task(self.tasks, generator(self.seed, "sizes", self.first_step), self.first_step).mirrored
        steps = min(self.unroll or task.steps, task.steps - self.elapsed)
        ended = self.elapsed + steps == task.steps
        drawn = self._perturbations(self.step)
        self.noise = add_perturbations(self.noise, drawn)
        (return_, episode_return), played = self._play(task, drawn, steps, last=ended)
        totals = {name: total.sum(0) for name, total in played.totals.items()}
        distributed.all_reduce_mean_(list(totals.values()))  # used as quotients only
        self._set_gradient(return_)
        finite = return_.isfinite()
        means = {"loss": -torch.where(finite, return_, 0).sum() / finite.sum()}
        metrics = self.updater.apply(lr, means, totals)
        merge_obs_summaries(self.agent, played.obs)  # not before: all members play with equal moments
        self.elapsed += steps
        self.step += 1
        self.env_steps += steps * self.batch * self.population
        summary = _mean_and_best(episode_return)
        ended = ended or self._all_over(task)
        if ended:
            self.last_return = summary
            self._restart()
        mean, best = summary if self.last_return is None else self.last_return
        episodes = float(self.population * self.batch * ended)
        metrics |= normalizer_metrics(self.agent, None)
        return {**metrics, "return": mean, "best_return": best, "episodes": episodes, "lr": lr}

    def _all_over(self, task: Task) -> bool:
        """Whether the episodes of all members have ended before the longest possible one."""
        if task.fixed_length or self.running is None:
            return False
        return not distributed.any_process(not host.to_host(self.running.over.all()))

    def _set_gradient(self, return_: Float[Tensor, " P"]) -> None:
        """The estimate for each parameter; a pair of which a member is not finite counts only where ranks do."""
        fitness = centered_ranks(return_) if self.use_ranks else return_
        difference = torch.sub(*fitness.view(2, -1))
        weight = torch.where(difference.isfinite(), difference, 0) / (self.population * self.sigma)  # (K,)
        for parameter, noise in zip(self.updater.parameters, self.noise or (), strict=True):
            parameter.grad = -noise.weighted_sum(weight)

    def _perturbations(self, step: int) -> Perturbations:
        """K perturbations of each parameter in an outer step, equal in all processes."""
        rng = generator(self.seed, "perturbations", step, device=self.updater.device)
        return sample_perturbations(self.updater.parameters, self.population // 2, self.noise_rank, rng)

    def _play(self, task: Task, drawn: Perturbations, steps: int, *, last: bool) -> tuple[Tensor, Played]:
        """The returns (2, P) of all members in these steps and since the episodes began; and what was played here."""
        members = Members(self.agent, task, self.eval_policy, experts=self.experts, batch=self.batch, learner=self)
        share = Share(self.population, self.chunk_size)
        rng = generator(self.seed, "train", self.step, device=self.updater.device)
        played = share.play(members, drawn, self.sigma, self.running, rng, steps, last=last)
        self.running = played.running
        return share.gather(torch.stack([played.return_, played.episode_return])), played

    def state_dict(self) -> dict[str, Any]:
        """Agent, optimizer, counters and episodes in progress, as plain types and tensors.

        Perturbations are drawn again. Where several processes share a run, episodes in progress are not saved, and a
        resumed run starts new ones.
        """
        running = self.running if distributed.world_size() == 1 else None
        return {
            "agent": self.agent.state_dict(),
            "optimizer": self.updater.optimizer.state_dict(),
            "step": self.step,
            "env_steps": self.env_steps,
            "last_return": self.last_return,
            "first_step": self.first_step,
            "elapsed": self.elapsed,
            "running": None if running is None else list(running),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state. New episodes start if another number of processes, members or episodes saved it.

        Args:
            state: from `state_dict`.
        """
        self.agent.load_state_dict(state["agent"])
        self.updater.optimizer.load_state_dict(state["optimizer"])
        self.step, self.env_steps, self.last_return = state["step"], state["env_steps"], state["last_return"]
        self._restart()
        running = None if state["running"] is None else Running(*state["running"])
        if running is None or running.over.shape != (self.population, self.batch) or distributed.world_size() > 1:
            return
        self.first_step, self.elapsed, self.running = state["first_step"], state["elapsed"], running
        for step in range(self.first_step, self.step):
            self.noise = add_perturbations(self.noise, self._perturbations(step))


def _mean_and_best(returns: Float[Tensor, " P"]) -> Float[Tensor, "2"]:
    """Mean and maximum of the returns that are finite."""
    finite = returns.isfinite()
    mean = torch.where(finite, returns, 0).sum() / finite.sum()
    return torch.stack([mean, torch.where(finite, returns, -torch.inf).max()])
