"""The command `badger inspect` of a data set."""

import pytest
import torch

from badger.cli.main import main
from badger.datasets import EpisodeDataset
from toy_episodes import SPACES, make_data, make_episodes


@pytest.mark.parametrize(
    ("space", "options"),
    [("discrete", {"agents": 2}), ("multi_discrete", {"obs": (1,)}), ("continuous", {}), ("mixed", {"obs": (2, 3)})],
)
def test_any_data_set_is_printed_and_drawn(space, options, tmp_path, capsys):
    make_data((3, 1, 1200), space=SPACES[space], **options).save(tmp_path / "data.h5")
    assert main(["inspect", str(tmp_path / "data.h5"), "--episode", "2"]) == 0
    printed = capsys.readouterr().out
    assert "3 episodes of toy, 1204 steps" in printed and "2 terminated, 1 truncated" in printed
    assert (tmp_path / "data-inspection.png").read_bytes()[1:4] == b"PNG"


def test_a_folder_of_minari_is_inspected(tmp_path, capsys):
    make_data().save(tmp_path / "data-v0", out_format="minari")
    assert main(["inspect", "--out", str(tmp_path / "a.png"), str(tmp_path / "data-v0")]) == 0
    assert "3 episodes of toy, 9 steps" in capsys.readouterr().out and (tmp_path / "a.png").exists()


def test_a_damaged_step_is_named(tmp_path, capsys):
    episodes = make_episodes()
    episodes.reward[2, 4] = torch.nan
    EpisodeDataset.from_episodes(episodes, SPACES["discrete"]).save(tmp_path / "data.h5")
    assert main(["inspect", str(tmp_path / "data.h5")]) == 1
    assert "data.h5 is damaged: episode 2, step 4: reward is NaN" in capsys.readouterr().out


def test_a_file_that_does_not_exist_is_named(tmp_path, capsys):
    assert main(["inspect", str(tmp_path / "data.h5")]) == 2
    assert "data.h5: there is no such file" in capsys.readouterr().err


def test_a_file_that_is_no_data_set_is_named(tmp_path, capsys):
    (tmp_path / "data.h5").write_text("no")
    assert main(["inspect", str(tmp_path / "data.h5")]) == 1
    assert "data.h5 is damaged: it is no HDF5 file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episode", "3"], "--episode 3: want 0 to 2"),
        (["--out", "none/a.png"], "there is no none"),
        (["--member", "1"], "has no flag --member"),
    ],
)
def test_wrong_words_are_named(words, message, tmp_path, capsys):
    make_data().save(tmp_path / "data.h5")
    assert main(["inspect", str(tmp_path / "data.h5"), *words]) == 2
    assert message in capsys.readouterr().err
