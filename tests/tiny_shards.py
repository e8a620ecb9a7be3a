"""Helpers of the tests of agents spread over processes: small agents, and what several processes compute with them."""

import networkx as nx
import torch
import torch.distributed as dist

from badger import BPTT, BUSES, LEARNERS, TOPOLOGIES, PooledRecall, act, build_run, distributed, generator, sense, train
from badger.normalized_sense import Normalized
from badger.sharding import shard_experts
from comms import PerEpisode
from tiny_ranks import gradients, parameters
from toys import FOR_ANY_TASK, HEADS, Steps, game, observations, toy_agent


def weighted_graph(experts):
    """A directed graph with weights, self-loops, an inactive edge, and an expert that hears nobody."""
    graph = nx.DiGraph()
    graph.add_nodes_from(range(experts))
    for i in range(experts):
        graph.add_edge(i, i, weight=0.5)
        graph.add_edge(i, (3 * i + 2) % experts, weight=1.0 + i)
    graph.remove_edges_from(list(graph.in_edges(1)))
    graph.add_edge(0, experts - 1, weight=0.0)
    return graph


CASES = {
    "attention": {"bus": "attention", "topology": "ring", "port": "named_outputs"},
    "lattice": {"bus": "attention", "topology": "ring_lattice", "experts": 24, "core": "lstm"},
    "mean": {"bus": "mean", "core": "episodic", "port": "readout", "comm_rounds": 2},
    "gated": {"bus": "gated", "topology": "grid", "core": "dnc", "port": "random_owners"},
    "noisy": {"bus": "noisy", "topology": "small_world", "port": "dueling"},
    "delayed": {"bus": "delayed", "topology": weighted_graph, "comm_rounds": 2},
    "workspace": {"bus": "workspace", "topology": "star"},
    "silent": {"bus": "silent", "core": "plastic"},
    "drawn_graphs": {"topology": PerEpisode("random_regular", graphs=3), "experts": 7},
    "drawing_core": {"core": "particle_filter", "topology": "grid"},
    "auxiliary": {"core": "episodic_cpc", "topology": "ring"},
}
"""Every bus, head and kind of topology once."""

OPTIONS = {
    "auxiliary": {"auxiliary": {"cpc": 0.1}},
    "mean": {"grad_checkpoint_steps": 2},
    "lattice": {"truncation": 2},
    "workspace": {"experts": (3, 5)},
}
"""Of the learner."""


def sharded_learner(name, **options):
    """BPTT of one of the cases."""
    task, agent = game(), toy_agent(**({"experts": 5} | CASES[name]))
    if name == "noisy":
        agent.bus.noise = 0.1
        agent.sense = Normalized(agent.sense, task.obs_size).double()
    if name == "workspace":
        agent.bus.top_k = 2
    return BPTT(agent, task, batch=4, clip=1e9, **OPTIONS.get(name, {}), **options)


def pooled_learner(**options):
    """BPTT of experts that each sense their own observation."""
    task = PooledRecall(steps=4, experts=5, values=3, num_queries=2, dtype=torch.float64)
    agent = toy_agent(task, experts=5, topology="ring")
    agent.sense = sense.PerExpert(task.obs_size)
    return BPTT(agent, task, batch=4, clip=1e9, **options)


def actor_critic(name, **options):
    """A learner whose actions are sampled, and whose episodes go on in the next update."""
    task = Steps(dtype=torch.float64)
    agent = toy_agent(task, experts=5, core="episodic", topology="ring", port="mean")
    agent.act = act.WithCritic(agent.act).double()
    agent.sense = Normalized(agent.sense, task.obs_size).double()
    sizes = {
        "a2c": {"horizon": 4, "normalize_reward": True, "normalize_advantage": True},
        "ppo": {"horizon": 6, "sequence_length": 3, "epochs": 2, "minibatches": 2},
        "reinforce": {},
    }
    return LEARNERS[name](agent, task, batch=4, **sizes[name], **options)


def two_updates(made):
    """Metrics and gradients of the first update, and the state of the agent after the second."""
    metrics = {name: torch.as_tensor(value) for name, value in made.update().items()}
    found = {"metrics": metrics, "gradients": gradients(made)}
    made.update()
    return found | {"parameters": parameters(made), "buffers": dict(made.agent.named_buffers())}


def made_learners(**options):
    """A learner of each case."""
    made = {name: sharded_learner(name, **options) for name in CASES}
    made |= {name: actor_critic(name, **options) for name in ("a2c", "ppo", "reinforce")}
    return made | {"per_expert": pooled_learner(**options)}


def sharded_updates(folder):
    """The updates of every case, with the experts spread over the processes; and how often outputs are exchanged."""
    found = {name: two_updates(made) for name, made in made_learners(shard_experts=True).items()}
    return found | {"exchanges": count_exchanges(steps=3, comm_rounds=2)}


def count_exchanges(steps, comm_rounds):
    """The number of all_to_all operations in a rollout, forward and backward."""
    calls, original = [], dist.all_to_all_single
    dist.all_to_all_single = lambda *args: (calls.append(args), original(*args))[1]
    try:
        played(shard_experts(toy_agent(topology="ring", comm_rounds=comm_rounds)), steps)
    finally:
        dist.all_to_all_single = original
    return len(calls)


def made_run(folder, **options):
    """A small run in a folder."""
    sizes = {"experts": 5, "dims": 2, "steps": 3, "core.hidden_size": 6, "message_size": 4, "batch": 4}
    run = build_run("guessing_game", topology="ring", **sizes, outer_steps=4, device="cpu", **options)
    run.folder, run.save_every = folder, 1
    return run


def first_half(folder):
    """The first two outer steps of a run."""
    train(made_run(folder / "run", shard_experts=True), 2, tensorboard=False)
    return {}


PRODUCT = {
    f"{core} {bus} {topology} {port}": {"core": core, "bus": bus, "topology": topology, "port": port}
    for cores, buses, topologies, ports in (
        (["gru"], BUSES, TOPOLOGIES, HEADS),
        (FOR_ANY_TASK, ["attention"], ["ring"], ["mean"]),
    )
    for core in cores
    for bus in buses
    for topology in topologies
    for port in ports
}
"""Every bus with every topology and every head; every core."""


def played(agent, steps=3):
    """Outputs of some steps, and the gradients of the sum of their squares."""
    obs, rng, outputs = observations(steps), generator(0, "play"), []
    state = agent.initial_state(obs[0], rng)
    for now in obs:
        output, state = agent(now, state, rng)
        outputs.append(output)
    output = torch.stack(outputs)
    output.square().sum().backward()
    found = {name: p.grad for name, p in agent.named_parameters() if p.grad is not None}
    distributed.all_reduce_mean_(list(found.values()))
    return {"output": output.detach(), "gradients": found}


def product_played(folder):
    """What each agent of the product plays; why an agent cannot be spread over processes."""
    results = {}
    for name, parts in PRODUCT.items():
        try:
            results[name] = played(shard_experts(toy_agent(experts=6, **parts)))
        except ValueError as error:
            results[name] = str(error)
    return results
