"""Learning speed of runs, in numbers for tables: first crossings of a threshold and moving averages."""

from collections.abc import Sequence
from typing import Any

from badger.runs.recorder import MetricsRow
from badger.runs.run import SMOOTHING

MIN_AVERAGED_STEPS = round(1 / (1 - SMOOTHING))
"""The effective number of batches in a moving average. An average of fewer batches may be good by chance."""


def learning_milestones(
    rows: Sequence[MetricsRow], score: str, *, threshold: float, steps: Sequence[int]
) -> dict[Any, Any]:
    """How fast a run learned, by the moving average of a score over its training batches (lower is better).

    Args:
        rows: the run's metrics, from `read_metrics`.
        score: name of the score; of a member of a population such as "final_error/seed_3".
        threshold: of the score.
        steps: outer steps whose moving average is wanted.

    Returns:
        Under "steps" the first outer step whose average is below the threshold (None: never, the run is censored at
        its budget), and the average at each step in `steps`, by step.

    Raises:
        ValueError: the run has fewer outer steps.
    """
    first = first_crossing(rows, score, threshold)
    values = {row["step"]: row[f"{score}_ema"] for row in rows}
    missing = [step for step in steps if step not in values]
    if missing:
        raise ValueError(
            f"steps={missing[0]}, want an outer step of the run, which has {len(values)}, up to {max(values)}"
        )
    return {"steps": None if first is None else first["step"], **{step: values[step] for step in steps}}


def first_crossing(
    rows: Sequence[MetricsRow], score: str, threshold: float, better: str = "lower"
) -> MetricsRow | None:
    """The first row whose moving average of a score is better than a threshold; None if there is none.

    Averages of fewer than `MIN_AVERAGED_STEPS` batches are skipped: the first one is a batch's own score.

    Args:
        rows: the run's metrics, from `read_metrics`.
        score: name of the score.
        threshold: of the score.
        better: "lower" or "higher".
    """
    scored_rows = [row for row in rows if row[f"{score}_ema"] is not None]  # None: no score yet
    return first_better(scored_rows[MIN_AVERAGED_STEPS - 1 :], f"{score}_ema", threshold, better)


def first_better(rows: Sequence[MetricsRow], metric: str, threshold: float, better: str) -> MetricsRow | None:
    """The first row whose metric is better than a threshold; None if there is none.

    Args:
        rows: of the run's metrics, all with a value.
        metric: its name.
        threshold: of the metric.
        better: "lower" or "higher".
    """
    sign = 1 if better == "lower" else -1
    return next((row for row in rows if sign * row[metric] < sign * threshold), None)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown.

    Args:
        header: titles of the columns.
        rows: cells of each row.
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
