"""Dreamer: a policy is learned in what a world model imagines, and the model from replayed episodes.

Shapes: T step, T1 = T + 1 observations, B sequence, R = T1 B states from which imagination starts, H imagined step,
F features.
"""

from functools import partial
from math import ceil
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.learners.imagination.heads import Heads
from badger.learners.imagination.imagined import discounted_returns, imagine, reseeded, step_weights
from badger.learners.imagination.model_loss import ModelWeights, check_weights, model_loss, observed_mask
from badger.learners.imagination.requirements import check_imagining, check_one_expert
from badger.learners.imagination.return_scale import ReturnScale
from badger.learners.q_learning.collector import Collector, pack_stream, unpack_stream
from badger.learners.q_learning.replay import ReplayBuffer, SequenceBatch, Transitions, UniformSampler, check_prefill
from badger.learners.q_learning.sequences import SequenceSpec
from badger.learners.requirements import check_task
from badger.learners.returns import ended_totals
from badger.learners.schedules import LearningRate
from badger.learners.update import BASE_METRICS, GuardedAdamW, check_auxiliary, check_sizes, metric_totals
from badger.normalized_sense import normalizer_metrics, update_obs_moments
from badger.policies.policies import POLICIES, Policy, Sampled, entropy, log_probability
from badger.registry import resolve_name
from badger.rng import drawing_from, generator
from badger.rollouts.trajectory import Trajectory
from experts import default_loss_weights
from experts.state import State
from experts.world_model import WorldModel
from tasks import Continuous, Discrete, MultiDiscrete, Task, TaskDistribution

DREAMER_METRICS = {
    "reward_loss", "continue_loss", "policy_loss", "value_loss", "entropy", "value", "return_scale", "replay_size",
    "env_steps", "ended_return",
}  # fmt: skip


class Dreamer:
    """Dreamer: a world model of replayed episodes, and an actor-critic that acts in what it imagines.

    The agent has one expert, whose core is a `WorldModel` that is told its last action and reward (recipes wrap their
    task in a `tasks.PreviousActionReward`). An outer step has two parts:

    1. `batch` episodes run for `horizon` more steps, with sampled actions; they are cut into sequences, which go to the
       replay buffer.
    2. `gradient_steps` times, on `replay_batch` sequences, of which each new one is in one batch, and the others are
       drawn from the buffer:

       - The model is trained on all observations of the sequences, also the final ones of episodes: on the core's own
         losses, and on the reward and the end, each predicted from the state that it led to.
       - From each of their states the agent acts for `imagine_steps` steps in the model. Imagined lambda-returns
         G = r + gamma c ((1 - lam) V' + lam G') use the predicted reward, the predicted probability c that the episode
         goes on, and the value of a target network. The critic learns G. Choices are learned by REINFORCE with the
         advantage G - V, real numbers by the gradient of G through the model. Each imagined step counts by the
         discounted probability that it is reached.

    The actor is the agent's output head and the network before it (`WorldModel.out`). The policy's gradient changes
    nothing else. Where an action mask forbids choices, imagination does not know it.

    Metrics: `loss` of the model, and of it `reward_loss` and `continue_loss`; `policy_loss`, `value_loss`, `entropy`
    and `value`, the mean G, in imagination; `return_scale`; `replay_size` and `env_steps` as in `RecurrentQ`; `return`,
    the optimizer's, and the core's losses in the rollout, as in `ActorCritic`.

    Args:
        agent: the agent to train, with a `WorldModel` as its core, without a critic.
        task: a task with one reward for the agent; no distribution of tasks.
        train_length: steps of a sequence.
        overlap: steps that a sequence shares with the next one.
        capacity: sequences in the replay buffer.
        imagine_steps: H.
        gamma: discount factor of a step.
        lam: lambda of the returns.
        reward_weight, continue_weight: of the losses of reward and end, beside those of the core.
        entropy_weight: weight of the policy's entropy; where a single action matters little, a large weight keeps the
            policy random.
        bins: of the distributions by which rewards and values are learned (`TwoHot`), for rewards of any size.
        return_decay: of the moving average of the returns' spread, by which the policy's loss is divided (DreamerV3);
            1: not divided.
        actor_lr, critic_lr: learning rates of actor and critic, as parts of `lr`.
        hidden_size: of the networks that predict reward, end and value.
        experts: 1, or None.
        batch: episodes that are rolled out in parallel, over all processes of the run.
        horizon: environment steps of each row in an outer step.
        gradient_steps: updates of model, actor and critic in an outer step.
        replay_batch: sequences in each of them, in each process.
        prefill: sequences in the buffer before the first of them; the first outer step collects them.
        target_update_interval: such updates between two of the target network.
        lr: learning rate of the model: a number, or a function of the outer step.
        auxiliary: weights of the core's losses by name; None: those that it suggests.
        eval_policy: policy of evaluations: "greedy" or "sampled".
        clip: largest norm of each of the three gradients; None: no clipping.
        betas, eps, weight_decay: of AdamW.
        seed: seed of all random streams of the learner.
        rank: the process whose episodes are sampled; None: this one's.

    Raises:
        ValueError: a task or agent that cannot be learned so, or an option that is out of range.

    Source: Hafner et al. 2020 (arXiv:1912.01603); 2021 (arXiv:2010.02193), DreamerV2; 2023 (arXiv:2301.04104).
    """

    action_kinds = (Discrete, MultiDiscrete, Continuous)
    takes_agents = False
    samples_actions = True
    needs_previous = True

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        train_length: int = 32,
        overlap: int = 16,
        capacity: int = 5000,
        imagine_steps: int = 15,
        gamma: float = 0.99,
        lam: float = 0.95,
        reward_weight: float = 1.0,
        continue_weight: float = 5.0,
        entropy_weight: float = 1e-4,
        bins: int = 127,
        return_decay: float = 0.99,
        actor_lr: float = 0.4,
        critic_lr: float = 1.0,
        hidden_size: int = 64,
        experts: int | None = None,
        batch: int = 8,
        horizon: int = 32,
        gradient_steps: int = 16,
        replay_batch: int = 16,
        prefill: int = 16,
        target_update_interval: int = 20,
        lr: LearningRate = 1e-3,
        auxiliary: dict[str, float] | None = None,
        eval_policy: str = "greedy",
        clip: float | None = 100.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-5,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        check_task(self, type(self).__name__, task)
        assert isinstance(task, Task)
        self.core = check_imagining(self, agent, task, model=WorldModel, core_name="rssm")  # type: ignore[type-abstract]
        sizes = {
            "experts": experts, "batch": batch, "horizon": horizon, "gradient_steps": gradient_steps,
            "replay_batch": replay_batch, "capacity": capacity, "prefill": prefill, "imagine_steps": imagine_steps,
            "target_update_interval": target_update_interval, "hidden_size": hidden_size,
        }  # fmt: skip
        check_sizes(sizes, {"gamma": gamma, "lam": lam, "return_decay": return_decay})
        _check_options(experts, prefill, capacity, actor_lr, critic_lr, reward_weight, continue_weight)
        self.agent, self.task, self.seed = agent, task, seed
        self.rank = distributed.rank() if rank is None else rank
        self.batch, self.local_batch = batch, distributed.local_batch_size(batch)
        self.horizon, self.gradient_steps, self.imagine_steps = horizon, gradient_steps, imagine_steps
        self.replay_batch, self.prefill, self.target_update_interval = replay_batch, prefill, target_update_interval
        self.gamma, self.lam, self.entropy_weight = gamma, lam, entropy_weight
        self.reward_weight, self.continue_weight = reward_weight, continue_weight
        self.auxiliary = check_auxiliary(
            default_loss_weights(agent.core) if auxiliary is None else auxiliary, agent.core
        )
        self.spec = SequenceSpec(train_length, 0, overlap, stored_state=False).clamp_to(task.steps)
        self.rollout_policy: Policy = Sampled(task.action_space)
        self.eval_policy: Policy = resolve_name(POLICIES, eval_policy, "policy", callable)(task.action_space)
        like = next(agent.parameters())
        with drawing_from(generator(seed, "heads")):
            self.heads = Heads(self.core.feature_size, hidden_size, bins, like.detach())
        actor = {id(p) for part in (agent.act, self.core.out) for p in part.parameters()}
        parameters = {
            "model": [p for p in agent.parameters() if id(p) not in actor]
            + [*self.heads.reward.parameters(), *self.heads.continues.parameters()],
            "actor": [p for p in agent.parameters() if id(p) in actor],
            "critic": list(self.heads.critic.parameters()),
        }
        self.updaters = {
            name: GuardedAdamW(part, lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay)
            for name, part in parameters.items()
        }
        self.updater, self.rates = self.updaters["model"], {"actor": actor_lr, "critic": critic_lr}
        self.return_scale = ReturnScale(like.detach(), return_decay)
        self.replay_buffer = ReplayBuffer(capacity, UniformSampler())
        self.collector: Collector | None = None  # from the first update on
        self.step, self.num_updates = 0, 0  # outer steps and updates of the model

    @property
    def env_steps(self) -> int:
        """The environment steps so far, over all rows and processes."""
        return 0 if self.collector is None else self.collector.builder.env_steps * distributed.world_size()

    def rng(self) -> torch.Generator:
        """The generator of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.updater.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics."""
        lr, rng = self.updater.schedule(self.step), self.rng()
        collector = self.collector = self.collector or self._make_collector(rng)
        totals, trajectories = self._collect(collector, rng)
        new = ceil(self.replay_buffer.num_new / self.gradient_steps)
        last = self.gradient_steps - 1
        steps = [self._gradient_step(lr, rng, new, totals if i == last else {}) for i in range(self.gradient_steps)]
        metrics: dict[str, Tensor | float] = {**steps[-1]}
        for name in steps[0]:  # the metrics of every gradient step, not those of the rollout
            metrics[name] = torch.stack([step[name] for step in steps]).double().mean()
        metrics.update({name: steps[-1][name] for name in totals})
        metrics["finite"] = torch.stack([step["finite"] for step in steps]).all()
        metrics["return"] = collector.mean_return(steps[-1]["ended_return"])
        for trajectory in trajectories:
            update_obs_moments(self.agent, trajectory.obs, trajectory.present)
        self.step += 1
        del metrics["ended_return"]
        counts = {"replay_size": float(len(self.replay_buffer)), "env_steps": float(collector.builder.env_steps)}
        return {**metrics, **normalizer_metrics(self.agent, None), **counts, "lr": lr}

    def _make_collector(self, rng: torch.Generator) -> Collector:
        return Collector(self.agent, self.task, self.spec, rows=self.local_batch, experts=1, rng=rng)

    def _collect(self, collector: Collector, rng: torch.Generator) -> tuple[dict[str, Tensor], list[Trajectory]]:
        """Rolls out episodes and fills the replay buffer; sums and counts of the metrics of the rollout, and itself."""
        trajectories, ended = collector.fill(
            self.replay_buffer, self.rollout_policy, rng, horizon=self.horizon, prefill=self.prefill
        )
        totals = metric_totals(trajectories, self.task, self, BASE_METRICS | DREAMER_METRICS)
        return totals | ended_totals(*ended), trajectories

    def _gradient_step(self, lr: float, rng: torch.Generator, new: int, totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """One update of model, actor and critic, of which `new` sequences are new if there are any."""
        batch, _, _ = self.replay_buffer.sample(self.replay_batch, rng, new=new)
        state, means = self._model_loss(batch, rng)
        self._backward("model", means["loss"])
        metrics = self.updater.step(lr, {name: mean.detach() for name, mean in means.items()}, totals)
        losses = self._imagined_losses(batch, state, rng)
        for name in ("actor", "critic"):
            self._backward(name, losses[name])
        rest = {name: mean.detach() for name, mean in losses.items() if name not in self.rates}
        for name, title in {"actor": "policy_loss", "critic": "value_loss"}.items():
            own = self.updaters[name].step(lr * self.rates[name], {"loss": losses[name].detach(), **rest}, {})
            metrics |= {title: own["loss"]} | {key: own[key] for key in rest}
            metrics["finite"] = metrics["finite"] & own["finite"]
        self.num_updates += 1
        if self.num_updates % self.target_update_interval == 0:
            self.heads.update_slow()
        return metrics

    def _backward(self, name: str, loss: Float[Tensor, ""]) -> None:
        """The gradient of a loss into the parameters of one part alone."""
        updater = self.updaters[name]
        updater.optimizer.zero_grad()
        loss.backward(inputs=updater.parameters)

    def _model_loss(self, batch: SequenceBatch, rng: torch.Generator) -> tuple[State, dict[str, Tensor]]:
        """The states of the core at all observations, and the loss of the model with its terms."""
        weights = ModelWeights(self.auxiliary, self.reward_weight, self.continue_weight)
        return model_loss(self.agent, self.task, self.heads, batch, rng, weights)

    def _imagined_losses(self, batch: SequenceBatch, start: State, rng: torch.Generator) -> dict[str, Tensor]:
        """The losses of actor and critic from some states of the model, and means of what was imagined."""
        space, running = self.task.action_space, _running(batch.steps).flatten()
        assignment = None
        if batch.assignment is not None:
            assignment = batch.assignment.repeat(len(batch.steps.valid), *[1] * (batch.assignment.dim() - 1))
        imagined = imagine(self.agent, self.task, reseeded(start, rng), assignment, rng, steps=self.imagine_steps)
        features = imagined.features
        with torch.set_grad_enabled(features.requires_grad):
            reward = self.heads.read(self.heads.reward, features[1:])
            value = self.heads.read(self.heads.slow, features)
            discount = self.gamma * torch.sigmoid(self.heads.continues(features[1:]).squeeze(-1))
            return_ = discounted_returns(reward, discount, value[1:], lam=self.lam)
        weights = step_weights(running.to(reward), discount.detach())
        count = weights.sum()
        distributed.all_reduce_mean_([count])

        def mean(values: Float[Tensor, "H R"]) -> Float[Tensor, ""]:
            return (weights * values).sum() / count.clamp(min=1)

        self.return_scale.update(return_)
        scale, before = self.return_scale.value, features[:-1].detach()
        output = self._actor(before, assignment)
        if isinstance(space, Continuous):
            gain = return_ / scale
        else:
            advantage = ((return_ - value[:-1]) / scale).detach()
            gain = log_probability(output, imagined.action, space) * advantage
        entropies = entropy(output, space)
        return {
            "actor": -mean(gain) - self.entropy_weight * mean(entropies),
            "critic": mean(self.heads.error(self.heads.critic, before, return_.detach())),
            "entropy": mean(entropies),
            "value": mean(return_),
            "return_scale": scale,
        }

    def _actor(self, features: Float[Tensor, "H R F"], assignment: Tensor | None) -> Float[Tensor, "H R D"]:
        rows = None if assignment is None else assignment.repeat(len(features), *[1] * (assignment.dim() - 1))
        output = self.agent.act(self.core.out(features.flatten(0, 1).unsqueeze(1)), rows, None)
        return output.unflatten(0, features.shape[:2])

    def state_dict(self) -> dict[str, Any]:
        """Agent, heads, optimizers, counters, running episodes and replay buffer, in plain types."""
        return {
            "agent": self.agent.state_dict(),
            "heads": self.heads.state_dict(),
            "optimizers": {name: updater.optimizer.state_dict() for name, updater in self.updaters.items()},
            "return_scale": self.return_scale.state_dict(),
            "step": self.step,
            "num_updates": self.num_updates,
            **pack_stream(self.collector, self.replay_buffer, self.rank),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state.

        If another rank or another batch size saved it, running episodes and replay buffer are reset. Running episodes
        of an external environment are always reset.

        Args:
            state: from `state_dict`.

        Raises:
            ValueError: a replay buffer of another capacity.
        """
        self.agent.load_state_dict(state["agent"])
        self.heads.load_state_dict(state["heads"])
        for name, updater in self.updaters.items():
            updater.optimizer.load_state_dict(state["optimizers"][name])
        self.return_scale.load_state_dict(state["return_scale"])
        self.step, self.num_updates = state["step"], state["num_updates"]
        self.replay_buffer = ReplayBuffer(self.replay_buffer.capacity, UniformSampler())
        like = generator(self.seed, "like", self.step, rank=self.rank, device=self.updater.device)
        self.collector = unpack_stream(
            state, partial(self._make_collector, like), self.replay_buffer, rank=self.rank, rows=self.local_batch
        )


def _running(steps: Transitions) -> Bool[Tensor, "T1 B"]:
    """The observations after which an episode goes on, or went on but for its time limit."""
    ended = steps.terminated & steps.valid
    return observed_mask(steps) & ~torch.cat([torch.zeros_like(ended[:1]), ended[:-1]])


def _check_options(
    experts: int | None, prefill: int, capacity: int, actor_lr: float, critic_lr: float, *weights: float
) -> None:
    check_one_expert(experts)
    check_prefill(prefill, capacity)
    for name, rate in {"actor_lr": actor_lr, "critic_lr": critic_lr}.items():
        if not rate > 0:
            raise ValueError(f"{name}={rate}, want a number above 0, a part of the model's learning rate")
    check_weights(*weights)
