"""Memory of the machine: how much there is, a limit for a part of the program, and messages about too little of it."""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
STATM = Path("/proc/self/statm")  # of Linux: the size of this process, in pages


def total_memory(device: torch.device | str = "cpu") -> int:
    """Bytes of memory that this process can use on a device at most: of the machine or its container, or of the GPU.

    Args:
        device: CPU or CUDA.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    limits = [Path(file).read_text().strip() for file in CGROUP_LIMITS if Path(file).exists()]
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(int(limit) for limit in limits if limit.isdecimal())])


def check_fits(needed: int, what: str, device: torch.device | str = "cpu") -> None:
    """Refuses what cannot fit into the memory of a device.

    Args:
        needed: bytes.
        what: takes them, for the message.
        device: CPU or CUDA.

    Raises:
        ValueError: more than the device has.
    """
    available = total_memory(device)
    if needed > available:
        raise ValueError(_too_large(what, needed, torch.device(device)))


@contextmanager
def limited_memory() -> Iterator[None]:
    """Context in which an allocation of more than the memory of the machine raises MemoryError.

    Without it the operating system may kill the process. It does nothing where the system has no such limit, and with a
    GPU, whose driver reserves more addresses than there is memory.
    """
    if not STATM.exists() or torch.cuda.is_available():
        yield
        return
    import resource  # not on every system

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    size = int(STATM.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    limits = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min([size + total_memory(), *limits]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def out_of_memory_message(error: BaseException) -> str | None:
    """What an error of a failed allocation means; None for other errors.

    Args:
        error: of Python, NumPy or torch.
    """
    text = next(iter(str(error).splitlines()), "")
    tried = re.search(r"you tried to allocate (\d+) bytes", str(error))
    if tried:
        return _too_large("one tensor of it", int(tried[1]), torch.device("cpu"))
    sizes = re.search(r"Storage size calculation overflowed with sizes=\[([\d, ]+)\]", text)
    if sizes:
        count = math.prod(map(int, sizes[1].split(",")))
        return _too_large("one tensor of it", count * torch.get_default_dtype().itemsize, torch.device("cpu"))
    if isinstance(error, torch.OutOfMemoryError):
        return f"want smaller sizes: {text}"
    if isinstance(error, MemoryError) or text == "std::bad_alloc":
        reason = text if isinstance(error, MemoryError) and text else "more than this machine has would be allocated"
        return f"want smaller sizes: {reason}, and this machine has {format_bytes(total_memory())}"
    return None


def format_bytes(count: int) -> str:
    """A number of bytes in a readable unit: 24.7 GB.

    Args:
        count: bytes.
    """
    size, units = float(count), ["bytes", "KB", "MB", "GB", "TB", "PB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"


def _too_large(what: str, needed: int, device: torch.device) -> str:
    owner = "the GPU" if device.type == "cuda" else "this machine"
    has = format_bytes(total_memory(device))
    return f"want smaller sizes: {what} would take {needed} bytes ({format_bytes(needed)}), and {owner} has {has}"
