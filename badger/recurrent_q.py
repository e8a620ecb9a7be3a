"""Q-learning with memory: what was lived through, in sequences, is lived through again and learnt from.

Shapes: T step, B row or sequence, D numbers of an action.
"""

import copy
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger import distributed, qlearning, returns
from badger.act import Valued
from badger.again import Passage, again
from badger.agent import Agent, AgentState
from badger.climb import OWN, Climber, penalties, told
from badger.policy import EpsilonGreedy, Greedy
from badger.qlearning import Scale
from badger.replay import Draw, Replay, Sequences, Steps
from badger.rng import generator
from badger.rollout import Carry, Frames, rollout, start
from badger.schedule import Exploration, Schedule
from badger.trail import Cut, Trail, knowing, knowledge
from experts import state as states
from tasks import Discrete, Task, Varied

MEANS = {"q", "td_error", "epsilon", "replay", "env_steps", "discrepancy", "ended"}  # what an update tells besides


class Stream(NamedTuple):
    """Where the episodes stand between two updates. total: reward of each so far. known: the mean of those that ended
    last, NaN before any has."""

    carry: Carry
    trail: Trail
    total: Float[Tensor, " B"]
    known: Float[Tensor, ""]


class RecurrentQ:
    """One outer step: `batch` rows play on for `horizon` steps, exploring; what they lived through is cut into sequences
    and added to a replay; then AdamW makes `updates` steps, each on `sequences` of them.

    The agent's outputs are Q values. The loss is the mean over the steps that count of weight x (y - Q(a))^2, where y
    is the n-step return that ends in the target network's value of the action that the agent itself (`double`) or the
    target network finds best. Both live through the whole sequence, each on its own, from the same first state;
    through its first `burn_in` steps without gradient. Only a termination ends the value of the future.

    `badger.learners` has the two well-known compositions, DRQN and R2D2.

    Metrics: `return` is the mean total reward of the episodes that ended in this update, or last, or before any has
    ended, of all so far; q of what was done, td_error: mean absolute, both in the units in which Q is learnt; epsilon;
    replay: sequences in it; env_steps: steps made so far, of this process; discrepancy: see `discrepancy`, NaN unless
    due. A loss or gradient that is not finite never reaches the parameters.

    Args:
        agent, task: who learns what. rng streams follow from `seed`.
        cut: how episodes become sequences; none is longer than an episode can be.
        capacity: sequences in the replay. draw: how they are drawn from it.
        exploration: the chance to explore, of each row.
        gamma, n: of the returns. double: see above. scale: the units in which Q is learnt.
        peak: how much of a priority is the largest error, not the mean.
        experts: how many; None: as the agent was built.
        batch: rows, over all processes that share the run. horizon: steps of each in an outer step.
        updates: gradient steps in an outer step. sequences: in each of them, in each process.
        prefill: sequences in the replay before learning begins; the first outer step plays for so long.
        target_every: gradient steps between two copies of the agent into the target network.
        measure_every: outer steps between two measurements of the discrepancy, for which twice as much is kept of what
            the agent knew; None: never.
        lr, auxiliary, clip, betas, eps, weight_decay, rank: as in A2C.

    Raises:
        ValueError: a task whose actions are not one choice, an agent with a value beside, or sizes that make no sense.
    """

    def __init__(
        self,
        agent: Agent,
        task: Task | Varied,
        *,
        cut: Cut,
        capacity: int,
        draw: Draw,
        exploration: Exploration,
        gamma: float,
        n: int,
        double: bool,
        scale: Scale,
        peak: float,
        experts: int | None,
        batch: int,
        horizon: int,
        updates: int,
        sequences: int,
        prefill: int,
        target_every: int,
        measure_every: int | None,
        lr: float | Schedule,
        auxiliary: dict[str, float] | None,
        clip: float | None,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        seed: int,
        rank: int | None,
    ):
        self.task: Task = _checked(agent, task)
        sizes = {
            "experts": experts, "batch": batch, "horizon": horizon, "n": n, "updates": updates, "sequences": sequences,
            "prefill": prefill, "target_every": target_every, "measure_every": measure_every,
        }  # fmt: skip
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise ValueError(f"{name}={size}, want at least 1")
        for name, part in {"gamma": gamma, "peak": peak}.items():
            if not 0 <= part <= 1:
                raise ValueError(f"{name}={part}, want 0 to 1")
        if prefill > capacity:
            raise ValueError(f"prefill={prefill}, want at most capacity={capacity}: no more sequences are kept")
        self.agent, self.seed = agent, seed
        self.experts = agent.experts if experts is None else experts
        self.rank = distributed.rank() if rank is None else rank
        self.batch, self.share = batch, distributed.share(batch)
        self.horizon, self.updates, self.sequences, self.prefill = horizon, updates, sequences, prefill
        self.gamma, self.n, self.double, self.scale, self.peak = gamma, n, double, scale, peak
        self.target_every, self.measure_every = target_every, measure_every
        self.auxiliary = dict(auxiliary or {})
        self.cut, self.exploration, self.policy = cut.within(self.task.steps), exploration, Greedy(self.task.action)
        self.climber = Climber(agent.parameters(), lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay)
        self.target = copy.deepcopy(agent).requires_grad_(False)
        self.replay, self.stream = Replay(capacity, draw), None  # the stream: from the first update on
        self.step, self.climbs, self.env_steps = 0, 0, 0

    def rng(self) -> torch.Generator:
        """Of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.climber.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; metrics as detached tensors."""
        lr, rng = self.climber.schedule(self.step), self.rng()
        epsilon = self.exploration(self.env_steps, self.batch)
        metrics, totals = self._play(rng, EpsilonGreedy(self.task.action, self._own(epsilon)))
        learnt = [self._learn(lr, rng, totals if last else {}) for last in self._last()]
        every = {name: torch.stack([one[name] for one in learnt]) for name in learnt[0]}
        metrics |= {name: each.double().mean() for name, each in every.items()} | {"finite": every["finite"].all()}
        metrics |= {name: learnt[-1][name] for name in totals}
        metrics["return"] = self._returned(metrics.pop("ended"), metrics["return"])
        if self.measure_every is not None and self.step % self.measure_every == 0:
            metrics["discrepancy"] = self.discrepancy(rng).nanmean()
        self.step += 1
        told = {"epsilon": sum(epsilon) / self.batch, "replay": float(len(self.replay))}
        return {**metrics, **told, "env_steps": float(self.env_steps), "lr": lr}

    def discrepancy(self, rng: torch.Generator) -> Float[Tensor, " B"]:
        """How far the Q values of the last observations of sequences in the replay, as they would be trained on now,
        are from those of what the agent knew when it was there (`qlearning.discrepancy`).

        Raises:
            ValueError: what it knew is not kept: measure_every is None.
        """
        drawn, _, _ = self.replay.sample(self.sequences, rng)
        if any(one is None for one in drawn.last):
            raise ValueError("what the agent knew at the end of a sequence is not kept: build it with measure_every=1")
        passage = self._passage(drawn, rng)
        rows = torch.arange(len(drawn.last), device=passage.obs.device)
        at = (drawn.steps.there * (1 + torch.arange(len(passage.obs), device=rows.device).unsqueeze(-1))).amax(0)
        with torch.no_grad():
            replayed, _, _ = again(self.agent, passage, rng)
            lived, _ = self.agent(passage.obs[at, rows], knowing(self.agent, drawn.last, passage.state), rng)
        burnt = self.cut.burn_in
        return qlearning.discrepancy(replayed[burnt:], lived, at - burnt)
