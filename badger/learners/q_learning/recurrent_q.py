"""Q-learning with memory: what was lived through, in sequences, is lived through again and learnt from.

Shapes: T step, B row or sequence, D numbers of an action.
"""

import copy
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from badger import distributed
from badger.act import Valued
from badger.agent import Agent
from badger.learners import returns
from badger.learners.q_learning import targets as qlearning
from badger.learners.q_learning.collector import Lived
from badger.learners.q_learning.replay import Draw, Replay, Sequences, Steps
from badger.learners.q_learning.sequences import Cut, knowing, knowledge
from badger.learners.q_learning.targets import Scale
from badger.learners.schedules import Exploration, LearningRate
from badger.learners.update import OWN, Climber, told, trained, within
from badger.policies.policies import EpsilonGreedy, Greedy, Policy
from badger.rng import generator
from badger.rollouts.recording import Passage, again
from tasks import Discrete, Task, Varied

MEANS = {"q", "td_error", "epsilon", "replay", "env_steps", "discrepancy", "ended"}  # what an update tells besides


class RecurrentQ:
    """One outer step: `batch` rows play on for `horizon` steps, exploring; what they lived through is cut in sequences
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
        lr: LearningRate,
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
        within(sizes, {"gamma": gamma, "peak": peak})
        if prefill > capacity:
            raise ValueError(f"prefill={prefill}, want at most capacity={capacity}: no more sequences are kept")
        self.agent, self.seed = agent, seed
        self.experts = agent.experts if experts is None else experts
        self.rank = distributed.rank() if rank is None else rank
        self.batch, self.share = batch, distributed.share(batch)
        self.horizon, self.updates, self.sequences, self.prefill = horizon, updates, sequences, prefill
        self.gamma, self.n, self.double, self.scale, self.peak = gamma, n, double, scale, peak
        self.target_every, self.measure_every = target_every, measure_every
        self.auxiliary = trained(auxiliary, agent.core)
        self.cut = replace(cut.within(self.task.steps), last=measure_every is not None)
        self.exploration = exploration
        self.policy: Policy = Greedy(self.task.action)
        self.climber = Climber(agent.parameters(), lr=lr, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay)
        self.target = copy.deepcopy(agent).requires_grad_(False)
        self.replay = Replay(capacity, draw)
        self.lived: Lived | None = None  # from the first update on
        self.step, self.climbs = 0, 0  # outer steps and gradient steps

    def rng(self) -> torch.Generator:
        """Of the next outer step."""
        return generator(self.seed, "train", self.step, rank=self.rank, device=self.climber.device)

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; metrics as detached tensors."""
        lr, rng = self.climber.schedule(self.step), self.rng()
        lived = self.lived = self.lived or self._opened(rng)
        chances = self.exploration(lived.trail.made * distributed.world(), self.batch)
        totals = self._play(lived, self._policy(chances), rng)
        learnt = [self._learn(lr, rng, totals if left == 0 else {}) for left in reversed(range(self.updates))]
        metrics: dict[str, Tensor | float] = {**learnt[-1]}
        for name in learnt[0]:  # what is told of each step, not of all that was played
            metrics[name] = torch.stack([one[name] for one in learnt]).double().mean()
        metrics.update({name: learnt[-1][name] for name in totals})
        metrics["finite"] = torch.stack([one["finite"] for one in learnt]).all()
        metrics["return"] = lived.returned(learnt[-1]["ended"])
        if self.measure_every is not None and self.step % self.measure_every == 0:
            metrics["discrepancy"] = self.discrepancy(rng).mean()
        self.step += 1
        del metrics["ended"]
        told = {"epsilon": sum(chances) / self.batch, "replay": float(len(self.replay))}
        return {**metrics, **told, "env_steps": float(lived.trail.made), "lr": lr}

    def discrepancy(self, rng: torch.Generator) -> Float[Tensor, " B"]:
        """How far the Q values of the last observations of sequences in the replay, come to as they are trained on,
        are from those of what the agent knew when it was there (`qlearning.discrepancy`).

        Raises:
            ValueError: what it knew is not kept: measure_every is None.
        """
        drawn, _, _ = self.replay.sample(self.sequences, rng)
        if any(one is None for one in drawn.last):
            raise ValueError("what the agent knew at the end of a sequence is not kept: build it with measure_every=1")
        passage, there = self._passage(drawn, rng), drawn.steps.there
        at = there.shape[0] - there.flip(0).int().argmax(0)  # the observation after the last step
        rows = torch.arange(len(at), device=at.device)
        with torch.no_grad():
            replayed, _, _ = again(self.agent, passage, rng)
            lived, _ = self.agent(passage.obs[at, rows], knowing(drawn.last, passage.state), rng)
        return qlearning.discrepancy(replayed[self.cut.burn_in :], lived, at - self.cut.burn_in)

    def _opened(self, rng: torch.Generator) -> Lived:
        return Lived(self.agent, self.task, self.cut, rows=self.share, experts=self.experts, rng=rng)

    def _policy(self, chances: list[float]) -> EpsilonGreedy:
        """Of this process's rows."""
        own = chances[distributed.rank() * self.share :][: self.share]
        return EpsilonGreedy(self.task.action, torch.tensor(own, device=self.climber.device))

    def _play(self, lived: Lived, policy: EpsilonGreedy, rng: torch.Generator) -> dict[str, Tensor]:
        """Fills the replay; sums and counts of what is to be told."""
        pieces, ended, played = [], [], 0
        while played < self.horizon or len(self.replay) < self.prefill:
            frames, found, over = lived.on(self.horizon - played % self.horizon, policy, rng)
            if found is not None:
                self.replay.add(found)
            pieces.append(frames)
            ended.append(over)
            played += len(frames.obs)
        return told(pieces, self.task, self, OWN | MEANS) | {"ended": torch.stack(ended).sum(0)}

    def _learn(self, lr: float, rng: torch.Generator, totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """One gradient step."""
        drawn, places, weights = self.replay.sample(self.sequences, rng)
        q, target, losses = self._again(drawn, rng)
        steps = drawn.steps.each(lambda part: part[self.cut.burn_in :])
        counts = steps.there[:-1]
        done = qlearning.chosen(q[:-1], steps.action[:-1])  # (T, B)
        error = self._wanted(steps, q.detach(), target) - done
        number = counts.sum().to(q.dtype)
        distributed.all_mean([number])  # before the backward pass: processes may differ in how many steps count
        loss = returns.mean(weights.to(q) * error.square(), counts, number)
        for name, weight in self.auxiliary.items():
            loss = loss + weight * returns.mean(losses[name][:-1], counts, number)
        self.climber.optimiser.zero_grad()
        loss.backward()
        self.replay.update(places, qlearning.priority(error.detach(), counts, peak=self.peak))
        means = {"loss": loss, "q": returns.mean(done, counts), "td_error": returns.mean(error.abs(), counts)}
        metrics = self.climber.climb(lr, {name: mean.detach() for name, mean in means.items()}, totals)
        self.climbs += 1
        if self.climbs % self.target_every == 0:
            self.target.load_state_dict(self.agent.state_dict())
        return metrics

    def _again(
        self, drawn: Sequences, rng: torch.Generator
    ) -> tuple[Float[Tensor, "T1 B D"], Float[Tensor, "T1 B D"], dict[str, Float[Tensor, "T1 B"]]]:
        """Q of what is trained on, by the agent and by the target network: each lives through all of the sequence from
        its first state, and there is no gradient before the burn-in is over."""
        passage, burnt = self._passage(drawn, rng), self.cut.burn_in
        with torch.no_grad():
            target, _, _ = again(self.target, passage, rng)
            if burnt:
                passage = passage.since(burnt, again(self.agent, passage.before(burnt), rng)[2])
        q, losses, _ = again(self.agent, passage, rng)
        return q, target[burnt:], losses

    def _passage(self, drawn: Sequences, rng: torch.Generator) -> Passage:
        obs, identity, address = drawn.steps.obs, drawn.identity, drawn.address
        fresh = self.agent.initial_state(obs[0], rng, self.experts, self.task.action.size)
        state = knowing(drawn.first, fresh._replace(identity=identity, address=address))
        every = identity.expand(len(obs), *identity.shape)
        return Passage(
            state, obs, drawn.steps.begun, every, None if address is None else address.expand(len(obs), *address.shape)
        )

    def _wanted(
        self, steps: Steps, q: Float[Tensor, "T1 B D"], target: Float[Tensor, "T1 B D"]
    ) -> Float[Tensor, "T B"]:
        """What Q of each step should have been."""
        value = qlearning.best(target, q if self.double else target, steps.legal)
        reward, ends, there = (part[:-1] for part in (steps.reward, steps.terminated, steps.there))
        wanted = qlearning.n_step(reward, self.scale.back(value), ends, there, gamma=self.gamma, n=self.n)
        return self.scale.into(wanted)

    def state_dict(self) -> dict[str, Any]:
        return {
            "agent": self.agent.state_dict(),
            "target": self.target.state_dict(),
            "optimiser": self.climber.optimiser.state_dict(),
            "step": self.step,
            "climbs": self.climbs,
            "lived": None if self.lived is None else self.lived.pack(),
            "replay": self.replay.pack(),
            "rank": self.rank,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """A stream and a replay that another process has saved, or of another batch, are not this one's: both begin
        anew. Of worlds that are not ours the stream alone. Raises ValueError where another number of sequences is
        kept."""
        self.agent.load_state_dict(state["agent"])
        self.target.load_state_dict(state["target"])
        self.climber.optimiser.load_state_dict(state["optimiser"])
        self.step, self.climbs, lived = state["step"], state["climbs"], state["lived"]
        self.lived, self.replay = None, Replay(self.replay.capacity, self.replay.draw)
        if lived is not None and state["rank"] == self.rank and len(lived["total"]) == self.share:
            like = generator(self.seed, "like", self.step, rank=self.rank, device=self.climber.device)
            self.lived = self._opened(like)
            self.replay.unpack(state["replay"], knowledge(self.lived.carry.state))
            self.lived.unpack(lived)


def _checked(agent: Agent, task: Task | Varied) -> Task:
    name = type(task).__name__
    if isinstance(task, Varied):
        raise ValueError(
            f"{name} draws another task for each outer step, and Q-learning learns one: give it a single task"
        )
    if not isinstance(task.action, Discrete):
        raise ValueError(f"{name}: actions are {task.action}, want tasks.Discrete; Q-learning learns nothing else")
    if isinstance(agent.act, Valued):
        raise ValueError(
            "the agent puts out a value beside its action, and Q-learning takes all that it puts out for values of "
            "actions; build it without act.Valued"
        )
    return task
