"""Many agents that are trained as one: a batched computation over seeds, in which each is as if it were alone.

Shapes: P member, T step, B episode.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from badger.learners import BPTT, Learner
from badger.learners.tensor_tree import tree_flatten, tree_map, tree_unflatten
from badger.policies.policies import Policy
from badger.rng import generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import Carry, Trajectory, initial_carry


class Population:
    """Learners whose episodes are played together: `vmap` over the rollout, then one backward pass for all.

    A member stays an ordinary `BPTT` with an ordinary agent: it draws its own opening of each episode, clips its own
    gradient, and steps its own optimiser, so that it learns what it would learn alone. Members may differ in weights,
    seed, learning rate, clip and weight decay.

    What agent or task draws *after* the opening (a gate in training, the next episode of a task of variable length)
    comes from one stream of the population: independent between members, the same whenever the run is repeated with as
    many members, but not what a run of that seed alone would draw.

    A member whose loss or gradient is not finite makes no step, and the others do not notice. The population is
    `finite` as long as any member is, for the others' work is worth going on with: `finite/seed_3` tells of one.

    Metrics: `name/seed_3` of the member with seed 3, and under `name` the mean over the members that were finite.
    What is the same for all and known beforehand (the learning rate) is told once.

    Args:
        member_learners: each with an agent and a seed of its own, all built alike. `agent`, which a run looks into, is the
            first one's; a run's best checkpoint is that of the best mean.

    Raises:
        ValueError: members that cannot be played together.
    """

    def __init__(self, members: Sequence[Learner]):
        self.members = _checked(members)
        first = self.members[0]
        self.agent, self.task, self.seed, self.step = first.agent, first.task, first.seed, first.step
        self.eval_policy: Policy = first.eval_policy

    def update(self) -> dict[str, Tensor | float]:
        """One outer step of every member. Returns detached tensors: nothing here waits for the device."""
        for member in self.members:
            member.optimiser.zero_grad()
        losses, pieces = self._backward()
        self.step += 1
        rows = [
            member.apply_gradients(losses[i], [tree_map(itemgetter(i), piece) for piece in pieces])
            for i, member in enumerate(self.members)
        ]
        return self._merge_metrics(rows)

    def _backward(self) -> tuple[Tensor, list[Trajectory]]:
        """Plays everyone's episodes piece by piece, and leaves the gradients in the parameters; (P,) losses."""
        first = self.members[0]
        rng = generator(self.seed, "population", self.step, rank=first.rank, device=first.device)
        openings = [
            tree_flatten(
                initial_carry(member.agent, self.task, member.local_batch, member.rng(), experts=member.experts[0])
            )
            for member in self.members
        ]
        shell, tensors = openings[0][0], [torch.stack(each) for each in zip(*(o[1] for o in openings), strict=True)]
        total, pieces = torch.zeros(len(self.members), device=first.device), []
        size = first.truncation or self.task.steps
        for begun in range(0, self.task.steps, size):
            loss, frames, shell, tensors = self._play(shell, tensors, rng, min(size, self.task.steps - begun))
            if loss.requires_grad:
                loss.sum().backward()  # of each member's own loss: no other depends on its parameters
            total = total + loss.detach()
            pieces.append(tree_map(Tensor.detach, frames))
        return total, pieces

    def _play(
        self, shell: Any, tensors: list[Tensor], rng: torch.Generator, steps: int
    ) -> tuple[Tensor, Trajectory, Any, list[Tensor]]:
        """One piece of all episodes; the carry goes in and comes out apart, for vmap knows nothing but tensors."""
        after: list[Any] = []

        def play(weights: dict[str, Tensor], tensors: list[Tensor]) -> tuple[Tensor, Trajectory, list[Tensor]]:
            loss, frames, carry = functional_call(inner, weights, (tree_unflatten(shell, tensors), rng, steps))
            left, tensors = tree_flatten(carry)
            after.append(left)
            return loss, frames, tensors

        inner, *others = (_InnerLoop(member) for member in self.members)
        named = [_weights(module) for module in (inner, *others)]
        stacked = {name: torch.stack([weights[name] for weights in named]) for name in named[0]}
        loss, frames, tensors = vmap(play, randomness="different")(stacked, tensors)
        return loss, frames, after[0], [tensor.detach() for tensor in tensors]

    def _merge_metrics(self, rows: list[dict[str, Tensor | float]]) -> dict[str, Tensor | float]:
        told: dict[str, Tensor | float] = {}
        finite = torch.stack([torch.as_tensor(row["finite"]) for row in rows])
        for name in rows[0]:
            values = [row[name] for row in rows]
            if len({value for value in values if isinstance(value, float)}) == 1:
                told[name] = values[0]
                continue
            each = torch.stack([torch.as_tensor(value, device=finite.device) for value in values])
            told[name] = torch.where(finite, each, torch.nan).nanmean()  # one that has diverged has no say
            told |= {f"{name}/seed_{member.seed}": value for member, value in zip(self.members, each, strict=True)}
        return told | {"finite": finite.any()}

    def state_dict(self) -> dict[str, Any]:
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        saved = state["members"]
        if len(saved) != len(self.members):
            raise ValueError(f"a population of {len(saved)} was saved, and this one has {len(self.members)} members")
        for member, one in zip(self.members, saved, strict=True):
            member.load_state_dict(one)
        self.step = self.members[0].step


def member_learners(learner: Learner) -> list[Learner]:
    """Those of a population; any other learner is its only member."""
    return list(learner.members) if isinstance(learner, Population) else [learner]


class _InnerLoop(nn.Module):
    """A module, so that functional_call can lend its agent the weights of a member."""

    def __init__(self, learner: BPTT):
        super().__init__()
        self.agent, self.learner = learner.agent, learner

    def forward(self, carry: Carry, rng: torch.Generator, steps: int) -> tuple[Tensor, Trajectory, Carry]:
        frames, carry = rollout(self.agent, self.learner.task, carry, rng, steps=steps)
        return self.learner._loss(frames, self.learner.task.steps), frames, carry


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _checked(learners: Sequence[Learner]) -> list[BPTT]:
    if not learners:
        raise ValueError("a population of 0 members, want at least 1")
    members = [learner for learner in learners if isinstance(learner, BPTT)]
    if len(members) < len(learners):
        others = sorted({type(learner).__name__ for learner in learners if not isinstance(learner, BPTT)})
        raise ValueError(f"members of {others}, want BPTT: a population plays nothing else; train them one by one")
    first = members[0]
    if len({member.seed for member in members}) < len(members):
        raise ValueError(f"seeds {[member.seed for member in members]}, want another one for each member")
    if len({id(member.agent) for member in members}) < len(members):
        raise ValueError("members share an agent, want one for each: build an agent for each seed")
    for member in members:
        if (member.grad_checkpoint_steps, member.precision, member.compile, member.cuda_graph) != (
            None,
            "float32",
            False,
            False,
        ):
            raise ValueError(
                f"the member with seed {member.seed} has segment, precision, compile or cuda_graph set, which a "
                "population does not know: leave them out, or train one agent"
            )
        if member.is_randomized:
            raise ValueError(
                f"the member with seed {member.seed} draws its sizes anew for each outer step, each member others, and "
                "a population plays all at once: give one size, or train one agent"
            )
    for member in members[1:]:
        for name in ("task", "experts", "batch", "truncation", "auxiliary", "rank", "step"):
            got, wanted = getattr(member, name), getattr(first, name)
            if got != wanted:
                raise ValueError(
                    f"{name}={got} of the member with seed {member.seed}, want {wanted} as of the first: "
                    "members differ in their weights, seed, learning rate, clip and weight decay only"
                )
        if _weight_signature(member.agent) != _weight_signature(first.agent):
            other = sorted({name for name, _ in _weight_signature(member.agent) ^ _weight_signature(first.agent)})
            raise ValueError(
                f"the agent of seed {member.seed} has other weights than the first: {', '.join(other)}; "
                "build all members' agents alike"
            )
    return members


def _weight_signature(module: nn.Module) -> set[tuple[str, tuple]]:
    return {(name, (value.shape, value.dtype, value.device)) for name, value in _weights(module).items()}
