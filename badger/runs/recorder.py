"""What a run writes down as it goes: a line of metrics for each outer step, and TensorBoard events."""

import contextlib
import json
import math
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

from badger.evaluation.inspection import Embeddings, Inspection
from badger.runs import checkpoint

MetricsRow = dict[str, Any]

PROJECTED = "experts"  # the name of the points in TensorBoard's projector, in the folder STEP/experts


def read_metrics(folder: str | Path) -> list[MetricsRow]:
    """The metrics of a run, a row for each outer step. A last line that was cut off by a crash is left out.

    Raises:
        FileNotFoundError: there are none. ValueError: a line is damaged.
    """
    file = Path(folder) / "metrics.jsonl"
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no metrics: there is no {file}")
    rows = []
    for number, line in enumerate(file.read_text().split("\n")[:-1], 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"line {number} of {file} is damaged: {error}") from error
    return rows


def nan_to_none(row: MetricsRow) -> MetricsRow:
    """NaN and infinity, which JSON does not know, become null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


class MetricsWriter:
    """Writes into a run's folder. Opening it at a step cuts off whatever was written after that step, so that a
    resumed run has no piece of a curve twice.

    Args:
        folder: of the run.
        step: outer steps done.
        references: score -> {line: value}, drawn beside the curves.
        tensorboard: write events as well.
    """

    def __init__(self, folder: Path, step: int, references: dict[str, dict[str, float]], *, tensorboard: bool = True):
        self.folder, self.references = folder, references
        self._truncate(step)
        self.file = (folder / "metrics.jsonl").open("a")
        self.events = _writer(folder, step) if tensorboard else None

    def _truncate(self, step: int) -> None:
        file = self.folder / "metrics.jsonl"
        if file.exists():
            kept = [row for row in read_metrics(self.folder) if row["step"] <= step]
            checkpoint.atomic_write(file, "".join(json.dumps(row) + "\n" for row in kept).encode())

    def log_metrics(self, rows: list[MetricsRow], speed: float) -> None:
        """Metrics of some outer steps, oldest first; TensorBoard gets their means. speed: outer steps a second."""
        for row in rows:
            self.file.write(json.dumps(nan_to_none(row)) + "\n")
        if self.events is None:
            return
        last = rows[-1]["step"]
        for name in rows[-1].keys() - {"step", "seconds", "finite"}:
            values = [row[name] for row in rows if math.isfinite(row[name])]
            if values:
                averaged = name.endswith("_average") or name.split("/")[0] == "lr"  # of the moment, not of these steps
                self.events.add_scalar(_tag(name), values[-1] if averaged else sum(values) / len(values), last)
        self.events.add_scalar("speed/outer_steps_per_second", speed, last)
        for score, lines in self.references.items():
            for line, value in lines.items():
                self.events.add_scalar(f"{score}/reference/{line.replace(' ', '_')}", value, last)

    def log_inspection(self, view: Inspection, step: int) -> None:
        """A look inside the agent."""
        if self.events is None:
            return
        for tag, value in view.scalars.items():
            self.events.add_scalar(tag, value, step)
        for tag, picture in view.plots.items():
            self.events.add_figure(tag, picture, step)

    def hparams(self, arguments: dict[str, Any], score: str) -> None:
        """For TensorBoard's HPARAMS tab: this run's arguments, and which of its curves tell how it ended."""
        if self.events is None:
            return
        from torch.utils.tensorboard.summary import hparams

        known = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in arguments.items()}
        # the events' own writer: add_hparams would make a sub-folder, another run in TensorBoard's eyes, at each call
        for summary in hparams(known, dict.fromkeys([f"{score}/average", evaluation_tag(score)])):
            self.events.file_writer.add_summary(summary)

    def embeddings(self, embeddings: Embeddings, step: int) -> None:
        """Points for TensorBoard's projector, in the place of those of an earlier step: once, when a training ends."""
        if self.events is None:
            return
        for old in self.folder.glob(f"[0-9]*/{PROJECTED}"):
            shutil.rmtree(old)
            with contextlib.suppress(OSError):  # it holds something else, which is not ours
                old.parent.rmdir()
        points, header, labels = embeddings
        self.events.add_embedding(points, labels, metadata_header=header, global_step=step, tag=PROJECTED)

    def flush(self) -> None:
        """Onto the disk: before a checkpoint, so that no step is missing between it and the curves."""
        self.file.flush()
        os.fsync(self.file.fileno())
        if self.events is not None:
            self.events.flush()

    def close(self) -> None:
        """Rows that no flush has written are lost where the disk is full; that error was heard from `flush`."""
        with contextlib.suppress(OSError):
            self.file.close()
        if self.events is not None:
            with contextlib.suppress(OSError):
                self.events.close()

    def layout(self, score: str, names: set[str]) -> None:
        """TensorBoard's custom scalars: what belongs together in one chart. A tag there stands for all that begin with
        it: a population's chart has a line for the average of each member."""
        if self.events is None:
            return
        lines = [f"{score}/reference/{line.replace(' ', '_')}" for line in self.references.get(score, {})]
        charts = {
            "outer loop": {
                score: ["Multiline", [f"{score}/train$", f"{score}/average", *lines]],
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
    """Of a score on evaluation episodes: a curve with a point for each time that it was looked at."""
    return f"{score}/evaluated"


def log_evaluation(folder: Path, score: str, value: float, step: int) -> None:
    """A point of that curve."""
    events = _writer(folder, None)
    if events is not None:
        events.add_scalar(evaluation_tag(score), value, step)
        events.close()


def _tag(name: str) -> str:
    """One group of charts a score: error -> error/train, error/seed_3_average -> error/average/seed_3."""
    fixed = {"gradient_norm": "norm/gradient", "parameter_norm": "norm/parameter", "lr": "learning_rate"}
    score, *member = name.removesuffix("_average").split("/")
    kind = "average" if name.endswith("_average") else "train"
    return "/".join([fixed.get(score, f"{score}/{kind}"), *member])


def _writer(folder: Path, step: int | None) -> Any:
    """TensorBoard forgets what stands in the folder's older events after that step; None: nothing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warnings.warn("tensorboard is not installed, no events are written: pip install tensorboard", stacklevel=3)
        return None
    return SummaryWriter(folder, purge_step=None if step is None else step + 1)
