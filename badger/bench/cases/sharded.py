"""Benchmark of one agent over several processes of this machine: bytes and times of a round of communication."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import torch
import torch.distributed as dist

from badger import distributed
from badger.agent import Agent
from badger.bench.cases.crowd import CrowdSizes
from badger.bench.result import BenchResult
from badger.rng import generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from badger.sharding import shard_experts
from badger.sharding.agent import exchange_outputs, shard_of
from comms import EdgeList
from comms.generators import random_regular, ring_lattice
from tasks import GuessingGame

TOPOLOGIES: dict[str, Callable[..., EdgeList]] = {"lattice": ring_lattice, "random": random_regular}
DEGREES = {"lattice": "neighbors", "random": "degree"}


class Exchange(NamedTuple):
    """What rank 0 measures.

    Args:
        sent: bytes that all processes send in a round, forward.
        messages: bytes of a message on each edge that crosses.
        exchange: seconds of an exchange, of each round of measurement.
        step: seconds of a step.
        alone: seconds of a step of the same agent in one process, while the others wait.
    """

    sent: int
    messages: int
    exchange: list[float]
    step: list[float]
    alone: list[float]


def sharded_experts(
    device: torch.device,
    sizes: CrowdSizes = CrowdSizes(),  # noqa: B008
    processes: int = 2,
    repeats: int = 5,
) -> Iterator[BenchResult]:
    """Experts of one acting agent over processes on the CPU of this machine, on a lattice and on a random graph.

    Sent are outputs, each once to a process that hears it, compared with a message on each edge that crosses.
    """
    for name in TOPOLOGIES:
        found = _measure_in(processes, partial(_exchange, name, sizes, repeats))
        label, note = f"shard-experts/{name}", f"{sizes.experts} experts, {processes} processes"
        messages = [float(found.messages)] if found.messages else []
        sent = [float(found.sent)] if messages else []
        yield BenchResult(f"{label}-bytes", "bytes a tick", sent, messages, "a message on each edge", note=note)
        yield BenchResult(f"{label}-exchange", "us a tick", [1e6 * s for s in found.exchange], note=note)
        ours, alone = ([1e3 * s for s in part] for part in (found.step, found.alone))
        yield BenchResult(f"{label}-step", "ms a step", ours, alone, "one process", note=note)


def _exchange(name: str, sizes: CrowdSizes, repeats: int) -> Exchange:
    """Measures in all processes at the same time."""
    whole = sizes.agent(TOPOLOGIES[name](sizes.experts, **{DEGREES[name]: sizes.neighbors}))
    agent = shard_experts(whole)
    shard = shard_of(agent)
    step, step_alone = _acting(agent, sizes.slots), _acting(whole, sizes.slots) if distributed.rank() == 0 else None
    y = torch.zeros(1, shard.size, sizes.hidden_size)
    exchange: list[float] = []
    sharded: list[float] = []
    alone: list[float] = []
    for _ in range(repeats + 1):
        _barrier()
        exchange.append(_seconds(lambda: [exchange_outputs(y, shard) for _ in range(sizes.slots)]) / sizes.slots)
        sharded.append(_seconds(step) / sizes.slots)
        _barrier()
        alone.append(0.0 if step_alone is None else _seconds(step_alone) / sizes.slots)
    output, message = (n * y.element_size() for n in (sizes.hidden_size, sizes.key_size + sizes.message_size))
    sent = _sum(len(shard.send)) * output
    return Exchange(sent, shard.num_crossing * message, exchange[1:], sharded[1:], alone[1:])  # the first warms up


def _acting(agent: Agent, steps: int) -> Callable[[], None]:
    """Some steps, continued from those of the call before."""
    task, rng = GuessingGame(dims=1, steps=10**9), generator(0, "bench")
    carry = initial_carry(agent, task, 1, rng)

    @torch.no_grad()
    def act() -> None:
        nonlocal carry
        _, carry = rollout(agent, task, carry, rng, steps=steps)

    return act


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    with torch.no_grad():
        work()
    return time.perf_counter() - start


def _sum(number: int) -> int:
    """The sum over processes."""
    total = torch.tensor(number)
    if distributed.world_size() > 1:
        dist.all_reduce(total)
    return int(total)


def _barrier() -> None:
    if distributed.world_size() > 1:
        dist.barrier()


def _measure_in(processes: int, work: Callable[[], Exchange]) -> Exchange:
    """What rank 0 of several processes of this machine measures."""
    if processes == 1:
        return work()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        ranks = pool.map(partial(_as_rank, processes, port, work), range(processes))
        return next(iter(ranks))


def _as_rank(processes: int, port: int, work: Callable[[], Exchange], rank: int) -> Exchange:
    torch.set_num_threads(1)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # several processes need several GPUs
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank)}
    with distributed.process_group():
        return work()
