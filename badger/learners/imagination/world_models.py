"""World Models: a model of random episodes, learned without rewards, and a linear controller that reads its state.

Shapes: P members, M members of this process, b episodes of a member, B sequence.
"""

from math import ceil
from typing import Any

import torch
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners import host
from badger.learners.evolution.cma_es import CMAES
from badger.learners.evolution.share import Share
from badger.learners.imagination.controller import (
    controller_numbers,
    imagine_members,
    play_members,
    set_controller,
)
from badger.learners.imagination.heads import Heads
from badger.learners.imagination.imagined import reseeded
from badger.learners.imagination.model_loss import ModelWeights, check_weights, model_loss
from badger.learners.imagination.requirements import check_imagining, check_one_expert
from badger.learners.q_learning.collector import Collector
from badger.learners.q_learning.replay import ReplayBuffer, UniformSampler
from badger.learners.q_learning.replayed import to_recording
from badger.learners.q_learning.sequences import SequenceSpec
from badger.learners.requirements import check_task
from badger.learners.returns import ended_totals
from badger.learners.schedules import LearningRate
from badger.learners.update import BASE_METRICS, GuardedAdamW, check_auxiliary, check_sizes, metric_totals
from badger.normalized_sense import normalizer_metrics, update_obs_moments
from badger.policies.deterministic import deterministic_policy
from badger.policies.policies import Policy
from badger.policies.uniform import Uniform
from badger.rng import drawing_from, generator
from badger.rollouts.recording import core_inputs
from experts import default_loss_weights
from experts.state import State
from experts.world_model import MDNRNN
from tasks import Task, TaskDistribution

RESERVED = BASE_METRICS | {
    "reward_loss", "continue_loss", "best_return", "imagined_return", "sigma", "replay_size", "env_steps",
    "ended_return",
}  # fmt: skip


class WorldModels:
    """World Models: V and M are learned from random episodes by gradient, and then the controller C by CMA-ES.

    The agent has one expert, whose core is an `MDNRNN` that is told its last action and reward (recipes wrap their task
    in a `tasks.PreviousActionReward`). Its output head is C. The outer steps are three stages:

    1. V, in the first `vision_steps`: the autoencoder learns to reconstruct observations. The first outer step collects
       `random_steps` of uniformly random actions, from which all of the model is learned.
    2. M, in the next `memory_steps`: the LSTM learns to predict the next latent state, and from the state that it leads
       to the reward, and whether the episode goes on. V stays as it is.
    3. C, in all others: a generation of `CMAES` each. Every member acts by its own weights in `batch` episodes, with
       the most likely choices and the means of real numbers; then the agent acts by the mean of the distribution. V and
       M stay as they are.

    An outer step of V or M has `gradient_steps` updates on `replay_batch` sequences. With `memory_steps` 0 the LSTM
    keeps its random weights, which is often nearly as good (Tallec et al. 2019); with a `latent_size` of the core equal
    to its `hidden_size` C reads V alone.

    With `imagine_steps` members play in imagination, so that the environment is never seen but by random actions: they
    start from first observations of recorded sequences, and the return is that of so many predicted rewards, each times
    the probability that the episode goes on until then. The `temperature` of the core makes imagination less certain.

    Metrics: in V and M `loss`, `reward_loss`, `continue_loss` and the optimizer's; in C `return` (mean over members),
    `best_return`, `loss` (minus the mean), `sigma` and the task's scores, or `imagined_return` in place of the first
    two; `env_steps`, of random actions and of all members; `return` is otherwise that of the last episodes.

    Args:
        agent: the agent to train, with an `MDNRNN` as its core, without a critic.
        task: a task with one reward for the agent; no distribution of tasks.
        random_steps: environment steps of random actions, over all rows and processes.
        vision_steps: outer steps in which V is trained.
        memory_steps: outer steps in which M is trained.
        gradient_steps: updates in each of them.
        replay_batch: sequences in each update, in each process.
        train_length: steps of a sequence.
        overlap: steps that a sequence shares with the next one.
        capacity: sequences that are kept.
        reward_weight, continue_weight: of the losses of reward and end, beside those of the core.
        hidden_size: of the networks that predict reward and end.
        bins: of the distribution by which rewards are learned (`TwoHot`).
        population: P, a multiple of the number of processes.
        sigma: standard deviation of C's first members.
        imagine_steps: of a member in imagination; None: members play in the environment.
        experts: 1, or None.
        batch: b; also rows of the random episodes, over all processes.
        lr: learning rate of V and M: a number, or a function of the outer step.
        auxiliary: weights of the core's losses by name; None: those that it suggests.
        clip: largest norm of a gradient; None: no clipping.
        betas, eps, weight_decay: of AdamW.
        seed: seed of all random streams of the learner.
        rank: the process whose episodes are sampled; None: this one's.

    Raises:
        ValueError: a task or agent that cannot be learned so, or an option that is out of range.

    Source: Ha and Schmidhuber 2018 (arXiv:1803.10122, 1809.01999); random M: Tallec, Blier and Kalainathan 2019.
    """

    takes_agents = False
    needs_previous = True

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        random_steps: int = 10_000,
        vision_steps: int = 10,
        memory_steps: int = 20,
        gradient_steps: int = 50,
        replay_batch: int = 32,
        train_length: int = 32,
        overlap: int = 16,
        capacity: int = 5000,
        reward_weight: float = 1.0,
        continue_weight: float = 5.0,
        hidden_size: int = 64,
        bins: int = 127,
        population: int = 32,
        sigma: float = 0.5,
        imagine_steps: int | None = None,
        experts: int | None = None,
        batch: int = 8,
        lr: LearningRate = 1e-3,
        auxiliary: dict[str, float] | None = None,
        clip: float | None = 100.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        check_task(self, type(self).__name__, task)
        assert isinstance(task, Task)
        self.core = check_imagining(self, agent, task, model=MDNRNN, core_name="mdn_rnn")
        check_one_expert(experts)
        sizes = {
            "random_steps": random_steps, "gradient_steps": gradient_steps, "replay_batch": replay_batch,
            "capacity": capacity, "hidden_size": hidden_size, "imagine_steps": imagine_steps, "batch": batch,
        }  # fmt: skip
        check_sizes(sizes, {})
        check_weights(reward_weight, continue_weight)
        _check_stages(vision_steps, memory_steps, imagine_steps, population)
        self.agent, self.task, self.seed = agent, task, seed
        self.rank = distributed.rank() if rank is None else rank
        self.batch, self.local_batch = batch, distributed.local_batch_size(batch)
        self.random_steps, self.vision_steps, self.memory_steps = random_steps, vision_steps, memory_steps
        self.gradient_steps, self.replay_batch, self.imagine_steps = gradient_steps, replay_batch, imagine_steps
        self.spec = SequenceSpec(train_length, 0, overlap, stored_state=False).clamp_to(task.steps)
        weights = check_auxiliary(default_loss_weights(agent.core) if auxiliary is None else auxiliary, agent.core)
        of_vision = {name: weight for name, weight in weights.items() if name in MDNRNN.vision_losses}
        of_memory = {name: weight for name, weight in weights.items() if name not in MDNRNN.vision_losses}
        self.weights = {
            "vision": ModelWeights(of_vision, 0.0, 0.0),
            "memory": ModelWeights(of_memory, reward_weight, continue_weight),
        }
        self.eval_policy: Policy = deterministic_policy(task.action_space)
        with drawing_from(generator(seed, "heads")):
            self.heads = Heads(self.core.feature_size, hidden_size, bins, next(agent.parameters()).detach())
        heads = [*self.heads.reward.parameters(), *self.heads.continues.parameters()]
        self.parameters = {"vision": self.core.vision, "memory": [*self.core.predictor, *heads], "controller": []}
        self.updaters = {
            name: GuardedAdamW(part, lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay)
            for name, part in self.parameters.items()
            if part
        }
        self.updater = self.updaters["vision"]
        self.share = Share(population, population)
        self.strategy = CMAES(controller_numbers(agent.act), sigma, population)
        self.replay_buffer = ReplayBuffer(capacity, UniformSampler())
        self.step = self.env_steps = 0  # outer steps, and environment steps over all rows and processes
        self.last_return: Tensor | None = None  # of the episodes that ended last

    @property
    def horizon(self) -> int:
        """Environment steps in a generation, at most, for each of `batch`."""
        return self.share.population * self.task.steps

    @property
    def stage(self) -> str:
        """The part that the next outer step trains: vision, memory or controller."""
        if self.step < self.vision_steps:
            return "vision"
        return "memory" if self.step < self.vision_steps + self.memory_steps else "controller"

    def rng(self) -> torch.Generator:
        """The generator of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.updater.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics."""
        stage, rng = self.stage, self.rng()
        for parameter in self.agent.parameters():
            parameter.requires_grad_(any(parameter is one for one in self.parameters[stage]))
        metrics = self._evolve(rng) if stage == "controller" else self._learn(stage, rng)
        self.step += 1
        if not self._needs_sequences:
            self.replay_buffer = ReplayBuffer(self.replay_buffer.capacity, UniformSampler())
        counts = {"replay_size": float(len(self.replay_buffer)), "env_steps": float(self.env_steps)}
        return metrics | normalizer_metrics(self.agent, None) | counts

    def _learn(self, stage: str, rng: torch.Generator) -> dict[str, Any]:
        """An outer step of V or M."""
        lr = self.updaters[stage].schedule(self.step)
        totals = {} if len(self.replay_buffer) else self._collect(rng)
        last = self.gradient_steps - 1
        steps = [self._gradient_step(stage, lr, rng, totals if i == last else {}) for i in range(self.gradient_steps)]
        metrics = dict(steps[-1])
        for name in steps[0]:
            metrics[name] = torch.stack([step[name] for step in steps]).double().mean()
        metrics["finite"] = torch.stack([step["finite"] for step in steps]).all()
        ended_return = metrics.pop("ended_return", None)  # of random episodes, where some have ended
        if ended_return is not None and self.last_return is not None:
            self.last_return = torch.where(ended_return.isnan(), self.last_return, ended_return)
        metrics.setdefault("episodes", torch.zeros_like(metrics["loss"]))
        return metrics | {"return": self.last_return, "lr": lr}

    def _collect(self, rng: torch.Generator) -> dict[str, Tensor]:
        """Records episodes of random actions; sums and counts of the metrics of the rollout."""
        collector = Collector(self.agent, self.task, self.spec, rows=self.local_batch, experts=1, rng=rng)
        trajectories, ended = collector.fill(
            self.replay_buffer,
            Uniform(self.task.action_space),
            rng,
            horizon=ceil(self.random_steps / self.batch),
            prefill=1,
        )
        for trajectory in trajectories:
            update_obs_moments(self.agent, trajectory.obs, trajectory.present)
        self.env_steps += collector.builder.env_steps * distributed.world_size()
        self.last_return = collector.episode_reward.mean()  # of running episodes, if none has ended
        totals = metric_totals(trajectories, self.task, self, RESERVED)
        return totals | ended_totals(*ended)

    def _gradient_step(
        self, stage: str, lr: float, rng: torch.Generator, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        updater = self.updaters[stage]
        batch, _, _ = self.replay_buffer.sample(self.replay_batch, rng)
        _, means = model_loss(self.agent, self.task, self.heads, batch, rng, self.weights[stage])
        updater.optimizer.zero_grad()
        means["loss"].backward()
        return updater.step(lr, {name: mean.detach() for name, mean in means.items()}, totals)

    @torch.no_grad()
    def _evolve(self, rng: torch.Generator) -> dict[str, Any]:
        """A generation of C."""
        members = self.strategy.ask(generator(self.seed, "members", self.step, device=self.updater.device))
        own = members[self.share.first : self.share.first + self.share.size]
        metrics: dict[str, Any] = {}
        if self.imagine_steps is None:
            played = play_members(
                self.agent, self.task, own, self.eval_policy, rng, episodes=self.batch, learner=self, reserved=RESERVED
            )
            return_ = self.share.gather(played.return_.unsqueeze(0))[0]
            distributed.all_reduce_mean_([played.steps, *played.totals.values()])
            self.env_steps += round(float(host.to_host(played.steps))) * distributed.world_size()
            self.last_return = return_.mean()
            metrics = {name: total / count for name, (total, count) in played.totals.items()}
            metrics |= {
                "best_return": return_.max(),
                "episodes": torch.full_like(return_[0], len(return_) * self.batch),
            }
        else:
            start = self._starts(rng)
            imagined = imagine_members(
                self.agent, self.task, own, self.eval_policy, rng, start, self.heads, steps=self.imagine_steps
            )
            return_ = self.share.gather(imagined.unsqueeze(0))[0]
            metrics = {"imagined_return": return_.mean(), "episodes": torch.zeros_like(return_[0])}
        self.strategy.tell(members, -return_)
        set_controller(self.agent.act, self.strategy.mean)
        return metrics | {
            "loss": -return_.mean(),
            "return": self.last_return,
            "sigma": self.strategy.sigma,
            "finite": return_.isfinite().all() & self.strategy.mean.isfinite().all(),
        }

    def _starts(self, rng: torch.Generator) -> State:
        """The states of the core after the first observations of sequences."""
        if not len(self.replay_buffer):  # of a checkpoint that another process saved
            self._collect(rng)
        batch, _, _ = self.replay_buffer.sample(self.batch, rng)
        recording = to_recording(self.agent, batch, rng, experts=1, outputs=self.task.action_space.size)
        _, state = self.core.observe(core_inputs(self.agent, recording)[:1], recording.initial_state.core)
        return reseeded(state, rng)

    def state_dict(self) -> dict[str, Any]:
        """Agent, heads, optimizers, the state of CMA-ES, counters and recorded sequences, in plain types."""
        return {
            "agent": self.agent.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": {name: updater.optimizer.state_dict() for name, updater in self.updaters.items()},
            "strategy": self.strategy.state_dict(),
            "step": self.step,
            "env_steps": self.env_steps,
            "last_return": self.last_return,
            "rank": self.rank,
            "replay_buffer": self.replay_buffer.pack() if self._needs_sequences else None,
        }

    @property
    def _needs_sequences(self) -> bool:
        return self.stage != "controller" or self.imagine_steps is not None

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state. If another rank saved it, new random episodes are recorded where there are to be any.

        Args:
            state: from `state_dict`.

        Raises:
            ValueError: recorded sequences of another capacity, or a controller of another size.
        """
        self.agent.load_state_dict(state["agent"])
        self.heads.load_state_dict(state["heads"])
        for name, updater in self.updaters.items():
            updater.optimizer.load_state_dict(state["optimizers"][name])
        self.strategy.load_state_dict(state["strategy"])
        self.step, self.env_steps, self.last_return = state["step"], state["env_steps"], state["last_return"]
        self.replay_buffer = ReplayBuffer(self.replay_buffer.capacity, UniformSampler())
        if state["replay_buffer"] is not None and state["rank"] == self.rank:
            self.replay_buffer.unpack(state["replay_buffer"], None)


def _check_stages(vision_steps: int, memory_steps: int, imagine_steps: int | None, population: int) -> None:
    for name, steps in {"vision_steps": vision_steps, "memory_steps": memory_steps}.items():
        if steps < 0:
            raise ValueError(f"{name}={steps}, want at least 0")
    if imagine_steps is not None and not memory_steps:
        raise ValueError(
            f"imagine_steps={imagine_steps} with memory_steps=0: imagination wants a model that is trained"
        )
    if population % distributed.world_size():
        raise ValueError(f"population={population}, want a multiple of {distributed.world_size()}, the processes")
