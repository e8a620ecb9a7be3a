"""The command `badger record`."""

import pytest

from badger.cli.main import main
from badger.datasets import EpisodeDataset
from badger.evaluation import data_collection

TINY = ["--core.hidden-size", "4", "--batch", "2", "--outer-steps", "1", "--device", "cpu", "--no-tensorboard"]
RANDOM = ["record", "--recipe", "t_maze", "--random", "--length", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "t_maze", "--length", "3", "--learner", "ppo", *TINY, "--folder", str(path)]) == 0
    return str(path)


@pytest.mark.parametrize("flags", [[], ["--sampled"], ["--deterministic"], ["--random"], ["--experts", "1"]])
def test_a_run_is_recorded(folder, flags, tmp_path, capsys):
    out = str(tmp_path / "data.h5")
    assert main(["record", folder, "--episodes", "5", "--batch", "3", "--out", out, *flags]) == 0
    data = EpisodeDataset.load(out)
    data.check()
    assert data.length.tolist() == [4] * 5 and data.task == 't_maze {"length": 3}'
    assert '5 episodes of t_maze {"length": 3}, 20 steps' in capsys.readouterr().out


def test_random_actions_are_recorded_without_a_run(tmp_path):
    out = str(tmp_path / "data.h5")
    assert main([*RANDOM, "--episodes", "40", "--out", out]) == 0
    assert EpisodeDataset.load(out)[:].action.flatten().unique().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["record", "--out", "OUT"], "want a run folder, or --recipe RECIPE --random"),
        (["record", "RUN", "--recipe", "t_maze", "--out", "OUT"], "not both"),
        (["record", "--recipe", "t_maze", "--out", "OUT"], "--recipe t_maze: want --random, too"),
        ([*RANDOM, "--out", "THERE"], "want a file that does not exist yet"),
        ([*RANDOM, "--out", "OUT", "--episodes", "0"], "--episodes 0: want at least 1"),
        ([*RANDOM, "--out", "OUT", "--batch", "0"], "--batch 0: want at least 1"),
        ([*RANDOM, "--out", "OUT", "--lenght", "3"], "has no flag --lenght"),
        ([*RANDOM, "--out", "OUT", "--sampled"], "--sampled is given, too"),
        (["record", "RUN", "--out", "OUT", "--member", "1"], "--member 1"),
        (["record", "RUN", "--out", "none/data.h5"], "there is no none"),
        (["record", "RUN"], "out"),
    ],
)
def test_wrong_words_are_named(words, message, folder, tmp_path, capsys):
    (tmp_path / "there.h5").touch()
    names = {"RUN": folder, "OUT": str(tmp_path / "data.h5"), "THERE": str(tmp_path / "there.h5")}
    assert main([names.get(word, word) for word in words]) == 2
    assert message in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["there.h5"]


def test_what_was_recorded_before_ctrl_c_is_kept(tmp_path, monkeypatch, capsys):
    play, calls = data_collection.play_episodes, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return play(*arguments, **options)

    monkeypatch.setattr(data_collection, "play_episodes", interrupted)
    out = tmp_path / "data.h5"
    assert main([*RANDOM, "--episodes", "50", "--batch", "10", "--out", str(out)]) == 130
    assert f"stopped: 20 of 50 episodes are in {out}" in capsys.readouterr().err
    assert len(EpisodeDataset.load(out)) == 20


def test_a_data_set_of_minari_is_recorded(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = [*RANDOM, "--episodes", "4", "--out-format", "minari", "--out"]
    assert main([*words, "walks-v0"]) == 0
    EpisodeDataset.load("walks-v0").check()
    assert main([*words, "walks"]) == 2
    assert "--out walks: want a folder whose name Minari accepts, such as walks-v0" in capsys.readouterr().err
    assert main(["record", "--recipe", "dec_tiger", "--random", "--out-format", "minari", "--out", "t-v0"]) == 2
    assert "2 agents, and a data set of Minari has one: use --out-format hdf5" in capsys.readouterr().err
