"""The outer loop of training: updates, metrics, checkpoints, interrupts and shutdown handling."""

import contextlib
import errno
import math
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from badger import distributed
from badger.errors import Diverged, EnvFailed, RunRemoved
from badger.evaluation.divergence import diagnose_divergence, divergence_advice
from badger.evaluation.inspection import inspect_agent
from badger.figures.curves import asked_returns
from badger.learners.population import member_learners
from badger.rng import generator
from badger.runs import checkpoint
from badger.runs.best import BestFigure
from badger.runs.files import remove_temporary
from badger.runs.protocol import achieved_returns, periodic_evaluation, trained_env_steps
from badger.runs.recorder import MetricsRow, MetricsWriter
from badger.runs.run import SMOOTHING, Run, platform_facts
from badger.runs.signals import Interrupted, catch_signals
from badger.runs.tags import EPISODE_LENGTH, FPS
from tasks import EnvError


def train(run: Run, outer_steps: int | None = None, *, quiet: bool | None = None, tensorboard: bool = True) -> None:
    """Trains a run to its number of outer steps, with progress bar, metrics, checkpoints and inspections.

    If the run has a folder, Ctrl-C, SIGTERM and similar signals (`badger.runs.signals`) save a checkpoint before the
    training ends. In a distributed run (`badger.distributed`) rank 0 writes, and all stop after the same outer step.

    Args:
        run: learner, number of outer steps and folder.
        outer_steps: train for this many more outer steps instead.
        quiet: no progress bar; None: none if standard error is not a terminal.
        tensorboard: write TensorBoard events, too.

    Raises:
        Diverged: a loss or gradient was not finite; names the last checkpoint.
        EnvFailed: an external environment failed; names the last checkpoint.
        Interrupted: a KeyboardInterrupt, on Ctrl-C, SIGTERM or another signal, after saving.
        RunExists: the folder has another run.
        RunLocked: another process trains the run, or has trained it since it was loaded.
        OSError: a checkpoint or the metrics could not be written; the previous checkpoint is intact.
        RunRemoved: the folder was removed or renamed; the run is saved in a new one.
        ProcessLost: another process has died.
        RuntimeError: the processes have different parameters.
    """
    goal = run.outer_steps if outer_steps is None else run.step + outer_steps
    if run.step >= goal:
        return
    _check_same_parameters(run)
    _warn_of_other_rounding(run)
    quiet = True if distributed.rank() else quiet
    bar = tqdm(total=goal, initial=run.step, disable=quiet, unit="step", dynamic_ncols=True, file=_Terminal(sys.stderr))
    with catch_signals() as stop, _explain_env_error(run), _metrics_writer(run, tensorboard) as recorder, bar:
        pending: list[tuple[int, dict[str, Any]]] = []
        start_time, last, stopped = time.perf_counter(), False, False
        while not last:
            pending.append((run.step + 1, run.learner.update()))
            stopped = distributed.any_process(bool(stop))  # a later signal ends the training one step later
            last = stopped or run.step == goal
            save, figure = last or run.step % run.save_every == 0 or run.is_evaluated(), None
            if run.is_evaluated() and not distributed.rank():
                before = time.perf_counter()
                figure, scores = periodic_evaluation(run.learner)
                pending[-1][1].update(scores)
                start_time += time.perf_counter() - before  # no time of training
            with _explain_os_error(run):
                if save or run.step % run.log_every == 0:
                    start_time = _flush(run, pending, recorder, start_time, bar)
                events = recorder.events if recorder else None
                if events and (last or run.step % run.inspect_every == 0):
                    rng = generator(run.learner.seed, "look", run.step, device=run.device)
                    inspection = inspect_agent(
                        run.learner.agent, run.learner.task.evaluation_task, rng, policy=run.learner.eval_policy
                    )
                    events.log_inspection(inspection, run.step)
                    if last:
                        events.embeddings(inspection.embeddings, run.step)
                        if achieved := achieved_returns(run.learner):
                            events.figure("eval/asked_returns", asked_returns(achieved), run.step)
                    start_time = time.perf_counter()
                if events and run.step == run.outer_steps:
                    events.hparams(run.configuration, run.learner.task.score)
                if recorder and save:
                    _save(run, recorder, figure)
            if save:
                _check_same_parameters(run)
    if stop or stopped:
        raise Interrupted(
            f"stopped at outer step {run.step}" + (f", saved in {run.folder}" if run.folder else ""), stop.number
        )


class _Terminal:
    """Standard error for the progress bar; a terminal that was closed does not end the training."""

    def __init__(self, stream: Any):
        self.stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self.stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self.stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _warn_of_other_rounding(run: Run) -> None:
    """Warns if what decides the last digits differs from what it was when the checkpoint was saved."""
    previous, run.platform = run.platform, platform_facts(run.device)
    changes = [
        f"{name} {previous[name]}, now {value}"
        for name, value in run.platform.items()
        if previous.get(name, value) != value
    ]
    if changes and distributed.rank() == 0:
        warnings.warn(
            f"outer step {run.step} was saved with {'; '.join(changes)}: the parameters are exact, but what follows is "
            "not bit for bit that of an uninterrupted run",
            stacklevel=3,
        )


def _save(run: Run, recorder: MetricsWriter, evaluated: BestFigure | None) -> None:
    """Writes a checkpoint, and everything before it.

    Raises:
        RunRemoved: the folder was removed or renamed; the checkpoint is in a new folder of that name.
    """
    recorder.flush()
    removed = not recorder.is_current()
    file = run.save(evaluated)
    if removed:
        raise RunRemoved(
            errno.ENOENT,
            f"the run folder was removed or renamed while it was in use. Outer step {run.step} is saved in a new one, "
            f"{file}, without earlier metrics and checkpoints; continue with: {run.shell_command('resume')}",
            str(run.folder),
        )


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
    with run.writing():
        task = run.learner.task
        with _explain_os_error(run):
            for folder in (run.folder, run.folder / "checkpoints"):
                remove_temporary(folder)
            recorder = MetricsWriter(
                run.folder, run.step, task.references(), start_step=run.start_step, tensorboard=tensorboard
            )
        try:
            if recorder.events is not None:
                core = run.learner.agent.core
                example = core.initial_state(torch.zeros(1, 1, core.input_size, device=run.device))
                names, evaluated = set(core.metrics(example)), run.evaluate_every is not None
                recorder.events.layout(task.score, names, evaluated=evaluated)
            yield recorder
        finally:
            recorder.close()


@contextmanager
def _explain_os_error(run: Run) -> Iterator[None]:
    """Adds to an error of the file system its consequence for the run."""
    try:
        yield
    except RunRemoved:
        raise
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
        run.returns.add(row["return"], row.get("episodes", 0.0))
        row.setdefault(score, math.nan)  # not every task of a mixture has it
        for name in [name for name in row if name.split("/")[0] in ("return", score)]:  # also final_error/seed_3
            if math.isfinite(row[name]):
                previous = run.averages.setdefault(name, row[name])
                run.averages[name] = SMOOTHING * previous + (1 - SMOOTHING) * row[name]
            row[f"{name}_ema"] = run.averages.get(name, math.nan)
    pending.clear()
    shown = {score: rows[-1][f"{score}_ema"]}
    if "data_return" in rows[-1]:  # no episode is lived in training
        shown = {"loss": rows[-1]["loss"]}
    bar.set_postfix({name: f"{value:.4f}" for name, value in shown.items()}, refresh=False)
    bar.update(len(rows))
    if recorder:
        recorder.log_metrics(rows, _progress_scalars(run, len(rows) / (now - start_time)))
    elif run.folder is None:
        run.history += rows
    _raise_if_diverged(run, rows, recorder)
    return time.perf_counter()


def _progress_scalars(run: Run, speed: float) -> dict[str, float]:
    """TensorBoard scalars beside the metrics: outer and environment steps a second, and a known length of episodes."""
    members, task = member_learners(run.learner), run.learner.task
    env_steps = sum(trained_env_steps(member) for member in members) / max(1, run.step)  # of an outer step
    scalars = {"speed/outer_steps_per_second": speed, FPS: speed * env_steps}
    return scalars | ({EPISODE_LENGTH: float(task.steps)} if task.fixed_length else {})


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
