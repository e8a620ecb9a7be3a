"""Unfinished trainings that are kept in the repository, so that another machine resumes them from there.

Of each run a folder ARM/seed-K has run.json, result.json, metrics.jsonl and the newest checkpoint, but not best.pt, by
which no study is evaluated, and no TensorBoard events. It is data, also from strangers (`badger.trust`): names of runs
come from the study, and the files are checked as those of any run are when it is loaded.
"""

import os
import re
from collections.abc import Collection
from pathlib import Path

from badger.runs import checkpoint
from badger.runs.files import atomic_write
from badger.runs.recorder import METRICS
from badger.study.published.kept_results import FOLDERS, kept_results
from badger.study.run import check_study, write_definition
from badger.study.study import Study
from badger.study.trial import read_result

UNFINISHED = "unfinished"
"""The folder in `notebooks/results`, with a folder for each published result."""
MAX_BYTES = 20_000_000
"""Of all files that are kept of a published result."""


def keep_unfinished(study: Study, arms: Collection[str], folder: Path, row: str) -> dict[str, int]:
    """Keeps the runs of a study's folder; a run that is kept at a later outer step already stays.

    Training may go on in the meantime.

    Args:
        study: its definition.
        arms: those that are kept.
        folder: of the study.
        row: name of the published result.

    Returns:
        Outer steps by run.

    Raises:
        ValueError: as `check_unfinished`.
    """
    return _copy(study, folder, check_unfinished(study, arms, folder, row), arms)


def check_unfinished(study: Study, arms: Collection[str], folder: Path, row: str) -> Path:
    """The folder where the runs of a study are kept; writes nothing.

    Args:
        study, arms, folder, row: as of `keep_unfinished`.

    Raises:
        ValueError: nothing is to be kept, it is too large, or this is no checkout of the repository.
    """
    if not FOLDERS[-1].is_dir():
        raise ValueError(
            f"--keep: there is no {FOLDERS[-1]}: want a checkout of the repository, in which badger is installed by "
            "`pip install -e .`"
        )
    if kept_results(study.name) is not None:
        raise ValueError(f"--keep: the results of {study.name} are kept already: badger study reproduce --report")
    check_study(study, folder, arms=arms)
    target = FOLDERS[-1] / UNFINISHED / row
    check_study(study, target, arms=arms, advice=f"delete {target}")
    if not _runs(folder, arms):
        raise ValueError(
            f"--keep: no run of {', '.join(arms)} has a checkpoint in --folder {folder}; train first: badger study "
            f"reproduce {row} --folder {folder}"
        )
    _check_size(_runs(target, arms) | _newer(folder, target, arms))
    return target


def restore_unfinished(study: Study, arms: Collection[str], folder: Path, row: str) -> dict[str, int]:
    """Copies the kept runs into the folder of a study; a run that is further there stays as it is.

    Where results of the study are kept, there is nothing to resume.

    Args:
        study: its definition.
        arms: those that are restored.
        folder: of the study, created if runs are restored; no other process may write there.
        row: name of the published result.

    Returns:
        Outer steps by run.

    Raises:
        ValueError: the kept runs are of another definition of the study.
        DamagedFile: a file is damaged.
    """
    source = next((found for root in FOLDERS if (found := root / UNFINISHED / row).is_dir()), None)
    if source is None or kept_results(study.name) is not None:
        return {}
    check_study(study, source, arms=arms, advice=f"delete {source}")
    return _copy(study, source, folder, arms) if _newer(source, folder, arms) else {}


def _runs(folder: Path, arms: Collection[str]) -> dict[str, Path]:
    """The runs that have a checkpoint, by ARM/seed-K."""
    found = {f"{arm}/{run.name}": run for arm in arms for run in sorted((folder / arm).glob("seed-*"))}
    return {
        name: run
        for name, run in found.items()
        if re.fullmatch(r"seed-\d+", run.name) and (run / "run.json").exists() and _steps(run)
    }


def _steps(run: Path) -> list[int]:
    return checkpoint.saved_steps(run / "checkpoints")


def _progress(run: Path) -> tuple[int, int]:
    """The outer step of the newest checkpoint, and the number of evaluations."""
    result = read_result(run) if _steps(run) else None
    return max(_steps(run), default=-1), len(result["scores"]) if result else 0


def _newer(source: Path, target: Path, arms: Collection[str]) -> dict[str, Path]:
    """The runs of `source` that are further than those of `target`."""
    return {name: run for name, run in _runs(source, arms).items() if _progress(run) > _progress(target / name)}


def _files(run: Path) -> list[Path]:
    """What is kept of a run: the newest checkpoint first, so that nothing else is older; run.json last."""
    newest = checkpoint.path(run / "checkpoints", _steps(run)[-1])
    return [file for file in (newest, *(run / name for name in (METRICS, "result.json", "run.json"))) if file.exists()]


def _check_size(runs: dict[str, Path]) -> None:
    sizes = {name: sum(file.stat().st_size for file in _files(run)) for name, run in runs.items()}
    if (total := sum(sizes.values())) > MAX_BYTES:
        largest = max(sizes, key=sizes.__getitem__)
        raise ValueError(
            f"--keep: {len(sizes)} runs have {total / 1e6:.1f} MB, {largest} {sizes[largest] / 1e6:.1f} MB; want at "
            f"most {MAX_BYTES / 1e6:.0f} MB in all: smaller agents, or a smaller replay buffer"
        )


def _copy(study: Study, source: Path, target: Path, arms: Collection[str]) -> dict[str, int]:
    """Copies newer runs; returns the outer steps of those copied. A run whose copy was interrupted has no run.json."""
    target.mkdir(parents=True, exist_ok=True)
    write_definition(study, target)
    copied = {}
    for name, run in _newer(source, target, arms).items():
        for number, file in enumerate(_files(run)):
            copy = target / name / file.relative_to(run)
            copy.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(copy, file.read_bytes())
            if not number:
                copied[name] = _steps(run)[-1]
                for step in _steps(target / name)[:-1]:
                    os.unlink(checkpoint.path(copy.parent, step))
    return copied
