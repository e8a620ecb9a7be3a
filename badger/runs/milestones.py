"""What came of runs, in numbers that can stand in a table."""

from collections.abc import Sequence
from typing import Any

from badger.runs.recorder import MetricsRow
from badger.runs.run import SMOOTHING

MIN_AVERAGED_STEPS = round(
    1 / (1 - SMOOTHING)
)  # batches that a moving average tells of; before, a lucky one can make it


def learning_milestones(
    rows: Sequence[MetricsRow], score: str, *, threshold: float, at: Sequence[int]
) -> dict[Any, Any]:
    """How fast a run learned, by the moving average of its training batches' score (lower is better). Of one member of
    a population: score="final_error/seed_3".

    Returns under "steps" the first outer step at which the average is below the threshold (None: never, so the run is
    censored at its budget), and the average at each outer step in `at`, by step.
    """
    first = first_crossing(rows, score, threshold)
    values = {row["step"]: row[f"{score}_average"] for row in rows}
    missing = [step for step in at if step not in values]
    if missing:
        raise ValueError(f"the run has no outer step {missing[0]}; it has {len(values)} steps, up to {max(values)}")
    return {"steps": None if first is None else first["step"], **{step: values[step] for step in at}}


def first_crossing(
    rows: Sequence[MetricsRow], score: str, threshold: float, better: str = "lower"
) -> MetricsRow | None:
    """The first row whose moving average of the score is better than the threshold, "lower" or "higher". Averages of
    less than `MIN_AVERAGED_STEPS` batches do not count: the first one is a batch's own score."""
    sign = 1 if better == "lower" else -1
    due = [row for row in rows if row[f"{score}_average"] is not None]  # null: no score was due so far
    settled = due[MIN_AVERAGED_STEPS - 1 :]
    return next((row for row in settled if sign * row[f"{score}_average"] < sign * threshold), None)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
