"""Evaluations while a run trains: what decides best.pt, exact resume, and a training that does not notice them."""

import math

import pytest
import torch

from badger import build_run, evaluate, generator, read_metrics, train
from badger.runs.best import EVALUATION
from badger.runs.protocol import PERIODIC_EPISODES, PERIODIC_STREAM, periodic_evaluation
from tiny_runs import checkpoints, load_trusted, metrics, same, scalars, timeless

GAME = ("guessing_game", {"batch": 4, "dims": 2, "steps": 3, "core.hidden_size": 6, "message_size": 4, "lr": 0.05})
WORLD = ("gymnasium", {"env": "CartPole-v1", "steps": 12, "batch": PERIODIC_EPISODES, "learner.horizon": 8,
                       "core.hidden_size": 4})  # fmt: skip
STEPS = 8


def made(folder, recipe=GAME, every=2, **more):
    name, arguments = recipe
    run = build_run(name, **arguments, **more, outer_steps=STEPS, evaluate_every=every, device="cpu")
    run.folder = folder
    return with_options(run)


def with_options(run):
    run.save_every, run.log_every, run.keep_checkpoints, run.inspect_every = 3, 3, 20, STEPS
    return run


def without_evaluations(rows):
    return [{name: value for name, value in row.items() if not name.startswith("eval/")} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = made(tmp_path_factory.mktemp("whole") / "run")
    train(run)
    return run.folder


def test_best_is_the_checkpoint_of_the_best_evaluation(whole):
    figures = {row["step"]: row["eval/return"] for row in read_metrics(whole) if "eval/return" in row}
    assert list(figures) == [2, 4, 6, 8]
    best = torch.load(whole / "checkpoints" / "best.pt", weights_only=True)
    assert best["learner"]["step"] == max(figures, key=figures.__getitem__)
    assert best["best"] == {"kind": EVALUATION, "episodes": PERIODIC_EPISODES, "value": max(figures.values())}


def test_each_evaluation_plays_the_same_episodes_of_its_own_stream(whole):
    learner = load_trusted(whole).learner
    scores = evaluate(learner.agent, learner.task, PERIODIC_EPISODES, generator(learner.seed, PERIODIC_STREAM))
    (figure, found), (again, _) = periodic_evaluation(learner), periodic_evaluation(learner)
    assert figure == again and found["eval/return"] == pytest.approx(scores["return"].mean().item())
    assert found == {k: v for k, v in read_metrics(whole)[-1].items() if k.startswith("eval/")}


def test_the_evaluations_are_in_tensorboard(whole):
    curves = scalars(whole)
    assert all([step for step, _ in curves[tag]] == [2, 4, 6, 8] for tag in ("eval/final_error", "eval/mean_reward"))


@pytest.mark.parametrize("recipe", [GAME, WORLD])
def test_the_training_does_not_depend_on_its_evaluations(tmp_path, recipe):
    runs = [made(tmp_path / str(every), recipe, every=every) for every in (2, None)]
    for run in runs:
        train(run, tensorboard=False)
    assert same(*(run.learner.state_dict() for run in runs))
    with_them, without = (metrics(run.folder) for run in runs)
    assert without_evaluations(with_them) == without and with_them != without


@pytest.mark.parametrize("stop", [4, 5])
def test_a_stopped_and_resumed_run_has_the_same_best(tmp_path, whole, stop):
    train(made(tmp_path / "run"), stop, tensorboard=False)
    train(with_options(load_trusted(tmp_path / "run")), tensorboard=False)
    found, wanted = checkpoints(tmp_path / "run"), checkpoints(whole)
    assert all(same(found[name], wanted[name]) for name in wanted) and metrics(tmp_path / "run") == metrics(whole)


def test_the_figure_of_a_population_is_the_mean_of_its_members(tmp_path):
    run = made(tmp_path / "run", seeds=2)
    train(run, 2, tensorboard=False)
    row = read_metrics(run.folder)[-1]
    assert run.best.value == row["eval/return"] == (row["eval/return/seed_0"] + row["eval/return/seed_1"]) / 2
    with torch.no_grad():
        next(run.learner.members[1].agent.act.parameters()).fill_(math.nan)
    figure, scores = periodic_evaluation(run.learner)
    assert figure.value == scores["eval/return"] == scores["eval/return/seed_0"]


def test_evaluate_every_is_at_least_1():
    with pytest.raises(ValueError, match="evaluate_every=0, want at least 1"):
        build_run("guessing_game", evaluate_every=0)


def test_a_run_without_a_folder_keeps_the_evaluations_in_its_history():
    run = made(None)
    train(run, 2)
    assert "eval/return" in run.history[-1] and "eval/return" not in run.history[0]
    assert timeless(run.history[0])["step"] == 1
