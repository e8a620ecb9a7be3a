"""A file of recorded episodes may come from a stranger: it names no code that is imported."""

import sys

import pytest

import badger
from toy_episodes import make_data


def test_an_environment_that_names_code_of_others_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "evil_env.py").write_text("raise SystemExit('executed')")
    monkeypatch.syspath_prepend(tmp_path)
    make_data(task="Gymnasium evil_env:Env-v0").save(tmp_path / "data.h5")
    with pytest.raises(ValueError, match=r"'evil_env:Env-v0', which names others' code"):
        badger.build_run("offline", data=str(tmp_path / "data.h5"), device="cpu")
    assert "evil_env" not in sys.modules


def test_a_name_that_would_move_the_cursor_is_not_printed(tmp_path):
    make_data(task="\x1b[2J").save(tmp_path / "data.h5")
    with pytest.raises(ValueError, match=r"its attribute task is .*, want str, printable"):
        badger.datasets.EpisodeDataset.load(tmp_path / "data.h5")
