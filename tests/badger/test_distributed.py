"""Several processes train one agent, as one process would, and end together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, distributed, read_metrics, train
from tiny_ranks import (
    TASKS,
    apart,
    broken,
    choices,
    chooser,
    gradients,
    joined,
    learner,
    parameters,
    signalled,
    strangers,
    together,
    updates,
)
from tiny_runs import load_trusted, made, same
from toys import game, toy_agent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each of two ranks says of its updates."""
    return together(updates, tmp_path_factory.mktemp("updates"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run under torchrun of which one process was killed: exit code, standard error, folder."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    torchrun = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node=2",
        "-m",
        "badger",
        "train",
        "tiny_ranks:mortal",
    ]
    done = subprocess.run(
        [sys.executable, *torchrun, "--folder", str(folder), "--no-tensorboard"],
        cwd=ROOT / "tests",
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    return done.returncode, done.stderr, folder


# --- the numbers


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_give_the_gradients_of_one_that_plays_the_episodes_of_both(told, task):
    alone = [learner(task, 3, rank, clip=1e9) for rank in (0, 1)]
    for one in alone:
        one.update()
    parts = [gradients(one) for one in alone]
    expected = {name: (parts[0][name] + parts[1][name]) / 2 for name in parts[0]}
    assert_close(told[0][task]["gradients"], expected)
    assert_close(told[1][task]["gradients"], expected)


@pytest.mark.parametrize("task", TASKS)
def test_metrics_are_those_of_all_episodes(told, task):
    one, other = (learner(task, 3, rank, clip=1e9).update() for rank in (0, 1))
    ours = told[0][task]["metrics"]
    assert ours.keys() == one.keys()
    for name in ("loss", "return"):
        assert_close(ours[name], (one[name] + other[name]) / 2)
    assert same(ours, told[1][task]["metrics"])


def test_a_score_is_the_mean_over_all_due_not_the_mean_of_means(told):
    one, other = (learner("walk", 3, rank).update()["length"] for rank in (0, 1))
    both = told[0]["walk"]["metrics"]["length"]
    assert min(one, other) < both < max(one, other)
    assert abs(both - (one + other) / 2) > 1e-3  # more episodes have ended on one rank than on the other


@pytest.mark.parametrize("task", TASKS)
def test_parameters_stay_equal_bit_for_bit(told, task):
    assert same(told[0][task]["parameters"], told[1][task]["parameters"])
    assert not same(told[0][task]["parameters"], parameters(learner(task, 6)))


def test_of_choices_too_every_step_of_all_processes_counts_alike(tmp_path):
    zero, one = together(choices, tmp_path)
    alone = [chooser(12, rank) for rank in (0, 1)]
    apart = [each.update() for each in alone]
    steps = [12 * each["length"] for each in apart]  # that count: each row plays one episode
    assert steps[0] != steps[1]
    shares = [count / sum(steps) for count in steps]
    parts = [gradients(each) for each in alone]
    expected = {name: sum(share * part[name] for share, part in zip(shares, parts, strict=True)) for name in parts[0]}
    assert_close(zero["gradients"], expected)
    assert_close(zero["metrics"]["loss"], sum(share * each["loss"] for share, each in zip(shares, apart, strict=True)))
    assert_close(zero["metrics"]["return"], (apart[0]["return"] + apart[1]["return"]) / 2)
    assert same(zero["metrics"], one["metrics"]) and same(zero["parameters"], one["parameters"])


def test_what_is_not_finite_on_one_rank_changes_the_parameters_of_none(tmp_path):
    for one in together(broken, tmp_path):
        assert not one["finite"] and same(one["before"], one["after"])


# --- the run


def test_only_rank_0_writes(tmp_path):
    together(apart, tmp_path)
    assert len(read_metrics(tmp_path / "0")) == 12 and not (tmp_path / "1").exists()
    assert load_trusted(tmp_path / "0").processes == 2


def test_a_signal_to_one_process_ends_all_after_the_same_step(tmp_path):
    zero, one = together(signalled, tmp_path)
    assert zero["step"] == one["step"] == 7
    assert zero["said"] == f"stopped at outer step 7, saved in {tmp_path / '0'}"
    assert load_trusted(tmp_path / "0").step == 7


def test_processes_that_do_not_begin_alike_are_refused(tmp_path):
    for said in together(strangers, tmp_path):
        assert "the processes have different parameters (rank" in said and "from the same seed" in said


def test_a_process_that_dies_ends_the_run_and_the_others_say_which(killed):
    code, said, folder = killed
    assert code != 0
    assert "badger: rank 0 of 2 has lost rank 1: " in said
    assert f"Resume from the last checkpoint with: badger resume {folder}" in said


def test_such_a_run_goes_on_from_its_last_checkpoint_and_says_that_its_episodes_are_others(killed):
    run = load_trusted(killed[2])
    assert run.step == 10 and run.processes == 2
    with pytest.warns(UserWarning, match=r"step 10 was saved by 2 process\(es\), and 1 continue: the parameters are"):
        train(run, tensorboard=False)
    assert run.step == run.outer_steps
    assert [row["step"] for row in read_metrics(killed[2])] == list(range(1, run.outer_steps + 1))


def test_another_number_of_processes_begins_with_the_same_parameters(tmp_path):
    run = made(tmp_path / "run", outer_steps=5)
    train(run, tensorboard=False)
    for begun in together(joined, tmp_path):
        assert same(begun, parameters(run.learner))


# --- alone


def test_the_episodes_must_divide_over_the_processes(monkeypatch):
    monkeypatch.setattr(distributed, "world", lambda: 3)
    with pytest.raises(ValueError, match="batch=4 episodes do not divide over 3 processes; want a multiple"):
        BPTT(toy_agent(), game(), batch=4)


def test_one_process_alone_joins_no_group(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with distributed.process_group():
        assert not torch.distributed.is_initialized()
        assert (distributed.rank(), distributed.world_size(), distributed.broadcast_rank0("x")) == (0, 1, "x")
