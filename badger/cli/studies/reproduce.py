"""The command `badger study reproduce`: published results and ours."""

import sys
from collections.abc import Collection
from pathlib import Path

from tyro.conf import Positional

from badger.cli.paths import check_output_folder
from badger.cli.studies.resumable import resumed_by
from badger.cli.usage import Work, parse
from badger.runs.files import as_path
from badger.runs.lock import write_lock
from badger.study.execution.executors import find_executor
from badger.study.published import PUBLISHED, collect_kept, published_table
from badger.study.published.report import published_report, write_published_report
from badger.study.published.unfinished import check_unfinished, keep_unfinished, restore_unfinished
from badger.study.report import write_report
from badger.study.run import check_study, run_study
from badger.study.studies import STUDIES
from badger.study.study import Study
from comms import get_by_name


def reproduce(argv: list[str]) -> Work:
    """Finds the published result of `badger study reproduce NAME`; the work runs its study, or prints all results.

    Args:
        argv: arguments after `reproduce`.
    """

    def reproduce(
        name: Positional[str | None] = None,
        *,
        report: bool = False,
        keep: bool = False,
        seeds: int | None = None,
        jobs: int | None = None,
        executor: str = "threads",
        folder: str | None = None,
        tensorboard: bool = True,
    ) -> Work:
        """Published results and ours: run one again, or print all from the results that are kept, without running any.

        A training that is kept unfinished in notebooks/results/unfinished/NAME is resumed from there.

        Args:
            name: of a published result, as --report prints it.
            report: print the table of all published results, with ours and a verdict.
            keep: train nothing; copy metrics and newest checkpoint of each run from --folder to
                notebooks/results/unfinished/NAME, at most 20 MB in all, also while another process trains.
            seeds: number of seeds, from 0 on; default: that of the study.
            jobs: number of processes that train in parallel, one thread each; default: number of cores.
            executor: as of badger study.
            folder: of the study, which is resumed there; default: runs/STUDY. With --report: write report.md and a
                chart there; default: print only.
            tensorboard: write TensorBoard events of runs that train.
        """
        if report == (name is not None) or (report and keep):
            raise ValueError("badger study reproduce: want the name of a published result, or --report alone")
        if name is None:
            return _report(folder)
        entry = get_by_name(PUBLISHED, name, "published result")
        study = STUDIES[entry.study]
        root = Path("runs") / study.name if folder is None else as_path(folder)
        if keep:
            return _keep(study, entry.arms, root, name)
        start_executor = find_executor(executor, jobs)
        check_output_folder("folder", root)
        check_study(study, root, seeds=seeds, arms=entry.arms)

        def work() -> int:
            _restore(study, entry.arms, root, name)
            with resumed_by(f"badger study reproduce {' '.join(argv)}"), start_executor() as started:
                results = run_study(
                    study, root, seeds=seeds, arms=entry.arms, executor=started, tensorboard=tensorboard
                )
            write_report(results, root)
            print(published_table([entry], {study.name: results}))
            print(f"report          {root / 'report.md'}")
            return 1 if results.missing else 0

        return work

    return parse(reproduce, argv, prog="badger study reproduce")


def _keep(study: Study, arms: Collection[str], folder: Path, name: str) -> Work:
    target = check_unfinished(study, arms, folder, name)

    def work() -> int:
        for run, step in keep_unfinished(study, arms, folder, name).items():
            print(f"kept            {run} at outer step {step}")
        print(f"unfinished      {target}")
        return 0

    return work


def _restore(study: Study, arms: Collection[str], folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with write_lock(folder):
        restored = restore_unfinished(study, arms, folder, name)
    for run, step in restored.items():
        print(f"restored {run}, kept at outer step {step}", file=sys.stderr)


def _report(folder: str | None) -> Work:
    if folder is not None:
        check_output_folder("folder", as_path(folder))
    entries = list(PUBLISHED.values())
    results = collect_kept(entries)

    def work() -> int:
        print(published_report(entries, results))
        if folder is not None:
            print(f"report          {write_published_report(entries, results, folder)}")
        return 0

    return work
