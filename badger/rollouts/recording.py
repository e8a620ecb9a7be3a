"""What was lived through can be lived through again: the same steps, with another agent's weights and with gradient.

Shapes: T step, B episode, E expert, D numbers of an action.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.policies.policies import Policy
from badger.rng import seeded_generator
from badger.rollouts.loop import known_empty, rollout
from badger.rollouts.trajectory import Carry, Trajectory
from comms import Silent, map_edges
from experts import state as states
from tasks import Task


class Recording(NamedTuple):
    """So many steps of an agent: all that its outputs follow from, but for its weights. A value; T first.

    initial_state: before the first step. obs: what was seen. episode_start: the agent's state began anew before that step. identity,
    address, present: of the `AgentState` in that step; present None: all were there, or who was there in `initial_state`.
    """

    initial_state: AgentState
    obs: Float[Tensor, "T B *EO"]
    episode_start: Bool[Tensor, "T B"]
    identity: Float[Tensor, "T B E I"]
    address: Tensor | None
    present: Bool[Tensor, "T B E"] | None = None

    def select(self, index: Int[Tensor, " rows"]) -> "Recording":
        """These episodes, in that order."""
        edges = map_edges(self.initial_state.edges, lambda x: x[index])
        state = states.index(self.initial_state, index)._replace(edges=edges)
        return Recording(state, *self._each(lambda part: part[:, index]))

    def head(self, step: int) -> "Recording":
        """The first `step` steps."""
        return Recording(self.initial_state, *self._each(lambda part: part[:step]))

    def tail(self, step: int, state: AgentState) -> "Recording":
        """What follows after `step` steps, where the agent stands then: stored there, or what `replay` has come to."""
        return Recording(state, *self._each(lambda part: part[step:]))

    def pad_to(self, steps: int) -> "Recording":
        """So many steps: what is missing is filled up with the last one. What comes of it is of no meaning."""
        void = steps - len(self.obs)
        if not void:
            return self
        begun = torch.cat([self.episode_start, self.episode_start.new_zeros(void, self.episode_start.shape[1])])
        longer = self._each(lambda part: torch.cat([part, part[-1:].expand(void, *part.shape[1:])]))
        return Recording(self.initial_state, *longer)._replace(episode_start=begun)

    def detach(self) -> "Recording":
        """The same, and no gradient goes further back."""
        edges = map_edges(self.initial_state.edges, Tensor.detach)
        state = states.detach(self.initial_state)._replace(edges=edges)
        return Recording(state, *self._each(Tensor.detach))

    def pack(self) -> dict[str, Any]:
        """Plain types and tensors only, for a checkpoint."""
        return {"state": states.pack(self.initial_state), "steps": list(self._each(lambda part: part.detach().clone()))}

    def _each(self, change: Callable[[Tensor], Tensor]) -> list[Any]:
        """All but the state."""
        return [None if part is None else change(part) for part in self[1:]]


def unpack_recording(packed: dict[str, Any], like: AgentState) -> Recording:
    """The passage that was packed; like: a state of the same agent, of any batch."""
    return Recording(states.unpack(packed["state"], like), *packed["steps"])


def concat_batch(passages: Sequence[Recording]) -> Recording:
    """The rows of several passages of as many steps, one after the other, as one.

    Raises:
        ValueError: they differ in their number of steps.
    """
    steps = [len(one.obs) for one in passages]
    if len(set(steps)) != 1:
        raise ValueError(f"passages of {steps} steps, want as many in each: cut them with before or since")
    state = states.cat([one.initial_state for one in passages], [one.obs.shape[1] for one in passages])
    if all(one.initial_state.edges.unmodified for one in passages):
        state = state._replace(edges=state.edges._replace(logged=state.edges.weight))
    parts = zip(*(one[1:] for one in passages), strict=True)
    rest: list[Any] = [None if part[0] is None else torch.cat(part, 1) for part in parts]
    return Recording(state, *rest)


def record(
    agent: Agent, task: Task, carry: Carry, rng: torch.Generator, policy: Policy, *, steps: int
) -> tuple[Trajectory, Recording, Carry]:
    """A rollout, and the passage that it was: `again(agent, passage)[0]` equals frames.output."""
    frames, after = rollout(
        agent, task, carry, rng, policy, steps=steps, hook=lambda s: (s.identity, s.assignment, s.present)
    )
    identity, address, present = (
        None if parts[0] is None else torch.stack(parts) for parts in zip(*frames.hook_outputs, strict=True)
    )
    assert identity is not None
    passage = Recording(carry.agent_state, frames.obs, frames.episode_start, identity, address, present)
    return frames._replace(hook_outputs=[]), passage, after


def replay(
    agent: Agent, passage: Recording, rng: torch.Generator | None = None
) -> tuple[Float[Tensor, "T B *D"], dict[str, Float[Tensor, "T B"]], AgentState]:
    """The agent's outputs, its auxiliary losses, and where it stands after the last step: with the weights of then, and
    the same gradient, what they were; what was drawn for an episode (identities, addresses) is stored, not drawn.

    Experts that do not talk take all steps at once (`Core.unroll`).

    rng: for what a bus draws in each step (`comms.Noisy`, gates in training), which is drawn anew: such an agent does
    not live through quite the same. None: always from the same seed.
    """
    if rng is None:
        rng = seeded_generator(0, passage.obs.device)
    if _can_unroll(agent, passage):
        return _replay_unrolled(agent, passage)
    experts, outputs = passage.identity.shape[2], agent.num_outputs(passage.initial_state.assignment)
    fresh = agent.initial_state(passage.obs[0], rng.clone_state(), experts, outputs)  # what it draws is not used
    state, told, losses = passage.initial_state, [], []
    for t in range(len(passage.obs)):
        obs, begun, identity, address, present = passage._each(itemgetter(t))
        state = agent.replace_rows(state, begun, fresh._replace(identity=identity, assignment=address))
        state = state._replace(present=state.present if present is None else present)
        output, state = agent(obs, state, rng)
        told.append(output)
        losses.append(agent.core.losses(state.core))
    return torch.stack(told), {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]}, state


def _can_unroll(agent: Agent, passage: Recording) -> bool:
    """Whether each expert's inputs follow from what was seen, at every step, and its steps are those of the core."""
    plain = type(agent) is Agent and "forward" not in vars(agent)
    everyone = passage.present is None and passage.initial_state.present is None
    silent = type(agent.bus) is Silent and agent.comm_rounds == 1
    return plain and everyone and silent and not agent.core.losses(passage.initial_state.core)


def _replay_unrolled(agent: Agent, passage: Recording) -> tuple[Tensor, dict[str, Tensor], AgentState]:
    state, obs, begun, identity, address, _ = passage
    seen = agent.sense(obs.flatten(0, 1), identity.shape[2], agent.num_outputs(state.assignment))
    inbox = identity.new_zeros(*identity.shape[:3], agent.bus.message_size)
    inbox[0] = torch.where(begun[0][:, None, None], 0, state.inbox)  # another bus may have been there before
    xs = torch.cat([seen.unflatten(0, begun.shape), inbox, identity], -1)  # (T, B, E, D)
    ys, core = agent.core.unroll(xs, state.core, None if known_empty(begun) else begun)
    output = agent.act(ys.flatten(0, 1), None if address is None else address.flatten(0, 1), None)
    delivery, bus = agent.bus(ys[-1], state.edges, state.bus, None)
    last = AgentState(core, bus, ys[-1], delivery, state.edges, identity[-1], _last(address), None)
    return output.unflatten(0, begun.shape), {}, last


def _last(part: Tensor | None) -> Tensor | None:
    return None if part is None else part[-1]
