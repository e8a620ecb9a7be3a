"""Metrics of a run on disk: metrics.jsonl with a line for each outer step, and TensorBoard events."""

import contextlib
import json
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any, TypedDict

from badger.errors import DamagedFile
from badger.evaluation.inspection import Embeddings, Inspection
from badger.runs.files import as_path, atomic_write
from badger.runs.json_files import describe, mismatch

MetricsRow = dict[str, Any]

PROJECTED = "experts"
"""The name of the points in TensorBoard's projector, and their sub-folder, STEP/experts."""


def read_metrics(folder: str | os.PathLike[str]) -> list[MetricsRow]:
    """The metrics of a run, a row for each outer step, without a last line that a crash has truncated.

    Args:
        folder: the run folder.

    Raises:
        FileNotFoundError: the folder has no metrics.
        DamagedFile: a line is no JSON object of numbers, or has no step.
    """
    file = as_path(folder) / "metrics.jsonl"
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no metrics: there is no {file}")
    return [metrics_row(line, file, number) for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], 1)]


def metrics_row(line: bytes, file: Path, number: int) -> MetricsRow:
    """A line of metrics.jsonl.

    Args:
        line: JSON.
        file: the file, for the message.
        number: of the line, from 1.

    Raises:
        DamagedFile: the line is no JSON object of numbers, or has no step.
    """
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise DamagedFile(f"line {number} of {file} is damaged: {error}", file=file, place=number) from error
    found = mismatch(row, dict[str, float | bool | None], "row") or mismatch(row, _Row, "row")
    if found is not None:
        raise DamagedFile(f"line {number} of {file} is damaged: {describe(found)}", file=file, place=number)
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
        tensorboard: write events, too.
    """

    def __init__(self, folder: Path, step: int, references: dict[str, dict[str, float]], *, tensorboard: bool = True):
        self.folder, self.references = folder, references
        self._truncate(step)
        self.file = (folder / "metrics.jsonl").open("a")
        self.events = _summary_writer(folder, step) if tensorboard else None

    def _truncate(self, step: int) -> None:
        file = self.folder / "metrics.jsonl"
        if file.exists():
            rows = [row for row in read_metrics(self.folder) if row["step"] <= step]
            atomic_write(file, "".join(json.dumps(row) + "\n" for row in rows).encode())

    def log_metrics(self, rows: list[MetricsRow], speed: float) -> None:
        """Writes the metrics of some outer steps; TensorBoard gets their means.

        Args:
            rows: metrics of each step, oldest first.
            speed: outer steps a second.
        """
        for row in rows:
            self.file.write(json.dumps(nan_to_none(row)) + "\n")
        if self.events is None:
            return
        last = rows[-1]["step"]
        for name in rows[-1].keys() - {"step", "seconds", "finite"}:
            values = [row[name] for row in rows if math.isfinite(row[name])]
            if values:
                use_last = name.endswith("_ema") or name.split("/")[0] == "lr"  # not a quantity of a single step
                self.events.add_scalar(_tag(name), values[-1] if use_last else sum(values) / len(values), last)
        self.events.add_scalar("speed/outer_steps_per_second", speed, last)
        for score, lines in self.references.items():
            for line, value in lines.items():
                self.events.add_scalar(f"{score}/reference/{line.replace(' ', '_')}", value, last)

    def log_inspection(self, inspection: Inspection, step: int) -> None:
        """Writes scalars and figures of an inspection of the agent, to TensorBoard only.

        Args:
            inspection: from `inspect_agent`.
            step: outer step.
        """
        if self.events is None:
            return
        for tag, value in inspection.scalars.items():
            self.events.add_scalar(tag, value, step)
        for tag, figure in inspection.plots.items():
            self.events.add_figure(tag, figure, step)

    def hparams(self, arguments: dict[str, Any], score: str) -> None:
        """Writes the run's arguments and its result metrics for TensorBoard's HPARAMS tab.

        Args:
            arguments: of the recipe.
            score: the score whose curves are the results.
        """
        if self.events is None:
            return
        from torch.utils.tensorboard.summary import hparams

        values = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in arguments.items()}
        # not add_hparams, which would create a sub-folder, for TensorBoard another run, at each call
        for summary in hparams(values, dict.fromkeys([f"{score}/ema", evaluation_tag(score)])):
            self.events.file_writer.add_summary(summary)

    def embeddings(self, embeddings: Embeddings, step: int) -> None:
        """Writes points for TensorBoard's projector, which replace those of an earlier step; once, at the end.

        Args:
            embeddings: points, header and labels, from `inspect_agent`.
            step: outer step.
        """
        if self.events is None:
            return
        for old in self.folder.glob(f"[0-9]*/{PROJECTED}"):
            shutil.rmtree(old)
            with contextlib.suppress(OSError):  # not empty: it has files of others
                old.parent.rmdir()
        points, header, labels = embeddings
        self.events.add_embedding(points, labels, metadata_header=header, global_step=step, tag=PROJECTED)

    def flush(self) -> None:
        """Flushes everything to the disk. Before a checkpoint, so that its metrics are complete."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if self.events is not None:
            self.events.flush()

    def close(self) -> None:
        """Closes the files; an error of the disk is not raised again, `flush` has raised it."""
        with contextlib.suppress(OSError):
            self.file.close()
        if self.events is not None:
            with contextlib.suppress(OSError):
                self.events.close()

    def layout(self, score: str, names: set[str]) -> None:
        """Writes the layout of TensorBoard's custom scalars: which curves share a chart.

        A tag there matches all tags that start with it: a population's chart has a line for each member.

        Args:
            score: the task's main score.
            names: the core's metrics.
        """
        if self.events is None:
            return
        lines = [f"{score}/reference/{line.replace(' ', '_')}" for line in self.references.get(score, {})]
        charts = {
            "outer loop": {
                score: ["Multiline", [f"{score}/train$", f"{score}/ema", *lines]],
                "norms": ["Multiline", ["norm/gradient$", "norm/parameter$"]],
                "learning rate": ["Multiline", ["learning_rate"]],
            },
            "inner loop": {"scores at inner steps": ["Multiline", [r"inner/.*/step_.*"]]},
            "memory": {name: ["Multiline", [f"memory/{name}"]] for name in sorted(names)},
            "comms": {
                "traffic a step": ["Multiline", ["comms/messages", "comms/floats"]],
                "attention entropy": ["Multiline", ["comms/attention_entropy"]],
            },
            "experts": {"similarity": ["Multiline", ["experts/similarity"]]},
        }
        self.events.add_custom_scalars({title: chart for title, chart in charts.items() if chart})


def evaluation_tag(score: str) -> str:
    """The TensorBoard tag of a score on evaluation episodes.

    Args:
        score: name of the score.
    """
    return f"{score}/evaluated"


def log_evaluation(folder: Path, score: str, value: float, step: int) -> None:
    """Writes the score of an evaluation to TensorBoard.

    Args:
        folder: the run folder.
        score: name of the score.
        value: its mean.
        step: outer step.
    """
    events = _summary_writer(folder, None)
    if events is not None:
        events.add_scalar(evaluation_tag(score), value, step)
        events.close()


def _tag(name: str) -> str:
    """The TensorBoard tag of a metric: error -> error/train, error/seed_3_ema -> error/ema/seed_3."""
    tags = {"gradient_norm": "norm/gradient", "parameter_norm": "norm/parameter", "lr": "learning_rate"}
    score, *member = name.removesuffix("_ema").split("/")
    kind = "ema" if name.endswith("_ema") else "train"
    return "/".join([tags.get(score, f"{score}/{kind}"), *member])


def _summary_writer(folder: Path, step: int | None) -> Any:
    """A SummaryWriter that purges older events after `step` (None: none); None without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warnings.warn("tensorboard is not installed, no events are written: pip install tensorboard", stacklevel=3)
        return None
    return SummaryWriter(folder, purge_step=None if step is None else step + 1)
