"""A run that is killed between any two system calls, resumed, damaged and trained by two: a Hypothesis state machine.

Its process is this one. A file layer that stands for `os` in the modules that write a run's files is "killed" at a
chosen call: from then on every call raises. What is on the disk is what a kill -9 leaves (tests of real ones are in
`test_resume.py`).
"""

import contextlib
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from torch import nn

from badger import GuessingGame, Run, load_run, train
from badger.errors import RunLocked
from badger.policies.policies import identity_policy
from badger.runs import checkpoint, files, recorder
from badger.runs.recorder import scan_metrics
from tiny_runs import same, timeless

STEPS = 12
CALLS = ("open", "write", "fsync", "replace", "unlink", "close")
OWN_FILES = {"run.json", "metrics.jsonl", "checkpoints", ".lock", ".lock.json"}


class Killed(BaseException):
    """What a killed process does not see."""


class KilledSystem:
    """`os` of a process that is killed at one of its calls.

    Args:
        call: number of the call, from 0; None: the process lives.
        done: how much of that call is done: 0, 0.5 (of a write) or 1.
    """

    def __init__(self, call=None, done=0.0):
        self.left, self.done, self.dead = call, done, False

    def __getattr__(self, name):
        real = getattr(os, name)
        return (lambda *args: self._call(real, *args)) if name in CALLS else real

    def _call(self, real, *args):
        if self.dead:
            if real is os.close:  # the system closes the files of a dead process
                real(*args)
            raise Killed
        if self.left == 0:
            self.dead = True
            if real is os.write and self.done == 0.5:
                real(args[0], args[1][: len(args[1]) // 2])
            elif self.done == 1 or real is os.close:
                real(*args)
            raise Killed
        self.left = None if self.left is None else self.left - 1
        return real(*args)


class Drift:
    """A learner whose parameters depend on every step before, in a few operations."""

    def __init__(self):
        self.agent, self.task, self.seed, self.step = nn.Linear(3, 2), GuessingGame(2, 2), 0, 0
        self.eval_policy = identity_policy
        with torch.no_grad():
            self.agent.weight.copy_(torch.arange(6.0).view(2, 3))
            self.agent.bias.zero_()

    def update(self):
        self.step += 1
        with torch.no_grad():
            self.agent.weight.mul_(0.9).add_(torch.sin(self.agent.weight + self.step))
        total = self.agent.weight.sum()
        return {"return": total, "final_error": total.abs(), "episodes": 40.0, "finite": torch.tensor(True), "lr": 0.1}

    def state_dict(self):
        return {"agent": self.agent.state_dict(), "step": self.step}

    def load_state_dict(self, state):
        self.agent.load_state_dict(state["agent"])
        self.step = state["step"]


def build(folder=None, keep=3):
    return Run(Drift(), outer_steps=STEPS, folder=folder, log_every=1, save_every=2, keep_checkpoints=keep)


def undisturbed():
    """The learner's state after each outer step, and the rows of the metrics."""
    run, states = build(), [Drift().state_dict()]
    for _ in range(STEPS):
        train(run, 1)
        states.append({"agent": {k: v.clone() for k, v in run.learner.state_dict()["agent"].items()}, "step": run.step})
    return states, [timeless(row) for row in run.history]


STATES, ROWS = undisturbed()


class RunMachine(RuleBasedStateMachine):
    """A run folder, and what must be in it."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.folder = self.root / "run"
        self.saved = 0  # the outer step that must be loadable
        self.damaged = set()  # checkpoints: step and time of the file

    def teardown(self):
        self.finish()
        shutil.rmtree(self.root)

    def finish(self):
        """However it came here, the run ends as one that was not disturbed."""
        run = self.opened()
        train(run, tensorboard=False, quiet=True)
        assert run.step == STEPS and same_state(run)
        assert self.rows() == ROWS

    def opened(self, keep=3):
        if not (self.folder / "run.json").exists():
            return build(self.folder, keep)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a damaged checkpoint
            return load_run(self.folder, build=lambda: build(keep=keep))

    def rows(self):
        found = scan_metrics(self.folder)
        assert not found.problems
        return [timeless(row) for row in found.rows]

    @rule(
        steps=strategies.integers(1, 5),
        keep=strategies.integers(1, 3),
        call=strategies.none() | strategies.integers(0, 60),
        done=strategies.sampled_from([0.0, 0.5, 1.0]),
    )
    def train(self, steps, keep, call, done):
        run = self.opened(keep)
        steps = min(steps, STEPS - run.step)
        system = KilledSystem(call, done)
        with contextlib.ExitStack() as patches:
            for module in (files, recorder, checkpoint):
                patches.enter_context(patch.object(module, "os", system))
            try:
                train(run, steps, tensorboard=False, quiet=True)
            except Killed:
                return
        if steps:
            self.saved = run.step
            assert same_state(run)

    @precondition(lambda self: len(self.good_checkpoints()) > 1)
    @rule(position=strategies.floats(0, 1, exclude_max=True), bit=strategies.integers(0, 7))
    def damage_the_newest_good_checkpoint(self, position, bit):
        step = self.good_checkpoints()[-1]
        file = checkpoint.path(self.folder / "checkpoints", step)
        content = bytearray(file.read_bytes())
        content[int(position * len(content))] ^= 1 << bit
        file.write_bytes(content)
        self.damaged.add((step, file.stat().st_mtime_ns))
        self.saved = self.good_checkpoints()[-1]
        with pytest.warns(UserWarning, match=file.name):
            run = load_run(self.folder, build=build)
        assert run.step == self.saved
        train(run, min(2, STEPS - run.step), tensorboard=False, quiet=True)  # not always past the damaged one
        self.saved = run.step

    @precondition(lambda self: self.checkpoints() and self.opened().step < STEPS)
    @rule()
    def of_two_writers_the_second_is_refused(self):
        first, second = self.opened(), self.opened()
        train(first, 1, tensorboard=False, quiet=True)
        with pytest.raises(RunLocked):
            train(second, 1, tensorboard=False, quiet=True)
        self.saved = first.step

    @precondition(lambda self: self.checkpoints())
    @rule()
    def reading_changes_nothing(self):
        before = {file: file.read_bytes() for file in self.folder.rglob("*") if file.is_file()}
        self.opened()
        scan_metrics(self.folder)
        assert {file: file.read_bytes() for file in self.folder.rglob("*") if file.is_file()} == before

    def checkpoints(self):
        return checkpoint.saved_steps(self.folder / "checkpoints")

    def good_checkpoints(self):
        files = {step: checkpoint.path(self.folder / "checkpoints", step) for step in self.checkpoints()}
        return [step for step, file in files.items() if (step, file.stat().st_mtime_ns) not in self.damaged]

    @invariant()
    def the_newest_checkpoint_or_a_later_one_loads_bit_for_bit(self):
        run = self.opened()
        assert run.step >= self.saved and same_state(run)

    @invariant()
    def metrics_have_no_gap_and_reach_the_checkpoint(self):
        rows = self.rows() if (self.folder / "metrics.jsonl").exists() else []
        assert rows == ROWS[: len(rows)]
        assert len(rows) >= self.opened().step

    @invariant()
    def there_are_no_other_files(self):
        names = {file.name for file in self.folder.glob("*") if not file.name.startswith("unfinished")}
        assert names <= OWN_FILES


def same_state(run):
    return same(plain(run.learner.state_dict()), plain(STATES[run.step]))


def plain(state):
    return {**state, "agent": dict(state["agent"])}


QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def test_a_run_survives_kills_damage_and_two_writers():
    run_state_machine_as_test(
        RunMachine,
        settings=settings(QUICK, max_examples=50, stateful_step_count=8, derandomize=True),
    )


@pytest.mark.nightly
def test_a_run_survives_a_thousand_histories():
    run_state_machine_as_test(
        RunMachine,
        settings=settings(QUICK, max_examples=1000, stateful_step_count=15),
    )


def test_the_killed_system_stops_every_later_call(tmp_path):
    """The layer itself: the write is half done, and the file is not closed by what follows."""
    system = KilledSystem(1, 0.5)
    with patch.object(files, "os", system), pytest.raises(Killed):
        files.atomic_write(tmp_path / "file", b"content")
    (left,) = tmp_path.iterdir()
    assert left.name.startswith("unfinished") and left.read_bytes() == b"con"
