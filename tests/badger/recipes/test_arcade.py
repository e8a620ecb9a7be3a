"""The recipe of Atari games."""

import sys

import pytest

from badger import build_run

TINY = {"batch": 2, "core.hidden_size": 4, "outer_steps": 1, "device": "cpu", "learner.horizon": 4, "steps": 6}


def test_without_the_emulator_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ValueError, match=r"env='ALE/Pong-v5' cannot .*pip install ale-py opencv-python-headless"):
        build_run("atari", **TINY)


def test_a_game_shows_four_stacked_gray_images():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    learner = build_run("atari", **TINY, **{"sense.features": 8}).learner
    (part,) = learner.task.obs_parts
    assert (part.kind, part.shape, part.layout, learner.task.steps) == ("image", (4, 84, 84), "CHW", 6)
    assert build_run("atari", **TINY | {"steps": 0}).learner.task.steps == 27_000
    assert learner.update()["finite"]
