"""The recipes of Atari games and of MinAtar."""

import sys

import pytest
import torch

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


def test_of_steps_that_are_replayed_singly_no_whole_episodes_need_to_fit_into_memory():
    pytest.importorskip("ale_py")
    pytest.importorskip("cv2")
    flags = {"learner": "dqn", "core": "feedforward", "core.hidden_size": 4, "sense.features": 8, "device": "cpu"}
    learner = build_run("atari", batch=2, **flags).learner
    assert learner.task.steps == 27_000 and learner.replay_buffer.bytes_of == torch.float32


def test_without_minatar_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "minatar", None)
    monkeypatch.setitem(sys.modules, "minatar.gym", None)
    with pytest.raises(ValueError, match=r"env='minatar\.gym:BaseEnv'.*minatar"):
        build_run("minatar", **TINY)


def test_minatar_is_seen_by_a_small_convolutional_network():
    pytest.importorskip("minatar")
    learner = build_run("minatar", **TINY, **{"sense.features": 8, "learner.prefill": 4}).learner
    (part,) = learner.task.obs_parts
    assert (part.kind, part.shape, part.layout, learner.task.action_space.n) == ("image", (10, 10, 4), "HWC", 3)
    assert learner.update()["finite"]
    assert build_run("minatar", batch=10, device="cpu").outer_steps == 500_000 // 40
    assert build_run("minatar", **TINY | {"steps": 0, "full_action_space": True}).learner.task.action_space.n == 6
