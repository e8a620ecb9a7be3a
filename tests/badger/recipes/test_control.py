"""The recipe of a team that covers landmarks."""

import pytest

from badger import Spread, build_run

TINY = {"core.hidden_size": 3, "batch": 4, "outer_steps": 2, "device": "cpu"}


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_a_team_learns_to_spread_with_either_learner(learner):
    run = build_run("spread", learner=learner, agents=2, steps=4, local_ratio=0.25, **TINY)
    assert run.learner.task == Spread(4, 2, 0.25) and run.learner.agent.experts == 2
    metrics = run.learner.update()
    assert metrics["finite"] and metrics["env_steps"] == 16
