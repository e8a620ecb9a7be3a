"""The command `badger evaluate RUN --grid`: scores for all combinations of sizes, as Markdown, CSV and heat maps."""

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path

import tyro
from tqdm import tqdm
from tyro.conf import Positional

from badger.cli.loading import load
from badger.evaluation.heatmaps import heat_maps
from badger.evaluation.published import SOURCE
from badger.evaluation.size_grid import AXES, GridCell, iter_grid_cells, training_sizes
from badger.learners.population import member_learners
from badger.rng import generator
from badger.runs.checkpoint import atomic_write
from badger.runs.milestones import markdown_table


def command(words: list[str]) -> int:
    """The words after `badger evaluate`, less --grid; returns the exit code."""

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
    ) -> int:
        """Play episodes with a trained agent at every combination of sizes; those not given are as trained.

        Args:
            run: its folder.
            experts: how many, such as 5 10 20.
            dims: outputs of the task.
            steps: inner steps of an episode.
            slots: of an episodic memory; where experts share one, of all together.
            episodes: played in each cell; fewer of very many experts.
            member: which agent of a population, from 0 on.
            best: play the checkpoint of the best averaged return, not the last one.
            seed: of the episodes, which no training meets.
            build: function that builds a run that no recipe has made, module:function, without arguments.
            trust_code: import code of others that its run.json names as module:name.
            out: folder for grid.csv and grid.png; that of the run if not given.
        """
        loaded = load(run, best=best, build=build, trust_code=trust_code)
        learners = member_learners(loaded.learner)
        if not 0 <= member < len(learners):
            raise ValueError(f"--member {member}: the run has {len(learners)} of them, want 0 to {len(learners) - 1}")
        learner, task = learners[member], loaded.learner.task.evaluation_task
        asked = dict(zip(AXES, (experts, dims, steps, slots), strict=True))
        total = math.prod(len(set(values)) or 1 for values in asked.values())
        rng = generator(seed, "evaluate", device=loaded.device)
        playing = iter_grid_cells(learner.agent, task, episodes=episodes, rng=rng, policy=learner.eval_policy, **asked)
        rows = list(tqdm(playing, total=total, unit="cell", disable=None))
        folder = out or run
        folder.mkdir(parents=True, exist_ok=True)
        write(rows, folder / "grid.csv")
        heat_maps(rows, training_sizes(learner.agent, task), task.score).savefig(folder / "grid.png")
        print(f"after {loaded.step} outer steps\n\n{table(rows, task.score)}\n")
        print(f"numbers         {folder / 'grid.csv'}\nheat maps       {folder / 'grid.png'}")
        return 0

    return tyro.cli(evaluation, args=words, prog="badger evaluate RUN --grid")


def table(rows: Sequence[GridCell], score: str) -> str:
    """The rows as Markdown; an axis that nothing has is left out, and so are published figures where there are none."""
    axes = [axis for axis in AXES if any(getattr(row, axis) is not None for row in rows)]
    cited = any(row.published is not None for row in rows)
    header = [*axes, score, *["published"] * cited, "95 % interval", "episodes", "largest norm", "not finite"]
    lines = []
    for row in rows:
        ours, *more = _cells(row)
        lines.append([*(getattr(row, axis) for axis in axes), ours, *[_published(row)] * cited, *more])
    return markdown_table(header, lines) + (f"\n\npublished: {SOURCE}" if cited else "")


def write(rows: Sequence[GridCell], file: Path) -> None:
    """The rows as CSV, a column for each field of `Row`; nothing stands for None."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([GridCell._fields, *rows])
    atomic_write(file, text.getvalue().encode())


def _cells(row: GridCell) -> list[str]:
    if row.failure:
        return [f"cannot be: {row.failure}", "", "", "", ""]
    told = [f"{row.mean:.4f} +- {row.sem:.4f}", f"{row.ci_low:.4f} to {row.ci_high:.4f}", f"{row.episodes}"]
    return [*told, f"{row.max_state_norm:.3g}", f"{row.nonfinite_fraction:.1%}"]


def _published(row: GridCell) -> str:
    return "" if row.published is None else f"{row.published:g}"
