"""Runs that are extended, and run folders that are older than a flag."""

import pytest
import torch

from badger import build_run, load_run, train
from badger.cli.main import main
from tiny_runs import load_trusted

TINY = {"env": "toy_worlds:Counter", "steps": 4, "core.hidden_size": 4, "batch": 2, "learner.horizon": 4}


def trained(folder, **flags):
    run = build_run("gymnasium", **TINY | {"device": "cpu", "total_steps": 16} | flags)
    run.folder = folder
    train(run, quiet=True, tensorboard=False)
    return run


def test_an_extended_run_continues_with_the_learning_rate_of_a_run_of_its_length(tmp_path):
    trained(tmp_path / "run")
    run = load_trusted(tmp_path / "run", total_steps=30)
    assert (run.step, run.outer_steps) == (2, 4)  # of 8 environment steps each, 32 in all
    assert [run.learner.updater.schedule(step) for step in (2, 3, 4)] == pytest.approx([5e-4, 2.5e-4, 0])
    run.save_extension()
    train(load_trusted(tmp_path / "run"), quiet=True, tensorboard=False)
    assert load_trusted(tmp_path / "run").step == 4


def test_a_budget_that_is_done_is_refused(tmp_path):
    trained(tmp_path / "run")
    with pytest.raises(ValueError, match=r"total_steps=16, want more than 16: .* has made so many environment steps"):
        load_trusted(tmp_path / "run", total_steps=16)


def test_a_run_without_a_recipe_is_not_extended(tmp_path):
    trained(tmp_path / "run")
    with pytest.raises(ValueError, match=r"total_steps=32: .* has no recipe whose outer steps could be changed"):
        load_run(tmp_path / "run", lambda: build_run("gymnasium", **TINY), total_steps=32)


@pytest.mark.parametrize("recipe", ["t_maze", "guessing_game"])
def test_a_run_of_any_recipe_is_extended(tmp_path, recipe):
    run = build_run(recipe, outer_steps=1, batch=2, device="cpu", **{"core.hidden_size": 4})
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    each = 2 * run.learner.task.steps
    assert load_run(tmp_path / "run", total_steps=3 * each).outer_steps == 3


def test_the_command_says_how_the_learning_rate_continues(tmp_path, capsys):
    trained(tmp_path / "run")
    code = main(["resume", str(tmp_path / "run"), "--total-steps", "32", "--trust-code", "--no-tensorboard"])
    out = capsys.readouterr().out
    assert code == 0 and "outer step 2 of 2 is extended to 4, 32 environment steps" in out
    assert "learning rate   0.0005 now, as in a run of 4 outer steps from the start, and 0 at its end" in out


def test_a_folder_that_is_older_than_a_flag_is_loaded_as_it_was_built(tmp_path):
    new = {"normalize_obs": False, "learner.normalize_reward": False}
    run = build_run("gymnasium", **TINY, device="cpu", total_steps=8, **new)
    run.arguments = {name: value for name, value in run.arguments.items() if name not in new}
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    loaded = load_trusted(tmp_path / "run").learner
    assert type(loaded.agent.sense).__name__ == "Scaled" and loaded.reward_scaling is None
    for name, value in loaded.agent.state_dict().items():
        assert torch.equal(value, run.learner.agent.state_dict()[name])
