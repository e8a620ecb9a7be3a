"""Benchmark of many experts without training: steps per second, and time as a function of their number."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch

from badger import act, sense
from badger.agent import Agent
from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.references import DenseAttention, LoopExperts
from badger.bench.result import BenchResult, Goal, at_least, max_ratio, on_gpu
from badger.rng import drawing_from, generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from comms import Attention, EdgeList, Topology, make_edges
from comms.generators import ring_lattice
from experts import GRU, EpisodicMemory, Private
from tasks import GuessingGame


class CrowdSizes(NamedTuple):
    """Experts on a ring lattice, each with a private memory; half of its neighbors are on each side."""

    experts: int = 10_000
    neighbors: int = 8
    hidden_size: int = 32
    message_size: int = 16
    identity_size: int = 8
    slots: int = 32
    top_k: int = 8
    key_size: int = 16

    @property
    def memory(self) -> dict[str, Any]:
        """Options of the episodic memory."""
        return {"slots": self.slots, "top_k": self.top_k, "key_size": self.key_size}

    def topology(self, experts: int) -> EdgeList:
        """The ring lattice."""
        return ring_lattice(experts, neighbors=self.neighbors)

    def agent(self, topology: Topology | None = None) -> Agent:
        """An agent for the guessing game in one dimension.

        Args:
            topology: None: the ring lattice.
        """
        input_size = 1 + self.message_size + self.identity_size
        with drawing_from(generator(0, "init")):
            return Agent(
                sense=sense.Broadcast(1),
                core=Private(EpisodicMemory(input_size, partial(GRU, hidden_size=self.hidden_size), **self.memory)),
                bus=Attention(self.hidden_size, self.message_size, key_size=self.key_size),
                act=act.Mean(self.hidden_size, 1),
                topology=self.topology if topology is None else topology,
                experts=self.experts,
                identity_size=self.identity_size,
            )


def acting_work(sizes: CrowdSizes, device: torch.device) -> Work:
    """As many steps as a memory has slots, continued from the previous round: memories are full after the first."""
    agent, rng = sizes.agent().to(device), generator(0, "bench", device=device)
    task = GuessingGame(dims=1, steps=10**9)
    carry = initial_carry(agent, task, 1, rng)

    @torch.no_grad()
    def work() -> None:
        nonlocal carry
        _, carry = rollout(agent, task, carry, rng, steps=sizes.slots)

    return work


def python_loop_work(sizes: CrowdSizes, device: torch.device) -> Work:
    """The same computation as a Python loop over the experts."""
    identity = torch.randn(sizes.experts, sizes.identity_size, generator=generator(0, "bench")).to(device)
    senders = sizes.topology(sizes.experts).senders.reshape(sizes.experts, -1).tolist()
    options = {"hidden_size": sizes.hidden_size, "message_size": sizes.message_size, **sizes.memory}
    experts = LoopExperts(identity, senders, obs_size=1, outputs=1, **options).to(device)
    obs = identity.new_ones(1)
    return lambda: [experts(obs) for _ in range(sizes.slots)]


def experts(
    device: torch.device,
    sizes: CrowdSizes = CrowdSizes(),  # noqa: B008
    numbers: tuple[int, int] = (1_000, 100_000),
    looped: int = 200,
    dense: int = 4_000,
    huge: int = 1_000_000,
    repeats: int = 3,
) -> Iterator[BenchResult]:
    """Steps per second of acting experts, and time per expert and step for other numbers of experts.

    The Python loop is timed with `looped` experts, dense attention with `dense`.
    """
    count, (few, many) = sizes.experts, numbers
    sides = {str(n): no_setup(acting_work(sizes._replace(experts=n), device)) for n in (few, count, many)}
    sides["loop"] = no_setup(python_loop_work(sizes._replace(experts=looped), device))
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))
    rates = {name: [sizes.slots / s for s in values] for name, values in seconds.items()}
    per_expert = {n: [1e6 * s / sizes.slots / n for s in seconds[str(n)]] for n in (few, count, many)}
    scaled = [rate * looped / count for rate in rates["loop"]]
    note = f"{count} experts; the loop over {looped}, scaled"
    yield BenchResult(
        "experts", "steps/s", rates[str(count)], scaled, "loop over experts", at_least(20, "steps/s"), note
    )
    for n in (count, many):
        goal = max_ratio(LINEAR)
        yield BenchResult(
            f"experts/each-of-{n}",
            "us an expert-step",
            per_expert[n],
            per_expert[few],
            f"each of {few}",
            goal,
            "linear",
        )
    goal, note = at_least(6, "steps/s"), f"{many} experts"
    yield BenchResult("experts/rate-of-many", "steps/s", rates[str(many)], goal=goal, note=note)
    yield from _attention(device, sizes._replace(experts=dense), repeats)
    for n, minimum in ((many, 300), (huge, 30)):
        goal = at_least(minimum, "steps/s")
        yield on_gpu(device, f"experts/gpu-{n}", "steps/s", goal, partial(_rate, device, sizes, n, goal, repeats))


LINEAR = 1.2  # allowed ratio of times per expert: 100,000 experts do not fit into caches


def _rate(device: torch.device, sizes: CrowdSizes, experts: int, goal: Goal, repeats: int) -> BenchResult:
    sides = {"ours": no_setup(acting_work(sizes._replace(experts=experts), device))}
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=measure.wall_clock(device))["ours"]
    return BenchResult(f"experts/gpu-{experts}", "steps/s", [sizes.slots / s for s in seconds], goal=goal)


def _attention(device: torch.device, sizes: CrowdSizes, repeats: int) -> Iterator[BenchResult]:
    """One delivery to all experts: over the edges alone, and with the scores of all pairs."""
    count, width = sizes.experts, sizes.hidden_size
    y = torch.randn(1, count, width, generator=generator(0, "bench")).to(device)
    edges = make_edges(sizes.topology, count, 1, y)
    bus = Attention(width, sizes.message_size, key_size=sizes.key_size).to(device)
    reference = DenseAttention(width, sizes.message_size, heads=1, key_size=sizes.key_size).to(device)
    mask = torch.zeros(count, count, dtype=torch.bool, device=device)
    mask[edges.receivers[0], edges.senders[0]] = True
    sides = {
        "ours": no_setup(torch.no_grad()(lambda: bus(y, edges, (), None))),
        "dense": no_setup(torch.no_grad()(lambda: reference(y, mask))),
    }
    seconds = measure.time_interleaved(sides, repeats=5 * repeats, clock=measure.wall_clock(device))
    ours, dense = ([1e3 * s for s in seconds[name]] for name in ("ours", "dense"))
    yield BenchResult("experts/attention", "ms a delivery", ours, dense, "dense E x E", None, f"{count} experts")
