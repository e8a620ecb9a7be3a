"""An agent whose state holds the experts of this process alone.

Shapes: B episode, E expert, N own expert, S expert whose output is here, O observation, Y output of an expert, M
message, D numbers of an action, K edges to own experts.
"""

import copy
import dataclasses
from functools import partial
from typing import Any, NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from badger import distributed
from badger.agent import Agent, AgentState
from badger.sharding.checks import check_shardable
from badger.sharding.collectives import (
    exchange_rows,
    gather_last_axis,
    max_over_processes,
    sum_over_processes,
)
from comms import Delivery, EdgeList, Edges, PerEpisode, Silent
from comms.per_episode import stack_graphs
from comms.sharding import Shard, draw, make_shard, partition
from experts import Core, seeded

INTERVENTIONS = ("add", "remove", "silence", "rewire")


def shard_experts(agent: Agent, experts: int | None = None) -> Agent:
    """An agent with the same parameters, whose state holds the experts of this process alone.

    It is used in the place of the agent, in all processes at the same time, with the same observations and generators
    in the same states; each then gets the same outputs as from the agent itself, up to rounding errors. After a
    backward pass of the same loss in each process, the mean of a gradient over the processes is that of the agent.
    Without several processes it is the agent in all but name. Experts cannot be added, removed, silenced or rewired.

    Args:
        agent: the agent, on the device where it will be used; not modified.
        experts: E; None: as the agent was built.

    Raises:
        ValueError: this agent cannot be spread over the processes (`check_shardable`), or they have different graphs.
    """
    experts = agent.experts if experts is None else experts
    check_shardable(agent, experts)
    view, shard = copy.copy(agent), _make_shard(agent, experts)
    view._modules, view._episode_edges = dict(agent._modules), {}
    view.core = _with_share_of_losses(agent.core, shard)
    part = _Part(view, shard)
    view.initial_state, view.forward = part.initial_state, part.forward  # type: ignore[method-assign]
    view.make_all_edges = part.make_all_edges  # type: ignore[method-assign]
    for name in INTERVENTIONS:
        setattr(view, name, partial(_refuse, name))
    return view


def shard_of(agent: Agent) -> Shard:
    """The part of this process.

    Args:
        agent: from `shard_experts`.
    """
    return agent.initial_state.__self__.shard  # type: ignore[attr-defined]


def exchange_outputs(y: Float[Tensor, "B N Y"], shard: Shard) -> Float[Tensor, "B S Y"]:
    """The outputs of own experts, then of those in other processes that they hear.

    Args:
        y: the outputs of own experts.
        shard: the part of this process.

    Raises:
        ProcessLost: another process has died.
    """
    if not shard.num_crossing:
        return y
    sent = y.transpose(0, 1).index_select(0, shard.send)  # (C, B, Y)
    heard = exchange_rows(sent, shard.send_counts, shard.receive_counts)
    return torch.cat([y, heard.transpose(0, 1)], 1)


class _Part:
    """The experts of one process: methods of an agent."""

    def __init__(self, agent: Agent, shard: Shard):
        self.agent, self.shard = agent, shard

    def initial_state(
        self, obs: Tensor, rng: torch.Generator, experts: int | None = None, outputs: int | None = None
    ) -> AgentState:
        """As `Agent.initial_state`, with the same random numbers."""
        agent, shard = self.agent, self.shard
        total, size = shard.experts.total, shard.size
        if experts not in (None, total, size):
            raise ValueError(f"experts={experts}, want {total}: shard_experts was called for {total} experts")
        outputs = agent.act.outputs if outputs is None else outputs
        like, batch = obs.flatten(1), obs.shape[0]
        edges, graph = agent.sample_edges(total, like, rng)
        y = like.new_zeros(batch, len(shard.experts.chosen), agent.core.output_size)
        identity = draw(torch.randn, like.new_empty(batch, size, agent.identity_size), rng, shard.own)
        assignment = agent.act.make_assignment(like, total, outputs, rng)
        assignment = agent.act.select_experts(assignment, shard.own)
        names = agent.act.output_names(assignment, size)
        cost = like.new_zeros(batch)
        inbox = like.new_zeros(batch, size, agent.bus.message_size)
        return AgentState(
            seeded(agent.core.initial_state(like.new_zeros(batch, size, agent.core.input_size)), rng, shard.own),
            agent.bus.initial_state(y),
            y[:, :size],
            Delivery(inbox, torch.zeros_like(edges.weight), cost, cost),
            edges,
            identity if names is None else torch.cat([identity, names], -1),
            assignment,
            None,
            graph,
        )

    def forward(self, obs: Tensor, state: AgentState, rng: torch.Generator | None = None) -> tuple[Tensor, AgentState]:
        """As `Agent.forward`."""
        agent, shard = self.agent, self.shard
        core, bus, y, delivery, edges, identity, assignment, present, graph = state
        if present is not None:
            raise ValueError("shard_experts=True: experts are absent, or lesioned; want all of them in each step")
        inputs = self._sense(obs, agent.num_outputs(assignment))
        for _ in range(agent.comm_rounds):
            y, core = agent.core(torch.cat([inputs, delivery.inbox, identity], -1), core)
            delivery, bus = agent.bus(exchange_outputs(y, shard), edges, bus, rng, shard)
            delivery = delivery._replace(inbox=delivery.inbox[:, : shard.size])
        output = agent.act.forward_sharded(y, assignment, shard)
        return output, AgentState(core, bus, y, delivery, edges, identity, assignment, None, graph)

    def make_all_edges(self, experts: int, device: torch.device, dtype: torch.dtype) -> Edges:
        """The edges (G, K) to own experts in each graph of the topology."""
        like = torch.empty(0, device=device, dtype=dtype)
        return stack_graphs(self.shard.graphs, len(self.shard.experts.chosen), self.shard.size, like)

    def _sense(self, obs: Tensor, outputs: int) -> Tensor:
        """(B, N, S) the inputs of own experts."""
        if self.agent.sense.broadcasts:
            return self.agent.sense(obs, self.shard.size, outputs)
        return self.agent.sense(obs, self.shard.experts.total, outputs).index_select(1, self.shard.own.chosen)


def _make_shard(agent: Agent, experts: int) -> Shard:
    """The part of this process.

    Raises:
        ValueError: the processes have different graphs.
    """
    topology = agent.topology
    graphs = topology.edge_lists(experts) if isinstance(topology, PerEpisode) else [agent.edge_rows(experts)]
    if not distributed.same_on_all_ranks(torch.as_tensor(part) for rows in graphs for part in rows):
        raise ValueError(
            f"shard_experts=True: the topology among {experts} experts has other edges in other processes; want one "
            "that is a function of the number of experts alone, such as a random one with a fixed seed"
        )
    if isinstance(agent.bus, Silent):  # nothing is sent
        graphs = [EdgeList(*(part[:0] for part in graphs[0]))] * len(graphs)
    union = EdgeList(*(np.concatenate(parts) for parts in zip(*graphs, strict=True)))
    process = partition(union, experts, distributed.world_size())
    device = next(agent.parameters()).device
    shard = make_shard(graphs, process, distributed.rank(), device)
    return dataclasses.replace(shard, sum=sum_over_processes, max=max_over_processes, gather=gather_last_axis)


def _with_share_of_losses(core: Core, shard: Shard) -> Core:
    """The core with auxiliary losses whose mean over processes is the mean over all experts."""
    view, share = copy.copy(core), shard.size * distributed.world_size() / shard.experts.total
    losses = core.losses

    def weighted(state: Any) -> dict[str, Tensor]:
        return {name: loss * share for name, loss in losses(state).items()}

    view.losses = weighted  # type: ignore[method-assign]
    return view


def _refuse(name: str, *args: Any, **kwargs: Any) -> NoReturn:
    raise ValueError(f"shard_experts=True: {name} needs all experts in one process; call it with the agent itself")
