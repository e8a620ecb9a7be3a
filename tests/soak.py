"""A soak test: trains for a long time with worlds in worker processes, TensorBoard and checkpoints.

    make soak MINUTES=30

Prints memory, file handles, threads and child processes once a minute, of this process and its children. Exits with 1
if one of them grows between the second and the last third of the time.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

from badger import build_run, load_run, train

GROWTH = {"memory": 1.05, "handles": 1.0, "threads": 1.0, "children": 1.0}  # largest allowed ratio


def processes() -> list[int]:
    """This process and its children."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [os.getpid(), *map(int, children)]


def usage() -> dict[str, float]:
    """Resident memory in MB, open files, threads and number of children."""
    pids, page = processes(), os.sysconf("SC_PAGE_SIZE")
    return {
        "memory": sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * page / 2**20,
        "handles": sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        "threads": sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids),
        "children": len(pids) - 1,
    }


def soak(folder: Path, seconds: float) -> list[dict[str, float]]:
    """Trains in pieces, and now and then resumes the run; the usage after each piece."""
    sizes = {"batch": 8, "num_workers": 2, "core.hidden_size": 16, "learner.horizon": 32, "steps": 200}
    run = build_run("gymnasium", env="CartPole-v1", outer_steps=10**6, device="cpu", **sizes)
    run.folder, run.log_every, run.save_every, run.inspect_every = folder, 5, 5, 50
    rows: list[dict[str, float]] = []
    start = printed = time.monotonic()
    while time.monotonic() - start < seconds:
        train(run, 20, quiet=True)
        rows.append(usage())
        if len(rows) % 10 == 0:
            run = load_run(folder)
            run.log_every, run.save_every, run.inspect_every = 5, 5, 50
        if time.monotonic() - printed >= 60:
            printed = time.monotonic()
            described = ", ".join(f"{name} {value:.0f}" for name, value in rows[-1].items())
            print(f"{(printed - start) / 60:.0f} min, outer step {run.step}: {described}", flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    with tempfile.TemporaryDirectory() as folder:
        rows = soak(Path(folder) / "run", 60 * parser.parse_args().minutes)
    third, failed = len(rows) // 3, False
    for name, limit in GROWTH.items():
        middle, last = (statistics.median(row[name] for row in part) for part in (rows[third:-third], rows[-third:]))
        grows = last > limit * middle
        failed |= grows
        print(f"{name:<9} {middle:.1f} in the second third, {last:.1f} in the last: {'GROWS' if grows else 'flat'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
