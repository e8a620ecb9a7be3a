"""Data-parallel training: gradients, metrics and shutdown of several processes."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, distributed, read_metrics, train
from tiny_ranks import (
    TASKS,
    broken,
    choices,
    chooser,
    evolved,
    gradients,
    joined,
    launch,
    learner,
    parameters,
    signalled,
    strangers,
    together,
    train_separately,
    updates,
)
from tiny_runs import STEPS, load_trusted, made, processes, same, start
from toys import game, toy_agent

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def rank_results(tmp_path_factory):
    """The results of updates on each of two ranks."""
    return together(updates, tmp_path_factory.mktemp("updates"))


def run_torchrun(recipe, folder):
    """Trains in two processes under torchrun."""
    script = Path(sys.executable).with_name("badger")
    words = ["--no-python", "--standalone", "--nproc-per-node=2", script, "train", recipe, "--folder", folder]
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, "--no-tensorboard"],
        cwd=ROOT / "tests",
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,  # until the last process has ended
        text=True,
        timeout=100,
    )


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A run under torchrun of which one process was killed: exit code, standard error, folder."""
    folder = tmp_path_factory.mktemp("killed") / "run"
    done = run_torchrun("tiny_ranks:mortal", folder)
    return done.returncode, done.stderr, folder


# --- gradients and metrics


@pytest.mark.parametrize("task", TASKS)
def test_gradients_are_the_mean_over_processes(rank_results, task):
    alone = [learner(task, 3, rank, clip=1e9) for rank in (0, 1)]
    for one in alone:
        one.update()
    parts = [gradients(one) for one in alone]
    expected = {name: (parts[0][name] + parts[1][name]) / 2 for name in parts[0]}
    assert_close(rank_results[0][task]["gradients"], expected)
    assert_close(rank_results[1][task]["gradients"], expected)


@pytest.mark.parametrize("task", TASKS)
def test_metrics_are_those_of_all_episodes(rank_results, task):
    one, other = (learner(task, 3, rank, clip=1e9).update() for rank in (0, 1))
    ours = rank_results[0][task]["metrics"]
    assert ours.keys() == one.keys()
    for name in ("loss", "return"):
        assert_close(ours[name], (one[name] + other[name]) / 2)
    assert same(ours, rank_results[1][task]["metrics"])


def test_a_score_is_the_mean_over_all_episodes_not_the_mean_of_means(rank_results):
    one, other = (learner("walk", 3, rank).update()["length"] for rank in (0, 1))
    both = rank_results[0]["walk"]["metrics"]["length"]
    assert min(one, other) < both < max(one, other)
    assert abs(both - (one + other) / 2) > 1e-3  # more episodes have ended on one rank than on the other


@pytest.mark.parametrize("task", TASKS)
def test_parameters_stay_bit_identical(rank_results, task):
    assert same(rank_results[0][task]["parameters"], rank_results[1][task]["parameters"])
    assert not same(rank_results[0][task]["parameters"], parameters(learner(task, 6)))


def test_every_step_of_all_processes_has_the_same_weight_in_the_policy_gradient(tmp_path):
    zero, one = together(choices, tmp_path)
    alone = [chooser(12, rank) for rank in (0, 1)]
    separate = [each.update() for each in alone]
    steps = [12 * each["length"] for each in separate]  # that count: each row plays one episode
    assert steps[0] != steps[1]
    weights = [count / sum(steps) for count in steps]
    parts = [gradients(each) for each in alone]
    expected = {
        name: sum(weight * part[name] for weight, part in zip(weights, parts, strict=True)) for name in parts[0]
    }
    assert_close(zero["gradients"], expected)
    assert_close(
        zero["metrics"]["loss"],
        sum(weight * each["loss"] for weight, each in zip(weights, separate, strict=True)),
    )
    assert_close(zero["metrics"]["return"], (separate[0]["return"] + separate[1]["return"]) / 2)
    assert same(zero["metrics"], one["metrics"]) and same(zero["parameters"], one["parameters"])


def test_processes_that_share_a_population_are_bit_identical_to_one_process(tmp_path):
    zero, one = together(evolved, tmp_path)
    alone = evolved(tmp_path)
    for rank, kind in itertools.product((zero, one), alone):
        assert rank[kind]["returns"] == alone[kind]["returns"]
        for name, parameter in alone[kind]["parameters"].items():
            assert torch.equal(rank[kind]["parameters"][name], parameter), name


def test_a_nonfinite_gradient_on_one_rank_skips_the_update_on_all(tmp_path):
    for one in together(broken, tmp_path):
        assert not one["finite"] and same(one["before"], one["after"])


# --- runs


def test_only_rank_0_writes(tmp_path):
    together(train_separately, tmp_path)
    assert len(read_metrics(tmp_path / "0")) == 12 and not (tmp_path / "1").exists()
    assert load_trusted(tmp_path / "0").platform["processes"] == 2


def test_a_signal_to_one_process_stops_all_after_the_same_step(tmp_path):
    zero, one = together(signalled, tmp_path)
    assert zero["step"] == one["step"] == 7
    assert zero["said"] == f"stopped at outer step 7, saved in {tmp_path / '0'}"
    assert load_trusted(tmp_path / "0").step == 7


def test_processes_with_different_initial_parameters_raise(tmp_path):
    for said in together(strangers, tmp_path):
        assert "the processes have different parameters (rank" in said and "from the same seed" in said


def test_a_process_that_dies_ends_the_run_and_is_named(killed):
    code, said, folder = killed
    assert code != 0
    assert "badger: rank 0 of 2 has lost rank 1: " in said
    assert f"Resume from the last checkpoint with: badger resume {folder}" in said


def test_processes_whose_torchrun_is_killed_save_and_end(tmp_path):
    done = run_torchrun("tiny_ranks:orphaned", tmp_path / "run")
    assert done.returncode == -signal.SIGKILL
    assert f"badger: stopped at outer step 7, saved in {tmp_path / 'run'}. Resume with: " in done.stderr
    assert load_trusted(tmp_path / "run").step == 7


@pytest.mark.parametrize(
    ("variables", "end"),
    [
        ({"TORCHELASTIC_RUN_ID": "none", "RANK": "0", "WORLD_SIZE": "1"}, 7),  # torchrun --nproc-per-node=1
        ({}, STEPS),  # badger train & exit
    ],
)
def test_a_process_ends_with_torchrun_but_not_with_a_shell(tmp_path, variables, end):
    reader, writer = processes.Pipe(duplex=False)
    start(launch, tmp_path / "run", writer, variables)
    writer.close()
    with pytest.raises(EOFError):
        reader.recv()
    assert load_trusted(tmp_path / "run").step == end


def test_a_run_resumed_with_fewer_processes_warns_of_different_episodes(killed):
    run = load_trusted(killed[2])
    assert run.step == 10 and run.platform["processes"] == 2
    with pytest.warns(UserWarning, match="step 10 was saved with processes 2, now 1: the parameters are exact"):
        train(run, tensorboard=False)
    assert run.step == run.outer_steps
    assert [row["step"] for row in read_metrics(killed[2])] == list(range(1, run.outer_steps + 1))


def test_another_number_of_processes_restores_the_same_parameters(tmp_path):
    run = made(tmp_path / "run", outer_steps=5)
    train(run, tensorboard=False)
    for started in together(joined, tmp_path):
        assert same(started, parameters(run.learner))


# --- a single process


def test_the_episodes_must_divide_over_the_processes(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(ValueError, match="batch=4 episodes do not divide over 3 processes; want a multiple"):
        BPTT(toy_agent(), game(), batch=4)


def test_a_single_process_initializes_no_group(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "1")
    with distributed.process_group():
        assert not torch.distributed.is_initialized()
        assert (distributed.rank(), distributed.world_size(), distributed.broadcast_rank0("x")) == (0, 1, "x")
