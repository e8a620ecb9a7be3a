"""The command line of studies: badger study | compare."""

import os
import sys
import time
from pathlib import Path

import tyro
from tyro.conf import Positional

from badger.study.compare import compare_runs
from badger.study.report import write_report
from badger.study.results import StudyResults
from badger.study.run import run_study
from badger.study.studies import STUDIES, find_study


def study(words: list[str]) -> int:
    def study(
        name: Positional[str],
        *,
        seeds: int | None = None,
        jobs: int | None = None,
        quick: bool = False,
        folder: Path | None = None,
        arms: tuple[str, ...] = (),
        tensorboard: bool = True,
    ) -> int:
        """Train and evaluate all arms of a study in several seeds, and report what they show, with error bars.

        Whatever stops it, the same command goes on. Its runs are ordinary runs: badger evaluate FOLDER/ARM/seed-0.

        Args:
            name: of the study, or your own module:STUDY; badger list tells which there are.
            seeds: so many, from 0 on: those of the tables. Explore with seeds from 100 on, so that no choice is made
                on the seeds that judge it. As many as the study wants if not given.
            jobs: processes that train side by side, one thread each; as many as there are cores if not given.
            quick: the tiny version, to see it work.
            folder: where runs and report are kept; runs/NAME if not given.
            arms: some of them, and the report tells of no other; all if none is named.
            tensorboard: write events for TensorBoard.
        """
        chosen = find_study(name).quick_version() if quick else find_study(name)
        where = folder or Path("runs") / chosen.name
        workers = len(os.sched_getaffinity(0)) if jobs is None else jobs
        try:
            evidence = run_study(chosen, where, seeds=seeds, arms=arms, workers=workers, tensorboard=tensorboard)
        except KeyboardInterrupt as stop:
            raise KeyboardInterrupt(f"{stop}. Go on with: badger study {' '.join(words)}") from stop
        _print_report(evidence, where)
        return 1 if evidence.missing else 0

    if not words:
        known = ", ".join(STUDIES)
        print(f"usage: badger study NAME [--flags]; studies: {known}, or your own module:STUDY", file=sys.stderr)
        return 2
    return tyro.cli(study, args=words, prog="badger study")


def compare(words: list[str]) -> int:
    def compare(
        runs: Positional[tuple[Path, ...]],
        *,
        threshold: float | None = None,
        folder: Path | None = None,
    ) -> int:
        """Report what runs show, finished or not, with error bars. Those that differ only in their seed are one arm.

        Args:
            runs: their folders.
            threshold: of the moving average of the score: how many runs got there, and when.
            folder: where the report is kept; runs/compare-DATE-TIME if not given.
        """
        stamp = f"compare-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        _print_report(compare_runs(runs, threshold), folder or Path("runs") / stamp)
        return 0

    return tyro.cli(compare, args=words, prog="badger compare")


def _print_report(evidence: StudyResults, folder: Path) -> None:
    print(write_report(evidence, folder))
    print(f"report          {folder / 'report.md'}\nlook inside     tensorboard --logdir {folder}")
