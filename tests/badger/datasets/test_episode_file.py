"""A file of recorded episodes: what is saved is loaded, bit for bit; a wrong file is named."""

import pickle

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from badger.datasets import EpisodeDataset, EpisodeWriter
from badger.errors import DamagedFile
from tasks import CartPole, Continuous, Discrete, TMaze
from toy_episodes import SPACES, make_data, make_episodes, same_episodes

CONTINUOUS = '{"kind": "Continuous", "size": 1, "low": 0, "high": 1}'


def saved(data, folder, name="data.h5"):
    data.save(folder / name)
    return EpisodeDataset.load(folder / name)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(0, 99))
def test_a_data_set_of_any_lengths_is_loaded_bit_for_bit(tmp_path_factory, lengths, seed):
    data = make_data(lengths, seed=seed, info=True, mask=True)
    loaded = saved(data, tmp_path_factory.mktemp("data"))
    assert same_episodes(loaded[:], data[:])
    assert torch.equal(loaded.returns, data.returns) and torch.equal(loaded.length, data.length)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=9), st.integers(0, 7))
def test_a_window_of_a_file_is_that_of_the_memory(tmp_path_factory, windows, steps):
    data = make_data((5, 7, 6), info=True)
    loaded = saved(data, tmp_path_factory.mktemp("data"))
    rows, start = torch.tensor(windows, dtype=torch.long).reshape(-1, 2).unbind(1)
    assert same_episodes(loaded.windows(rows, start, steps), data.windows(rows, start, steps))


@pytest.mark.parametrize("agents", [None, 2])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_each_action_space_agents_and_doubles_are_kept(space, agents, tmp_path):
    data = make_data(
        space=space, agents=agents, dtype=torch.float64, obs=(2, 3), mask=not isinstance(space, Continuous)
    )
    loaded = saved(data, tmp_path)
    loaded.check()
    assert same_episodes(loaded[:], data[:])
    assert (loaded.action_space, loaded.task, loaded.agents, loaded.dtype) == (space, "toy", agents, torch.float64)


def test_a_data_set_is_printed_with_its_size_and_task(tmp_path):
    assert repr(saved(make_data((3, 4)), tmp_path)) == "EpisodeDataset(2 episodes of toy, 7 steps)"


def test_a_window_longer_than_a_chunk_is_read(tmp_path):
    data = make_data((9000, 20))
    loaded = saved(data, tmp_path)
    assert same_episodes(loaded[:], data[:])


def test_a_file_that_was_compressed_elsewhere_is_read(tmp_path):
    data = make_data((3, 400), info=True)
    data.save(tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5") as plain, h5py.File(tmp_path / "small.h5", "w") as small:
        small.attrs.update(plain.attrs)
        for name in [*(name for name in plain if name != "info"), "info/score"]:
            small.create_dataset(name, data=plain[name][:], compression="gzip")
    assert same_episodes(EpisodeDataset.load(tmp_path / "small.h5")[:], data[:])


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path):
    data = saved(make_data((9000, 9000)), tmp_path)
    with (tmp_path / "data.h5").open("r+b") as file:
        file.truncate(200_000)
    with pytest.raises(DamagedFile, match=r"episode \d, step \d+: \w+ cannot be read: the file ends"):
        data[:]


def test_batches_that_are_appended_are_one_data_set(tmp_path):
    parts = [make_episodes((3, 1), seed=1), make_episodes((6,), seed=2)]
    with EpisodeWriter(tmp_path / "data.h5", Discrete(3), "toy") as writer:
        for part in parts:
            writer.append(part)
    loaded = EpisodeDataset.load(tmp_path / "data.h5")
    assert loaded.length.tolist() == [3, 1, 6]
    assert same_episodes(loaded[:2], EpisodeDataset.from_episodes(parts[0], Discrete(3))[:])
    assert same_episodes(loaded[2:], EpisodeDataset.from_episodes(parts[1], Discrete(3))[:])


def test_an_error_while_writing_leaves_the_file_that_was_there(tmp_path):
    make_data((3, 4)).save(tmp_path / "data.h5")
    with pytest.raises(KeyError), EpisodeWriter(tmp_path / "data.h5", Discrete(3)) as writer:
        writer.append(make_episodes((2,)))
        raise KeyError
    assert EpisodeDataset.load(tmp_path / "data.h5").length.tolist() == [3, 4]
    assert [file.name for file in tmp_path.iterdir()] == ["data.h5"]


def test_a_loaded_data_set_is_saved_to_its_own_name(tmp_path):
    data = saved(make_data(), tmp_path)
    data.save(tmp_path / "data.h5")
    assert same_episodes(EpisodeDataset.load(tmp_path / "data.h5")[:], data[:])


def test_a_data_set_in_a_file_can_be_pickled(tmp_path):
    data = saved(make_data(), tmp_path)
    assert same_episodes(pickle.loads(pickle.dumps(data))[:], data[:])


def test_no_more_than_lengths_and_returns_is_kept_in_memory(tmp_path):
    data = saved(make_data((9000,) * 20), tmp_path)
    data.windows(torch.tensor([3]), torch.tensor([70]), 20)
    arrays = [value for value in vars(data.source).values() if isinstance(value, torch.Tensor | np.ndarray)]
    assert len(arrays) == 3 and all(len(array) == 20 for array in arrays)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.attrs.update(version=2), "version 2 of the format, want 1"),
        (lambda file: file.attrs.update(format="other"), "no recorded episodes"),
        (lambda file: file.attrs.update(action_space='{"kind": "Discrete", "n": 0}'), "no action space"),
        (lambda file: file.attrs.update(action_space='{"kind": "MultiDiscrete", "nvec": [3]}'), "want (1,)"),
        (
            lambda file: file.attrs.update(action_space='{"kind": "Continuous", "size": 1, "low": 0, "high": 1}'),
            "action",
        ),
        (lambda file: file.__delitem__("reward"), "it has no reward"),
        (lambda file: file.create_dataset("info", data=[1.0]), "info is an array, want a group"),
        (lambda file: file["reward"].resize(8, 0), "reward has 8 rows, want 9"),
        (lambda file: file["length"].__setitem__(1, 0), "episode 1 has 0 steps"),
        (lambda file: file["length"].__setitem__(1, 2), "want 13"),
        (lambda file: file["action_mask"].resize(2, 1), "action_mask of a step is (2,), want (3,)"),
    ],
)
def test_parts_that_do_not_fit_together_are_named_when_a_file_is_loaded(change, words, tmp_path):
    make_data((3, 1, 5), mask=True).save(tmp_path / "data.h5")
    with h5py.File(tmp_path / "data.h5", "a") as file:
        change(file)
    with pytest.raises(DamagedFile) as error:
        EpisodeDataset.load(tmp_path / "data.h5")
    assert words in str(error.value) and "data.h5 is damaged" in str(error.value)


@pytest.mark.parametrize("keep", [0, 100, 4000])
def test_a_truncated_file_is_named(keep, tmp_path):
    make_data((300,) * 9).save(tmp_path / "data.h5")
    (tmp_path / "data.h5").write_bytes((tmp_path / "data.h5").read_bytes()[:keep])
    with pytest.raises(DamagedFile, match=r"data.h5 is damaged"):
        EpisodeDataset.load(tmp_path / "data.h5")


def test_a_file_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none.h5"):
        EpisodeDataset.load(tmp_path / "none.h5")


def test_a_window_outside_of_its_episode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="start=4 of episode 2, want 0 to 3"):
        make_data((1, 1, 3)).windows(torch.tensor([0, 2]), torch.tensor([1, 4]), 2)


def test_an_episode_that_does_not_exist_is_refused(tmp_path):
    for data in (make_data((1, 3)), saved(make_data((1, 3)), tmp_path)):
        for row in (-1, 2):
            with pytest.raises(ValueError, match=f"rows has episode {row}, want 0 to 1"):
                data.windows(torch.tensor([0, row]), torch.tensor([0, 0]), 2)


def test_one_episode_is_a_batch_of_one(tmp_path):
    data = make_data((1, 3))
    assert same_episodes(data[1], data[1:]) and same_episodes(data[-1], data[1:])


@pytest.mark.parametrize("out_format", ["hdf5", "minari"])
def test_a_folder_that_does_not_exist_is_named(out_format, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no .*none"):
        make_data().save(tmp_path / "none" / "d-v0", out_format=out_format)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (make_episodes((2,), info=True), "want the same"),
        (make_episodes((2,), obs=(5,)), r"obs of a step has shape \(5,\)"),
        (make_episodes((2,), dtype=torch.float64), "float64"),
        (make_episodes((2,))._replace(length=torch.tensor([0])), "episode 3 has no steps"),
    ],
)
def test_episodes_unlike_those_before_are_refused(second, words, tmp_path):
    with pytest.raises(ValueError, match=words), EpisodeWriter(tmp_path / "data.h5", Discrete(3)) as writer:
        writer.append(make_episodes())
        writer.append(second)
    assert not list(tmp_path.iterdir())


def test_what_a_file_cannot_hold_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"obs is torch.bfloat16.*want torch.float16"):
        make_data(dtype=torch.bfloat16).save(tmp_path / "data.h5")
    with pytest.raises(ValueError, match="no episodes"), EpisodeWriter(tmp_path / "data.h5", Discrete(3)):
        pass
    with pytest.raises(ValueError, match="integers, no logits"):
        make_data(space=SPACES["multi_discrete"]).save(tmp_path / "a.h5") or EpisodeDataset.from_episodes(
            make_episodes(), SPACES["multi_discrete"]
        ).save(tmp_path / "data.h5")


def test_another_task_is_refused():
    data = make_data(space=Discrete(2), obs=(4,))
    data.check_task(CartPole())
    with pytest.raises(ValueError, match=r"observations of size 4, and TMaze .* that was recorded, toy"):
        data.check_task(TMaze())
