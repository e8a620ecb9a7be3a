"""Cores that are fitted to random steps before training."""

import pytest
import torch

from badger import build_run, load_run, train

TINY = {"core": "rpsp", "core.state_size": 4, "core.features": 3, "core.future": 2, "batch": 4, "outer_steps": 1}


def weights(run):
    return run.learner.agent.core.extended.weight


def test_a_fitted_run_starts_at_what_random_steps_say_and_trains():
    fitted, same, random = (build_run("cartpole", **TINY, fit_steps=steps) for steps in (40, 40, 0))
    assert torch.equal(weights(fitted), weights(same)) and not torch.equal(weights(fitted), weights(random))
    assert fitted.learner.agent.core.feature.scale.ne(1).all()
    assert fitted.learner.update()["finite"]


def test_a_loaded_run_has_the_trained_weights(tmp_path):
    run = build_run("cartpole", **TINY, fit_steps=40)
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    assert torch.equal(weights(load_run(tmp_path / "run")), weights(run))


@pytest.mark.parametrize(
    ("recipe", "flags", "message"),
    [
        ("cartpole", TINY | {"core": "gru", "core.future": None}, "fit_steps=40: core 'gru' cannot be fitted"),
        ("guessing_game", TINY, "fit_steps=40: learner 'bptt' draws no actions"),
        ("cartpole", TINY | {"core.future": 30}, "fitted to 0 windows of 61 steps within an episode"),
    ],
)
def test_what_cannot_be_fitted_is_refused(recipe, flags, message):
    known = {name: value for name, value in flags.items() if flags["core"] == "rpsp" or not name.startswith("core.")}
    with pytest.raises(ValueError, match=message):
        build_run(recipe, **known, fit_steps=40)
