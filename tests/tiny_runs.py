"""Helpers of the tests of runs: a small user-defined recipe, processes that are killed, and comparisons of runs."""

import fcntl
import json
import multiprocessing
import os
import pkgutil
import resource
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from badger import BPTT, Run, build_run, load_run, read_metrics, train
from badger.recipes.build import referenced_modules
from badger.runs.lock import write_lock
from badger.runs.signals import Interrupted, catch_signals
from badger.study import Arm, Study
from badger.study.execution import jobs
from badger.study.trial import run_trial
from forked_children import patch_children

STEPS = 30


def tiny(*, outer_steps: int = STEPS, seed: int = 0, seeds: int = 1) -> Run:
    """Two experts for a few small outer steps.

    Args:
        outer_steps: updates.
    """
    sizes = {
        "experts": 2, "dims": 2, "steps": 3, "core.hidden_size": 6, "message_size": 4, "core.key_size": 4, "batch": 20,
    }  # fmt: skip
    run = build_run(
        "guessing_game", act="round_robin", **sizes, outer_steps=outer_steps, seed=seed, seeds=seeds, device="cpu"
    )
    run.log_every, run.save_every, run.inspect_every = 2, 5, 15
    return run


TINY = Study(
    name="tiny",
    claim="A longer run goes on for longer.",
    arms={name: Arm("tiny_runs:tiny", {"outer_steps": steps}) for name, steps in {"short": 6, "long": 12}.items()},
    score="final_error",
    threshold=1.435,
    milestones=(4,),
    episodes=8,
    seeds=2,
)


def made(folder, **arguments) -> Run:
    run = build_run("tiny_runs:tiny", **arguments)
    run.folder = folder
    return run


def load_trusted(folder, **options) -> Run:
    """The run of a folder, with all modules that it names trusted."""
    return load_run(folder, trusted=referenced_modules(folder), **options)


class At(BPTT):
    """BPTT that calls a function before an outer step: At.change(run, step, action)."""

    @classmethod
    def change(cls, run, step, action):
        run.learner.__class__ = cls
        run.learner.when, run.learner.action = step, action
        return run

    def update(self):
        if self.step + 1 == self.when:
            self.action()
        return super().update()


def dying(*, outer_steps: int = STEPS, seed: int = 0) -> Run:
    """A run that is killed at its third outer step."""
    return At.change(tiny(outer_steps=outer_steps, seed=seed), 3, lambda: os.kill(os.getpid(), signal.SIGKILL))


def poisoned(*, outer_steps: int = STEPS, seed: int = 0, bad: int = 3) -> Run:
    """A run that diverges at an outer step."""
    return Poisoned.at(tiny(outer_steps=outer_steps, seed=seed), bad)


class Poisoned(BPTT):
    """BPTT whose loss is NaN in one outer step."""

    @classmethod
    def at(cls, run, step):
        run.learner.__class__ = cls
        run.learner.bad = step
        return run

    def _loss(self, *args):
        return super()._loss(*args) * (torch.nan if self.step + 1 == self.bad else 1)


# a fork server with all modules imported, whose children start at once and may be killed
processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["tiny_runs", "badger.__main__", "torch.utils.tensorboard", "torch._dynamo", "torch.profiler", "matplotlib.pyplot"]
)


def start(target, *arguments):
    process = processes.Process(target=target, args=arguments)
    process.start()
    return process


def go(folder, attempt=0):
    """Trains or resumes a run to its end."""
    torch.set_num_threads(1)
    _dated(attempt)
    train(_opened(folder))


def go_for(folder, attempt, steps, seconds):
    """The same, but killed some seconds after some steps."""
    torch.set_num_threads(1)
    _dated(attempt)
    run = _opened(folder)
    threading.Thread(target=_kill, args=[run, run.step + steps, seconds], daemon=True).start()
    train(run)


def _opened(folder):
    return load_trusted(folder) if (folder / "run.json").exists() else made(folder)


def _kill(run, step, seconds):
    while run.step < step:
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def go_until(folder, attempt, name, call):
    """The same, but killed before the `call`-th call of the named function, or after it if the number is even."""
    torch.set_num_threads(1)
    _deadly(name, call)
    go(folder, attempt)


def perform_until(job, name, call):
    """A trial of a study, killed likewise."""
    torch.set_num_threads(1)
    _deadly(name, call)
    run_trial(job)


def hold_lock(folder):
    """Writes to a run folder, and goes on to do so until it is killed."""
    with write_lock(folder):
        (folder / "held").touch()
        time.sleep(60)


def hold(file):
    """Locks the file until this process ends, and writes into it whether a terminal's Ctrl-C does not reach it."""
    with file.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        held.write(f"{os.getsid(0) == os.getpid()}")
        held.flush()
        time.sleep(60)


def spread_hold(file):
    """Calls `hold` in a worker process."""
    spread(hold, file)


def save_when_stopped(file):
    """Writes the process id into the file; after a signal, which it gets while it still works, "saved"."""
    with catch_signals() as stop:
        file.write_text(str(os.getpid()))
        while not stop:
            time.sleep(0.01)
        time.sleep(0.3)
        file.write_text("saved")
    raise Interrupted("stopped", stop.number)


def spread_save(file):
    """Calls `save_when_stopped` in a worker process; exits with the signal that stops this process."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, if the tests run under nohup
    try:
        spread(save_when_stopped, file)
    except Interrupted as stop:
        sys.exit(stop.number)


def spread(function, file):
    patch_children(pytest.MonkeyPatch(), multiprocessing.get_context("fork"))
    with ThreadPoolExecutor(1) as executor:
        jobs.run_jobs(function, [file], executor, file.parent, print)


def _deadly(name, call):
    owner, name = pkgutil.resolve_name(name.rpartition(".")[0]), name.rpartition(".")[2]
    real, calls = getattr(owner, name), 0

    def deadly(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == call and call % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        result = real(*arguments, **options)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, deadly)


def _dated(attempt):
    """Shifts the clock: TensorBoard sorts its files by their names, which have a resolution of a second."""
    now = time.time
    time.time = lambda: now() + attempt * 1000


def same(a, b) -> bool:
    """Whether two values are equal, bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


def timeless(row):
    return {name: value for name, value in row.items() if name != "seconds"}


def metrics(folder):
    return [timeless(row) for row in read_metrics(folder)]


def checkpoints(folder):
    """The content of all checkpoints by name, without the training time."""
    files = sorted((Path(folder) / "checkpoints").glob("*.pt"))
    return {file.name: timeless(torch.load(file, weights_only=True)) for file in files}


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0}).Reload()


def scalars(folder):
    """tag -> [(step, value)], without the speed."""
    found = events(folder)
    tags = [tag for tag in found.Tags()["scalars"] if not tag.startswith(("speed/", "time/fps"))]
    return {tag: [(point.step, point.value) for point in found.Scalars(tag)] for tag in sorted(tags)}


def strict_json(text):
    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@contextmanager
def small_disk(size):
    """Limits the size of files, in bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
