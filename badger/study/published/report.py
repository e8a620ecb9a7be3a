"""All published results beside ours: a table in Markdown and a chart, from kept results; nothing is run."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from badger import figures
from badger.figures.forest_plot import ForestRow, forest_plot
from badger.runs.files import as_path, atomic_write
from badger.runs.milestones import markdown_table
from badger.study.published.entry import Estimate, PublishedResult, Verdict
from badger.study.published.kept_results import hours, kept_results
from badger.study.results import StudyResults

CLAIMS = "probability that the first is better than the second"
FIGURES = "better than published by (%)"
COLORS = {"beaten": "tab:green", "reached": "tab:blue", "missed": "tab:red"}
NOTES = """\
Ours: interquartile mean over runs, median where steps or episodes are counted; 95 % interval by bootstrap over runs.
Of a claim that one is better than another, the probability that a run of the first is better than one of the second.

- beaten: of three or more runs the whole interval is better than the published figure.
- reached: ours is at least as good as the published figure; the whole interval of a claim's probability is above .5.
- missed: it is not. not run: no results are kept, or, of a claim, fewer than three runs of each arm."""


def published_table(entries: Iterable[PublishedResult], results: dict[str, StudyResults]) -> str:
    """A table of published results and ours.

    Args:
        entries: its rows.
        results: by the name of the study; a study that was not run is left out.
    """
    header = ["name", "what", "published", "ours (95 %)", "runs", "hours", "verdict", "source"]
    return markdown_table(header, [_row(entry, results.get(entry.study)) for entry in entries])


def collect_kept(entries: Iterable[PublishedResult]) -> dict[str, StudyResults]:
    """The kept results of all studies that entries need, by name.

    Args:
        entries: published results.

    Raises:
        DamagedFile: a file is damaged.
    """
    found = {name: kept_results(name) for name in dict.fromkeys(entry.study for entry in entries)}
    return {name: results for name, results in found.items() if results is not None}


def published_report(entries: Iterable[PublishedResult], results: dict[str, StudyResults]) -> str:
    """The table with its legend, and the number of rows by verdict.

    Args:
        entries: its rows.
        results: by the name of the study.
    """
    entries = list(entries)
    verdicts = [entry.verdict(results.get(entry.study)) for entry in entries]
    counts = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in get_args(Verdict))
    command = "Each is run again by `badger study reproduce NAME`; `--report` prints this table."
    parts = ["# Published results and ours", f"{counts}. {command}", published_table(entries, results), NOTES]
    return "\n\n".join(parts) + "\n"


def write_published_report(
    entries: Iterable[PublishedResult], results: dict[str, StudyResults], folder: str | os.PathLike[str]
) -> Path:
    """Writes report.md and published.png; returns the file of the report.

    Args:
        entries: rows of the table.
        results: by the name of the study.
        folder: created if it does not exist.

    Raises:
        OSError: the folder cannot be written to.
    """
    entries, root = list(entries), as_path(folder)
    root.mkdir(parents=True, exist_ok=True)
    text = published_report(entries, results)
    if figure := plot_published(entries, results):
        figure.savefig(root / "published.png")
        text += "\n![published results and ours](published.png)\n"
    atomic_write(root / "report.md", text.encode())
    return root / "report.md"


def plot_published(entries: Iterable[PublishedResult], results: dict[str, StudyResults]) -> figures.Figure | None:
    """A forest plot: figures by how much better than published ours are, and claims by probability of improvement.

    Args:
        entries: its lines; those that were not run are left out.
        results: by the name of the study.

    Returns:
        None where no line is left.
    """
    panels: dict[str, list[ForestRow]] = {FIGURES: [], CLAIMS: []}
    for entry in entries:
        of_study = results.get(entry.study)
        ours = None if of_study is None else entry.estimate(of_study)
        if of_study is None or ours is None or (verdict := entry.judge(ours, of_study)) == "not run":
            continue
        lower, ours_is = entry.is_lower_better(of_study), (ours.value, ours.low, ours.high)
        value, low, high = (_percent_better(end, entry.published, lower) for end in ours_is)
        panel = CLAIMS if entry.published is None else FIGURES
        panels[panel].append(ForestRow(f"{entry.name} ({verdict})", value, low, high, COLORS[verdict]))
    shown = {label: rows for label, rows in panels.items() if rows}
    scales = {FIGURES: "symlog", CLAIMS: "linear"}
    return forest_plot(shown, {FIGURES: 0.0, CLAIMS: 0.5}, scales) if shown else None


def _percent_better(value: float, published: float | None, is_lower_better: bool) -> float:
    """By how much a value is better than the published figure, in percent; of a claim, the value itself."""
    if published is None:
        return value
    return 100 * (published - value if is_lower_better else value - published) / abs(published)


def _row(entry: PublishedResult, results: StudyResults | None) -> list[str]:
    ours = None if results is None else entry.estimate(results)
    published = "better" if entry.published is None else f"{entry.published:g}"
    cells = [entry.name, entry.text, published, "-" if ours is None else _estimate(ours)]
    cells += (
        ["-", "-"] if results is None or ours is None else [str(ours.runs), f"{hours(results, set(entry.arms)):.2g}"]
    )
    return [*cells, "not run" if results is None else entry.judge(ours, results), entry.source]


def _estimate(ours: Estimate) -> str:
    return f"{ours.value:.3g} ({ours.low:.3g} to {ours.high:.3g})"
