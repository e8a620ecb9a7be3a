"""Learning from a file of recorded episodes: tasks and cores, resuming, returns that are asked for."""

import json
import shutil
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import badger
from badger.cli.main import main
from badger.datasets import EpisodeDataset
from badger.recipes.build import build_run, load_run
from badger.runs.protocol import achieved_returns
from badger.runs.training import train
from experts import target_return
from tasks import Discrete

TINY = {"outer_steps": 4, "batch": 3, "evaluate_every": 2}
TRANSFORMER = {
    "learner": "decision_transformer", "core": "decision_transformer", "core.hidden_size": 6, "core.layers": 1,
    "core.context": 3,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "behavior_cloning": {"core.hidden_size": 5},
    "several experts": {"experts": 2, "bus": "attention", "identity_size": 3, "core": "episodic"},
    "percent_bc": {"learner": "percent_bc", "learner.percent": 50, "learner.sequence_length": 3},
    "decision_transformer": TRANSFORMER,
    "generalized_dt": TRANSFORMER | {"learner": "generalized_dt", "core": "generalized_dt"},
    "trajectory_transformer": {
        "learner": "trajectory_transformer",
        "core": "trajectory_transformer",
        "core.hidden_size": 16,
        "core.width": 8,
        "core.layers": 1,
        "core.horizon": 2,
        "core.beam": 2,
        "core.bins": 8,
    },
    "sliding": TRANSFORMER | {"core.sliding": True, "learner.sequence_length": 5},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Random walks of at most 6 steps."""
    file = tmp_path_factory.mktemp("data") / "walks.h5"
    flags = "--recipe random_walk_graph --random --nodes 6 --edge-probability 0.4 --steps 6 --episodes 30"
    assert main(["record", *flags.split(), "--out", str(file)]) == 0
    return file


def make(data, **flags):
    return build_run("offline", **{"data": str(data)} | TINY | flags)


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(kind, data, tmp_path):
    whole, part = make(data, **KINDS[kind]), make(data, **KINDS[kind])
    whole.folder, part.folder = tmp_path / "whole", tmp_path / "part"
    train(whole, quiet=True, tensorboard=False)
    train(part, 3, quiet=True, tensorboard=False)
    resumed = load_run(part.folder)
    train(resumed, quiet=True, tensorboard=False)
    states = [run.learner.agent.state_dict().values() for run in (whole, resumed)]
    assert all(a.equal(b) for a, b in zip(*states, strict=True))
    rows = badger.read_metrics(whole.folder)
    assert rows[-1]["return"] is None and rows[-1]["eval/return"] is not None and rows[-1]["data_return"] < 0
    assert whole.best is not None and whole.best.kind.endswith("held-out episodes")


def test_the_best_return_of_the_data_is_asked_for_unless_another_is(data, tmp_path, capsys):
    run = make(data, **TRANSFORMER)
    assert target_return(run.learner.agent) == run.learner.data.best_return == 0
    assert float(run.learner.agent.core.return_scale) == -run.learner.data.returns.min()
    run = make(data, **TRANSFORMER, target_return=-2.0)
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    assert target_return(load_run(run.folder).learner.agent) == -2
    out, asked = tmp_path / "out.json", ["--target-return", "-3", "0"]
    assert main(["evaluate", str(run.folder), *asked, "--json", str(out)]) == 0
    assert list(json.loads(out.read_text())["asked"]) == ["-3.0", "0.0"]
    assert "asked for a return of -3" in capsys.readouterr().out and (run.folder / "asked_returns.png").exists()
    recording = ["record", str(run.folder), "--target-return", "-1", "--episodes", "3", "--out", str(tmp_path / "a.h5")]
    assert main(recording) == 0


def test_rewards_are_asked_for_by_count_and_value(data, tmp_path, capsys):
    run = make(data, **KINDS["generalized_dt"], target_rewards=("2x-1", "0"))
    future = run.learner.core.future
    assert future.target.nonzero().flatten().tolist() == [0, 29] and future.target[[0, 29]].tolist() == [2, 1]
    assert target_return(run.learner.agent) == -2
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    assert load_run(run.folder).learner.core.future.target.equal(future.target)
    assert main(["evaluate", str(run.folder), "--target-rewards", "3x-1", "--episodes", "2"]) == 0
    recording = ["record", str(run.folder), "--target-rewards", "0", "--episodes", "3", "--out", str(tmp_path / "a.h5")]
    assert main(recording) == 0
    for words in (["2y3"], ["0x1"], ["nan"], ["-1", "--target-return", "3"]):
        capsys.readouterr()
        assert main(["evaluate", str(run.folder), "--target-rewards", *words]) == 2
        assert f"--target-rewards {words[0]}" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["decision_transformer", "generalized_dt"])
def test_tensorboard_shows_what_is_achieved_of_recorded_returns(kind, data, tmp_path):
    """The best one is asked for afterwards, as before."""
    run = make(data, **KINDS[kind])
    run.folder = tmp_path / "run"
    train(run, quiet=True)
    events = EventAccumulator(str(run.folder))
    events.Reload()
    assert "eval/asked_returns" in events.Tags()["images"]
    before = run.learner.agent.state_dict()
    achieved = achieved_returns(run.learner)
    returns = run.learner.data.returns
    assert min(achieved) == returns.min() and max(achieved) == returns.max()
    assert all(value.equal(before[name]) for name, value in run.learner.agent.state_dict().items())
    assert not achieved_returns(make(data).learner)


def test_what_a_transformer_recorded_can_be_learned_from(data, tmp_path):
    """Its observations already have the previous action and reward, which are not appended twice."""
    run = make(data, **TRANSFORMER)
    run.folder, again = tmp_path / "run", tmp_path / "again.h5"
    train(run, 1, quiet=True, tensorboard=False)
    assert main(["record", str(run.folder), "--episodes", "4", "--out", str(again)]) == 0
    second = make(again, **TRANSFORMER)
    assert second.learner.data.obs_size == second.learner.task.obs_size
    assert second.learner.update()["finite"]


@pytest.mark.parametrize("kind", ["behavior_cloning", "decision_transformer", "generalized_dt"])
def test_an_agent_is_judged_from_any_folder_and_without_its_data_but_not_trained(
    kind, data, tmp_path, capsys, monkeypatch
):
    """Nor is it trained on with other data of that name."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(data, "data.h5")
    run, state = make("data.h5", **KINDS[kind]), tmp_path / "run"
    run.folder = state
    train(run, 2, quiet=True, tensorboard=False)
    resolved = json.loads((state / "run.json").read_text())["resolved"]
    assert resolved["data"] == str(tmp_path / "data.h5") and resolved["task"] == "random_walk_graph"
    assert resolved["target_return"] == (None if kind == "behavior_cloning" else 0)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    weights = [load_run(state).learner.agent.state_dict()]
    (tmp_path / "data.h5").unlink()
    weights.append(load_run(state).learner.agent.state_dict())
    assert all(a.equal(b) for a, b in zip(*(part.values() for part in weights), strict=True))
    assert main(["evaluate", str(state), "--episodes", "3"]) == 0
    capsys.readouterr()
    assert main(["resume", str(state)]) == 2 and "no such file to learn from" in capsys.readouterr().err
    shutil.copy(data, "all.h5")
    EpisodeDataset.from_episodes(EpisodeDataset.load("all.h5")[:9], Discrete(6)).save(tmp_path / "data.h5")
    assert main(["evaluate", str(state), "--episodes", "3"]) == 0
    capsys.readouterr()
    assert main(["resume", str(state)]) == 2
    assert "has {'episodes': 9, " in (error := capsys.readouterr().err) and "want the same data" in error


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--data none.h5 --task t_maze", "badger: --data none.h5: no such file to learn from; put it there"),
        ("--data none.h5", "badger: --data none.h5: no such file; record one, such as"),
        ("--learner ppo", "learner 'ppo' learns from episodes that the agent lives"),
        ("--target-return 1", "--target-return 1: the agent is not asked for a return"),
        ("--learner decision_transformer --core lstm", "the agent's core is a LSTM, which is not asked for a return"),
        (
            "--task random_walk_graph --task.nodes 7",
            "badger: --task random_walk_graph, --task.nodes 7: ",
        ),
        ("--learner decision_transformer --core decision_transformer --core.max-time 3", "--core.max-time 3: want at"),
        ("--learner percent_bc --learner.percent 0", "--learner.percent 0: want above 0 and at most 100"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(flags, message, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(data, "data.h5")
    assert main(["train", "offline", *flags.split()]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_the_environment_that_does_not_fit_is_named(tmp_path, capsys):
    file = str(tmp_path / "poles.h5")
    assert main(["record", "--recipe", "gymnasium", "--random", "--episodes", "2", "--out", file]) == 0
    capsys.readouterr()
    assert main(["train", "offline", "--data", file, "--task", "gymnasium", "--task.env", "Acrobot-v1"]) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("badger: --task gymnasium, --task.env Acrobot-v1: ") and "Gymnasium 6" in message


def test_a_file_names_the_options_of_its_task(data):
    task = build_run("offline", data=str(data), **TINY).learner.task
    assert (task.nodes, task.edge_probability, task.steps) == (6, 0.4, 6)


def test_several_agents_learn_from_what_they_did_by_an_expert_each(tmp_path):
    file = tmp_path / "tiger.h5"
    assert main(["record", "--recipe", "dec_tiger", "--random", "--episodes", "4", "--out", str(file)]) == 0
    run = build_run("offline", data=str(file), **TINY)
    assert run.learner.agent.experts == 2 and run.learner.update()["loss"].isfinite()


def test_a_learner_from_recordings_is_refused_where_there_are_none(capsys):
    assert main(["train", "t_maze", "--learner", "behavior_cloning"]) == 2
    assert "want badger train offline --data FILE --learner behavior_cloning" in capsys.readouterr().err
    assert main(["train", "t_maze", "--core", "decision_transformer"]) == 2
    assert "finds no last action and reward" in capsys.readouterr().err


def test_a_decision_transformer_acts_and_learns_from_rewards_as_any_core_does():
    flags = {"core": "decision_transformer", "core.hidden_size": 6, "core.layers": 1, "core.context": 3, "batch": 2}
    flags["sense"] = "broadcast"
    run = build_run("t_maze", observe_previous=True, length=4, outer_steps=1, **flags)
    assert run.learner.update()["finite"] and torch.isfinite(run.learner.update()["loss"])
