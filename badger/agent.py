"""The Badger agent: many experts with shared weights that observe, communicate over a bus, and act jointly.

Shapes: B episode, E expert, P agent of the environment, O observation, Y output of an expert, M message, I identity,
D numbers of an action, K edges.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from badger.act import Act
from badger.sense import Sense
from badger.teams import team_size
from comms import (
    Bus,
    Delivery,
    EdgeList,
    Edges,
    PerEpisode,
    Topology,
    connect_new_experts,
    edge_list,
    expand_batch,
    make_edges,
    mask_absent,
    select_graphs,
    silence,
    where_edges,
)
from experts import Core, seeded
from experts import state as states
from experts.state import State


class AgentState(NamedTuple):
    """The recurrent state of an agent.

    Args:
        core: the state of the core, for all experts.
        bus: the state of the bus.
        y: the last outputs of the experts.
        delivery: the last messages received, with their weights and cost.
        edges: the communication graph.
        identity: distinguishes the experts.
        assignment: of outputs to experts; None for an output head without one.
        present: experts that take part; None: all.
        graph: the index of each episode's graph where the topology is `PerEpisode`; else None.
    """

    core: State
    bus: State
    y: Float[Tensor, "B E Y"]
    delivery: Delivery
    edges: Edges
    identity: Float[Tensor, "B E I"]
    assignment: Tensor | None
    present: Bool[Tensor, "B E"] | None
    graph: Int[Tensor, " B"] | None = None

    @property
    def inbox(self) -> Float[Tensor, "B E M"]:
        """The messages that each expert received last."""
        return self.delivery.inbox

    @property
    def weights(self) -> Float[Tensor, "B K"]:
        """The weight of each edge in the last delivery."""
        return self.delivery.weights

    def with_active_agents(self, active: Bool[Tensor, "B P"] | None) -> "AgentState":
        """This state with the experts of absent agents masked out, for one step of an environment of several agents.

        Masked experts neither receive, send, write nor act. A lesion stays in place.

        Args:
            active: agents of the environment that are present; None: all.
        """
        if active is None:
            return self
        mask = active.repeat(1, team_size(self.identity.shape[1], active.shape[1]))  # (B, P) -> (B, E)
        return self._replace(present=mask if self.present is None else self.present & mask)


class Agent(nn.Module):
    """A Badger agent: many experts with one set of weights, which communicate and act jointly.

    In each step the core of every expert receives [observation, inbox, identity]; the bus then delivers messages made
    from the cores' outputs, to be received in the next of `comm_rounds` rounds or in the next step; the output head
    computes one action. Identities are sampled in each episode: without them, experts that share weights stay equal.

    Args:
        sense: input map, of `badger.sense`.
        core: recurrent core with sense.output_size + bus.message_size + identity_size + act.name_size inputs.
        bus: a bus of `comms` on the outputs of the core.
        act: output head of `badger.act` on the outputs of the core.
        topology: a name in `comms.TOPOLOGIES`, a networkx graph, an EdgeList, a callable int -> graph or EdgeList, or
            `comms.PerEpisode`, which draws a graph for each episode.
            Other than a name, its edges among `experts` are saved with the parameters, as they may be random.
        experts: default number of experts; can change after training.
        identity_size: size of the identities, standard normal; without the output names of `act`.
        comm_rounds: rounds of communication in each step.

    Raises:
        ValueError: sizes that do not fit; a graph whose number of nodes is not `experts`.

    Source: Rosa et al. 2019 (arXiv:1912.01513).
    """

    def __init__(
        self,
        *,
        sense: Sense,
        core: Core,
        bus: Bus,
        act: Act,
        topology: Topology | PerEpisode = "complete",
        experts: int,
        identity_size: int = 8,
        comm_rounds: int = 1,
    ):
        super().__init__()
        if comm_rounds < 1:
            raise ValueError(f"comm_rounds={comm_rounds}, want at least 1 round of communication in each step")
        input_size = sense.output_size + bus.message_size + identity_size + act.name_size
        if core.input_size != input_size:
            name = f" + name {act.name_size}" if act.name_size else ""
            raise ValueError(
                f"core.input_size={core.input_size}, want obs {sense.output_size} + message {bus.message_size} + "
                f"identity {identity_size}{name} = {input_size}; build the core with input_size={input_size}"
            )
        for part, module in (("bus", bus), ("act", act)):
            if module.input_size != core.output_size:
                raise ValueError(
                    f"{part}.input_size={module.input_size}, want the core's output_size={core.output_size}; "
                    f"build the {part} with input_size={core.output_size}"
                )
        self.sense, self.core, self.bus, self.act = sense, core, bus, act
        self.topology, self.experts = topology, experts
        self.identity_size, self.comm_rounds = identity_size, comm_rounds
        self._edge_lists: dict[int, EdgeList] = {}  # cache of the topology, by number of experts
        self._episode_edges: dict[tuple[int, torch.device, torch.dtype], Edges] = {}  # cache of _edge_lists as tensors
        self.edge_rows(experts)

    def edge_rows(self, experts: int) -> EdgeList:
        """The edges of the topology, made once; those of the first graph where it is drawn for each episode.

        Args:
            experts: E.
        """
        if experts not in self._edge_lists:
            topology = self.topology.first if isinstance(self.topology, PerEpisode) else self.topology
            self._edge_lists[experts] = edge_list(topology, experts)
        return self._edge_lists[experts]

    def get_extra_state(self) -> Float[Tensor, "3 columns"]:
        """The edges of a topology without a name, as part of `state_dict`.

        The first column holds the number of experts, the others senders, receivers and weights of the edges; there are
        no columns for a topology given by name.
        """
        if isinstance(self.topology, str | PerEpisode):
            return torch.empty(3, 0, dtype=torch.float64)
        edges = np.stack([part.astype(np.float64) for part in self.edge_rows(self.experts)])
        return torch.tensor(np.concatenate([[[self.experts], [0.0], [0.0]], edges], 1))

    def set_extra_state(self, state: Float[Tensor, "3 columns"]) -> None:
        """Restores saved edges, so that a random topology is unchanged; a topology given by name is kept.

        Args:
            state: the result of `get_extra_state`.
        """
        if isinstance(self.topology, str | PerEpisode) or not state.numel():
            return
        columns = state.cpu().numpy()
        experts, edges = int(columns[0, 0]), columns[:, 1:]
        saved = EdgeList(edges[0].astype(np.int64), edges[1].astype(np.int64), edges[2])
        cached = self._edge_lists.get(experts)
        if cached is None or not all(map(np.array_equal, saved, cached)):
            self._edge_lists[experts] = edge_list(saved, experts)
            self._episode_edges.clear()

    def all_edges(self, experts: int, like: Tensor) -> Edges:
        """The edges (G, K) of the topology's graphs. Only the first call copies data to the device.

        Args:
            experts: E.
            like: gives device and dtype.
        """
        key = experts, like.device, like.dtype
        if key not in self._episode_edges:
            make = partial(self.make_all_edges, experts, like.device, like.dtype)
            # in another thread, without the transforms of torch.func and the inference mode of this one, in which the
            # cached tensors could not be used later
            with ThreadPoolExecutor(1) as thread:
                self._episode_edges[key] = thread.submit(make).result()
        return self._episode_edges[key]

    def make_all_edges(self, experts: int, device: torch.device, dtype: torch.dtype) -> Edges:
        """As `all_edges`, without a cache.

        Args:
            experts: E.
            device: of the edges.
            dtype: of their weights.
        """
        like = torch.empty(0, device=device, dtype=dtype)
        if isinstance(self.topology, PerEpisode):
            return self.topology.make_edges(experts, like)
        return make_edges(self.edge_rows(experts), experts, 1, like)

    def sample_edges(self, experts: int, like: Tensor, rng: torch.Generator) -> tuple[Edges, Int[Tensor, " B"] | None]:
        """The edges of new episodes, and the indices of their graphs.

        Args:
            experts: E.
            like: (B, ...), gives batch, device and dtype.
            rng: the generator of graphs, where the topology is drawn for each episode.
        """
        edges, batch = self.all_edges(experts, like), like.shape[0]
        if not isinstance(self.topology, PerEpisode):
            return expand_batch(edges, batch), None
        graph = torch.randint(self.topology.graphs, (batch,), generator=rng, device=like.device)
        return select_graphs(edges, graph), graph

    def with_graph(self, state: AgentState, graph: Int[Tensor, " B"] | None) -> AgentState:
        """The state with other graphs of a topology that is drawn for each episode.

        Args:
            state: the state before.
            graph: the index of each episode's graph; None: the state is unchanged.
        """
        if graph is None:
            return state
        edges = select_graphs(self.all_edges(state.identity.shape[1], state.y), graph)
        return state._replace(edges=edges, graph=graph)

    def initial_state(
        self,
        obs: Float[Tensor, "B *EO"],
        rng: torch.Generator,
        experts: int | None = None,
        outputs: int | None = None,
    ) -> AgentState:
        """The state at the start of new episodes, with sampled identities, assignments and seeds of cores that draw.

        Args:
            obs: the first observations; give batch, device and dtype; their values are not read.
            rng: the generator of identities, assignments and seeds, on the device of `obs`.
            experts: E; None: as built.
            outputs: D; None: as the output head was built.
        """
        experts = self.experts if experts is None else experts
        outputs = self.act.outputs if outputs is None else outputs
        like, batch = obs.flatten(1), obs.shape[0]
        edges, graph = self.sample_edges(experts, like, rng)
        x = like.new_zeros(batch, experts, self.core.input_size)
        y = like.new_zeros(batch, experts, self.core.output_size)
        identity = self._identities(like, experts, rng)
        assignment = self.act.make_assignment(like, experts, outputs, rng)
        return AgentState(
            seeded(self.core.initial_state(x), rng),
            self.bus.initial_state(y),
            y,
            _empty_delivery(like.new_zeros(batch, experts, self.bus.message_size), edges),
            edges,
            self._with_output_names(identity, assignment),
            assignment,
            None,
            graph,
        )

    def forward(
        self, obs: Float[Tensor, "B *EO"], state: AgentState, rng: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "B *PD"], AgentState]:
        """One step: `comm_rounds` rounds of core and bus, then one action.

        Args:
            obs: the observations.
            state: the state after the previous step.
            rng: the generator of random choices of the bus; None: the default generator.

        Returns:
            The outputs of the head, and the state after this step.
        """
        core, bus, y, delivery, edges, identity, assignment, present, graph = state
        inputs = self.sense(obs, identity.shape[1], self.num_outputs(assignment))
        active_edges = edges if present is None else mask_absent(edges, present)
        for _ in range(self.comm_rounds):
            y, core = self.core(torch.cat([inputs, delivery.inbox, identity], -1), core, present)
            delivery, bus = self.bus(y, active_edges, bus, rng)
        output = self.act(y, assignment, present)
        return output, AgentState(core, bus, y, delivery, edges, identity, assignment, present, graph)

    def reset(
        self, state: AgentState, rows: Bool[Tensor, " B"], obs: Float[Tensor, "B *EO"], rng: torch.Generator
    ) -> AgentState:
        """Resets the state in some rows of the batch. Lesions are kept, and edges that are not drawn for each episode.

        Args:
            state: the state of all rows.
            rows: mask of the rows in which an episode starts.
            obs: the first observations.
            rng: as in `initial_state`.
        """
        initial = self.initial_state(obs, rng, state.identity.shape[1], self.num_outputs(state.assignment))
        return self.replace_rows(state, rows, initial)

    def replace_rows(self, state: AgentState, rows: Bool[Tensor, " B"], new: AgentState) -> AgentState:
        """Replaces some rows of a state by those of another one, except lesions, and edges of a constant topology.

        Args:
            state: the state of all rows.
            rows: mask of the rows to replace.
            new: the state that replaces them.
        """
        if new.edges.weight.shape != state.edges.weight.shape:  # experts, and their edges, were added
            new = new._replace(delivery=_empty_delivery(new.inbox, state.edges))
        if state.graph is None or new.graph is None:  # constant, or rewired
            new = new._replace(graph=state.graph)
        else:
            state = state._replace(edges=where_edges(rows, new.edges, state.edges))
        fields = [name for name in AgentState._fields if name not in ("edges", "present")]
        old_parts, new_parts = (tuple(getattr(s, name) for name in fields) for s in (state, new))
        return state._replace(**dict(zip(fields, states.where(rows, new_parts, old_parts), strict=True)))

    def add(self, state: AgentState, n: int, obs: Float[Tensor, "B *EO"], rng: torch.Generator) -> AgentState:
        """Adds n experts to a state, before or during an episode.

        They start with initial states and new identities. Existing edges are unchanged, also those of silenced experts;
        the edges of the topology that touch a new expert are appended. A topology that is drawn for each episode is
        drawn anew.

        Args:
            state: the state before.
            n: number of new experts.
            obs: the observations; give batch, device and dtype.
            rng: the generator of identities and assignments.

        Raises:
            ValueError: n < 1; a topology or an output head that does not allow the new number of experts.
        """
        if n < 1:
            raise ValueError(f"n={n}, want at least 1 new expert")
        old_size = state.identity.shape[1]
        new_size = old_size + n
        like, batch = obs.flatten(1), obs.shape[0]
        if isinstance(self.topology, PerEpisode):
            edges, graph = self.sample_edges(new_size, like, rng)
        else:
            rows = self.edge_rows(new_size)
            edges, graph = connect_new_experts(state.edges, rows, old_size=old_size, new_size=new_size), None
        index = torch.arange(new_size, device=obs.device)
        index[old_size:] = -1
        y = like.new_zeros(batch, new_size, self.core.output_size)
        y[:, :old_size] = state.y
        inbox = torch.cat([state.inbox, like.new_zeros(batch, n, self.bus.message_size)], 1)
        weights = torch.zeros_like(edges.weight)
        if graph is None:
            weights = torch.cat([state.weights, weights[:, state.weights.shape[1] :]], 1)
        present = state.present
        if present is not None:
            present = torch.cat([present, present.new_ones(batch, n)], 1)
        old_identity = state.identity[..., : self.identity_size]
        identity = torch.cat([old_identity, self._identities(like, n, rng)], 1)
        assignment = self.act.extend_assignment(state.assignment, like, new_size, rng)
        core = self.core.select_members(state.core, index, like.new_zeros(batch, new_size, self.core.input_size))
        return AgentState(
            seeded(core, rng),
            self.bus.select_members(state.bus, index, y),
            y,
            state.delivery._replace(inbox=inbox, weights=weights),
            edges,
            self._with_output_names(identity, assignment),
            assignment,
            present,
            graph,
        )

    def remove(self, state: AgentState, experts: Sequence[int]) -> AgentState:
        """Lesions experts in all episodes: they neither receive, send, write nor act, and their state is frozen.

        Args:
            state: the state before.
            experts: indices of the experts.

        Raises:
            IndexError: an expert that does not exist.
        """
        batch, count, _ = state.identity.shape
        invalid = [i for i in experts if not 0 <= i < count]
        if invalid:
            raise IndexError(f"expert {invalid[0]} does not exist, want 0 to {count - 1}")
        lesioned = torch.zeros(count, dtype=torch.bool, device=state.identity.device)
        lesioned[list(experts)] = True
        present = torch.ones_like(lesioned).expand(batch, -1) if state.present is None else state.present
        return state._replace(present=present & ~lesioned)

    def silence(self, state: AgentState, experts: Sequence[int]) -> AgentState:
        """Silences experts in all episodes: they send no messages, but still receive and act.

        Args:
            state: the state before.
            experts: indices of the experts.

        Raises:
            IndexError: an expert that does not exist.
        """
        return state._replace(edges=silence(state.edges, experts, num_experts=state.identity.shape[1]))

    def rewire(self, state: AgentState, topology: Topology) -> AgentState:
        """Replaces the communication graph; silenced experts send again.

        Args:
            state: the state before.
            topology: as in the constructor, for the current number of experts.
        """
        edges = make_edges(topology, state.identity.shape[1], len(state.y), state.y)
        delivery = state.delivery._replace(weights=torch.zeros_like(edges.weight))
        return state._replace(edges=edges, delivery=delivery, graph=None)

    def num_outputs(self, assignment: Tensor | None) -> int:
        """D, the number of outputs of an assignment.

        Args:
            assignment: as in `AgentState`.
        """
        return self.act.outputs if assignment is None else assignment.shape[1]

    def _identities(self, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        shape = (like.shape[0], experts, self.identity_size)
        return torch.randn(shape, generator=rng, device=like.device, dtype=like.dtype)

    def _with_output_names(self, identity: Tensor, assignment: Tensor | None) -> Tensor:
        """Identities with the output names of the head appended."""
        names = self.act.output_names(assignment, identity.shape[1])
        return identity if names is None else torch.cat([identity, names], -1)


def _empty_delivery(inbox: Tensor, edges: Edges) -> Delivery:
    cost = inbox.new_zeros(inbox.shape[0])
    return Delivery(inbox, torch.zeros_like(edges.weight), cost, cost)
