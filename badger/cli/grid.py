"""The option `badger evaluate --grid`: scores for all combinations of sizes, as Markdown, CSV and heat maps."""

import csv
import io
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm
from tyro.conf import Positional

from badger.cli.loading import Subject, load_subject
from badger.cli.paths import check_output_folder
from badger.cli.usage import Work, parse
from badger.evaluation.heatmaps import heat_maps
from badger.evaluation.published import SOURCE
from badger.evaluation.size_grid import AXES, GridCell, SizeSetting, check_sizes, iter_grid_cells, training_sizes
from badger.runs.files import atomic_write
from badger.runs.milestones import markdown_table


def command(argv: list[str]) -> Work:
    """Loads the run of `badger evaluate --grid`; the work evaluates it, with exit code 1 if a cell fails.

    Args:
        argv: arguments after the command, without --grid.
    """

    def evaluation(
        run: Positional[Path],
        *,
        experts: tuple[int, ...] = (),
        dims: tuple[int, ...] = (),
        steps: tuple[int, ...] = (),
        slots: tuple[int, ...] = (),
        episodes: int = 1024,
        member: int = 0,
        best: bool = False,
        seed: int = 0,
        build: str | None = None,
        trust_code: bool = False,
        out: Path | None = None,
    ) -> Work:
        """Evaluate a trained agent at every combination of sizes. Sizes that are not given are those of training.

        Args:
            run: run folder.
            experts: numbers of experts, such as 5 10 20.
            dims: outputs of the task.
            steps: inner steps of an episode.
            slots: of the episodic memory; a shared memory has them in total.
            episodes: number of episodes in each cell; fewer with many experts.
            member: index of an agent in a population, from 0 on.
            best: use best.pt, the checkpoint of the best figure of training or evaluation, not the last one.
            seed: of the episodes.
            build: module:function that returns the untrained run, for a run that was built without a recipe.
            trust_code: allow importing code of others that its run.json names.
            out: folder for grid.csv and grid.png; default: the run folder.
        """
        check_output_folder("out", out)
        subject = load_subject(run, member=member, best=best, seed=seed, build=build, trust_code=trust_code)
        sizes = dict(zip(AXES, (experts, dims, steps, slots), strict=True))
        cells = check_sizes(subject.agent, subject.task, episodes, sizes)
        return partial(_evaluate_grid, subject, cells, episodes, out or run)

    return parse(evaluation, argv, prog="badger evaluate RUN --grid")


def _evaluate_grid(subject: Subject, cells: Sequence[SizeSetting], episodes: int, folder: Path) -> int:
    """Evaluates and prints all cells, and writes table and heat maps; returns the exit code."""
    agent, task = subject.agent, subject.task
    results = iter_grid_cells(
        agent, task, cells, episodes=episodes, rng=subject.rng, policy=subject.learner.eval_policy
    )
    rows = list(tqdm(results, total=len(cells), unit="cell", disable=None))
    folder.mkdir(parents=True, exist_ok=True)
    write(rows, folder / "grid.csv")
    heat_maps(rows, training_sizes(agent, task), task.score).savefig(folder / "grid.png")
    print(f"after {subject.run.step} outer steps\n\n{table(rows, task.score)}\n")
    print(f"numbers         {folder / 'grid.csv'}\nheat maps       {folder / 'grid.png'}")
    failed = sum(bool(row.failure) for row in rows)
    if failed:
        print(f"badger: {failed} of {len(cells)} cells failed; the table has the reasons", file=sys.stderr)
    return 1 if failed else 0


def table(rows: Sequence[GridCell], score: str) -> str:
    """A Markdown table of grid cells, without axes that are not used and without published values where there are none.

    Args:
        rows: grid cells.
        score: name of the score.
    """
    axes = [axis for axis in AXES if any(getattr(row, axis) is not None for row in rows)]
    has_published = any(row.published is not None for row in rows)
    header = [*axes, score, *["published"] * has_published, "95 % interval", "episodes", "max state norm", "non-finite"]
    lines = []
    for row in rows:
        score_text, *extra = _cells(row)
        lines.append([*(getattr(row, axis) for axis in axes), score_text, *[_published(row)] * has_published, *extra])
    return markdown_table(header, lines) + (f"\n\npublished: {SOURCE}" if has_published else "")


def write(rows: Sequence[GridCell], file: Path) -> None:
    """Writes grid cells as CSV, one column for each field of `GridCell`; None is an empty cell.

    Args:
        rows: grid cells.
        file: replaced atomically.
    """
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([GridCell._fields, *rows])
    atomic_write(file, text.getvalue().encode())


def _cells(row: GridCell) -> list[str]:
    if row.failure:
        return [f"failed: {row.failure}", "", "", "", ""]
    cells = [f"{row.mean:.4f} +- {row.sem:.4f}", f"{row.ci_low:.4f} to {row.ci_high:.4f}", f"{row.episodes}"]
    return [*cells, f"{row.max_state_norm:.3g}", f"{row.nonfinite_fraction:.1%}"]


def _published(row: GridCell) -> str:
    return "" if row.published is None else f"{row.published:g}"
