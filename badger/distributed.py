"""More than one process: torchrun starts them, each plays its share of the episodes, and gradients are averaged.

    torchrun --nproc-per-node=2 -m badger train guessing_game

An episode calls the agent T times, so that DistributedDataParallel, which reduces in each call, does not fit: there is
one all_reduce of everything flattened, after the backward pass. Without torchrun all functions here are the identity.
"""

import os
import signal
import socket
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

DEATH_TIMEOUT = 2.0  # seconds until a process that has died is seen to be dead


class ProcessLost(RuntimeError):
    """Another process of the run has ended, or cannot be reached."""


def rank() -> int:
    """Of this process, from 0."""
    return dist.get_rank() if _is_initialized() else 0


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _is_initialized() else 1


def local_batch_size(episodes: int) -> int:
    """How many of an outer step's episodes this process plays.

    Raises:
        ValueError: they do not divide over the processes.
    """
    if episodes % world_size():
        raise ValueError(
            f"batch={episodes} episodes do not divide over {world_size()} processes; "
            "want a multiple, or another number of processes"
        )
    return episodes // world_size()


def all_reduce_mean_(tensors: Sequence[Tensor]) -> None:
    """Each tensor becomes its mean over the processes, in place and in one collective; nothing waits for the device."""
    if world_size() == 1:
        return
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    _reduce(flat, dist.ReduceOp.SUM)
    flat /= world_size()
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def any_process(flag: bool) -> bool:
    """Whether it is set in any process. The hosts meet, the devices do not."""
    return bool(_all_reduce_max([int(flag)])[0])


def same_on_all_ranks(tensors: Iterable[Tensor]) -> bool:
    """Whether all processes hold the same numbers, bit for bit (by a checksum)."""
    if world_size() == 1:
        return True
    checksum = 0
    for tensor in tensors:
        checksum = zlib.crc32(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes(), checksum)
    most, least = _all_reduce_max([checksum, -checksum])
    return most == -least


def broadcast_rank0(text: str) -> str:
    """The text of rank 0, in every process."""
    told = [text]
    if world_size() > 1:
        dist.broadcast_object_list(told, src=0, device=torch.device("cpu"))
    return told[0]


@contextmanager
def process_group() -> Iterator[None]:
    """Joins the processes that torchrun started, each with the GPU of its LOCAL_RANK; alone there is nothing to join.

    Raises:
        ProcessLost: another process has died, says which where it ran on this machine.
    """
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    store, me, processes = next(dist.rendezvous("env://"))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpus else "gloo", store=dist.PrefixStore("group", store), rank=me, world_size=processes
    )
    store.set(f"process {me}", f"{socket.gethostname()} {os.getpid()}")
    try:
        yield
    except ProcessLost as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun ends us all now; first say why
        raise ProcessLost(f"rank {me} of {processes} has lost {_dead(store, processes)}: {error}") from error
    dist.destroy_process_group()  # not after an error: NCCL would wait for those who are gone


def _is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def _all_reduce_max(numbers: list[int]) -> list[int]:
    """The largest over the processes."""
    if world_size() == 1:
        return numbers
    found = torch.tensor(numbers)  # on the CPU, whatever the agent's device
    _reduce(found, dist.ReduceOp.MAX)
    return found.tolist()


def _reduce(tensor: Tensor, how: dist.ReduceOp.RedOpType) -> None:
    try:
        dist.all_reduce(tensor, how)
    except RuntimeError as error:
        raise ProcessLost(str(error).splitlines()[0]) from error


def _dead(store: dist.Store, processes: int) -> str:
    """Who of those that ran on this machine runs no more."""
    gone: list[int] = []
    end = time.monotonic() + DEATH_TIMEOUT
    while not gone and time.monotonic() < end:
        time.sleep(0.05)
        try:
            gone = [number for number in range(processes) if not _runs(store, number)]
        except (RuntimeError, ValueError):  # the store was on the machine that is lost
            break
    return "rank " + ", ".join(map(str, gone)) if gone else "a process on another machine"


def _runs(store: dist.Store, number: int) -> bool:
    """False for a process of this machine that has ended, waited for by its parent or not."""
    store.set_timeout(timedelta(seconds=DEATH_TIMEOUT))
    host, process = store.get(f"process {number}").decode().split()
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    return True
