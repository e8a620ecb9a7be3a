"""Recorded rollouts, and their replay: the same steps with gradient, or with other weights.

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
from comms.topology import is_unmodified
from experts import random_seeds, with_random_seeds
from experts import state as states
from experts.recorded import keeps_records, record_steps
from experts.state import State
from tasks import Task


class Recording(NamedTuple):
    """All inputs of an agent in T steps, from which its outputs can be recomputed; time first.

    Args:
        initial_state: the agent's state before the first step.
        obs: the observations.
        episode_start: the agent's state was reset before this step.
        identity: as in `AgentState`, in each step.
        assignment: as in `AgentState`, in each step.
        present: as in `AgentState`, in each step; None: as in `initial_state`.
        graph: as in `AgentState`, in each step; None where the topology is the same in all episodes.
        random_seeds: of the core, in each step; None for a core that draws nothing.
    """

    initial_state: AgentState
    obs: Float[Tensor, "T B *EO"]
    episode_start: Bool[Tensor, "T B"]
    identity: Float[Tensor, "T B E I"]
    assignment: Tensor | None
    present: Bool[Tensor, "T B E"] | None = None
    graph: Int[Tensor, "T B"] | None = None
    random_seeds: Int[Tensor, "T B seeds"] | None = None

    def select(self, index: Int[Tensor, " rows"]) -> "Recording":
        """Selects rows of the batch.

        Args:
            index: the rows of the result, in order.
        """
        edges = map_edges(self.initial_state.edges, lambda x: x[index])
        state = states.index(self.initial_state, index)._replace(edges=edges)
        return Recording(state, *self._map(lambda part: part[:, index]))

    def head(self, step: int) -> "Recording":
        """The steps before a given one.

        Args:
            step: the number of steps kept.
        """
        return Recording(self.initial_state, *self._map(lambda part: part[:step]))

    def tail(self, step: int, state: AgentState) -> "Recording":
        """The steps from a given one on.

        Args:
            step: the first step kept.
            state: the agent's state before it, stored or from `replay`.
        """
        return Recording(state, *self._map(lambda part: part[step:]))

    def pad_to(self, steps: int) -> "Recording":
        """Pads to a number of steps by repeating the last one; outputs of the padding are to be ignored.

        Args:
            steps: T of the result, at least the present one.
        """
        padding = steps - len(self.obs)
        if not padding:
            return self
        no_start = self.episode_start.new_zeros(padding, self.episode_start.shape[1])
        padded = self._map(lambda part: torch.cat([part, part[-1:].expand(padding, *part.shape[1:])]))
        episode_start = torch.cat([self.episode_start, no_start])
        return Recording(self.initial_state, *padded)._replace(episode_start=episode_start)

    def detach(self) -> "Recording":
        """The recording without its gradient history."""
        edges = map_edges(self.initial_state.edges, Tensor.detach)
        state = states.detach(self.initial_state)._replace(edges=edges)
        return Recording(state, *self._map(Tensor.detach))

    def pack(self) -> dict[str, Any]:
        """The recording as plain types and tensors, for a checkpoint."""
        return {"state": states.pack(self.initial_state), "steps": list(self._map(lambda part: part.detach().clone()))}

    def _map(self, fn: Callable[[Tensor], Tensor]) -> list[Any]:
        """Applies a function to all fields but the state."""
        return [None if part is None else fn(part) for part in self[1:]]


def unpack_recording(packed: dict[str, Any], like: AgentState) -> Recording:
    """A recording from its packed form.

    Args:
        packed: the result of `Recording.pack`.
        like: a state of the same agent, of any batch size.
    """
    return Recording(states.unpack(packed["state"], like), *packed["steps"])


def concat_batch(recordings: Sequence[Recording]) -> Recording:
    """Concatenates recordings of equally many steps along the batch.

    Args:
        recordings: of the same agent.

    Raises:
        ValueError: they differ in their number of steps.
    """
    steps = [len(recording.obs) for recording in recordings]
    if len(set(steps)) != 1:
        raise ValueError(f"recordings of {steps} steps, want as many in each: cut them with head or tail")
    state = states.cat(
        [recording.initial_state for recording in recordings], [recording.obs.shape[1] for recording in recordings]
    )
    if all(is_unmodified(recording.initial_state.edges) for recording in recordings):
        state = state._replace(edges=state.edges._replace(log_weight_source=state.edges.weight))
    parts = zip(*(recording[1:] for recording in recordings), strict=True)
    fields: list[Any] = [None if part[0] is None else torch.cat(part, 1) for part in parts]
    return Recording(state, *fields)


def record(
    agent: Agent, task: Task, carry: Carry, rng: torch.Generator, policy: Policy, *, steps: int
) -> tuple[Trajectory, Recording, Carry]:
    """A rollout and its recording: `replay(agent, recording)[0]` equals `trajectory.output`.

    Args:
        agent: as in `rollout`.
        task: as in `rollout`.
        carry: as in `rollout`.
        rng: as in `rollout`.
        policy: as in `rollout`.
        steps: T.
    """
    trajectory, next_carry = rollout(agent, task, carry, rng, policy, steps=steps, hook=replayed_parts)
    recording = make_recording(carry.agent_state, trajectory, trajectory.hook_outputs)
    return trajectory._replace(hook_outputs=[]), recording, next_carry


def make_recording(state: AgentState, trajectory: Trajectory, parts: Sequence[tuple[Tensor | None, ...]]) -> Recording:
    """The recording of a rollout.

    Args:
        state: the agent's state before it.
        trajectory: its steps.
        parts: `replayed_parts` of each step.
    """
    fields = [None if field[0] is None else torch.stack(field) for field in zip(*parts, strict=True)]
    return Recording(state, trajectory.obs, trajectory.episode_start, *fields)  # type: ignore[arg-type]


def replayed_parts(state: AgentState) -> tuple[Tensor | None, ...]:
    """What was sampled at the start of an episode or changes within it, as in the fields of a `Recording`.

    Args:
        state: the agent's state after a step.
    """
    return state.identity, state.assignment, state.present, state.graph, random_seeds(state.core)


def replay(
    agent: Agent, recording: Recording, rng: torch.Generator | None = None
) -> tuple[Float[Tensor, "T B *D"], dict[str, Float[Tensor, "T B"]], AgentState]:
    """Recomputes the outputs of recorded steps, with gradient.

    With the weights of the recording, outputs and gradients equal those of the rollout: identities, assignments and
    seeds of the core are stored, not sampled again. Experts that do not communicate, and whose core draws nothing,
    process all steps in one call: without a graph and by `Core.unroll_recorded` where the core keeps records, else by
    `Core.unroll`.

    Args:
        agent: the agent, with the same or other weights.
        recording: recorded steps.
        rng: the generator of random choices of the bus (`comms.Noisy`, gates in training), which are sampled again, so
            that outputs of such an agent differ from the rollout; None: a generator of a fixed seed.

    Returns:
        The outputs, the auxiliary losses of the core, and the state after the last step, through which a gradient may
        or may not go.
    """
    if rng is None:
        rng = seeded_generator(0, recording.obs.device)
    if _can_unroll(agent, recording):
        return _replay_unrolled(agent, recording)
    experts, num_outputs = recording.identity.shape[2], agent.num_outputs(recording.initial_state.assignment)
    initial = agent.initial_state(recording.obs[0], rng.clone_state(), experts, num_outputs)  # samples are not used
    state, outputs, losses = recording.initial_state, [], []
    for t in range(len(recording.obs)):
        obs, episode_start, identity, assignment, present, graph, seeds = recording._map(itemgetter(t))
        reset = agent.with_graph(initial._replace(identity=identity, assignment=assignment), graph)
        if seeds is not None:
            reset = reset._replace(core=with_random_seeds(reset.core, seeds))
        state = agent.replace_rows(state, episode_start, reset)
        state = state._replace(present=state.present if present is None else present)
        output, state = agent(obs, state, rng)
        outputs.append(output)
        losses.append(agent.core.losses(state.core))
    return torch.stack(outputs), {name: torch.stack([loss[name] for loss in losses]) for name in losses[0]}, state


def _can_unroll(agent: Agent, recording: Recording) -> bool:
    """Whether all inputs of the core are known from the recording, and the core can process them in one call."""
    state = recording.initial_state
    if recording.present is not None or not steps_are_of_core(agent, state):
        return False
    return keeps_records(agent.core, state.core) or not agent.core.losses(state.core)


def steps_are_of_core(agent: Agent, state: AgentState) -> bool:
    """Whether a step of the agent is one step of its core, whose inputs do not depend on its outputs.

    So for a plain agent with silent and present experts, whose core draws nothing.

    Args:
        agent: the agent.
        state: its state before the first step.
    """
    plain = type(agent) is Agent and "forward" not in vars(agent)
    silent = type(agent.bus) is Silent and agent.comm_rounds == 1
    return plain and silent and state.present is None and random_seeds(state.core) is None


def core_inputs(agent: Agent, recording: Recording) -> Float[Tensor, "T B E D"]:
    """What the core of an agent reads in recorded steps, where its experts do not communicate.

    Args:
        agent: with a bus that delivers nothing.
        recording: recorded steps.
    """
    state, obs, episode_start, identity = recording[:4]
    inputs = agent.sense(obs.flatten(0, 1), identity.shape[2], agent.num_outputs(state.assignment))
    inbox = identity.new_zeros(*identity.shape[:3], agent.bus.message_size)
    inbox[0] = torch.where(episode_start[0][:, None, None], 0, state.inbox)  # possibly from another bus
    return torch.cat([inputs.unflatten(0, episode_start.shape), inbox, identity], -1)


def core_start(
    agent: Agent, recording: Recording, xs: Float[Tensor, "T B E D"]
) -> tuple[State, Bool[Tensor, "T B"] | None]:
    """The state of the core before recorded steps, and where it is reset before a later step; None: nowhere.

    Args:
        agent: as in `core_inputs`.
        recording: recorded steps.
        xs: the inputs of the core.
    """
    reset, state = recording.episode_start, recording.initial_state.core
    if not known_empty(reset[:1]):
        state = states.where(reset[0], agent.core.initial_state(xs[0]), state)
    return state, None if known_empty(reset[1:]) else reset


def _replay_unrolled(agent: Agent, recording: Recording) -> tuple[Tensor, dict[str, Tensor], AgentState]:
    state, _, episode_start, identity, assignment, _, graph, _ = recording
    xs = core_inputs(agent, recording)
    initial, reset = core_start(agent, recording, xs)
    if keeps_records(agent.core, initial):
        records, core = record_steps(agent.core, xs, initial, reset)
        ys, losses = agent.core.unroll_recorded(xs, records, initial, reset)
    else:
        (ys, core), losses = agent.core.unroll(xs, initial, reset), {}
    output = agent.act(ys.flatten(0, 1), None if assignment is None else assignment.flatten(0, 1), None)
    state = agent.with_graph(state, None if graph is None else graph[-1])
    delivery, bus = agent.bus(ys[-1], state.edges, state.bus, None)
    last_assignment = None if assignment is None else assignment[-1]
    last = AgentState(core, bus, ys[-1], delivery, state.edges, identity[-1], last_assignment, None, state.graph)
    return output.unflatten(0, episode_start.shape), losses, last
