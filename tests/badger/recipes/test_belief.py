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
