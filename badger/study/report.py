"""The report of a study: what its tables and pictures say, in a folder and as text."""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from badger.runs import checkpoint
from badger.runs.milestones import MIN_AVERAGED_STEPS, markdown_table
from badger.runs.recorder import MetricsRow
from badger.study import plots as pictures
from badger.study import tables
from badger.study.results import StudyResults

NOTES = """\
- Reached: runs whose moving average of the training batches' score got better than the threshold, of all runs; with
  Wilson's 95 % interval; an average of less than {settled} batches does not count. Steps: median of the outer steps
  until then; a run that never got there is beyond all others.
- {score}: of evaluation episodes after the last outer step, {better} is better; mean over runs +- standard error, and
  interquartile mean. P: how probably a run of the first arm does better than one of the second.
- Intervals of steps, interquartile mean and P: 95 %, by bootstrap over runs.
- A run that diverged has no score. It counts as one that did not reach the threshold, unless it did before, and in P
  as worse than any other."""


def report_markdown(evidence: StudyResults, shown: Iterable[str] = ()) -> str:
    """As Markdown; what depends on the machine comes last. shown: names of pictures beside it."""
    notes = "\n".join(f"- {note}" for note in evidence.notes)
    parts = [f"# {evidence.name}", evidence.claim, _header(evidence), notes, _summary(evidence)]
    parts += [_improvements(evidence)]
    parts += [_milestones(evidence), _missing(evidence)]
    parts += [f"![{name.replace('_', ' ')}]({name}.png)" for name in shown]
    parts += [_notes(evidence), _time(evidence)]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_report(evidence: StudyResults, folder: Path) -> str:
    """report.md, runs.csv, summary.csv and the pictures; returns the report."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = pictures.plot_results(evidence)
    text = report_markdown(evidence, drawn)
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png")
    for name, rows in {"runs": tables.runs(evidence), "summary": tables.summary(evidence)}.items():
        _write_csv(folder / f"{name}.csv", rows)
    checkpoint.atomic_write(folder / "report.md", text.encode())  # last: where it is, all of it is there
    return text


def _write_csv(file: Path, rows: list[MetricsRow]) -> None:
    """Columns of all rows; empty where a row has none, or NaN."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})


def _header(evidence: StudyResults) -> str:
    counts = {arm: len(evidence.trials(arm)) for arm in evidence.arms}
    threshold = f", threshold {evidence.threshold:g}" if evidence.threshold is not None else ""
    lines = ", ".join(f"{line} {value:.3g}" for line, value in evidence.references.items())
    said = f"Score: {evidence.score} ({evidence.better} is better{threshold})" + (
        f"; for comparison: {lines}" if lines else ""
    )
    few = min(counts.values(), default=0)
    if not few:
        return f"{said}. No run of {', '.join(arm for arm, count in counts.items() if not count)} has ended."
    return said + ("." if few >= 5 else f". With {few} runs an arm this shows that it works, not that it is so.")


def _summary(evidence: StudyResults) -> str:
    rows = tables.summary(evidence)
    columns: dict[str, Callable[[MetricsRow], str]] = {
        "arm": lambda row: row["arm"],
        "runs": lambda row: str(row["runs"]),
    }
    if any(row["diverged"] for row in rows):
        columns["diverged"] = lambda row: str(row["diverged"])
    if evidence.threshold is not None:
        columns["reached"] = lambda row: f"{row['reached']} of {row['runs']}{_interval_text(row, 'reached')}"
        columns["steps to threshold"] = lambda row: _steps(row, "steps") + _interval_text(row, "steps", _steps)
    columns[evidence.score] = lambda row: _plus_minus(row)
    columns["interquartile mean"] = lambda row: f"{row['iqm']:.4g}{_interval_text(row, 'iqm')}"
    return _table(columns, rows)


def _improvements(evidence: StudyResults) -> str:
    if min((len(evidence.trials(arm)) for arm in evidence.arms), default=0) < 2:
        return ""  # of single runs it would be 0 or 1, whatever they are
    rows = tables.improvements(evidence)
    columns: dict[str, Callable[[MetricsRow], str]] = {"P(improvement)": lambda row: f"{row['arm']} over {row['over']}"}
    if evidence.threshold is not None:
        columns["in steps to threshold"] = lambda row: f"{row['steps']:.2f}{_interval_text(row, 'steps')}"
    columns[f"in {evidence.score}"] = lambda row: f"{row['score']:.2f}{_interval_text(row, 'score')}"
    return _table(columns, rows) if rows else ""


def _milestones(evidence: StudyResults) -> str:
    rows = tables.milestone_rows(evidence)
    steps = sorted({row["step"] for row in rows})
    found = {(row["arm"], row["evaluation"], row["step"]): _plus_minus(row) for row in rows}
    named = evidence.evaluations != [""]
    header = ["arm", *(["evaluation"] if named else []), *(f"after {step}" for step in steps)]
    lines = [
        [arm, *([name] if named else []), *(found.get((arm, name, step), "-") for step in steps)]
        for arm in evidence.arms
        for name in evidence.evaluations
    ]
    return f"{evidence.score} after so many outer steps:\n\n{markdown_table(header, lines)}" if steps else ""


def _missing(evidence: StudyResults) -> str:
    lines = [f"- {name}: {why}" for name, why in evidence.missing.items()]
    return "\n".join([f"## {len(lines)} of the runs did not end as they should", "", *lines]) if lines else ""


def _notes(evidence: StudyResults) -> str:
    return "## How to read this\n\n" + NOTES.format(
        settled=MIN_AVERAGED_STEPS, score=evidence.score, better=evidence.better
    )


def _time(evidence: StudyResults) -> str:
    columns: dict[str, Callable[[MetricsRow], str]] = {
        "arm": lambda row: row["arm"],
        "seconds of training": lambda row: f"{row['seconds']:.0f}",
    }
    if evidence.threshold is not None:
        columns["seconds to threshold"] = lambda row: _seconds(row["seconds_to_threshold"])
    return "## Time\n\nMedians over runs.\n\n" + _table(columns, tables.summary(evidence))


def _table(columns: dict[str, Callable[[MetricsRow], str]], rows: Sequence[MetricsRow]) -> str:
    return markdown_table(list(columns), [[_cell(tell, row) for tell in columns.values()] for row in rows])


def _cell(tell: Callable[[MetricsRow], str], row: MetricsRow) -> str:
    try:
        return tell(row)
    except KeyError:  # an arm without runs, or whose runs have no score
        return "-"


def _plus_minus(row: MetricsRow) -> str:
    error = row["score_se"]
    return f"{row['score']:.4g}" + ("" if math.isnan(error) else f" +- {error:.2g}")


def _interval_text(
    row: MetricsRow, name: str, tell: Callable[[MetricsRow, str], str] = lambda row, name: f"{row[name]:.3g}"
) -> str:
    return f" ({tell(row, name + '_low')} to {tell(row, name + '_high')})"


def _steps(row: MetricsRow, name: str) -> str:
    return f"> {row['budget']}" if math.isinf(row[name]) else f"{row[name]:g}"


def _seconds(value: float) -> str:
    return "never" if math.isinf(value) else f"{value:.0f}"
