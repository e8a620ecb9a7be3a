"""The outer loop: updates, what is written down of them, checkpoints; and how it ends, come what may."""

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
from badger.evaluation.divergence import diagnose_divergence
from badger.evaluation.inspection import inspect_agent
from badger.rng import generator
from badger.runs import checkpoint
from badger.runs.recorder import MetricsRow, MetricsWriter
from badger.runs.run import SMOOTHING, Diverged, Run
from tasks import EnvError


def train(run: Run, outer_steps: int | None = None, *, quiet: bool | None = None, tensorboard: bool = True) -> None:
    """Trains until the run's goal, or for `outer_steps` more.

    With a folder, everything is written down there and Ctrl-C saves before it ends the training. Where processes
    train together (`badger.distributed`), rank 0 writes, and all stop after the same outer step.

    Args:
        quiet: no progress bar; None: none where standard error is not a terminal.
        tensorboard: write events, too.

    Raises:
        Diverged: a loss or gradient was not finite; says where the last good checkpoint is.
        WorldError: a world that is not ours went wrong; says where the last checkpoint is.
        KeyboardInterrupt: on Ctrl-C or SIGTERM, after saving.
        RunExists: the folder holds another run.
        OSError: a checkpoint or the metrics could not be written; the former checkpoint is intact.
        Lost: another process has died. RuntimeError: the processes do not hold the same parameters.
    """
    goal = run.outer_steps if outer_steps is None else run.step + outer_steps
    if run.step >= goal:
        return
    _check_world_size(run)
    quiet = True if distributed.rank() else quiet
    bar = tqdm(total=goal, initial=run.step, disable=quiet, unit="step", dynamic_ncols=True)
    with _interrupts() as stop, _explain_env_error(run), _metrics_writer(run, tensorboard) as recorder, bar:
        pending: list[tuple[int, dict[str, Any]]] = []
        begun, last, stopped = time.perf_counter(), False, False
        while not last:
            pending.append((run.step + 1, run.learner.update()))
            stopped = distributed.any_process(
                bool(stop)
            )  # a signal from here on is seen one step later, and loses nothing
            last = stopped or run.step == goal
            save = last or run.step % run.save_every == 0
            with _explain_os_error(run):
                if save or run.step % run.log_every == 0:
                    begun = _flush(run, pending, recorder, begun, bar)
                if recorder and (last or run.step % run.inspect_every == 0):
                    rng = generator(run.learner.seed, "look", run.step, device=run.device)
                    view = inspect_agent(
                        run.learner.agent, run.learner.task.evaluation_task, rng, policy=run.learner.eval_policy
                    )
                    recorder.log_inspection(view, run.step)
                    if last:
                        recorder.embeddings(view.embeddings, run.step)
                    begun = time.perf_counter()
                if recorder and run.step == run.outer_steps:
                    recorder.hparams(run.configuration, run.learner.task.score)
                if recorder and save:
                    recorder.flush()
                    run.save()
            if save:
                _check_same_parameters(run)
    if stop or stopped:
        raise KeyboardInterrupt(
            f"stopped at outer step {run.step}" + (f", saved in {run.folder}" if run.folder else "")
        )


def _check_world_size(run: Run) -> None:
    """All processes begin alike, and as many as before; or what that means is said."""
    _check_same_parameters(run)
    before, now = run.processes, distributed.world_size()
    if before is not None and before != now and distributed.rank() == 0:
        warnings.warn(
            f"outer step {run.step} was reached with {before} process(es), and {now} go on: the parameters are exact, "
            "the episodes from here on are not those that would have been",
            stacklevel=3,
        )
    run.processes = now


def _check_same_parameters(run: Run) -> None:
    if not distributed.same_on_all_ranks([torch.tensor(run.step), *run.learner.agent.state_dict().values()]):
        raise RuntimeError(
            f"the processes do not hold the same parameters (rank {distributed.rank()} at outer step {run.step}): "
            "each must build the agent from the same seed, load the same checkpoint, and average its gradients"
        )


@contextmanager
def _metrics_writer(run: Run, tensorboard: bool) -> Iterator[MetricsWriter | None]:
    if run.folder is None or distributed.rank() > 0:
        yield None
        return
    run.create()
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
    """Says what an error of the file system means for the run."""
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror}: outer step {run.step} could not be written down; the checkpoint before it is intact. "
            f"When that is mended: {run.shell_command('resume')}",
            error.filename,
        ) from error


@contextmanager
def _explain_env_error(run: Run) -> Iterator[None]:
    """Says what a world that went wrong means for the run."""
    try:
        yield
    except EnvError as error:
        again = "" if run.folder is None else f" When that is mended: {run.shell_command('resume')}"
        raise EnvError(
            f"{error}\n\nThe run stopped after outer step {run.step}. Last checkpoint: {_last_checkpoint(run)}.{again}"
        ) from error


def _last_checkpoint(run: Run) -> str:
    """Where the last checkpoint is."""
    files = None if run.folder is None else run.folder / "checkpoints"
    saved = checkpoint.saved_steps(files) if files else []
    return str(checkpoint.path(files, saved[-1])) if files and saved else "none was saved"


def _flush(
    run: Run, pending: list[tuple[int, dict[str, Any]]], recorder: MetricsWriter | None, begun: float, bar: Any
) -> float:
    """Brings what the device has measured to the host, in one transfer; returns when the next steps began."""
    rows, score = _fetched(pending), run.learner.task.score
    now = time.perf_counter()
    for row in rows:
        run.seconds += (now - begun) / len(rows)
        row["seconds"] = round(run.seconds, 3)
        averaged = ("return", score)  # and each member's of a population: final_error/seed_3
        row.setdefault(score, math.nan)  # of a mixture, not every task tells it
        for name in [name for name in row if name.split("/")[0] in averaged]:
            if math.isfinite(row[name]):
                before = run.averages.setdefault(name, row[name])
                run.averages[name] = SMOOTHING * before + (1 - SMOOTHING) * row[name]
            row[f"{name}_average"] = run.averages.get(name, math.nan)
    pending.clear()
    bar.set_postfix({score: f"{rows[-1][score + '_average']:.4f}"}, refresh=False)
    bar.update(len(rows))
    if recorder:
        recorder.log_metrics(rows, len(rows) / (now - begun))
    elif run.folder is None:
        run.history += rows
    _check(run, rows, recorder)
    return time.perf_counter()


def _fetched(pending: list[tuple[int, dict[str, Any]]]) -> list[MetricsRow]:
    """All rows have the same names: the tasks of a mixture may tell different ones, which the others do not know."""
    names = {name: isinstance(value, Tensor) for _, metrics in pending for name, value in metrics.items()}
    measured = [name for name, on_device in names.items() if on_device]
    unknown = torch.tensor(math.nan, device=next(v for v in pending[0][1].values() if isinstance(v, Tensor)).device)
    table = torch.stack([torch.stack([m.get(name, unknown).double() for name in measured]) for _, m in pending])
    rows = []
    for (step, metrics), values in zip(pending, table.tolist(), strict=True):
        plain = {name: value for name, value in metrics.items() if not names[name]}
        rows.append({"step": step, **dict(zip(measured, values, strict=True)), **plain})
    return rows


def _check(run: Run, rows: list[MetricsRow], recorder: MetricsWriter | None) -> None:
    bad = next((row for row in rows if not row["finite"]), None)
    if bad is None:
        return
    if recorder:
        recorder.flush()
    seen = ("loss", "gradient_norm", "parameter_norm")
    told = ", ".join(f"{name.replace('_', ' ')} {bad[name]:.4g}" for name in seen if name in bad)
    learner = run.learner
    held = diagnose_divergence(
        learner.agent, learner.task, generator(learner.seed, "autopsy", device=run.device), learner.eval_policy
    )
    raise Diverged(
        f"outer step {bad['step']} is not finite: {told}{held and '; '}{held}. That update was not made. Last good "
        f"checkpoint: {_last_checkpoint(run)}. A lower learning rate, a smaller clip or shorter episodes usually mend it."
    )


@contextmanager
def _interrupts() -> Iterator[list[int]]:
    """A list that gets the first SIGINT or SIGTERM, so that a step is never cut in two; a second one acts at once.

    Not under torchrun: it hands on the signal that the terminal has sent already, and kills who takes too long.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():  # only there may handlers be set
        yield caught
        return

    def handle(number: int, frame: object) -> None:
        if caught and distributed.world_size() == 1:
            raise KeyboardInterrupt("stopped at once, without saving")
        caught.append(number)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in numbers]
    try:
        yield caught
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
