"""The script `badger` in a folder of others: what is there is not imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import badger
from badger.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
NOT_INSTALLED = ("triton", "tensorflow", "sitecustomize")
"""Modules that a library imports if it finds them; in a folder with a typed module it does."""
HIDING = (
    "badger", "comms", "experts", "tasks", "numpy", "torch", "random", "signal", "logging", "multiprocessing",
    "tensorboard", *NOT_INSTALLED,
)  # fmt: skip
SCRIPT = """\
import json, sys
from badger.cli.main import main

if __name__ == "__main__":
    sys.exit(any([main(words) for words in json.loads(sys.argv[1])]))
"""
MY_STUDY = """\
from badger.study import Arm, Study

SIZES = {"experts": 2, "dims": 2, "steps": 3, "batch": 4, "outer_steps": 2, "device": "cpu", "core": "my_study:core"}
MINE = Study(name="mine", claim="", arms={"a": Arm("guessing_game", SIZES)}, score="final_error", threshold=1, seeds=1,
             episodes=4)


def core(input_size: int, hidden_size: int = 6):
    from experts import GRU
    return GRU(input_size, hidden_size)
"""


@pytest.fixture
def hostile(tmp_path):
    """A folder with modules that hide others, and leave a file `executed` when they are imported."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in HIDING:
        (folder / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w').write({name!r})")
    return folder


def script(folder, *commands):
    """Runs commands as the installed script does: the first entry of its path is the script's own folder."""
    bin_folder = folder.parent / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "badger").write_text(SCRIPT)
    return subprocess.run(
        [sys.executable, bin_folder / "badger", json.dumps([command.split() for command in commands])],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )


def executed(hostile):
    """The module of the folder that was imported, if any."""
    file = hostile.parent / "executed"
    return file.read_text() if file.exists() else None


@pytest.mark.parametrize(
    "commands",
    [
        ("evaluate run --episodes 4", "compare run"),
        pytest.param(("inspect run", "resume run", "list", "evaluate run --grid"), marks=pytest.mark.nightly),
    ],
)
def test_commands_on_a_run_import_nothing_from_the_current_directory(hostile, commands):
    run = badger.build_run("guessing_game", experts=2, dims=2, steps=3, batch=4, outer_steps=1, device="cpu")
    run.folder = hostile / "run"
    badger.train(run, quiet=True, tensorboard=False)
    done = script(hostile, *commands)
    assert done.returncode == 0, done.stderr
    assert executed(hostile) is None


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not know PYTHONSAFEPATH")
def test_a_typed_module_and_processes_of_a_study_import_no_hidden_module(hostile):
    for name in NOT_INSTALLED:
        (hostile / f"{name}.py").unlink()
    (hostile / "my_study.py").write_text(MY_STUDY)
    done = script(hostile, "study my_study:MINE --jobs 1 --no-tensorboard")
    assert done.returncode == 0, done.stderr
    assert executed(hostile) is None


def test_the_environment_is_as_before_after_a_command(monkeypatch):
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    assert main(["list"]) == 0
    assert "PYTHONSAFEPATH" not in os.environ
