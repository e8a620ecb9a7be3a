"""The recipes of the worlds of memory: what they are made of, and that an outer step of each can be made."""

import pytest

from badger import A2C, BPTT, PPO, CardGame, CardGameImitation, TMaze, TMazeLong, build_run
from tasks import Ballet, BalletRecall, IMaze, LoadUnload, Notes, PreviousActionReward

TINY = {"core.hidden_size": 3, "batch": 2, "outer_steps": 2, "device": "cpu"}
KINDS = {
    "t_maze": ({"length": 2}, A2C, TMaze),
    "t_maze_long": ({"length": 3}, A2C, TMazeLong),
    "i_maze": ({"length": (3, 4)}, PPO, IMaze),
    "proof_of_memory": ({"observe_previous": True}, A2C, PreviousActionReward),
    "load_unload": ({"steps": 8, "learner.horizon": 8}, PPO, Notes),
    "ballet": ({"dances": 1, "delay": 1, "learner.horizon": 4}, PPO, Ballet),
    "ballet_recall": ({"dances": 1, "delay": 1}, BPTT, BalletRecall),
    "card_game": ({"cards": 4}, A2C, CardGame),
    "lessons": ({"cards": 4, "teacher": "dagger"}, BPTT, CardGameImitation),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_recipe_makes_its_world_and_its_learner_makes_a_step(name):
    options, learner, task = KINDS[name]
    run = build_run("card_game" if name == "lessons" else name, **options, **TINY)
    assert type(run.learner) is learner and type(run.learner.task) is task
    assert run.learner.update()["finite"]


def test_options_reach_the_world():
    assert build_run("i_maze", length=7, **TINY).learner.task == IMaze(7)
    assert build_run("t_maze", length=7, penalty=0.0, **TINY).learner.task == TMaze(7, 0.0)
    assert build_run("t_maze_long", length=7, noise=False, **TINY).learner.task == TMazeLong(7, False)
    assert build_run("card_game", cards=6, teacher="dagger", **TINY).learner.task == CardGameImitation(6, True)
    assert build_run("card_game", cards=6, teacher="demonstrations", **TINY).learner.task == CardGameImitation(6, False)
    assert build_run("t_maze", observe_previous=True, **TINY).learner.task == PreviousActionReward(TMaze(20))
    assert build_run("load_unload", notes=0, places=8, **TINY).learner.task == LoadUnload(places=8)
    assert build_run("load_unload", real_notes=2, **TINY).learner.task == Notes(LoadUnload(), bits=1, size=2)


def test_a_negative_number_of_notes_is_refused():
    with pytest.raises(ValueError, match="real_notes=-1, want at least 0"):
        build_run("load_unload", real_notes=-1, **TINY)


def test_the_weight_of_entropy_is_what_a_t_maze_wants_unless_told():
    assert build_run("t_maze", **TINY).learner.weights["entropy"] == -0.03
    assert build_run("t_maze", **{"learner.entropy_weight": 0.2, **TINY}).learner.weights["entropy"] == -0.2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"learner": "a3c"}, "learner"),
        ({"learner": "bptt"}, "TMaze gives rewards without gradient, and bptt needs differentiable rewards"),
        (
            {"learner": "bptt", "learner.entropy_weight": 0.1},
            r"learner.entropy_weight=0.1: learner 'bptt' has no option 'entropy_weight'",
        ),
    ],
)
def test_a_learner_that_is_not_there_or_does_not_fit_is_refused(options, error):
    with pytest.raises(ValueError, match=error):
        build_run("t_maze", **options, **TINY)
