"""The outer loop of training: updates, metrics, checkpoints, interrupts and shutdown handling."""

import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from badger import distributed
from badger.errors import Diverged, EnvFailed
from badger.evaluation.divergence import diagnose_divergence, divergence_advice
from badger.evaluation.inspection import inspect_agent
from badger.rng import generator
from badger.runs import checkpoint
from badger.runs.files import remove_temporary
from badger.runs.recorder import MetricsRow, MetricsWriter
from badger.runs.run import SMOOTHING, Run
from tasks import EnvError


def train(run: Run, outer_steps: int | None = None, *, quiet: bool | None = None, tensorboard: bool = True) -> None:
    """Trains a run to its number of outer steps, with progress bar, metrics, checkpoints and inspections.

    If the run has a folder, Ctrl-C and SIGTERM save a checkpoint before the training ends. In a distributed run
    (`badger.distributed`) rank 0 writes, and all processes stop after the same outer step.

    Args:
        run: learner, number of outer steps and folder.
        outer_steps: train for this many more outer steps instead.
        quiet: no progress bar; None: none if standard error is not a terminal.
        tensorboard: write TensorBoard events, too.

    Raises:
        Diverged: a loss or gradient was not finite; names the last checkpoint.
        EnvFailed: an external environment failed; names the last checkpoint.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after saving.
        RunExists: the folder has another run.
        OSError: a checkpoint or the metrics could not be written; the previous checkpoint is intact.
        ProcessLost: another process has died.
        RuntimeError: the processes have different parameters.
    """
    goal = run.outer_steps if outer_steps is None else run.step + outer_steps
    if run.step >= goal:
        return
    _check_world_size(run)
    quiet = True if distributed.rank() else quiet
    bar = tqdm(total=goal, initial=run.step, disable=quiet, unit="step", dynamic_ncols=True)
    with _catch_signals() as signals, _explain_env_error(run), _metrics_writer(run, tensorboard) as recorder, bar:
        pending: list[tuple[int, dict[str, Any]]] = []
        start_time, last, stopped = time.perf_counter(), False, False
        while not last:
            pending.append((run.step + 1, run.learner.update()))
            stopped = distributed.any_process(bool(signals))  # a later signal ends the training one step later
            last = stopped or run.step == goal
            save = last or run.step % run.save_every == 0
            with _explain_os_error(run):
                if save or run.step % run.log_every == 0:
                    start_time = _flush(run, pending, recorder, start_time, bar)
                if recorder and (last or run.step % run.inspect_every == 0):
                    rng = generator(run.learner.seed, "look", run.step, device=run.device)
                    inspection = inspect_agent(
                        run.learner.agent, run.learner.task.evaluation_task, rng, policy=run.learner.eval_policy
                    )
                    recorder.log_inspection(inspection, run.step)
                    if last:
                        recorder.embeddings(inspection.embeddings, run.step)
                    start_time = time.perf_counter()
                if recorder and run.step == run.outer_steps:
                    recorder.hparams(run.configuration, run.learner.task.score)
                if recorder and save:
                    recorder.flush()
                    run.save()
            if save:
                _check_same_parameters(run)
    if signals or stopped:
        raise KeyboardInterrupt(
            f"stopped at outer step {run.step}" + (f", saved in {run.folder}" if run.folder else "")
        )


def _check_world_size(run: Run) -> None:
    """Raises if the processes have different parameters; warns if their number differs from the saved one."""
    _check_same_parameters(run)
    previous, current = run.processes, distributed.world_size()
    if previous is not None and previous != current and distributed.rank() == 0:
        warnings.warn(
            f"outer step {run.step} was saved by {previous} process(es), and {current} continue: the parameters are "
            "exact, but the episodes from here on differ from those of an uninterrupted run",
            stacklevel=3,
        )
    run.processes = current


def _check_same_parameters(run: Run) -> None:
    if not distributed.same_on_all_ranks([torch.tensor(run.step), *run.learner.agent.state_dict().values()]):
        raise RuntimeError(
            f"the processes have different parameters (rank {distributed.rank()} at outer step {run.step}): "
            "each must build the agent from the same seed, load the same checkpoint, and average its gradients"
        )


@contextmanager
def _metrics_writer(run: Run, tensorboard: bool) -> Iterator[MetricsWriter | None]:
    if run.folder is None or distributed.rank() > 0:
        yield None
        return
    run.create()
    for folder in (run.folder, run.folder / "checkpoints"):
        remove_temporary(folder)
    task, core = run.learner.task, run.learner.agent.core
    recorder = MetricsWriter(run.folder, run.step, task.references(), tensorboard=tensorboard)
    example = core.initial_state(torch.zeros(1, 1, core.input_size, device=run.device))
    recorder.layout(task.score, set(core.metrics(example)))
    try:
        yield recorder
    finally:
        recorder.close()


@contextmanager
def _explain_os_error(run: Run) -> Iterator[None]:
    """Adds to an error of the file system its consequence for the run."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: outer step {run.step} could not be saved; the previous checkpoint is intact. "
            f"Once the cause is fixed, continue with: {run.shell_command('resume')}",
            error.filename,
        ) from error


@contextmanager
def _explain_env_error(run: Run) -> Iterator[None]:
    """Adds to an error of an external environment its consequence for the run."""
    try:
        yield
    except EnvError as error:
        advice = f" Once the cause is fixed, continue with: {run.shell_command('resume')}" if run.folder else ""
        raise EnvFailed(
            f"{error}\n\nThe run stopped after outer step {run.step}. Last checkpoint: {_last_checkpoint(run)}."
            f"{advice}",
            **error.context,
        ) from error


def _last_checkpoint(run: Run) -> str:
    """The file of the last checkpoint, for a message."""
    files = None if run.folder is None else run.folder / "checkpoints"
    saved = checkpoint.saved_steps(files) if files else []
    return str(checkpoint.path(files, saved[-1])) if files and saved else "none"


def _flush(
    run: Run, pending: list[tuple[int, dict[str, Any]]], recorder: MetricsWriter | None, start_time: float, bar: Any
) -> float:
    """Transfers metrics to the host and logs them; returns the start time of the next steps."""
    rows, score = _to_host(pending), run.learner.task.score
    now = time.perf_counter()
    for row in rows:
        run.seconds += (now - start_time) / len(rows)
        row["seconds"] = round(run.seconds, 3)
        row.setdefault(score, math.nan)  # not every task of a mixture has it
        for name in [name for name in row if name.split("/")[0] in ("return", score)]:  # also final_error/seed_3
            if math.isfinite(row[name]):
                previous = run.averages.setdefault(name, row[name])
                run.averages[name] = SMOOTHING * previous + (1 - SMOOTHING) * row[name]
            row[f"{name}_ema"] = run.averages.get(name, math.nan)
    pending.clear()
    bar.set_postfix({score: f"{rows[-1][score + '_ema']:.4f}"}, refresh=False)
    bar.update(len(rows))
    if recorder:
        recorder.log_metrics(rows, len(rows) / (now - start_time))
    elif run.folder is None:
        run.history += rows
    _raise_if_diverged(run, rows, recorder)
    return time.perf_counter()


def _to_host(pending: list[tuple[int, dict[str, Any]]]) -> list[MetricsRow]:
    """The rows of some steps, in one transfer. Metrics that only some steps have (of a mixture) are NaN in others."""
    names = {name: isinstance(value, Tensor) for _, metrics in pending for name, value in metrics.items()}
    on_device = [name for name, is_tensor in names.items() if is_tensor]
    missing = torch.tensor(math.nan, device=next(v for v in pending[0][1].values() if isinstance(v, Tensor)).device)
    table = torch.stack([torch.stack([m.get(name, missing).double() for name in on_device]) for _, m in pending])
    rows = []
    for (step, metrics), values in zip(pending, table.tolist(), strict=True):
        on_host = {name: value for name, value in metrics.items() if not names[name]}
        rows.append({"step": step, **dict(zip(on_device, values, strict=True)), **on_host})
    return rows


def _raise_if_diverged(run: Run, rows: list[MetricsRow], recorder: MetricsWriter | None) -> None:
    bad = next((row for row in rows if not row["finite"]), None)
    if bad is None:
        return
    if recorder:
        recorder.flush()
    names = ("loss", "gradient_norm", "parameter_norm")
    values = ", ".join(f"{name.replace('_', ' ')} {bad[name]:.4g}" for name in names if name in bad)
    learner = run.learner
    diagnosis = diagnose_divergence(
        learner.agent, learner.task, generator(learner.seed, "autopsy", device=run.device), learner.eval_policy
    )
    raise Diverged(
        f"outer step {bad['step']} is not finite: {values}{diagnosis and '; '}{diagnosis}. That update was skipped. "
        f"Last checkpoint: {_last_checkpoint(run)}. " + divergence_advice(bad, learner),
        step=bad["step"],
    )


@contextmanager
def _catch_signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM in a list, so that a step is completed; a second signal interrupts at once.

    Not at once under torchrun, which forwards the signal that the terminal has already sent.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # handlers can be set in the main thread only
        yield caught
        return

    def handle(number: int, frame: object) -> None:
        if caught and distributed.world_size() == 1:
            raise KeyboardInterrupt("stopped at once, without saving")
        caught.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, handle) for number in numbers]
    try:
        yield caught
    finally:
        for number, handler in zip(numbers, previous, strict=True):
            signal.signal(number, handler)
