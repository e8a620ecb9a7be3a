"""A run that was stopped in any way and resumed equals an uninterrupted one, bit for bit."""

import contextlib
import copy
import importlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch

from badger import Run, load_or_train, read_metrics, train
from badger.runs.recorder import MetricsWriter
from tiny_runs import STEPS, At, checkpoints, go, go_for, go_until, load_trusted, made, metrics, same, scalars, start

OUTER = importlib.import_module("badger.runs.training")  # badger.train is the function
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module", autouse=True)
def ctrl_c():
    """Ctrl-C interrupts, also in background jobs of a shell, which ignore it and would go on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(made(folder))
    return folder


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run killed at random moments and resumed until done, and the steps from which it was resumed."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    draw, start_steps = random.Random(0), []
    for attempt in range(40):
        process = start(go_for, folder, attempt, draw.randrange(12), draw.uniform(0, 0.05))
        process.join()
        if process.exitcode == 0:
            return folder, start_steps
        assert process.exitcode == -signal.SIGKILL
        start_steps.append(load_trusted(folder).step if (folder / "run.json").exists() else 0)
    raise AssertionError(f"not done after 40 attempts, from steps {start_steps}")


def killed_in(folder, name):
    """The same, killed in the first call of that name, then in the second, ..., before and after it in turn."""
    kills = 0
    for call in range(1, 60):
        process = start(go_until, folder, call, name, call)
        process.join()
        if process.exitcode == 0:
            return kills
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    raise AssertionError(f"not done after {kills} kills")


class Cut(BaseException):
    """What a killed process does not see, and a test does."""


def breaking(real, call):
    """The function, until its `call`-th call."""
    left = iter(range(call - 1))

    def cut(*arguments):
        if next(left, None) is None:
            raise Cut
        return real(*arguments)

    return cut


def wait_for(file):
    """Until something stands in the file."""
    end = time.monotonic() + 60
    while not (file.exists() and file.stat().st_size):
        assert time.monotonic() < end, f"nothing in {file}"
        time.sleep(0.02)


def assert_same(folder, whole):
    """All that a run has written down, but the events."""
    found, wanted = checkpoints(folder), checkpoints(whole)
    assert set(found) >= set(wanted)  # one that was killed after its last save has not deleted older ones
    for name in wanted:
        assert same(found[name], wanted[name]), name
    assert metrics(folder) == metrics(whole)


def assert_same_end(folder, whole):
    """Where a run was stopped it saved once more than it would have, and best.pt may come from there."""
    found, wanted = (load_trusted(f) for f in (folder, whole))
    assert same(found.learner.state_dict(), wanted.learner.state_dict())
    assert found.averages == wanted.averages
    assert metrics(folder) == metrics(whole)


def test_the_kills_hit_the_run_in_the_middle(killed):
    _, start_steps = killed
    assert len({step for step in start_steps if 0 < step < STEPS}) >= 2, start_steps


def test_a_run_killed_at_random_moments_ends_as_one_that_was_not(killed, whole):
    assert_same(killed[0], whole)


def test_no_curve_of_a_killed_run_has_a_piece_twice(killed, whole):
    assert scalars(killed[0]) == scalars(whole)


def test_tensorboard_purges_what_was_written_after_the_checkpoint(tmp_path, whole):
    folder = tmp_path / "run"
    start(go_until, folder, 0, "badger.runs.run.Run.save", 3).join()  # at step 15, whose events are written
    assert max(step for step, _ in scalars(folder)["final_error/train"]) == 15
    assert max(row["step"] for row in read_metrics(folder)) == 15
    assert load_trusted(folder).step == 10
    start(go, folder, 1).join()
    assert scalars(folder) == scalars(whole)


@pytest.mark.parametrize("name", ["os.fsync", "os.replace"])
def test_a_run_killed_while_it_writes_ends_as_one_that_was_not(tmp_path, whole, name):
    assert killed_in(tmp_path / "run", name) >= 5
    assert_same(tmp_path / "run", whole)


@pytest.mark.parametrize("call", [1, 2])
def test_a_save_that_is_cut_between_its_two_files_loses_no_best(tmp_path, monkeypatch, call):
    run = made(tmp_path / "run")
    run.create()
    run.learner.update()
    run.returns.add(-1.0, 100)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", breaking(os.replace, call + 1))  # after that of the lock
        with pytest.raises(Cut):
            run.save()
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    known = load_trusted(tmp_path / "run").best
    assert known is None or torch.load(best, weights_only=True)["best"] == known._asdict()


def test_files_of_a_killed_save_are_ignored(tmp_path, whole):
    folder = tmp_path / "run"
    train(made(folder), 10, tensorboard=False)
    (folder / "checkpoints" / "unfinished.tmp").write_bytes(b"half a checkpoint")
    (folder / "unfinished.tmp").write_bytes(b"half of the metrics")
    (folder / "metrics.jsonl").open("a").write('{"step": 11, "lo')
    train(load_trusted(folder), tensorboard=False)
    assert_same(folder, whole)
    assert not list(folder.rglob("*.tmp"))


def test_a_run_killed_before_its_first_checkpoint_begins_again(tmp_path, whole):
    folder = tmp_path / "run"
    start(go_until, folder, 0, "badger.runs.run.Run.save", 1).join()
    assert read_metrics(folder) and not (folder / "checkpoints").exists()
    run = load_trusted(folder)
    assert run.step == 0
    train(run, tensorboard=False)
    assert_same(folder, whole)


def test_ctrl_c_at_the_command_line_saves_and_prints_how_to_resume(tmp_path, whole):
    """And the recipe is one's own, found from the current directory."""
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "badger", "train", "tiny_runs:tiny", "--folder", str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, cwd=ROOT / "tests", env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(folder / "metrics.jsonl")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    step = load_trusted(folder).step
    assert 0 < step < STEPS
    resume = f"badger resume {folder} --trust-code"
    assert error == f"\nbadger: stopped at outer step {step}, saved in {folder}. Resume with: {resume}\n"
    train(load_trusted(folder), tensorboard=False)
    assert_same_end(folder, whole)


def test_sigterm_saves_too(tmp_path, whole):
    folder = tmp_path / "run"
    process = start(go, folder)
    wait_for(folder / "metrics.jsonl")
    os.kill(process.pid, signal.SIGTERM)
    process.join()
    assert process.exitcode == 1  # of a KeyboardInterrupt in a child
    assert 0 < load_trusted(folder).step < STEPS
    train(load_trusted(folder), tensorboard=False)
    assert_same_end(folder, whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_train_saves_before_it_raises_keyboard_interrupt(tmp_path, whole, number):
    folder = tmp_path / "run"
    run = At.change(made(folder), 12, lambda: signal.raise_signal(number))
    with pytest.raises(KeyboardInterrupt, match=f"stopped at outer step 12, saved in {folder}"):
        train(run, tensorboard=False)
    assert load_trusted(folder).step == 12
    train(load_trusted(folder), tensorboard=False)
    assert_same_end(folder, whole)


@pytest.mark.parametrize("owner, name", [(OUTER, "_flush"), (MetricsWriter, "flush"), (Run, "save")])
def test_a_signal_between_two_steps_ends_the_training(tmp_path, monkeypatch, owner, name):
    """Nothing of what was done is lost, wherever it comes."""
    real, calls = getattr(owner, name), []

    def interrupted(*arguments):
        calls.append(name)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return real(*arguments)

    monkeypatch.setattr(owner, name, interrupted)
    run = made(tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        train(run, tensorboard=False)
    assert load_trusted(tmp_path / "run").step == run.step < 10
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == list(range(1, run.step + 1))


def test_a_second_ctrl_c_acts_at_once(tmp_path):
    def twice():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    run = At.change(made(tmp_path / "run"), 8, twice)
    with pytest.raises(KeyboardInterrupt, match="at once"):
        train(run, tensorboard=False)
    assert load_trusted(tmp_path / "run").step == 5


@pytest.mark.parametrize("action", [lambda: None, lambda: signal.raise_signal(signal.SIGINT)])
def test_train_restores_the_signal_handlers(tmp_path, action):
    def mine(number, frame):
        raise AssertionError("not while train listens")

    before = {number: signal.signal(number, mine) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with contextlib.suppress(KeyboardInterrupt):
            train(At.change(made(None), 2, action), 3)
        assert all(signal.getsignal(number) is mine for number in before)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_train_works_in_a_thread_that_may_not_listen_to_signals(tmp_path, whole):
    thread = threading.Thread(target=train, args=[made(tmp_path / "run")], kwargs={"tensorboard": False})
    thread.start()
    thread.join()
    assert_same(tmp_path / "run", whole)


def test_training_in_pieces_equals_training_at_once(tmp_path, whole):
    folder = tmp_path / "run"
    train(made(folder), 7, tensorboard=False)
    run = load_trusted(folder)
    train(run, 4, tensorboard=False)
    train(run, tensorboard=False)
    assert_same_end(folder, whole)


def test_load_or_train_resumes_an_unfinished_run_and_loads_a_finished_one(tmp_path, whole):
    folder = tmp_path / "run"
    train(made(folder), 20, tensorboard=False)
    run = load_or_train(folder, "tiny_runs:tiny")
    assert_same_end(folder, whole)
    before = (folder / "metrics.jsonl").stat().st_mtime_ns
    assert same(load_or_train(folder, "tiny_runs:tiny").learner.state_dict(), run.learner.state_dict())
    assert (folder / "metrics.jsonl").stat().st_mtime_ns == before


def test_load_or_train_refuses_the_folder_of_another_run(whole):
    with pytest.raises(
        ValueError, match=r"a run of tiny_runs:tiny {}, want tiny_runs:tiny {'seed': 1}; use another folder"
    ):
        load_or_train(whole, "tiny_runs:tiny", seed=1)


def test_a_finished_run_is_not_touched(whole):
    before = {file: file.stat().st_mtime_ns for file in whole.rglob("*")}
    train(load_trusted(whole))
    assert {file: file.stat().st_mtime_ns for file in whole.rglob("*")} == before


def test_each_outer_step_samples_its_own_episodes():
    """So that a run that is resumed does not play again what it began with."""
    run = made(None)
    state = copy.deepcopy(run.learner.state_dict())
    losses = set()
    for step in (0, 1, 0):
        run.learner.load_state_dict(copy.deepcopy(state) | {"step": step})
        losses.add(run.learner.update()["loss"].item())
    assert len(losses) == 2
