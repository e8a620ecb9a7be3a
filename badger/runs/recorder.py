"""Metrics of a run on disk: metrics.jsonl, with a line for each outer step."""

import contextlib
import json
import math
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

from badger.runs.events import EventWriter
from badger.runs.files import as_path, atomic_write, write_all
from badger.runs.json_files import describe, find_control_characters, mismatch

METRICS = "metrics.jsonl"
MetricsRow = dict[str, Any]


class Metrics(NamedTuple):
    """The good rows of a metrics.jsonl, and what is wrong with its other lines.

    Args:
        rows: a row for each outer step, in the order of the file.
        problems: what is wrong, by line number.
        truncated: whether the last line has no end, as a process that was killed leaves it.
    """

    rows: list[MetricsRow]
    problems: dict[int, str]
    truncated: bool


def read_metrics(folder: str | os.PathLike[str]) -> list[MetricsRow]:
    """The metrics of a run, a row for each outer step, without a last line that a crash has truncated.

    Damaged lines are left out, with a warning that names them.

    Args:
        folder: the run folder.

    Raises:
        FileNotFoundError: the folder has no metrics.
    """
    found = scan_metrics(folder)
    if found.problems:
        warnings.warn(describe_problems(folder, found.problems), stacklevel=2)
    return found.rows


def scan_metrics(folder: str | os.PathLike[str]) -> Metrics:
    """The rows of a run's metrics, and every line that is damaged, missing or there twice.

    Args:
        folder: the run folder.

    Raises:
        FileNotFoundError: the folder has no metrics.
    """
    file = as_path(folder) / METRICS
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no metrics: there is no {file}")
    rows: list[MetricsRow] = []
    problems: dict[int, str] = {}
    *lines, rest = file.read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        try:
            row = _parse_row(line)
        except ValueError as error:
            problems[number] = str(error)
            continue
        last = rows[-1]["step"] if rows else row["step"] - 1
        if row["step"] <= last:
            problems[number] = f"outer step {row['step']} again, after {last}"
            continue
        if row["step"] > last + 1 and number - 1 not in problems:
            problems[number] = f"outer step {row['step']} follows {last}: those in between are missing"
        rows.append(row)
    return Metrics(rows, problems, bool(rest))


def describe_problems(folder: str | os.PathLike[str], problems: dict[int, str]) -> str:
    """One line about the damaged lines of a metrics.jsonl.

    Args:
        folder: the run folder.
        problems: what is wrong, by line number.
    """
    first = "; ".join(f"line {number}: {problem}" for number, problem in list(problems.items())[:5])
    more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
    return f"{as_path(folder) / METRICS} is damaged, its other lines are used. {first}{more}"


def _parse_row(line: bytes) -> MetricsRow:
    """The row of a line. Raises ValueError if it is none."""
    if not line.strip(b"\0"):
        raise ValueError("a hole: no text, or bytes of value 0")
    try:
        row = json.loads(line.decode())
    except UnicodeDecodeError as error:
        raise ValueError(f"bytes that are no text: {line[error.start : error.start + 4]!r}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from error
    found = mismatch(row, dict[str, float | bool | None], "row") or mismatch(row, _Row, "row")
    if found is not None:
        raise ValueError(describe(found))
    if (text := find_control_characters(row)) is not None:
        raise ValueError(f"control characters: {text!r}")
    return row


class _Row(TypedDict):
    step: int


def nan_to_none(row: MetricsRow) -> MetricsRow:
    """The row with None in place of NaN and infinity, which JSON does not have.

    Args:
        row: metrics by name.
    """
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


class MetricsWriter:
    """Appends metrics and TensorBoard events to a run folder.

    The constructor deletes everything after `step`, so that no part of a curve is there twice in a resumed run.

    Args:
        folder: the run folder.
        step: outer steps done.
        references: score -> {name of a reference line: value}, plotted with the curves.
        start_step: outer steps done before the first row of the file.
        tensorboard: write events, too.

    Raises:
        OSError: that of the system.
    """

    def __init__(
        self,
        folder: Path,
        step: int,
        references: dict[str, dict[str, float]],
        *,
        start_step: int = 0,
        tensorboard: bool = True,
    ):
        self.folder, self.path = folder, folder / METRICS
        self._truncate(start_step, step)
        self.file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self.events = EventWriter(folder, step, references) if tensorboard else None

    def _truncate(self, start_step: int, step: int) -> None:
        """Keeps the rows up to an outer step; of a damaged file also a copy, as nothing of it is to be lost."""
        rows: list[MetricsRow] = []
        if self.path.exists():
            found = scan_metrics(self.folder)
            rows = [row for row in found.rows if row["step"] <= step]
            if found.problems:
                copy = self.path.with_name(f"metrics-damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.jsonl")
                atomic_write(copy, self.path.read_bytes())
                warnings.warn(f"{describe_problems(self.folder, found.problems)}. A copy: {copy}", stacklevel=5)
            if len(rows) < len(found.rows) or found.problems or found.truncated:
                atomic_write(self.path, "".join(json.dumps(row) + "\n" for row in rows).encode())
        last = rows[-1]["step"] if rows else start_step
        if last < step:
            warnings.warn(
                f"{self.path} has no rows for outer steps {last + 1} to {step}: the curves have a gap", stacklevel=5
            )

    def log_metrics(self, rows: list[MetricsRow], scalars: Mapping[str, float]) -> None:
        """Writes the metrics of some outer steps; TensorBoard gets their means.

        Args:
            rows: metrics of each step, oldest first.
            scalars: further ones for TensorBoard alone, by tag, such as the speed.

        Raises:
            OSError: that of the system.
        """
        write_all(self.file, "".join(json.dumps(nan_to_none(row)) + "\n" for row in rows).encode())
        if self.events is not None:
            self.events.log_metrics(rows, scalars)

    def flush(self) -> None:
        """Flushes everything to the disk. Before a checkpoint, so that its metrics are complete.

        Raises:
            OSError: that of the system.
        """
        os.fsync(self.file)
        if self.events is not None:
            self.events.flush()

    def is_current(self) -> bool:
        """Whether the file still has its name: False once the folder was removed or renamed."""
        try:
            return os.path.samestat(os.fstat(self.file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Closes the files; an error of the disk is not raised again, `flush` has raised it."""
        with contextlib.suppress(OSError):
            os.close(self.file)
        if self.events is not None:
            self.events.close()
