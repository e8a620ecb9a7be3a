"""A Badger agent: experts that share one core, sense, talk over a bus, and act together.

Shapes: B episode, E expert, P agent of the world, O observation, Y output of an expert, M message, D numbers of an
action, K edges.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.act import Act
from badger.sense import Sense
from badger.teams import team_size
from comms import (
    Bus,
    Delivery,
    EdgeList,
    Edges,
    Topology,
    connect_new_experts,
    edge_list,
    expand_batch,
    make_edges,
    mask_absent,
    silence,
)
from experts import Core
from experts import state as states
from experts.state import State


class AgentState(NamedTuple):
    """All that an agent knows in an episode, and what one may want to see of it.

    core: of the experts. bus: of the bus. y: what the experts last put out. delivery: what they heard of it (inbox,
    from whom, at what cost), kept whole, so that traffic can be watched too. edges: who hears whom. identity: tells
    experts apart. assignment: of the acting port. present: which experts are there; None for all.
    """

    core: State
    bus: State
    y: Float[Tensor, "B E Y"]
    delivery: Delivery
    edges: Edges
    identity: Float[Tensor, "B E I"]
    assignment: Tensor | None
    present: Bool[Tensor, "B E"] | None

    @property
    def inbox(self) -> Float[Tensor, "B E M"]:
        return self.delivery.inbox

    @property
    def weights(self) -> Float[Tensor, "B K"]:
        return self.delivery.weights

    def with_active_agents(self, alive: Bool[Tensor, "B P"] | None) -> "AgentState":
        """The same for a step in a world in which only these agents are there; None: all. The experts of the others
        neither hear, speak, write nor act in it. A lesion stays one."""
        if alive is None:
            return self
        there = alive.repeat(1, team_size(self.identity.shape[1], alive.shape[1]))  # (B, P) -> (B, E)
        return self._replace(present=there if self.present is None else self.present & there)


class Agent(nn.Module):
    """Many experts, one set of weights (Rosa et al. 2019, arXiv:1912.01513).

    In a step every expert eats what it senses, its inbox and its identity; then the bus carries what the experts put
    out, to be heard in the next step (or the next of `comm_rounds` rounds); then the acting port makes one action of it.
    Identities are drawn anew for each episode: without them, experts that share weights stay equal for ever.

    Args:
        sense: a port of `badger.sense`.
        core: eats sense.output_size + bus.message_size + identity_size + act.name_size numbers.
        bus: a bus of `comms`, over the outputs of the core.
        act: a port of `badger.act`, over the outputs of the core.
        topology: a name in `comms.TOPOLOGIES`, a networkx graph, an EdgeList, or a callable int -> graph or EdgeList.
            What is not a name is saved with the parameters, as it was for `experts`: it may have been drawn.
        experts: how many there are where nothing else is asked for; free after training.
        identity_size: random numbers in an identity, standard normal; beside what the acting port tells an expert.
        comm_rounds: rounds of communication in a step.

    Raises:
        ValueError: sizes that do not fit; a graph with another number of nodes than experts.
    """

    def __init__(
        self,
        *,
        sense: Sense,
        core: Core,
        bus: Bus,
        act: Act,
        topology: Topology = "complete",
        experts: int,
        identity_size: int = 8,
        comm_rounds: int = 1,
    ):
        super().__init__()
        if comm_rounds < 1:
            raise ValueError(f"comm_rounds={comm_rounds}, want at least 1 round of communication in a step")
        wanted = sense.output_size + bus.message_size + identity_size + act.name_size
        if core.input_size != wanted:
            name = f" + name {act.name_size}" if act.name_size else ""
            raise ValueError(
                f"core.input_size={core.input_size}, want obs {sense.output_size} + message {bus.message_size} + "
                f"identity {identity_size}{name} = {wanted}; build the core with input_size={wanted}"
            )
        for name, port in (("bus", bus), ("act", act)):
            if port.input_size != core.output_size:
                raise ValueError(
                    f"{name}.input_size={port.input_size}, want the core's output_size={core.output_size}; "
                    f"build the {name} with input_size={core.output_size}"
                )
        self.sense, self.core, self.bus, self.act = sense, core, bus, act
        self.topology, self.experts, self.identity_size, self.comm_rounds = (
            topology,
            experts,
            identity_size,
            comm_rounds,
        )
        self._lists: dict[int, EdgeList] = {}  # follows from topology: it is asked once for each size
        self._rows: dict[tuple[int, torch.device, torch.dtype], Edges] = {}  # follows from _lists: edges of one episode
        self._edge_list(experts)

    def _edge_list(self, experts: int) -> EdgeList:
        if experts not in self._lists:
            self._lists[experts] = edge_list(self.topology, experts)
        return self._lists[experts]

    def get_extra_state(self) -> Float[Tensor, "3 columns"]:
        """For `state_dict`: of a graph that does not follow from a name the number of experts, and then senders,
        receivers and weights of its edges; else no columns."""
        if isinstance(self.topology, str):
            return torch.empty(3, 0, dtype=torch.float64)
        edges = np.stack([part.astype(np.float64) for part in self._edge_list(self.experts)])
        return torch.tensor(np.concatenate([[[self.experts], [0.0], [0.0]], edges], 1))

    def set_extra_state(self, state: Float[Tensor, "3 columns"]) -> None:
        """The saved graph takes the place of this agent's, so that one drawn at random stays what it was; a topology
        given by its name stays that."""
        if isinstance(self.topology, str) or not state.numel():
            return
        columns = state.cpu().numpy()
        experts, edges = int(columns[0, 0]), columns[:, 1:]
        saved = EdgeList(edges[0].astype(np.int64), edges[1].astype(np.int64), edges[2])
        own = self._lists.get(experts)
        if own is None or not all(map(np.array_equal, saved, own)):
            self._lists[experts] = edge_list(saved, experts)
            self._rows.clear()

    def _edges(self, experts: int, batch: int, like: Tensor) -> Edges:
        """The edges of `batch` episodes, on like's device. Nothing but the first call copies anything."""
        key = experts, like.device, like.dtype
        if key not in self._rows:
            make = partial(_single_episode_edges, self._edge_list(experts), experts, like.device, like.dtype)
            with ThreadPoolExecutor(1) as thread:  # where no transform of torch.func and no inference mode is on, which
                self._rows[key] = thread.submit(make).result()  # would mark for good what is made under them
        return expand_batch(self._rows[key], batch)

    def initial_state(
        self,
        obs: Float[Tensor, "B *EO"],
        rng: torch.Generator,
        experts: int | None = None,
        outputs: int | None = None,
    ) -> AgentState:
        """The state before the first step: identities, addresses and edges of new episodes.

        Args:
            obs: of the first step; its values are not read.
            rng: on obs's device.
            experts: E, default as built. outputs: D, default as the acting port was built.
        """
        experts = self.experts if experts is None else experts
        outputs = self.act.outputs if outputs is None else outputs
        like, batch = obs.flatten(1), obs.shape[0]
        edges = self._edges(experts, batch, like)
        x = like.new_zeros(batch, experts, self.core.input_size)
        y = like.new_zeros(batch, experts, self.core.output_size)
        identity = self._identities(like, experts, rng)
        address = self.act.make_assignment(like, experts, outputs, rng)
        return AgentState(
            self.core.initial_state(x),
            self.bus.initial_state(y),
            y,
            _empty_delivery(like.new_zeros(batch, experts, self.bus.message_size), edges),
            edges,
            self._with_output_names(identity, address),
            address,
            None,
        )

    def forward(
        self, obs: Float[Tensor, "B *EO"], state: AgentState, rng: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "B *PD"], AgentState]:
        """One step of every expert, `comm_rounds` rounds of communication, one action."""
        core, bus, y, delivery, edges, identity, address, present = state
        seen = self.sense(obs, identity.shape[1], self.num_outputs(address))
        active_edges = edges if present is None else mask_absent(edges, present)
        for _ in range(self.comm_rounds):
            y, core = self.core(torch.cat([seen, delivery.inbox, identity], -1), core, present)
            delivery, bus = self.bus(y, active_edges, bus, rng)
        output = self.act(y, address, present)
        return output, AgentState(core, bus, y, delivery, edges, identity, address, present)

    def reset(
        self, state: AgentState, rows: Bool[Tensor, " B"], obs: Float[Tensor, "B *EO"], rng: torch.Generator
    ) -> AgentState:
        """New episodes in the rows of the mask. Edges and absences are the agent's, and stay."""
        fresh = self.initial_state(obs, rng, state.identity.shape[1], self.num_outputs(state.assignment))
        return self.replace_rows(state, rows, fresh)

    def replace_rows(self, state: AgentState, rows: Bool[Tensor, " B"], fresh: AgentState) -> AgentState:
        """What is fresh in the rows of the mask, but for edges and absences."""
        if fresh.edges.weight.shape != state.edges.weight.shape:  # experts have joined, edges were added
            fresh = fresh._replace(delivery=_empty_delivery(fresh.inbox, state.edges))
        changing = [name for name in AgentState._fields if name not in ("edges", "present")]
        old, new = (tuple(getattr(s, name) for name in changing) for s in (state, fresh))
        return state._replace(**dict(zip(changing, states.where(rows, new, old), strict=True)))

    def add(self, state: AgentState, n: int, obs: Float[Tensor, "B *EO"], rng: torch.Generator) -> AgentState:
        """n new experts join, in the middle of an episode or before it.

        They have fresh states and identities. The edges that there are stay as they are; of the topology for so many
        experts, those that touch a newcomer are added, so that one who was silenced speaks to newcomers.
        """
        if n < 1:
            raise ValueError(f"n={n}, want at least 1 new expert")
        before = state.identity.shape[1]
        after = before + n
        like, batch = obs.flatten(1), obs.shape[0]
        edges = connect_new_experts(state.edges, self._edge_list(after), before=before, after=after)
        index = torch.arange(after, device=obs.device)
        index[before:] = -1
        y = like.new_zeros(batch, after, self.core.output_size)
        y[:, :before] = state.y
        inbox = torch.cat([state.inbox, like.new_zeros(batch, n, self.bus.message_size)], 1)
        weights = torch.cat([state.weights, like.new_zeros(batch, edges.weight.shape[1] - state.weights.shape[1])], 1)
        present = state.present
        if present is not None:
            present = torch.cat([present, present.new_ones(batch, n)], 1)
        random = state.identity[..., : self.identity_size]
        identity = torch.cat([random, self._identities(like, n, rng)], 1)
        address = self.act.extend_assignment(state.assignment, like, after, rng)
        return AgentState(
            self.core.select_members(state.core, index, like.new_zeros(batch, after, self.core.input_size)),
            self.bus.select_members(state.bus, index, y),
            y,
            state.delivery._replace(inbox=inbox, weights=weights),
            edges,
            self._with_output_names(identity, address),
            address,
            present,
        )

    def remove(self, state: AgentState, experts: Sequence[int]) -> AgentState:
        """A lesion: these experts stop in all episodes. They neither hear, speak, write nor act."""
        batch, count, _ = state.identity.shape
        wrong = [i for i in experts if not 0 <= i < count]
        if wrong:
            raise IndexError(f"expert {wrong[0]} does not exist, want 0 to {count - 1}")
        gone = torch.zeros(count, dtype=torch.bool, device=state.identity.device)
        gone[list(experts)] = True
        there = torch.ones_like(gone).expand(batch, -1) if state.present is None else state.present
        return state._replace(present=there & ~gone)

    def silence(self, state: AgentState, experts: Sequence[int]) -> AgentState:
        """These experts, in all episodes, no longer speak, but still hear and act."""
        return state._replace(edges=silence(state.edges, experts, of=state.identity.shape[1]))

    def rewire(self, state: AgentState, topology: Topology) -> AgentState:
        """Another topology from here on, for as many experts as there are; those silenced before speak again."""
        edges = make_edges(topology, state.identity.shape[1], len(state.y), state.y)
        delivery = state.delivery._replace(weights=torch.zeros_like(edges.weight))
        return state._replace(edges=edges, delivery=delivery)

    def num_outputs(self, address: Tensor | None) -> int:
        """How many numbers the action of an episode has."""
        return self.act.outputs if address is None else address.shape[1]

    def _identities(self, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        shape = (like.shape[0], experts, self.identity_size)
        return torch.randn(shape, generator=rng, device=like.device, dtype=like.dtype)

    def _with_output_names(self, identity: Tensor, address: Tensor | None) -> Tensor:
        """An identity with what the acting port tells the experts beside it."""
        names = self.act.output_names(address, identity.shape[1])
        return identity if names is None else torch.cat([identity, names], -1)


def _single_episode_edges(rows: EdgeList, experts: int, device: torch.device, dtype: torch.dtype) -> Edges:
    return make_edges(rows, experts, 1, torch.empty(0, device=device, dtype=dtype))


def _empty_delivery(inbox: Tensor, edges: Edges) -> Delivery:
    nothing = inbox.new_zeros(inbox.shape[0])
    return Delivery(inbox, torch.zeros_like(edges.weight), nothing, nothing)
