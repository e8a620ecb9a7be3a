"""Signals stop a training after it has saved, whoever sends them, and as often as they are sent."""

import importlib
import os
import pty
import re
import signal
import sys
import threading
import time

import pytest
import torch

from badger import train
from badger.cli.main import main
from badger.runs import signals
from badger.runs.signals import Interrupted
from tiny_runs import STEPS, At, load_trusted, made, start

NUMBERS = (*signals.REQUESTS, *signals.NOTICES)
COMMAND = importlib.import_module("badger.cli.train")


@pytest.fixture(autouse=True)
def default_handlers():
    """Also where the shell that runs the tests ignores SIGINT, or pytest handles a signal."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def signaled(*numbers):
    """A run without a folder that gets signals in its third of six outer steps."""
    return At.change(made(None, outer_steps=6), 3, lambda: [signal.raise_signal(number) for number in numbers])


def stopped_by(run):
    with pytest.raises(Interrupted) as stop:
        train(run)
    return stop.value


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_a_signal_saves_and_ends_the_training(tmp_path, number):
    run = signaled(number)
    run.folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match=f"stopped at outer step 3, saved in {run.folder}") as stop:
        train(run, tensorboard=False)
    assert stop.value.number == number
    assert load_trusted(run.folder).step == 3


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_a_signal_that_is_ignored_stays_ignored(number):
    """As SIGHUP under nohup."""
    signal.signal(number, signal.SIG_IGN)
    run = signaled(number)
    train(run)
    assert run.step == 6 and signal.getsignal(number) is signal.SIG_IGN


@pytest.mark.parametrize("number", signals.NOTICES, ids=lambda number: number.name)
def test_a_handler_of_the_caller_for_a_notice_stays(number):
    called = []
    signal.signal(number, lambda *_: called.append(number))
    run = signaled(number)
    train(run)
    assert run.step == 6 and called == [number]


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_handlers_are_restored(number):
    before = signal.getsignal(number)
    stopped_by(signaled(number))
    assert signal.getsignal(number) is before


@pytest.mark.parametrize(
    "numbers",
    [
        (signal.SIGHUP, signal.SIGHUP),  # of the terminal, and of the shell that ran in it
        (signal.SIGUSR1, signal.SIGTERM),  # of SLURM, some time before the end, and at the end
        (signal.SIGTERM, signal.SIGHUP),
    ],
)
def test_a_notice_and_a_request_complete_the_step(numbers):
    stop = stopped_by(signaled(*numbers))
    assert str(stop) == "stopped at outer step 3" and stop.number == numbers[0]


@pytest.mark.parametrize("numbers", [(signal.SIGINT, signal.SIGTERM), (signal.SIGTERM, signal.SIGTERM)])
def test_a_second_request_interrupts_at_once(numbers):
    run = signaled(*numbers)
    stop = stopped_by(run)
    assert str(stop) == "stopped at once, without saving" and stop.number == numbers[1] and run.step == 2


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: number.name)
def test_the_exit_code_is_128_and_the_number_of_the_signal(tmp_path, monkeypatch, capsys, number):
    def train(*args, **options):
        raise Interrupted("stopped at outer step 3", number)

    monkeypatch.setattr(COMMAND, "train", train)
    assert main(["train", "guessing_game", "--folder", str(tmp_path)]) == 128 + number
    assert re.search(r"badger: stopped at outer step 3\. Resume with: badger resume", capsys.readouterr().err)


def train_in_terminal(terminal, folder):
    """The command line as the leader of a session, as a program that replaces its shell."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, if the tests run under nohup
    os.setsid()
    opened = os.open(terminal, os.O_RDWR)  # is now the controlling terminal
    for output in (1, 2):
        os.dup2(opened, output)
    sys.exit(main(["train", "tiny_runs:tiny", "--folder", str(folder), "--no-tensorboard"]))


def test_a_run_whose_terminal_is_closed_is_saved(tmp_path):
    """Although nothing can be written to its standard error any more."""
    controller, terminal = pty.openpty()
    process = start(train_in_terminal, os.ttyname(terminal), tmp_path / "run")
    threading.Thread(target=close_after, args=(controller, terminal, tmp_path / "run" / "metrics.jsonl")).start()
    process.join()
    assert process.exitcode == 128 + signal.SIGHUP
    assert 0 < load_trusted(tmp_path / "run").step < STEPS


def close_after(controller, terminal, file):
    while not (file.exists() and file.stat().st_size):
        time.sleep(0.01)
    os.close(terminal)
    os.close(controller)
