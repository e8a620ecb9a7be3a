"""What came of runs, in numbers that can stand in a table."""

from collections.abc import Sequence
from typing import Any

from badger.recorder import Row


def milestones(rows: Sequence[Row], score: str, *, threshold: float, at: Sequence[int]) -> dict[Any, Any]:
    """How fast a run learned, by the moving average of its training batches' score (lower is better). Of one member of
    a population: score="final_error/seed_3".

    Returns under "steps" the first outer step at which the average is below the threshold (None: never, so the run is
    censored at its budget), and the average at each outer step in `at`, by step.
    """
    name = f"{score}_average"
    below = (row["step"] for row in rows if row[name] < threshold)
    values = {row["step"]: row[name] for row in rows}
    missing = [step for step in at if step not in values]
    if missing:
        raise ValueError(f"the run has no outer step {missing[0]}; it has {len(values)} steps, up to {max(values)}")
    return {"steps": next(below, None), **{step: values[step] for step in at}}


def markdown(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
