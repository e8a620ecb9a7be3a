"""Data-parallel training in several processes: episodes are divided among them, and gradients are averaged.

    torchrun --no-python --nproc-per-node=2 badger train guessing_game

An episode calls the agent T times, which DistributedDataParallel, with one reduction per call, does not support.
Instead there is one all_reduce of all gradients, flattened, after the backward pass. Without torchrun all functions
here are the identity.
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

from badger.errors import ProcessLost

DEATH_TIMEOUT = 2.0
"""Seconds until a process that has died is detected."""

_launcher: int | None = None  # the process id of torchrun, once this process has entered its group


def rank() -> int:
    """The rank of this process, from 0."""
    return dist.get_rank() if _is_initialized() else 0


def world_size() -> int:
    """The number of processes that train together."""
    return dist.get_world_size() if _is_initialized() else 1


def local_batch_size(episodes: int) -> int:
    """The number of this process's episodes in each outer step.

    Args:
        episodes: of all processes.

    Raises:
        ValueError: the number is no multiple of the number of processes.
    """
    if episodes % world_size():
        raise ValueError(
            f"batch={episodes} episodes do not divide over {world_size()} processes; "
            "want a multiple, or another number of processes"
        )
    return episodes // world_size()


def all_reduce_mean_(tensors: Sequence[Tensor]) -> None:
    """Averages tensors over the processes, in place, in one collective operation without a device synchronization.

    Args:
        tensors: of the same shapes in all processes.
    """
    if world_size() == 1:
        return
    flat = torch.cat([tensor.detach().flatten() for tensor in tensors])
    _reduce(flat, dist.ReduceOp.SUM)
    flat /= world_size()
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def any_process(flag: bool) -> bool:
    """Whether a flag is set in any process. Synchronizes the hosts, not the devices.

    Args:
        flag: of this process.
    """
    return bool(_all_reduce_max([int(flag)])[0])


def same_on_all_ranks(tensors: Iterable[Tensor]) -> bool:
    """Whether tensors are bit-identical in all processes, by a checksum.

    Args:
        tensors: of this process.
    """
    if world_size() == 1:
        return True
    checksum = 0
    for tensor in tensors:
        checksum = zlib.crc32(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes(), checksum)
    highest, negative_lowest = _all_reduce_max([checksum, -checksum])
    return highest == -negative_lowest


def broadcast_rank0(text: str) -> str:
    """The text of rank 0, in every process.

    Args:
        text: of this process; used on rank 0 alone.
    """
    texts = [text]
    if world_size() > 1:
        dist.broadcast_object_list(texts, src=0, device=torch.device("cpu"))
    return texts[0]


def launcher_has_ended() -> bool:
    """Whether this process was started by a torchrun that has been killed: nobody would end or restart it.

    A process that others have started, such as a shell, goes on without them.
    """
    return _launcher is not None and os.getppid() != _launcher  # an orphan has a new parent


@contextmanager
def process_group() -> Iterator[None]:
    """Context that initializes the process group of torchrun, each process with the GPU of its LOCAL_RANK.

    Without torchrun it does nothing. If torchrun is killed, all processes stop their training as after SIGTERM.

    Raises:
        ProcessLost: another process has died; the message gives its rank if it ran on this machine.
    """
    global _launcher
    _launcher = os.getppid() if dist.is_available() and dist.is_torchelastic_launched() else None
    if "RANK" not in os.environ or int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    gpus = torch.cuda.is_available()
    if gpus:
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    store, own_rank, processes = next(dist.rendezvous("env://"))
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if gpus else "gloo",
        store=dist.PrefixStore("group", store),
        rank=own_rank,
        world_size=processes,
    )
    store.set(f"process {own_rank}", f"{socket.gethostname()} {os.getpid()}")
    try:
        yield
    except ProcessLost as error:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # torchrun terminates all processes now; first raise the cause
        raise ProcessLost(
            f"rank {own_rank} of {processes} has lost {_lost_processes(store, processes)}: {error}"
        ) from error
    dist.destroy_process_group()  # not after an error: NCCL would wait for lost processes


def _is_initialized() -> bool:
    return dist.is_available() and dist.is_initialized()


def _all_reduce_max(numbers: list[int]) -> list[int]:
    """The maximum over the processes, for each number."""
    if world_size() == 1:
        return numbers
    result = torch.tensor(numbers)  # on the CPU, whatever the agent's device
    _reduce(result, dist.ReduceOp.MAX)
    return result.tolist()


def _reduce(tensor: Tensor, how: dist.ReduceOp.RedOpType) -> None:
    with collective():
        dist.all_reduce(tensor, how)


@contextmanager
def collective() -> Iterator[None]:
    """Context of an operation of all processes.

    Raises:
        ProcessLost: another process has died.
    """
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost(str(error).splitlines()[0]) from error


def _lost_processes(store: dist.Store, processes: int) -> str:
    """Describes the processes of this machine that have ended."""
    lost: list[int] = []
    end = time.monotonic() + DEATH_TIMEOUT
    while not lost and time.monotonic() < end:
        time.sleep(0.05)
        try:
            lost = [number for number in range(processes) if not _is_running(store, number)]
        except (RuntimeError, ValueError):  # the store was on the lost machine
            break
    return "rank " + ", ".join(map(str, lost)) if lost else "a process on another machine"


def _is_running(store: dist.Store, number: int) -> bool:
    """False for a process of this machine that has ended, whether or not its parent has reaped it."""
    store.set_timeout(timedelta(seconds=DEATH_TIMEOUT))
    host, process = store.get(f"process {number}").decode().split()
    if host != socket.gethostname():
        return True
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    return True
