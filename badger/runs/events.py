"""TensorBoard events of a run. Where they cannot be written, a warning says so once, and training goes on."""

import contextlib
import math
import shutil
import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from badger.evaluation.inspection import Embeddings, Inspection
from badger.runs.tags import TAGS, evaluation_tag, is_averaged, metric_tag, reference_tag, score_chart

PROJECTED = "experts"
"""The name of the points in TensorBoard's projector, and their sub-folder, STEP/experts."""


class EventWriter:
    """Writes TensorBoard events of a run folder, until that fails.

    Args:
        folder: the run folder.
        step: outer steps done; older events after it are purged.
        references: score -> {name of a reference line: value}, plotted with the curves.
    """

    def __init__(self, folder: Path, step: int, references: dict[str, dict[str, float]]):
        self.folder, self.references = folder, references
        self._writer: Any = None
        self._print_traceback = threading.excepthook
        threading.excepthook = self._except_of_writer
        with self._while_possible():
            self._writer = _summary_writer(folder, step)

    def log_metrics(self, rows: list[dict[str, Any]], scalars: Mapping[str, float]) -> None:
        """Writes the means of the metrics of some outer steps.

        Args:
            rows: metrics of each step, oldest first.
            scalars: further ones at the last of these steps, by tag.
        """
        last = rows[-1]["step"]
        with self._while_possible() as writer:
            for name in rows[-1].keys() - {"step", "seconds", "finite"}:
                values = [row[name] for row in rows if math.isfinite(row.get(name, math.nan))]  # eval/*: of one row
                if values:
                    value = sum(values) / len(values) if is_averaged(name) else values[-1]
                    writer.add_scalar(metric_tag(name), value, last)
            for tag, value in scalars.items():
                writer.add_scalar(tag, value, last)
            for score, lines in self.references.items():
                for line, value in lines.items():
                    writer.add_scalar(reference_tag(score, line), value, last)

    def log_inspection(self, inspection: Inspection, step: int) -> None:
        """Writes scalars and figures of an inspection of the agent.

        Args:
            inspection: from `inspect_agent`.
            step: outer step.
        """
        with self._while_possible() as writer:
            for tag, value in inspection.scalars.items():
                writer.add_scalar(tag, value, step)
            for tag, figure in inspection.plots.items():
                writer.add_figure(tag, figure, step)

    def figure(self, tag: str, figure: Any, step: int) -> None:
        """Writes a figure.

        Args:
            tag: its name.
            figure: of matplotlib.
            step: outer step.
        """
        with self._while_possible() as writer:
            writer.add_figure(tag, figure, step)

    def hparams(self, arguments: dict[str, Any], score: str) -> None:
        """Writes the run's arguments and its result metrics for TensorBoard's HPARAMS tab.

        Args:
            arguments: of the recipe.
            score: the score whose curves are the results.
        """
        values = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in arguments.items()}
        with self._while_possible() as writer:
            from torch.utils.tensorboard.summary import hparams

            # not add_hparams, which would create a sub-folder, for TensorBoard another run, at each call
            for summary in hparams(values, dict.fromkeys([f"{score}/ema", evaluation_tag(score)])):
                writer.file_writer.add_summary(summary)

    def embeddings(self, embeddings: Embeddings, step: int) -> None:
        """Writes points for TensorBoard's projector, which replace those of an earlier step; once, at the end.

        Args:
            embeddings: points, header and labels, from `inspect_agent`.
            step: outer step.
        """
        with self._while_possible() as writer:
            for old in self.folder.glob(f"[0-9]*/{PROJECTED}"):
                shutil.rmtree(old)
                with contextlib.suppress(OSError):  # not empty: it has files of others
                    old.parent.rmdir()
            points, header, labels = embeddings
            writer.add_embedding(points, labels, metadata_header=header, global_step=step, tag=PROJECTED)

    def layout(self, score: str, names: set[str], *, evaluated: bool) -> None:
        """Writes the layout of TensorBoard's custom scalars: which curves share a chart.

        A tag there matches all tags that start with it: a population's chart has a line for each member.

        Args:
            score: the task's main score.
            names: the core's metrics.
            evaluated: whether the run is evaluated while it trains.
        """
        lengths = [TAGS["episodic_length"], *[TAGS["eval/episodic_length"]] * evaluated]
        charts = {
            "outer loop": {
                name: ["Multiline", score_chart(name, self.references.get(name, {}), evaluated=evaluated)]
                for name in dict.fromkeys((score, "return"))
            }
            | {
                "episode length": ["Multiline", lengths],
                "norms": ["Multiline", ["norm/gradient$", "norm/parameter$"]],
                "learning rate": ["Multiline", [TAGS["lr"]]],
            },
            "inner loop": {"scores at inner steps": ["Multiline", [r"inner/.*/step_.*"]]},
            "memory": {name: ["Multiline", [f"memory/{name}"]] for name in sorted(names)},
            "comms": {
                "traffic a step": ["Multiline", ["comms/messages", "comms/floats"]],
                "attention entropy": ["Multiline", ["comms/attention_entropy"]],
            },
            "experts": {"similarity": ["Multiline", ["experts/similarity"]]},
        }
        with self._while_possible() as writer:
            writer.add_custom_scalars({title: chart for title, chart in charts.items() if chart})

    def flush(self) -> None:
        """Flushes the events to the disk."""
        with self._while_possible() as writer:
            writer.flush()

    def close(self) -> None:
        """Flushes the events and closes their file."""
        with self._while_possible() as writer:
            writer.close()
        self._writer = None
        if threading.excepthook == self._except_of_writer:
            threading.excepthook = self._print_traceback

    @contextmanager
    def _while_possible(self) -> Iterator[Any]:
        """The writer; an error of the system, such as a full disk, ends all writing with a warning."""
        try:
            yield self._writer or _Nowhere()
        except OSError as error:
            warnings.warn(
                f"TensorBoard events cannot be written to {self.folder} any more: {error}. Training goes on without "
                "them; metrics.jsonl has the curves",
                stacklevel=6,
            )
            writer, self._writer = self._writer, None
            with contextlib.suppress(OSError):
                (writer or _Nowhere()).close()

    def _except_of_writer(self, args: Any) -> None:
        """TensorBoard's thread raises an error of the disk in the next call of its writer; no traceback, too."""
        if type(args.thread).__name__ != "_AsyncWriterThread":
            self._print_traceback(args)


class _Nowhere:
    """Stands for a SummaryWriter where there is none: every method does nothing."""

    def __getattr__(self, name: str) -> Any:
        return self if name == "file_writer" else lambda *args, **options: None


def log_evaluation(folder: Path, score: str, value: float, step: int) -> None:
    """Writes the score of an evaluation.

    Args:
        folder: the run folder.
        score: name of the score.
        value: its mean.
        step: outer step.
    """
    writer = _summary_writer(folder, None) or _Nowhere()
    writer.add_scalar(evaluation_tag(score), value, step)
    writer.close()


def _summary_writer(folder: Path, step: int | None) -> Any:
    """A SummaryWriter that purges older events after `step` (None: none); None without TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warnings.warn("tensorboard is not installed, no events are written: pip install tensorboard", stacklevel=5)
        return None
    purge_step, before = None if step is None else step + 1, _event_files(folder)
    writer = SummaryWriter(folder, purge_step=purge_step)
    new = _event_files(folder) - before
    if new and before and max(new) < max(before):
        # TensorBoard reads files in the order of their names: second, host, process, number; but "10" is before "9"
        writer.close()
        for name in new:
            (folder / name).unlink()
        time.sleep(1)
        writer = SummaryWriter(folder, purge_step=purge_step)
    return writer


def _event_files(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("events.out.tfevents.*")}
