"""A study from its definition to its report: what is there is kept, what is missing is run."""

import fcntl
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from badger.runs import checkpoint
from badger.study.process_pool import Failure, run_in_processes
from badger.study.results import StudyResults, collect_results
from badger.study.study import Study
from badger.study.trial import Trial, is_finished, read_result, run_trial
from comms import get_by_name


def run_study(
    study: Study,
    folder: str | Path,
    *,
    seeds: int | None = None,
    arms: Sequence[str] = (),
    workers: int = 1,
    tensorboard: bool = True,
    quiet: bool = False,
) -> StudyResults:
    """Runs arms x seeds in `folder`/arm/seed-K, less what is finished there; what was stopped goes on.

    Args:
        seeds: 0 to seeds - 1; None: as many as the study wants. arms: some of the study's; none named: all.
        workers: processes that train side by side, with one thread each.
        quiet: tell nothing on standard error.

    Raises:
        ValueError: an arm that there is not, or a folder that holds another study.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after saving. RuntimeError: another process runs the study there.
    """
    where, count = Path(folder), study.seeds if seeds is None else seeds
    if count < 1:
        raise ValueError(f"seeds={count}, want at least 1")
    for arm in arms:
        get_by_name(study.arms, arm, "arm")
    jobs = [Trial(study, arm, seed, where, tensorboard) for arm in arms or study.arms for seed in range(count)]
    _write_or_check_json(study, where)
    with _exclusive_lock(where):
        failures = _perform(jobs, workers, quiet)
        return collect_results(jobs, failures)


def _perform(jobs: list[Trial], workers: int, quiet: bool) -> dict[str, Failure]:
    left = [job for job in jobs if not is_finished(job)]
    failures: dict[str, Failure] = {}
    done = len(jobs) - len(left)

    def told(job: Trial, failure: Failure | None) -> None:
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
        run_in_processes(run_trial, _by_seed(left), workers, told)
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(
            f"stopped, {done} of {len(jobs)} runs are finished and the others saved in {jobs[0].root}"
        ) from stop
    return failures


def _by_seed(jobs: list[Trial]) -> list[Trial]:
    """Seed by seed, so that a study that is stopped has something to tell of every arm."""
    return sorted(jobs, key=lambda job: job.seed)


def _summary_line(job: Trial, failure: Failure | None) -> str:
    if failure is not None:
        return f"{job.name} failed. {failure.kind}: {failure.text}"
    found = read_result(job.folder)
    assert found is not None
    step, scores = list(found["scores"].items())[-1]
    mean = next(iter(scores.values()))[job.study.score]["mean"]
    return f"{job.name}: {job.study.score} {'none' if mean is None else f'{mean:.4g}'} after {step} outer steps"


def _write_or_check_json(study: Study, folder: Path) -> None:
    """Writes study.json, or sees that the one that is there says the same."""
    file, wanted = folder / "study.json", study.definition()
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.atomic_write(file, (json.dumps(wanted, indent=2) + "\n").encode())
        return
    try:
        found = dict(json.loads(file.read_text()))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{file} is damaged: {error}; use another folder") from error
    for name in wanted:
        if found.get(name) != wanted[name]:
            raise ValueError(
                f"{folder} holds study {found.get('name')!r} with {name}={found.get(name)}, "
                f"want {name}={wanted[name]} of {study.name!r}; use another folder"
            )


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """The system forgets the lock of a process that is killed."""
    with (folder / "study.json").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(f"another process runs the study in {folder}; wait for it, or stop it") from None
        yield
