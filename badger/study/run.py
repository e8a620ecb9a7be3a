"""Runs a study: trains and evaluates the runs that are missing in its folder."""

import json
import os
import sys
from collections.abc import Collection, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from badger.runs.files import as_path, atomic_write, check_new_folder
from badger.runs.json_files import read_json
from badger.runs.lock import write_lock
from badger.runs.signals import Interrupted, signal_number
from badger.study.execution import Failure, run_jobs
from badger.study.execution.executors import given_or_threads
from badger.study.results import StudyResults, collect_results
from badger.study.simulations.simulation import Simulation
from badger.study.study import Study
from badger.study.trial import Trial, is_finished, read_result, run_trial
from comms import get_by_name


def run_study(
    study: Study,
    folder: str | os.PathLike[str],
    *,
    seeds: int | None = None,
    arms: Sequence[str] = (),
    workers: int = 1,
    executor: Executor | None = None,
    tensorboard: bool = True,
    quiet: bool = False,
) -> StudyResults:
    """Runs all arms and seeds in `folder`/arm/seed-K; finished runs are skipped, stopped runs are resumed.

    Args:
        study: its definition.
        folder: of the study, created if it does not exist.
        seeds: number of seeds, from 0 on; None: the study's own number.
        arms: names of a subset of the arms; empty: all arms.
        workers: number of processes on this machine that train in parallel, with one thread each.
        executor: starts the processes elsewhere, on machines that see the folder; None: on this one.
        tensorboard: write TensorBoard events.
        quiet: print no progress to standard error.

    Raises:
        ValueError: there is no such arm, or the folder holds another study.
        RunExists: the folder is no study, and has files of others.
        DamagedFile: study.json is damaged.
        Interrupted: a KeyboardInterrupt, on Ctrl-C, SIGTERM or another signal, after saving.
        RunLocked: another process runs the study in this folder.
    """
    root, count = as_path(folder), study.seeds if seeds is None else seeds
    check_study(study, root, seeds=seeds, arms=arms)
    jobs = [Trial(study, arm, seed, root, tensorboard) for arm in arms or study.arms for seed in range(count)]
    write_definition(study, root)
    with write_lock(root):
        with given_or_threads(executor, workers) as started_by:
            failures = _run_missing(jobs, started_by, quiet)
        return collect_results(jobs, failures)


def check_study(
    study: Study | Simulation,
    folder: str | os.PathLike[str],
    *,
    seeds: int | None = None,
    arms: Collection[str] = (),
    advice: str = "use another --folder",
) -> None:
    """Checks the arguments of `run_study`; writes nothing.

    The folder may lack arms of the study, such as memories that were registered since, and have others.

    Args:
        study: its definition.
        folder: of the study.
        seeds: number of seeds.
        arms: names of a subset of the arms.
        advice: what to do if the folder holds another study.

    Raises:
        ValueError: as `run_study`.
        RunExists: the folder is no study, and has files of others.
        DamagedFile: study.json is damaged.
    """
    if seeds is not None and seeds < 1:
        raise ValueError(f"seeds={seeds}, want at least 1")
    for arm in arms:
        get_by_name(study.arms, arm, "arm")
    file, definition = as_path(folder) / "study.json", study.definition()
    if not file.exists():
        check_new_folder(file.parent)
        return
    existing = read_json(file, {name: (Any, None) for name in definition}, advice)
    for name, (value, held) in _compared(definition, existing).items():
        if held != value:
            raise ValueError(
                f"{folder} holds study {existing.get('name')!r} with {name}={held}, "
                f"want {name}={value} of {study.name!r}; {advice}"
            )


def _compared(definition: dict[str, Any], existing: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What must be equal in a study and in study.json: each field, and each arm that both have."""
    pairs = {name: (value, existing.get(name)) for name, value in definition.items()}
    arms, held = pairs["arms"]
    if isinstance(held, dict):
        del pairs["arms"]
        pairs |= {f"arms.{arm}": (value, held[arm]) for arm, value in arms.items() if arm in held}
    return pairs


def _run_missing(jobs: list[Trial], executor: Executor, quiet: bool) -> dict[str, Failure]:
    remaining = [job for job in jobs if not is_finished(job)]
    failures: dict[str, Failure] = {}
    done = len(jobs) - len(remaining)

    def on_finished(job: Trial, failure: Failure | None) -> None:
        nonlocal done
        done += failure is None
        if failure is not None:
            failures[job.name] = failure
        if not quiet:
            print(
                f"{_summary_line(job, failure)} ({done} of {len(jobs)} runs are finished)", file=sys.stderr, flush=True
            )

    if done and not quiet:
        print(f"{done} of {len(jobs)} runs are finished in {jobs[0].root}", file=sys.stderr, flush=True)
    try:
        run_jobs(run_trial, _by_seed(remaining), executor, jobs[0].root, on_finished)
    except KeyboardInterrupt as stop:
        raise Interrupted(
            f"stopped; {done} of {len(jobs)} runs are finished, the others are saved in {jobs[0].root}",
            signal_number(stop),
        ) from stop
    return failures


def _by_seed(jobs: list[Trial]) -> list[Trial]:
    """Seed by seed, so that a study that is stopped early has results of every arm."""
    return sorted(jobs, key=lambda job: job.seed)


def _summary_line(job: Trial, failure: Failure | None) -> str:
    if failure is not None:
        return f"{job.name} failed. {failure.kind}: {failure.text}"
    result = read_result(job.folder)
    assert result is not None
    step, scores = list(result["scores"].items())[-1]
    mean = next(iter(scores.values()))[job.study.score]["mean"]
    return f"{job.name}: {job.study.score} {'none' if mean is None else f'{mean:.4g}'} after {step} outer steps"


def write_definition(study: Study | Simulation, folder: Path) -> None:
    """Writes study.json, with the arms of the one that is there, which has been checked.

    Args:
        study: its definition.
        folder: of the study, created if it does not exist.
    """
    file, definition = folder / "study.json", study.definition()
    held = read_json(file, {"arms": (dict[str, Any], {})}, "use another --folder")["arms"] if file.exists() else {}
    if not definition["arms"].keys() <= held.keys():
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(definition | {"arms": held | definition["arms"]}, indent=2)
        atomic_write(file, (text + "\n").encode())
