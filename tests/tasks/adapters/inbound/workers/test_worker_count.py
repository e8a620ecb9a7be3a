"""The number of workers that is chosen by itself: where it pays, and without any effect on the episodes."""

import gc
import multiprocessing
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_equal

import toy_worlds
import toy_zoo
from badger import build_run, train
from badger.testing.task import cases
from tasks import EnvError, Gymnasium, PettingZoo
from tasks.adapters.inbound.workers import worker_count
from tasks.adapters.inbound.workers.worker_count import available_cores, choose_num_workers, measure_step
from toys import seeded

B = 4


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(worker_count, "available_cores", lambda: 2)


@pytest.fixture
def all_are_slow(monkeypatch, two_cores):
    monkeypatch.setattr(worker_count, "MIN_STEP_SECONDS", 0.0)


def processes(task, batch=B):
    """The number of worker processes of a batch."""
    state, _ = task.reset(batch, seeded())
    handle = state.handle if isinstance(task, Gymnasium) else state
    return len(getattr(handle._copies.rows, "processes", ()))


def play(task, steps=8):
    rng = seeded()
    state, step = task.reset(B, rng)
    results = [step]
    for t in range(steps):
        over = step.terminated | step.truncated
        over = over if over.dim() == 1 else over.all(-1)
        state, after = task.step(state, cases.action(task, t), rng)
        state, reset_step = task.restart(state, over, rng)
        step = reset_step if over.any() else after
        results.append(step)
    return results


@pytest.mark.parametrize(
    ("batch", "timeout", "seconds", "expected"),
    [(16, None, 5e-4, 1), (16, None, 2e-3, 2), (1, None, 1.0, 1), (16, 1.0, 0.0, 2), (1, 1.0, 0.0, 1)],
)
def test_workers_are_used_from_a_millisecond_on_or_with_a_timeout(two_cores, batch, timeout, seconds, expected):
    assert choose_num_workers(batch, timeout, lambda: seconds) == expected


def test_nothing_is_measured_on_one_core(monkeypatch):
    monkeypatch.setattr(worker_count, "available_cores", lambda: 1)
    assert choose_num_workers(16, None, lambda: pytest.fail("measured")) == 1


def test_ranks_share_the_cores_and_daemons_have_none(monkeypatch):
    cores = available_cores()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert available_cores() == max(1, cores // 2)
    monkeypatch.delenv("LOCAL_WORLD_SIZE")
    monkeypatch.setattr(multiprocessing.current_process(), "_config", {"daemon": True})
    assert available_cores() == 1


def test_a_slow_environment_has_workers_and_cartpole_has_none(two_cores, capsys):
    def slow():
        return toy_worlds.Waiting(0.003)

    assert processes(Gymnasium(slow)) == 2 and processes(Gymnasium()) == 0
    first, second = capsys.readouterr().err.splitlines()
    assert first.endswith("so copies are stepped in up to 2 workers") and second.endswith("stepped in this process")


def test_a_single_step_that_takes_long_counts(monkeypatch):
    monkeypatch.setattr(worker_count, "MAX_SECONDS", 0.0)
    assert measure_step(Gymnasium(lambda: toy_worlds.Waiting(0.003)), "Waiting") >= 0.003


def test_the_choice_is_measured_and_printed_once(two_cores, capsys):
    task = Gymnasium()
    for batch in (2, 3):
        task.reset(batch, seeded())
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda **options: Gymnasium("CartPole-v1", steps=5, **options),
        lambda **options: Gymnasium("Pendulum-v1", **options),
        lambda **options: PettingZoo(env=toy_zoo.Meadow, steps=6, **options),
        lambda **options: PettingZoo(env=partial(toy_zoo.Cards, strict=False), steps=6, **options),
    ],
    ids=["CartPole", "Pendulum", "Meadow", "Cards"],
)
def test_episodes_do_not_depend_on_the_choice(all_are_slow, make):
    auto, one = make(), make(num_workers=1)
    assert processes(auto) == 2 and processes(one) == 0
    for a, b in zip(play(auto), play(one), strict=True):
        cases.same(a, b)


def test_training_does_not_depend_on_the_choice(all_are_slow):
    parameters = []
    for num_workers in (None, 1):
        sizes = {"batch": 4, "learner.horizon": 8, "learner.sequence_length": 4, "core.hidden_size": 4}
        run = build_run("gymnasium", **sizes, num_workers=num_workers, outer_steps=2, device="cpu")
        train(run, quiet=True)
        parameters.append(torch.cat([p.detach().flatten() for p in run.learner.agent.parameters()]))
    assert torch.equal(*parameters)


def test_measuring_leaves_the_global_generator_as_it_was(two_cores):
    class Drawing(toy_worlds.Counter):
        def step(self, action):
            np.random.random()
            return super().step(action)

    task = Gymnasium(Drawing, num_workers=1)
    before = np.random.get_state()[1:3]
    measure_step(task, "Drawing")
    assert_equal(np.random.get_state()[1:3], before)


def test_the_copy_that_is_measured_is_closed(two_cores):
    opened = []

    class Closing(toy_worlds.Counter):
        def __init__(self):
            super().__init__()
            opened.append(self)

        def close(self):
            opened.remove(self)

    task = Gymnasium(Closing)
    state, _ = task.reset(B, seeded())
    gc.collect()
    assert len(opened) == B
    del state


def test_an_environment_that_fails_while_it_is_measured_is_named_with_its_row(two_cores):
    task = Gymnasium(toy_worlds.Raising)
    with pytest.raises(EnvError, match=r"row \d \(seed \d+, step 3\) raised KeyError"):
        play(task)


def test_a_timeout_needs_no_number_of_workers(two_cores):
    assert processes(Gymnasium("CartPole-v1", timeout=5.0)) == 2
