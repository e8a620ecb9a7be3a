"""The commands `badger study` and `badger compare`."""

import os
import time
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from badger.cli.paths import check_output_folder
from badger.cli.studies.reproduce import reproduce
from badger.cli.studies.resumable import resumed_by
from badger.cli.usage import Work, parse, print_usage
from badger.cli.user_code import search_current_directory
from badger.runs.files import as_path
from badger.study.compare import compare_runs
from badger.study.execution.executors import find_executor
from badger.study.report import check_report_folder, write_report
from badger.study.results import StudyResults
from badger.study.run import check_study, run_study
from badger.study.simulations import SIMULATIONS, Simulation
from badger.study.simulations.report import write_simulation_report
from badger.study.simulations.run import run_simulation
from badger.study.studies import STUDIES, find_study


def study(argv: list[str]) -> Work:
    """Finds the study of `badger study`; the work runs it.

    Args:
        argv: arguments after the command.
    """

    def study(
        name: Positional[str],
        *,
        seeds: int | None = None,
        jobs: int | None = None,
        quick: bool = False,
        folder: str | None = None,
        arms: tuple[str, ...] = (),
        executor: str = "threads",
        tensorboard: bool = True,
    ) -> Work:
        """Train and evaluate all arms of a study with several seeds, and report the results with error bars.

        The same command resumes a study that was stopped. Its runs are ordinary runs: badger evaluate
        FOLDER/ARM/seed-0.

        Args:
            name: of the study, or your own module:STUDY; badger list shows the names.
            seeds: number of seeds, from 0 on; default: the study's own number. To keep these seeds for the final
                comparison, use seeds from 100 on for exploration.
            jobs: number of processes that train in parallel, one thread each; default: number of cores.
            quick: run a small version, as a smoke test.
            folder: of runs and report; default: runs/NAME.
            arms: a subset of the arms; default: all.
            executor: starts the processes: threads of this one; dask://HOST:PORT, the workers of a dask scheduler, on
                machines that see the folder; or your own module:function, which returns a concurrent.futures.Executor.
            tensorboard: write TensorBoard events of runs that train.
        """
        if ":" in name + executor:
            search_current_directory()
        definition = find_study(name).quick_version() if quick else find_study(name)
        root = Path("runs") / definition.name if folder is None else as_path(folder)
        start_executor = find_executor(executor, jobs)
        check_output_folder("folder", root)
        check_study(definition, root, seeds=seeds, arms=arms)

        def work() -> int:
            with resumed_by(f"badger study {' '.join(argv)}"), start_executor() as started:
                if isinstance(definition, Simulation):
                    return _simulate(definition, root, seeds=seeds, arms=arms, executor=started)
                results = run_study(definition, root, seeds=seeds, arms=arms, executor=started, tensorboard=tensorboard)
            _print_report(results, root)
            return 1 if results.missing else 0

        return work

    if not argv:
        names = ", ".join([*STUDIES, *SIMULATIONS])
        usage = f"usage: badger study NAME [--flags]; studies: {names}, or your own module:STUDY"
        return print_usage(argv, f"{usage}; badger study reproduce: published results and ours")
    if argv[0] == "reproduce":
        return reproduce(argv[1:])
    return parse(study, argv, prog="badger study")


def compare(argv: list[str]) -> Work:
    """Reads the runs of `badger compare`; the work reports them.

    Args:
        argv: arguments after the command.
    """

    def compare(
        runs: Positional[tuple[Path, ...]],
        *,
        threshold: float | None = None,
        folder: str | None = None,
    ) -> Work:
        """Compare finished or unfinished runs, with error bars. Runs that differ only in their seed form an arm.

        Args:
            runs: run folders.
            threshold: of the moving average of the score: reports how many runs reached it, and when.
            folder: of the report; default: runs/compare-DATE-TIME.
        """
        stamp = f"compare-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        target = Path("runs") / stamp if folder is None else as_path(folder)
        check_output_folder("folder", target)
        check_report_folder(target)
        results = compare_runs(runs, threshold)

        def work() -> int:
            _print_report(results, target)
            return 0

        return work

    return parse(compare, argv, prog="badger compare")


def _simulate(simulation: Simulation, folder: Path, **options: Any) -> int:
    results = run_simulation(simulation, folder, **options)
    print(write_simulation_report(simulation, results, folder))
    print(f"report          {folder / 'report.md'}\nfigure          {folder / 'curves.png'}")
    return 1 if results.missing else 0


def _print_report(results: StudyResults, folder: Path) -> None:
    print(write_report(results, folder))
    print(f"report          {folder / 'report.md'}\nTensorBoard     tensorboard --logdir {folder}")
