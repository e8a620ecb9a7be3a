"""The recipes of a team that covers landmarks, and of tasks that are learned from recordings, too."""

import pytest

from badger import PPO, Spread, build_run
from tasks import CartWorld, FourRooms, Gambling, KeyToDoor, RandomWalkGraph

TINY = {"core.hidden_size": 3, "batch": 4, "outer_steps": 2, "device": "cpu"}


@pytest.mark.parametrize("learner", ["ppo", "a2c"])
def test_a_team_learns_to_spread_with_either_learner(learner):
    run = build_run("spread", learner=learner, agents=2, steps=4, local_ratio=0.25, **TINY)
    assert run.learner.task == Spread(4, 2, 0.25) and run.learner.agent.experts == 2
    metrics = run.learner.update()
    assert metrics["finite"] and metrics["env_steps"] == 16


@pytest.mark.parametrize(
    ("name", "options", "task"),
    [
        ("random_walk_graph", {"nodes": 5, "graph": 1, "steps": 4}, RandomWalkGraph(4, 5, graph=1)),
        ("four_rooms", {"size": 7, "steps": 4, "learner.horizon": 4}, FourRooms(4, 7)),
        ("cart_world", {"steps": 4, "noise": 0.0}, CartWorld(4, noise=0.0)),
        ("gambling", {"steps": 2}, Gambling(2)),
        ("key_to_door", {"side": 2, "room_steps": 2, "distractor_steps": 1}, KeyToDoor(2, 2, 1)),
    ],
)
def test_tasks_that_are_learned_from_recordings_can_be_played_by_ppo(name, options, task):
    run = build_run(name, **options, **TINY)
    assert run.learner.task == task and type(run.learner) is PPO and run.learner.update()["finite"]
