"""The report of a study: Markdown, CSV files and figures."""

import csv
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from badger.runs.files import as_path, atomic_write, check_new_folder
from badger.runs.milestones import MIN_AVERAGED_STEPS, markdown_table
from badger.runs.recorder import MetricsRow
from badger.study import plots, tables
from badger.study.published.kept_results import FILE, results_to_json
from badger.study.results import StudyResults

NOTES = """\
- Reached: number of runs whose {curve} crossed the threshold, with Wilson's
  95 % interval{averages}. Steps: median of the outer steps until
  then; a run that did not reach the threshold is censored (infinite).
- {score}: after the last outer step, in evaluation episodes unless a note above says otherwise, {better}; mean over
  runs +- standard error, and interquartile mean. P: probability that a run of the first arm is better than one of the
  second.
- Intervals of steps, interquartile mean and P: 95 %, by bootstrap over runs.
- A run that diverged has no score. It counts as one that did not reach the threshold, unless it reached it before, and
  in P as worse than any other."""


def report_markdown(results: StudyResults, figures: Iterable[str] = ()) -> str:
    """The report as Markdown; times, which depend on the machine, are in the last section.

    Args:
        results: of a study.
        figures: names of image files in the same folder, without suffix.
    """
    notes = "\n".join(f"- {note}" for note in results.notes)
    parts = [f"# {results.name}", results.claim, _header(results), notes, _summary(results)]
    parts += [_improvements(results)]
    parts += [_milestones(results), _missing(results)]
    parts += [f"![{name.replace('_', ' ')}]({name}.png)" for name in figures]
    parts += [_notes(results), _time(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_report(results: StudyResults, folder: str | os.PathLike[str]) -> str:
    """Writes report.md, results.json, runs.csv, summary.csv and the figures; returns the report.

    Args:
        results: of a study.
        folder: created if it does not exist; of a run, a study or a report otherwise.

    Raises:
        RunExists: the folder has files of others.
    """
    folder = as_path(folder)
    check_report_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    figures = plots.plot_results(results)
    text = report_markdown(results, figures)
    for name, figure in figures.items():
        figure.savefig(folder / f"{name}.png")
    for name, rows in {"runs": tables.runs(results), "summary": tables.summary(results)}.items():
        _write_csv(folder / f"{name}.csv", rows)
    atomic_write(folder / FILE, results_to_json(results).encode())
    atomic_write(folder / "report.md", text.encode())  # last: where it exists, the other files do, too
    return text


def check_report_folder(folder: Path) -> None:
    """Refuses a folder that has files of others, and is no folder of a run, a study or a report.

    Args:
        folder: for a report.

    Raises:
        RunExists: the folder has files of others.
    """
    if not any((folder / name).exists() for name in ("run.json", "study.json", "report.md")):
        check_new_folder(folder, "*.csv", "*.png", FILE)  # those of a report that was not finished


def _write_csv(file: Path, rows: list[MetricsRow]) -> None:
    """The columns of all rows; a cell is empty where a row has no such column, or NaN."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})


def _header(results: StudyResults) -> str:
    counts = {arm: len(results.trials(arm)) for arm in results.arms}
    threshold = f", threshold {results.threshold:g}" if results.threshold is not None else ""
    lines = ", ".join(f"{line} {value:.3g}" for line, value in results.references.items())
    text = f"Score: {results.score} ({_direction(results)}{threshold})" + (
        f"; for comparison: {lines}" if lines else ""
    )
    few = min(counts.values(), default=0)
    if not few:
        return f"{text}. No run of {', '.join(arm for arm, count in counts.items() if not count)} has finished."
    most = max(counts.values())
    if few < 5 <= most:
        return f"{text}. {few} to {most} runs per arm: treat arms with fewer than 5 as a smoke test."
    return text + ("." if few >= 5 else f". {few} runs per arm: treat this as a smoke test.")


def _direction(results: StudyResults) -> str:
    """Whether lower or higher scores are better, and the arms where it is the other way round."""
    other = [arm for arm in results.arms if results.better_in.get(arm, results.better) != results.better]
    exception = f", but {'lower' if results.better == 'higher' else 'higher'} in {', '.join(other)}" if other else ""
    return f"{results.better} is better{exception}"


def _summary(results: StudyResults) -> str:
    rows = tables.summary(results)
    columns: dict[str, Callable[[MetricsRow], str]] = {
        "arm": lambda row: row["arm"],
        "runs": lambda row: str(row["runs"]),
    }
    if any(row["diverged"] for row in rows):
        columns["diverged"] = lambda row: str(row["diverged"])
    if results.threshold is not None:
        columns["reached"] = lambda row: f"{row['reached']} of {row['runs']}{_interval_text(row, 'reached')}"
        columns["steps to threshold"] = lambda row: _steps(row, "steps") + _interval_text(row, "steps", _steps)
    if results.gates:
        signs = {arm: "<=" if results.sign(arm) > 0 else ">=" for arm in results.arms}
        columns["median"] = lambda row: f"{row['median']:.4g}"
        columns["gate"] = lambda row: f"{signs[row['arm']]} {row['gate']:g}: {'met' if row['met'] else 'missed'}"
    columns[results.score] = lambda row: _plus_minus(row)
    columns["interquartile mean"] = lambda row: f"{row['iqm']:.4g}{_interval_text(row, 'iqm')}"
    return _table(columns, rows)


def _improvements(results: StudyResults) -> str:
    if results.gates or min((len(results.trials(arm)) for arm in results.arms), default=0) < 2:
        return ""  # of different tasks nothing is compared; of single runs it is always 0 or 1
    rows = tables.improvements(results)
    columns: dict[str, Callable[[MetricsRow], str]] = {"P(improvement)": lambda row: f"{row['arm']} over {row['over']}"}
    if results.threshold is not None:
        columns["in steps to threshold"] = lambda row: f"{row['steps']:.2f}{_interval_text(row, 'steps')}"
    columns[f"in {results.score}"] = lambda row: f"{row['score']:.2f}{_interval_text(row, 'score')}"
    return _table(columns, rows) if rows else ""


def _milestones(results: StudyResults) -> str:
    rows = tables.milestone_rows(results)
    steps = sorted({row["step"] for row in rows})
    cells = {(row["arm"], row["evaluation"], row["step"]): _plus_minus(row) for row in rows}
    has_names = results.evaluations != [""]
    header = ["arm", *(["evaluation"] if has_names else []), *(f"after {step}" for step in steps)]
    lines = [
        [arm, *([name] if has_names else []), *(cells.get((arm, name, step), "-") for step in steps)]
        for arm in results.arms
        for name in results.evaluations
    ]
    return f"{results.score} at milestones (outer steps):\n\n{markdown_table(header, lines)}" if steps else ""


def _missing(results: StudyResults) -> str:
    lines = [f"- {name}: {reason}" for name, reason in results.missing.items()]
    return "\n".join([f"## Failed runs: {len(lines)}", "", *lines]) if lines else ""


def _notes(results: StudyResults) -> str:
    curve, averages = results.curve, ""
    if curve is None:
        curve = "moving average of the score of training batches"
        averages = f"; averages of fewer than {MIN_AVERAGED_STEPS} batches do not count"
    return "## How to read this\n\n" + NOTES.format(
        curve=curve, averages=averages, score=results.score, better=_direction(results)
    )


def _time(results: StudyResults) -> str:
    columns: dict[str, Callable[[MetricsRow], str]] = {
        "arm": lambda row: row["arm"],
        "seconds of training": lambda row: f"{row['seconds']:.0f}",
    }
    if results.threshold is not None:
        columns["seconds to threshold"] = lambda row: _seconds(row["seconds_to_threshold"])
    return "## Time\n\nMedians over runs.\n\n" + _table(columns, tables.summary(results))


def _table(columns: dict[str, Callable[[MetricsRow], str]], rows: Sequence[MetricsRow]) -> str:
    return markdown_table(list(columns), [[_cell(to_text, row) for to_text in columns.values()] for row in rows])


def _cell(to_text: Callable[[MetricsRow], str], row: MetricsRow) -> str:
    try:
        return to_text(row)
    except KeyError:  # an arm without runs, or without scores
        return "-"


def _plus_minus(row: MetricsRow) -> str:
    error = row["score_sem"]
    return f"{row['score']:.4g}" + ("" if math.isnan(error) else f" +- {error:.2g}")


def _interval_text(
    row: MetricsRow, name: str, to_text: Callable[[MetricsRow, str], str] = lambda row, name: f"{row[name]:.3g}"
) -> str:
    return f" ({to_text(row, name + '_low')} to {to_text(row, name + '_high')})"


def _steps(row: MetricsRow, name: str) -> str:
    return f"> {row['budget']}" if math.isinf(row[name]) else f"{row[name]:g}"


def _seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"
