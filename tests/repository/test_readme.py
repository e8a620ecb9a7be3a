"""The examples of README.md and of the docstring of `badger` run, with fewer steps."""

import re
from pathlib import Path

import gymnasium
import torch

import badger

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_ten_lines_train_an_agent(tmp_path, monkeypatch):
    code = CODE[0]
    assert "outer_steps=1500" in code and len([line for line in code.splitlines() if line]) <= 10
    monkeypatch.chdir(tmp_path)
    exec(code.replace("outer_steps=1500", "outer_steps=1"), {})
    assert (tmp_path / "runs/mine/checkpoints/step_00000001.pt").is_file()


def test_a_trained_agent_acts_in_an_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = badger.build_run("gymnasium", env="CartPole-v1")
    run.folder = "runs/cartpole"
    run.save()
    names = {"badger": badger, "gymnasium": gymnasium}
    exec(CODE[1], names)
    assert names["over"]


def test_a_memory_replaces_a_gru():
    names = {"xs": torch.zeros(3, 2, 28)}
    exec(CODE[2], names)
    assert names["ys"].shape == (3, 2, 64)


def test_the_readme_has_at_most_200_lines():
    assert len(README.splitlines()) <= 200


def test_the_example_of_badger_trains_an_agent_in_gymnasium(tmp_path, monkeypatch):
    names = {}
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"```python\n(.*?)```", badger.__doc__, re.DOTALL)[0]
    exec(code.replace("batch=8", "batch=2, horizon=4, epochs=1, minibatches=1"), names)
    assert names["run"].learner.update()["finite"]
    assert len(names["env"].reset(seed=0)[0]) == 4
