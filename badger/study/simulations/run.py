"""Runs a simulation: computes the curves that are missing in its folder."""

import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NamedTuple

from badger.runs.files import as_path, atomic_write
from badger.runs.json_files import REQUIRED, read_json
from badger.runs.lock import write_lock
from badger.study.execution import Failure, run_jobs
from badger.study.execution.executors import given_or_threads
from badger.study.run import check_study, write_definition
from badger.study.simulations.simulation import Curves, Simulation

FIELDS = {"x": (list[int], REQUIRED), "y": (dict[str, list[float]], REQUIRED), "cpu_seconds": (float, REQUIRED)}
"""The fields of a file of curves, with their types."""


class Job(NamedTuple):
    """The computation of one arm with one seed.

    Args:
        simulation: its definition.
        arm: its name.
        seed: of the computation.
        root: folder of the study.
    """

    simulation: Simulation
    arm: str
    seed: int
    root: Path

    @property
    def file(self) -> Path:
        """The file of its curves."""
        return self.root / self.arm / f"seed-{self.seed}.json"


class Results(NamedTuple):
    """Curves of all arms.

    Args:
        curves: by arm and seed; an arm without any is left out.
        cpu_seconds: of their computation.
        missing: by the name of a file, why it is missing.
    """

    curves: dict[str, dict[int, Curves]]
    cpu_seconds: float
    missing: dict[str, Failure]


def run_simulation(
    simulation: Simulation,
    folder: str | os.PathLike[str],
    *,
    seeds: int | None = None,
    arms: Sequence[str] = (),
    workers: int = 1,
    executor: Executor | None = None,
) -> Results:
    """Computes all arms and seeds to `folder`/arm/seed-K.json; those that are there are read.

    Args:
        simulation: its definition.
        folder: of the study, created if it does not exist.
        seeds: number of seeds, from 0 on; None: the study's own number.
        arms: names of a subset of the arms; empty: all arms.
        workers: number of processes on this machine.
        executor: as of `run_study`.

    Raises:
        ValueError: there is no such arm, or the folder holds another study.
        RunExists: the folder is no study, and has files of others.
        DamagedFile: a file of the folder is damaged.
        Interrupted: a KeyboardInterrupt, on Ctrl-C, SIGTERM or another signal.
        RunLocked: another process runs the study in this folder.
    """
    root = as_path(folder)
    check_study(simulation, root, seeds=seeds, arms=arms)
    count = simulation.seeds if seeds is None else seeds
    jobs = [Job(simulation, arm, seed, root) for seed in range(count) for arm in arms or simulation.arms]
    failures: dict[str, Failure] = {}

    def on_finished(job: Job, failure: Failure | None) -> None:
        if failure is not None:
            failures[f"{job.arm}/seed-{job.seed}"] = failure
        outcome = "finished" if failure is None else f"failed. {failure.kind}: {failure.text}"
        print(f"{job.arm}/seed-{job.seed}: {outcome}", file=sys.stderr, flush=True)

    write_definition(simulation, root)
    with write_lock(root):
        with given_or_threads(executor, workers) as started_by:
            run_jobs(compute, [job for job in jobs if not job.file.exists()], started_by, root, on_finished)
        return _collect([job for job in jobs if job.file.exists()], failures)


def compute(job: Job) -> None:
    """Computes and writes the curves of a job.

    Args:
        job: of a simulation.
    """
    began = time.process_time()
    curves = job.simulation.simulate(seed=job.seed, **job.simulation.arms[job.arm])
    job.file.parent.mkdir(parents=True, exist_ok=True)
    content = curves._asdict() | {"cpu_seconds": round(time.process_time() - began, 2)}
    atomic_write(job.file, (json.dumps(content) + "\n").encode())


def _collect(jobs: list[Job], failures: dict[str, Failure]) -> Results:
    curves: dict[str, dict[int, Curves]] = {}
    seconds = 0.0
    for job in sorted(jobs, key=lambda job: list(job.simulation.arms).index(job.arm)):
        content = read_json(job.file, FIELDS, f"delete {job.file} to compute it again")
        curves.setdefault(job.arm, {})[job.seed] = Curves(content["x"], content["y"])
        seconds += content["cpu_seconds"]
    return Results(curves, seconds, failures)
