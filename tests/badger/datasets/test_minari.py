"""Data sets of Minari: Minari reads ours, and we read its own."""

import json
import warnings

import gymnasium
import h5py
import numpy as np
import pytest
import torch

from badger.datasets import EpisodeDataset
from badger.errors import DamagedFile
from tasks import Continuous, Discrete, Mixed, MultiDiscrete
from toy_episodes import SPACES, make_data, same_episodes


def stacked(samples):
    """Samples of a space as one array, or a tuple or dict of them."""
    if isinstance(samples[0], tuple):
        return tuple(stacked(part) for part in zip(*samples, strict=True))
    if isinstance(samples[0], dict):
        return {key: stacked([sample[key] for sample in samples]) for key in samples[0]}
    return np.array(samples)


@pytest.fixture
def minari(tmp_path, monkeypatch):
    module = pytest.importorskip("minari")
    pytest.importorskip("minari.dataset._storages.hdf5_storage")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return module


def made_by_minari(minari, obs_space, action_space, lengths=(3, 5), seed=0, **infos):
    """A data set that Minari has written, of samples of the spaces, and its buffers."""
    rng = np.random.default_rng(seed)
    buffers = []
    for i, steps in enumerate(lengths):
        obs_space.seed(i), action_space.seed(i)
        values = {name: value(steps + 1) for name, value in infos.items()}
        buffers.append(
            minari.data_collector.EpisodeBuffer(
                id=i,
                observations=np.array([obs_space.sample() for _ in range(steps + 1)]),
                actions=stacked([action_space.sample() for _ in range(steps)]),
                rewards=rng.normal(size=steps).tolist(),
                terminations=[False] * (steps - 1) + [i == 0],
                truncations=[False] * (steps - 1) + [i != 0],
                infos=values or None,
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about missing names of authors
        minari.create_dataset_from_buffers("toy-v0", buffers, observation_space=obs_space, action_space=action_space)
    return buffers


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_minari_reads_what_is_saved(minari, space, tmp_path):
    data = make_data((3, 1, 4), space=space)
    data.save(tmp_path / "mine-v1", out_format="minari")
    theirs = minari.load_dataset("mine-v1")
    assert theirs.total_episodes == 3 and theirs.total_steps == 8
    for i, episode in enumerate(theirs.iterate_episodes()):
        ours, steps = data[i : i + 1], data.length[i]
        assert np.array_equal(episode.observations, ours.obs[0, : steps + 1])
        parts = episode.actions if isinstance(episode.actions, tuple) else (episode.actions,)
        assert np.array_equal(np.concatenate(parts, -1), ours.action[0, :steps])
        assert np.array_equal(episode.rewards, ours.reward[0, :steps])
        assert np.array_equal(episode.terminations, ours.terminated[0, :steps])
        assert np.array_equal(episode.truncations, ours.truncated[0, :steps])
        actions = zip(*parts, strict=True) if len(parts) > 1 else parts[0]
        assert all(action in theirs.action_space for action in actions)
        assert all(obs in theirs.observation_space for obs in episode.observations)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_what_is_saved_for_minari_is_loaded_bit_for_bit(space, dtype, tmp_path):
    data = make_data((3, 1, 4), space=space, dtype=dtype, info=True, mask=not isinstance(space, Continuous))
    data.save(tmp_path / "mine-v1", out_format="minari")
    loaded = EpisodeDataset.load(tmp_path / "mine-v1")
    loaded.check()
    assert same_episodes(loaded[:], data[:]) and torch.equal(loaded.returns, data.returns)
    assert (loaded.action_space, loaded.task) == (data.action_space, "toy")
    rows, start = torch.tensor([2, 0, 2]), torch.tensor([3, 1, 0])
    assert same_episodes(loaded.windows(rows, start, 3), data.windows(rows, start, 3))


def test_what_minari_made_is_loaded(minari, tmp_path):
    obs, action = gymnasium.spaces.Box(-1, 1, (2, 3), np.float32), gymnasium.spaces.Discrete(3, start=5)
    buffers = made_by_minari(minari, obs, action, height=lambda rows: np.arange(rows) * 0.5)
    data = EpisodeDataset.load(tmp_path / "toy-v0")
    data.check()
    assert data.action_space == Discrete(3) and data.length.tolist() == [3, 5] and data.task == "toy-v0"
    for i, buffer in enumerate(buffers):
        episodes = data[i : i + 1]
        assert np.array_equal(episodes.obs[0], buffer.observations.reshape(-1, 6))
        assert np.array_equal(episodes.action[0], buffer.actions - 5)
        assert np.allclose(episodes.reward[0], buffer.rewards) and episodes.reward.dtype == torch.float32
        assert torch.equal(episodes.info["height"][0], torch.arange(1, data.length[i] + 1) * 0.5)
        assert bool(episodes.terminated[0, -1]) == (i == 0) and bool(episodes.truncated[0, -1]) == (i != 0)
    data.save(tmp_path / "data.h5")
    assert same_episodes(EpisodeDataset.load(tmp_path / "data.h5")[:], data[:])


def test_discrete_observations_are_one_hot_and_choices_begin_at_zero(minari, tmp_path):
    buffers = made_by_minari(minari, gymnasium.spaces.Discrete(4), gymnasium.spaces.MultiDiscrete([2, 3], start=[1, 7]))
    data = EpisodeDataset.load(tmp_path / "toy-v0")
    data.check()
    assert data.action_space == MultiDiscrete((2, 3))
    assert np.array_equal(data[1:].obs[0].argmax(-1), buffers[1].observations)
    assert np.array_equal(data[1:].action[0], buffers[1].actions - [1, 7])


def test_numbers_of_different_bounds_are_those_of_the_task_of_gymnasium(minari, tmp_path):
    low, high = np.array([-2, 0, 1], np.float32), np.array([2, 10, 1], np.float32)
    buffers = made_by_minari(minari, gymnasium.spaces.Box(-1, 1, (2,)), gymnasium.spaces.Box(low, high))
    data = EpisodeDataset.load(tmp_path / "toy-v0")
    assert data.action_space == Continuous(2, -1.0, 1.0)  # the third is constant
    scaled = (buffers[0].actions[:, :2] - low[:2]) / (high - low)[:2] * 2 - 1
    assert np.allclose(data[:1].action[0], scaled, atol=1e-6)


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_choices_and_numbers_of_several_parts_are_joined(kind, minari, tmp_path):
    box, choice = gymnasium.spaces.Box(-2, 2, (2,), np.float32), gymnasium.spaces.Discrete(3, start=4)
    several = {"tuple": gymnasium.spaces.Tuple((box, choice)), "dict": gymnasium.spaces.Dict(aim=box, fire=choice)}
    buffers = made_by_minari(minari, gymnasium.spaces.Box(-1, 1, (2,)), several[kind])
    data = EpisodeDataset.load(tmp_path / "toy-v0")
    data.check()
    assert data.action_space == Mixed(MultiDiscrete((3,)), Continuous(2, -2.0, 2.0))
    actions = buffers[1].actions
    numbers, choices = actions if kind == "tuple" else (actions["aim"], actions["fire"])
    assert np.array_equal(data[1:].action[0], np.column_stack([choices - 4, numbers]))


@pytest.mark.parametrize("text", ['{"type": "Tuple"}', '{"type": "Box", "dtype": 3}', '{"type": "Discrete", "n": [2]}'])
def test_a_space_that_is_damaged_is_named(text, tmp_path):
    make_data().save(tmp_path / "d-v0", out_format="minari")
    file = tmp_path / "d-v0/data/metadata.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"action_space": text}))
    with pytest.raises(DamagedFile, match="a space in its metadata cannot be read"):
        EpisodeDataset.load(tmp_path / "d-v0")


def test_spaces_that_are_not_read_are_named(minari, tmp_path):
    made_by_minari(minari, gymnasium.spaces.MultiBinary(3), gymnasium.spaces.Discrete(2))
    with pytest.raises(ValueError, match=r"toy-v0: the observation space is MultiBinary, want Box or Discrete"):
        EpisodeDataset.load(tmp_path / "toy-v0")


def test_images_that_minari_has_compressed_are_named(minari, tmp_path):
    made_by_minari(minari, gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8), gymnasium.spaces.Discrete(2))
    with pytest.raises(DamagedFile, match=r"episode 0: observations have shape .* JPEG images are not read"):
        EpisodeDataset.load(tmp_path / "toy-v0")


def test_a_value_outside_of_the_observation_space_is_named(minari, tmp_path):
    made_by_minari(minari, gymnasium.spaces.Discrete(4), gymnasium.spaces.Discrete(2))
    with h5py.File(tmp_path / "toy-v0/data/main_data.hdf5", "a") as file:
        file["episode_1/observations"][2] = 9
    with pytest.raises(DamagedFile, match="episode 1, step 2: obs is NaN"):
        EpisodeDataset.load(tmp_path / "toy-v0").check()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda file: file.__delitem__("episode_1"), "episode 1 is missing"),
        (lambda file: file.__delitem__("episode_1/actions"), "episode 1: actions is missing"),
        (lambda file: file.move("episode_0/rewards", "episode_1/more"), "episode 0: rewards is missing"),
        (lambda file: shortened(file["episode_2"], "terminations"), "episode 2: 4 terminations and 5 rewards, want 5"),
    ],
)
def test_a_damaged_episode_is_named(change, words, tmp_path):
    make_data((3, 4, 5)).save(tmp_path / "d-v0", out_format="minari")
    with h5py.File(tmp_path / "d-v0/data/main_data.hdf5", "a") as file:
        change(file)
    with pytest.raises(DamagedFile, match=words):
        EpisodeDataset.load(tmp_path / "d-v0")


def shortened(group, name):
    values = group[name][:-1]
    del group[name]
    group[name] = values


def test_metadata_that_is_damaged_or_missing_is_named(tmp_path):
    make_data().save(tmp_path / "d-v0", out_format="minari")
    file = tmp_path / "d-v0/data/metadata.json"
    metadata = json.loads(file.read_text())
    for text, words in [("{", "is damaged"), ("[]", "it has no total_episodes"), ("{}", "it has no total_episodes")]:
        file.write_text(text)
        with pytest.raises(DamagedFile, match=words):
            EpisodeDataset.load(tmp_path / "d-v0")
    file.write_text(json.dumps(metadata | {"total_episodes": 0}))
    with pytest.raises(DamagedFile, match="no episodes"):
        EpisodeDataset.load(tmp_path / "d-v0")
    file.unlink()
    with pytest.raises(FileNotFoundError, match="holds no data set of Minari"):
        EpisodeDataset.load(tmp_path / "d-v0")


@pytest.mark.parametrize(
    ("data", "name", "words"),
    [
        (make_data(agents=2), "d-v0", "2 agents, and a data set of Minari has one"),
        (make_data(), "data.h5", "want a folder whose name Minari accepts, such as data-v0"),
    ],
)
def test_what_minari_cannot_hold_is_refused(data, name, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        data.save(tmp_path / name, out_format="minari")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_exists_is_not_replaced(tmp_path):
    (tmp_path / "d-v0").mkdir()
    with pytest.raises(FileExistsError, match="choose another folder"):
        make_data().save(tmp_path / "d-v0", out_format="minari")
