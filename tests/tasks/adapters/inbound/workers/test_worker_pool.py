"""Worker processes: rows that hang or die are named, nothing of a pool is left over, and signals are the trainer's."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import toy_worlds
from tasks import EnvError, EnvLimits, EnvPool
from tiny_runs import processes, start
from toy_worlds import Counter, Obeying

HANGS = (toy_worlds.ignore_interrupts, toy_worlds.block_signals, toy_worlds.hold_interpreter_lock)
DEATHS = {toy_worlds.die: r"3", toy_worlds.crash: r"-11 \(SIGSEGV\)"}


def pool(factory, timeout=None):
    return EnvPool(factory, EnvLimits("Toy-v0", timeout=timeout), num_workers=2)


def reset(made, batch=4):
    return made.reset(batch, torch.Generator().manual_seed(0))[0]


def only(row, batch=4):
    """Actions of which one is 3."""
    return np.where(np.arange(batch) == row, 3, 0)


def named(row, batch=4):
    """The beginning of an error in the first step of a row."""
    seed = torch.randint(2**31 - 1, (batch,), generator=torch.Generator().manual_seed(0))[row]
    return rf"Toy-v0, row {row} \(seed {seed}, step 1\)"


def start_trainer(function, *arguments):
    """Starts a process whose own workers are forked, as is the default."""
    return start(fork_workers, function, arguments)


def fork_workers(function, arguments):
    multiprocessing.set_start_method("fork", force=True)
    function(*arguments)


# Rows that hang


@pytest.mark.parametrize("hang", [toy_worlds.sleep, *HANGS])
def test_a_row_that_hangs_costs_one_timeout_and_is_named(hang):
    world = reset(pool(partial(Obeying, hang), timeout=0.4), 16)
    start = time.monotonic()
    with pytest.raises(EnvError, match=rf"^{named(10, 16)} (took longer than|did not return within) 0.4 s"):
        world.step(only(10, 16))
    assert time.monotonic() - start < 2  # and not 8 rows x 0.4 s


def test_slow_rows_may_take_longer_together_than_the_timeout(monkeypatch):
    monkeypatch.setattr("tasks.adapters.inbound.workers.worker_pool.TIMEOUT_GRACE", 0)
    world = reset(pool(partial(Obeying, partial(time.sleep, 0.2)), timeout=0.5), 8)
    assert_array_equal(world.step(np.full(8, 3))[1].reward, np.full(8, 3))


def test_a_constructor_that_hangs_is_named(monkeypatch):
    monkeypatch.setattr("tasks.adapters.inbound.workers.worker_pool.MIN_CONSTRUCTOR_TIMEOUT", 0.2)

    class Stuck(Counter):
        def __init__(self):
            toy_worlds.ignore_interrupts()

    with pytest.raises(EnvError, match=r"Toy-v0, row 0 \(seed 0, step 0\).* did not return within 0.2 s"):
        reset(pool(Stuck, timeout=0.1))


def test_an_environment_that_hangs_in_close_is_killed_after_the_timeout():
    class Closing(Counter):
        def close(self):
            toy_worlds.ignore_interrupts()

    made = pool(Closing, timeout=0.1)
    workers = reset(made)._copies.rows.processes
    del made
    assert not any(worker.is_alive() for worker in workers)


# Workers that die


@pytest.mark.parametrize("death", DEATHS)
def test_the_row_in_which_a_worker_dies_is_named(death):
    world = reset(pool(partial(Obeying, death)))
    with pytest.raises(EnvError, match=rf"^{named(1)}: the worker died with exit code {DEATHS[death]}; see its output"):
        world.step(only(1))


def test_a_worker_that_dies_between_two_calls_is_named_by_its_rows():
    world = reset(pool(Counter))
    worker = world._copies.rows.processes[1]
    worker.kill()
    worker.join()
    with pytest.raises(EnvError, match=r"Toy-v0, rows 2 to 3, between two calls: the worker died with exit code -9"):
        world.step(np.zeros(4, int))


def test_a_death_is_not_hidden_by_a_row_that_hangs():
    world = reset(pool(partial(Obeying, toy_worlds.sleep)))  # without a timeout
    threading.Timer(0.1, world._copies.rows.processes[1].kill).start()
    with pytest.raises(EnvError, match=r"^Toy-v0, row 2 \(seed \d+, step 1\): the worker died"):
        world.step(np.array([3, 0, 3, 0]))


def test_a_worker_that_dies_at_its_construction_is_named_by_its_row():
    with pytest.raises(EnvError, match=r"Toy-v0, row \d \(seed 0, step 0\): the worker died with exit code 3"):
        reset(pool(toy_worlds.die))


def test_an_environment_that_raises_at_its_construction_is_named_with_its_traceback():
    def factory():
        raise OSError("no licence left")

    with pytest.raises(
        EnvError, match=r"Toy-v0, row \d .*raised OSError in its constructor: no licence left\n(.|\n)*in factory"
    ):
        reset(pool(factory))


def say_last_words():
    print("last words")
    os._exit(3)


def redirect_and_die(file):
    sys.stdout = file.open("w")  # with a buffer, as if piped
    with suppress(EnvError):
        reset(pool(partial(Obeying, say_last_words))).step(only(0))


def test_output_of_a_worker_that_dies_is_visible(tmp_path):
    start_trainer(redirect_and_die, tmp_path / "output").join()
    assert (tmp_path / "output").read_text() == "last words\n"


def test_spaces_that_differ_between_workers_are_refused():
    def factory():
        env = Counter()
        env.action_space.n = 4 + (multiprocessing.current_process().name[-1:] in "02468")
        return env

    with pytest.raises(EnvError, match=r"row 2 has the spaces .*Discrete.*, want .*Discrete.*, those of row 0"):
        reset(pool(factory))


# Nothing is left over


def fail_in_all_ways():
    """Exits with an error if a child is left, or has ended and was not waited for."""
    failures = [pool(partial(Obeying, fail), 0.1) for fail in (toy_worlds.ignore_interrupts, toy_worlds.die, sys.exit)]
    for made in (*failures, pool(toy_worlds.crash)):
        with suppress(EnvError):
            reset(made).step(only(0))
            raise AssertionError
    with suppress(ChildProcessError):
        raise AssertionError(os.waitpid(-1, os.WNOHANG))


def test_errors_leave_no_process():
    process = start_trainer(fail_in_all_ways)
    process.join()
    assert process.exitcode == 0


def leave_pool_in_use():
    toy_worlds.left_over = reset(pool(Counter))


def test_a_process_that_leaves_a_pool_in_use_ends():
    """Although its workers ignore SIGTERM."""
    process = start_trainer(leave_pool_in_use)
    process.join(30)
    assert process.exitcode == 0


def hang_in_trainer(function, pipe, in_thread):
    """Calls the function in a worker, which inherits the pipe and writes to it before."""

    def call():
        pipe.send("called")
        function()

    def step():
        reset(pool(partial(Obeying, call))).step(only(0))

    if in_thread:
        threading.Thread(target=step).start()
        time.sleep(60)
    step()


@pytest.mark.parametrize(
    ("hang", "in_thread"), [*((hang, False) for hang in HANGS), (toy_worlds.ignore_interrupts, True)]
)
def test_workers_of_a_killed_trainer_end_while_an_environment_hangs(hang, in_thread):
    reader, writer = processes.Pipe(duplex=False)
    trainer = start_trainer(hang_in_trainer, hang, writer, in_thread)
    writer.close()
    assert reader.recv() == "called"
    trainer.kill()
    trainer.join()
    assert reader.poll(5)
    with pytest.raises(EOFError):  # no process has the other end any more
        reader.recv()


def test_workers_of_a_thread_that_has_ended_go_on():
    started = []
    thread = threading.Thread(target=lambda: started.append(reset(pool(Counter))))
    thread.start()
    thread.join()
    assert_array_equal(started[0].step(np.ones(4, int))[1].reward, np.ones(4))


# Signals and other start methods


def test_signals_that_go_to_all_processes_are_left_to_the_trainer():
    world = reset(pool(Counter))
    for worker in world._copies.rows.processes:
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
            os.kill(worker.pid, getattr(signal, name))
    assert_array_equal(world.step(np.ones(4, int))[1].reward, np.ones(4))


def test_programs_that_an_environment_starts_end_at_sigterm():
    def shell():
        assert subprocess.run(["sh", "-c", "kill -TERM $$; sleep 60"]).returncode == -signal.SIGTERM

    assert reset(pool(partial(Obeying, shell))).step(only(0))[1].reward[0] == 3


def test_workers_that_are_not_forked_play_the_same(monkeypatch):
    forked = reset(pool(Counter)).step(np.ones(4, int))[1]
    monkeypatch.setattr(multiprocessing, "get_context", lambda: processes)
    world = reset(pool(partial(Obeying, toy_worlds.die)))
    world, other = world.step(np.ones(4, int))
    assert_array_equal(other.obs, forked.obs)
    with pytest.raises(EnvError, match=r"row 3 \(seed \d+, step 2\): the worker died with exit code 3"):
        world.step(only(3))
