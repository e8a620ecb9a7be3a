"""Training of several seeds as one batched computation, with `vmap` over the agents' weights.

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
    """A learner that trains several `BPTT` members together: one rollout under `vmap`, and one backward pass.

    Each member stays an ordinary `BPTT` with its own agent, resets, gradient clipping and optimizer, and learns what
    it would learn alone. Members may differ in weights, seed, learning rate, clip and weight decay.

    Randomness after the reset (a gate in training, the next episode of a task of variable length) comes from one
    stream of the population: independent across members and reproducible with the same number of members, but not
    the stream of a run of that seed alone.

    A member whose loss or gradient is not finite skips its step, without an effect on the others. The population's
    `finite` is 1 as long as any member is finite; `finite/seed_3` is that of the member with seed 3.

    Metrics: `name/seed_3` of the member with seed 3, and `name`, the mean over the finite members. Numbers on the host
    that are equal in all members (the learning rate) appear once.

    Args:
        members: at least one `BPTT`, each with its own agent and seed, otherwise constructed alike. The population's
            `agent` is that of the first; the best checkpoint of a run is that of the best mean.

    Raises:
        ValueError: members that cannot be batched.
    """

    def __init__(self, members: Sequence[Learner]):
        self.members = _check_members(members)
        first = self.members[0]
        self.agent, self.task, self.seed, self.step = first.agent, first.task, first.seed, first.step
        self.eval_policy: Policy = first.eval_policy

    def update(self) -> dict[str, Tensor | float]:
        """One outer step of every member; returns detached metrics, without a synchronization with the device."""
        for member in self.members:
            member.optimizer.zero_grad()
        losses, trajectories = self._backward()
        self.step += 1
        return self._merge_metrics(
            [
                member.apply_gradients(losses[i], [tree_map(itemgetter(i), part) for part in trajectories])
                for i, member in enumerate(self.members)
            ]
        )

    def _backward(self) -> tuple[Tensor, list[Trajectory]]:
        """Rolls out all episodes in truncated pieces and leaves the gradients in the parameters; (P,) losses."""
        first = self.members[0]
        rng = generator(self.seed, "population", self.step, rank=first.rank, device=first.device)
        carries = [
            tree_flatten(
                initial_carry(member.agent, self.task, member.local_batch, member.rng(), experts=member.experts[0])
            )
            for member in self.members
        ]
        tree_spec = carries[0][0]
        tensors = [torch.stack(parts) for parts in zip(*(tensors for _, tensors in carries), strict=True)]
        total_loss, trajectories = torch.zeros(len(self.members), device=first.device), []
        size = first.truncation or self.task.steps
        for start in range(0, self.task.steps, size):
            steps = min(size, self.task.steps - start)
            loss, trajectory, tree_spec, tensors = self._rollout(tree_spec, tensors, rng, steps)
            if loss.requires_grad:
                loss.sum().backward()  # each member's loss depends on its own parameters only
            total_loss = total_loss + loss.detach()
            trajectories.append(tree_map(Tensor.detach, trajectory))
        return total_loss, trajectories

    def _rollout(
        self, tree_spec: Any, tensors: list[Tensor], rng: torch.Generator, steps: int
    ) -> tuple[Tensor, Trajectory, Any, list[Tensor]]:
        """One piece of all episodes, and the carry after it; flattened, because vmap takes and returns tensors only."""
        next_specs: list[Any] = []

        def play(weights: dict[str, Tensor], tensors: list[Tensor]) -> tuple[Tensor, Trajectory, list[Tensor]]:
            carry = tree_unflatten(tree_spec, tensors)
            loss, trajectory, carry = functional_call(module, weights, (carry, rng, steps))
            next_spec, tensors = tree_flatten(carry)
            next_specs.append(next_spec)
            return loss, trajectory, tensors

        module, *others = (_InnerLoop(member) for member in self.members)
        weights = [_weights(inner_loop) for inner_loop in (module, *others)]
        stacked = {name: torch.stack([member[name] for member in weights]) for name in weights[0]}
        loss, trajectory, tensors = vmap(play, randomness="different")(stacked, tensors)
        return loss, trajectory, next_specs[0], [tensor.detach() for tensor in tensors]

    def _merge_metrics(self, rows: list[dict[str, Tensor | float]]) -> dict[str, Tensor | float]:
        """The metrics of each member, one dict each, as those of the population."""
        metrics: dict[str, Tensor | float] = {}
        finite = torch.stack([torch.as_tensor(row["finite"]) for row in rows])
        for name in rows[0]:
            values = [row[name] for row in rows]
            if len({value for value in values if isinstance(value, float)}) == 1:
                metrics[name] = values[0]
                continue
            stacked = torch.stack([torch.as_tensor(value, device=finite.device) for value in values])
            metrics[name] = torch.where(finite, stacked, torch.nan).nanmean()  # without members that have diverged
            seeds = [member.seed for member in self.members]
            metrics |= {f"{name}/seed_{seed}": value for seed, value in zip(seeds, stacked, strict=True)}
        return metrics | {"finite": finite.any()}

    def state_dict(self) -> dict[str, Any]:
        """The state of each member."""
        return {"members": [member.state_dict() for member in self.members]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state.

        Args:
            state: from `state_dict`.

        Raises:
            ValueError: another number of members.
        """
        saved = state["members"]
        if len(saved) != len(self.members):
            raise ValueError(f"the saved population has {len(saved)} members, want {len(self.members)} as in this one")
        for member, member_state in zip(self.members, saved, strict=True):
            member.load_state_dict(member_state)
        self.step = self.members[0].step


def member_learners(learner: Learner) -> list[Learner]:
    """The members of a population; of any other learner, itself alone.

    Args:
        learner: any learner.
    """
    return list(learner.members) if isinstance(learner, Population) else [learner]


def choose_member(learner: Learner, member: int) -> Learner:
    """One member of a population, or the learner itself, which is its only member.

    Args:
        learner: any learner.
        member: index, from 0 on.

    Raises:
        ValueError: no such member.
    """
    members = member_learners(learner)
    if not 0 <= member < len(members):
        raise ValueError(f"member={member}: the run has {len(members)} members, want 0 to {len(members) - 1}")
    return members[member]


class _InnerLoop(nn.Module):
    """A rollout and its loss as a module, so that functional_call can replace the agent's weights."""

    def __init__(self, learner: BPTT):
        super().__init__()
        self.agent, self.learner = learner.agent, learner

    def forward(self, carry: Carry, rng: torch.Generator, steps: int) -> tuple[Tensor, Trajectory, Carry]:
        trajectory, carry = rollout(self.agent, self.learner.task, carry, rng, steps=steps)
        return self.learner._loss(trajectory, self.learner.task.steps), trajectory, carry


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters()) | dict(module.named_buffers())


def _check_members(learners: Sequence[Learner]) -> list[BPTT]:
    if not learners:
        raise ValueError("a population of 0 members, want at least 1")
    members = [learner for learner in learners if isinstance(learner, BPTT)]
    if len(members) < len(learners):
        others = sorted({type(learner).__name__ for learner in learners if not isinstance(learner, BPTT)})
        raise ValueError(f"members of {others}, want BPTT, the only learner of a population; train them one by one")
    first = members[0]
    seeds = [member.seed for member in members]
    if len(set(seeds)) < len(members):
        raise ValueError(f"seeds {seeds}, want a different one for each member")
    if len({id(member.agent) for member in members}) < len(members):
        raise ValueError("members share an agent, want one for each: build an agent for each seed")
    for member in members:
        _check_options(member)
    for member in members[1:]:
        _check_alike(member, first)
    return members


def _check_options(member: BPTT) -> None:
    options = {
        "grad_checkpoint_steps": member.grad_checkpoint_steps is not None,
        "precision": member.precision != "float32",
        "compile": member.compile is not False,
        "cuda_graph": member.cuda_graph,
        "shard_experts": member.shares.spread,
    }
    if any(options.values()):
        names = ", ".join(name for name, is_set in options.items() if is_set)
        raise ValueError(
            f"the member with seed {member.seed} has {names} set, which a population does not support: leave it out, "
            "or train one agent"
        )
    if member.is_randomized:
        raise ValueError(
            f"the member with seed {member.seed} samples its sizes for each outer step, and all members of a "
            "population need the same: give one size, or train one agent"
        )


def _check_alike(member: BPTT, first: BPTT) -> None:
    for name in ("task", "experts", "batch", "truncation", "auxiliary", "rank", "step"):
        got, wanted = getattr(member, name), getattr(first, name)
        if got != wanted:
            raise ValueError(
                f"{name}={got} of the member with seed {member.seed}, want {wanted} as of the first: "
                "members may differ in weights, seed, learning rate, clip and weight decay only"
            )
    different = _weight_signature(member.agent) ^ _weight_signature(first.agent)
    if different:
        raise ValueError(
            f"the agent of seed {member.seed} has other weights than the first: "
            f"{', '.join(sorted({name for name, _ in different}))}; build the agents of all members alike"
        )


def _weight_signature(module: nn.Module) -> set[tuple[str, tuple]]:
    return {(name, (value.shape, value.dtype, value.device)) for name, value in _weights(module).items()}
