"""The base of learners from recorded episodes.

Shapes: T step, B window, D numbers of an output.
"""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from badger import distributed
from badger.agent import Agent
from badger.datasets import EpisodeDataset, Episodes
from badger.learners import host
from badger.learners.offline.imitation import accuracy, action_error, learned_steps, masked_mean
from badger.learners.offline.replayed import check_data, observations, to_recording
from badger.learners.offline.windows import Sampler, Windows, WindowSampler
from badger.learners.requirements import check_critic, check_task
from badger.learners.schedules import LearningRate
from badger.learners.update import GuardedAdamW, check_auxiliary, check_sizes
from badger.normalized_sense import update_obs_moments
from badger.policies.policies import POLICIES, Policy
from badger.rng import generator
from badger.rollouts.recording import replay
from experts.state import State, expand_mask
from tasks import Continuous, Task


class Offline:
    """Base of learners from recorded episodes, in which the task only judges the agent.

    An outer step draws windows of the data by a generator that is derived from seed and step, computes a loss, and
    makes one guarded step of AdamW. By default the loss is that of imitation: the agent sees the recorded observations,
    step by step from the start of the window, and its outputs are to predict the recorded actions. So it trains agents
    with any core, bus and number of experts.

    **Another learner** is a subclass with a constructor and as many of these as it needs: `_loss`, the loss and
    further metrics of some windows (`Windows`: the steps, which episodes they are of, and where they begin); `_begin`,
    which changes the core's state at the start of each window, such as the return that is asked for; and `rows` or
    `weights`, the episodes to learn from. A core that learns by a loss of its own, such as a model of sequences, gives
    it in `_loss` from `windows.episodes`, and `observations` gives what its agent observes. It needs a line in
    `badger.learners.LEARNERS`, and is then in the contract of learners, by `badger train offline --learner NAME`, and
    in the studies. With `needs_previous` the recipe gives the agent its last action and reward, and, where none is
    chosen, the core of the learner's name.

    Metrics: `loss`; `data_return`, the mean return of the episodes that the windows are of; `accuracy`, the share of
    the recorded choices that the agent finds most likely; and those of `GuardedAdamW.step`. The agent itself does not
    live any episode here: `return` is NaN and `episodes` is 0. What it achieves is the figure of evaluations
    (`Run.evaluate_every`), which alone decide best.pt.

    Args:
        agent: the agent to train, without a critic.
        task: in which the agent is judged, and acts after training.
        data: recorded episodes of the task, or of the task inside, where it is a `tasks.PreviousActionReward`.
        rows: the episodes to learn from; None: all.
        weights: how often each of them is drawn, relative to the others; None: equally often.
        sequence_length: steps of a window; 0: whole episodes.
        experts: number of experts; None: the agent's own.
        batch: windows in an outer step, over all processes of the run.
        lr: learning rate: a number, or a function of the outer step.
        auxiliary: weights of the core's auxiliary losses by name; None: not trained on.
        eval_policy: policy of evaluations: "greedy", or "sampled" from the probabilities of choices.
        clip: largest norm of the gradient; None: no clipping.
        betas, eps, weight_decay: of AdamW.
        seed: seed of all random streams of the learner.
        rank: the process whose windows are drawn; None: this one's.

    Raises:
        ValueError: data of another task, an agent with a critic, or an option that is out of range.
    """

    needs_data = True
    host_reads = 0

    def __init__(
        self,
        agent: Agent,
        task: Task,
        *,
        data: EpisodeDataset,
        rows: Int[Tensor, " best"] | None = None,
        weights: Float[Tensor, " N"] | None = None,
        sequence_length: int,
        experts: int | None,
        batch: int,
        lr: LearningRate,
        auxiliary: dict[str, float] | None,
        eval_policy: str,
        clip: float | None,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        seed: int,
        rank: int | None,
    ):
        name = type(self).__name__
        check_task(self, name, task)
        check_critic(self, name, agent)
        host.on_host(check_data, data, task)
        check_sizes({"batch": batch, "experts": experts, "sequence_length": sequence_length or None}, {})
        self.agent, self.task, self.data, self.seed = agent, task, data, seed
        self.experts = agent.experts if experts is None else experts
        self.rank = distributed.rank() if rank is None else rank
        self.batch, self.local_batch = batch, distributed.local_batch_size(batch)
        self.sampler: Sampler = host.on_host(WindowSampler, data, rows, sequence_length or None, weights)
        self.auxiliary = check_auxiliary(auxiliary, agent.core)
        self.eval_policy: Policy = _policy(eval_policy, task)
        self.updater = GuardedAdamW(
            agent.parameters(), lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay
        )
        self.step = self.env_steps = 0
        self.data_facts = self.trained_on = host.on_host(describe_data, data)

    def check_data(self) -> None:
        """Checks that the data is there, and the same as at the start of training; acting does not need it.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is other data.
        """
        self.data.check_exists()
        if self.data_facts != self.trained_on:
            raise ValueError(
                f"data={self.data.source.name} has {self.data_facts}, and the agent was trained on {self.trained_on}: "
                "want the same data"
            )

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics, on the device and without a synchronization."""
        self.check_data()
        lr, device = self.updater.schedule(self.step), self.updater.device
        drawn = host.on_host(
            self.sampler.draw, self.local_batch, generator(self.seed, "data", self.step, rank=self.rank)
        )
        returns = host.on_host(lambda: self.data.returns[drawn.rows].double().mean()).to(device)
        windows = drawn._replace(episodes=_to(drawn.episodes, device))
        self.updater.optimizer.zero_grad()
        loss, means = self._loss(windows, generator(self.seed, "train", self.step, rank=self.rank, device=device))
        loss.backward()
        means = {"loss": loss.detach(), "data_return": returns.to(loss.dtype)} | means
        metrics = self.updater.step(lr, means, {})
        self._update_moments(windows.episodes)
        self.step += 1
        self.env_steps += self.batch * windows.episodes.reward.shape[1]
        return {**metrics, "return": math.nan, "episodes": 0.0, "lr": lr}

    def _loss(self, windows: Windows, rng: torch.Generator) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """The loss of some windows on the device, with its gradient; and further metrics, detached."""
        output, losses = self._outputs(windows, rng)
        episodes, space = windows.episodes, self.task.action_space
        action, valid, mask = (
            part.movedim(1, 0) for part in (episodes.action, episodes.valid, learned_steps(episodes))
        )
        action_mask = None if episodes.action_mask is None else episodes.action_mask.movedim(1, 0)
        loss = masked_mean(action_error(output, action, space, action_mask), mask)
        for name, weight in self.auxiliary.items():
            loss = loss + weight * masked_mean(losses[name], valid)
        right = accuracy(output.detach(), action, space, action_mask)
        return loss, {} if right is None else {"accuracy": masked_mean(right, mask)}

    def _outputs(
        self, windows: Windows, rng: torch.Generator
    ) -> tuple[Float[Tensor, "T B *D"], dict[str, Float[Tensor, "T B"]]]:
        """The outputs of the agent for the recorded observations, and the auxiliary losses of its core."""
        recording = to_recording(
            self.agent, self.task, windows.episodes, rng,
            experts=self.experts, begin=lambda state: self._begin(state, windows),
        )  # fmt: skip
        output, losses, _ = replay(self.agent, recording, rng)
        return output, losses

    def _update_moments(self, episodes: Episodes) -> None:
        """Merges the observations into the moments of the agent's sense, where it is `Normalized`."""
        obs, mask = observations(self.task, episodes)[:, :-1].movedim(1, 0), learned_steps(episodes).movedim(1, 0)
        update_obs_moments(self.agent, obs, list(expand_mask(mask, obs.dim() - 1).expand(obs.shape[:-1])))

    def _begin(self, state: State, windows: Windows) -> State:
        """The core's state at the start of the windows, from the initial one of an episode."""
        return state

    def state_dict(self) -> dict[str, Any]:
        """Agent, optimizer and counters, as plain types and tensors, and the size of the data."""
        return {
            "agent": self.agent.state_dict(),
            "optimizer": self.updater.optimizer.state_dict(),
            "step": self.step,
            "env_steps": self.env_steps,
            "data": self.trained_on,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state; that of other data is not trained on.

        Args:
            state: from `state_dict`.
        """
        self.agent.load_state_dict(state["agent"])
        self.updater.optimizer.load_state_dict(state["optimizer"])
        self.step, self.env_steps, self.trained_on = state["step"], state["env_steps"], state["data"]


def describe_data(data: EpisodeDataset) -> dict[str, float]:
    """What tells data sets apart.

    Args:
        data: recorded episodes.
    """
    return {
        "episodes": len(data.length),
        "steps": int(data.length.sum()),
        "mean return": float(data.returns.double().mean()),
    }


def _to(episodes: Episodes, device: torch.device) -> Episodes:
    """The episodes on a device."""
    fields: dict[str, Any] = episodes._asdict()
    info = {name: value.to(device) for name, value in fields.pop("info").items()}
    moved: dict[str, Any] = {name: None if part is None else part.to(device) for name, part in fields.items()}
    return Episodes(**moved, info=info)


def _policy(name: str, task: Task) -> Policy:
    """The policy of evaluations."""
    if name not in POLICIES:
        raise ValueError(f"eval_policy={name!r}, want one of {', '.join(POLICIES)}")
    if name == "sampled" and isinstance(task.action_space, Continuous):
        raise ValueError(
            "eval_policy='sampled': real numbers are the agent's outputs, which are not sampled; leave it out"
        )
    return POLICIES[name](task.action_space)
