"""The recipe of POMDPs, with an exact belief or a learned memory."""

import pytest

import badger
from experts import ExactBelief
from tasks.pomdp import load_model, write_pomdp

TINY = {"batch": 4, "outer_steps": 1, "steps": 3}


@pytest.mark.parametrize("core", ["exact_belief", "psr", "gru"])
def test_an_update_uses_the_discount_of_the_model(core):
    run = badger.build_run("pomdp", model="1d", core=core, **TINY)
    assert run.learner.gamma == 0.75 and run.learner.update()["finite"]


def test_the_exact_belief_is_that_of_the_file_that_is_named(tmp_path):
    write_pomdp(load_model("shuttle"), tmp_path / "mine.POMDP")
    run = badger.build_run("pomdp", model=str(tmp_path / "mine.POMDP"), core="exact_belief", **TINY)
    core = run.learner.agent.core
    assert isinstance(core, ExactBelief) and core.filter.names[0] == load_model("shuttle").states
    assert run.learner.update()["finite"]


@pytest.mark.parametrize("core", ["exact_belief", "psr"])
def test_a_core_that_needs_a_model_is_refused_in_a_task_without_one(core):
    with pytest.raises(ValueError, match=f"core '{core}' needs the model of its task, want a task that has one"):
        badger.build_run("t_maze", core=core)


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="model='tigre', want a file in the POMDP format, or one of 1d"):
        badger.build_run("pomdp", model="tigre")


@pytest.mark.parametrize("bus", ["silent", "attention"])
def test_two_agents_learn_with_and_without_messages(bus):
    run = badger.build_run("dec_tiger", bus=bus, steps=2, batch=8, outer_steps=1)
    assert run.learner.agent.experts == 2 and run.learner.update()["finite"]


@pytest.mark.parametrize("core", ["kalman_filter", "particle_filter", "dvrl", "dvbf", "gru"])
def test_a_mountain_hike_is_learned_with_any_belief(core):
    run = badger.build_run("mountain_hike", core=core, **TINY)
    metrics = run.learner.update()
    assert metrics["finite"] and ("negative_elbo" in metrics) == (core in ("dvrl", "dvbf"))
    if core in ("dvrl", "dvbf"):  # observations are predicted; the last action and reward are conditions
        models = [part for part in run.learner.agent.core.modules() if hasattr(part, "predicted")]
        assert [model.predicted for model in models] == [2]


def test_replayed_particles_are_those_of_the_rollout():
    options = {"learner.epochs": 1, "learner.minibatches": 1}  # with the weights of the rollout, in a later episode
    run = badger.build_run("mountain_hike", core="particle_filter", **TINY | {"outer_steps": 2}, **options)
    run.learner.update()
    assert abs(run.learner.update()["approx_kl"]) < 1e-6


@pytest.mark.parametrize(
    ("recipe", "core", "error"),
    [
        ("pomdp", "kalman_filter", "core 'kalman_filter' needs the linear Gaussian model of its task, got PomdpModel"),
        ("t_maze", "kalman_filter", "core 'kalman_filter' needs the linear Gaussian model of its task, got none"),
        ("mountain_hike", "exact_belief", "core 'exact_belief' needs a model with finitely many states, got HikeModel"),
        ("mountain_hike", "psr", "core 'psr' needs a model with finitely many states, got HikeModel"),
    ],
)
def test_a_core_for_a_model_of_another_kind_is_refused(recipe, core, error):
    with pytest.raises(ValueError, match=error):
        badger.build_run(recipe, core=core)


@pytest.mark.parametrize("changed", [{"sense": "scaled"}, {"normalize_obs": True}])
def test_a_sense_that_would_change_what_the_kalman_filter_measures_is_refused(changed):
    with pytest.raises(ValueError, match="core 'kalman_filter' reads the observation as the task gives it"):
        badger.build_run("mountain_hike", core="kalman_filter", **changed)
