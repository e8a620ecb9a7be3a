"""Sequential MNIST against the bytes of its files read by NumPy, and the numbering of its episodes."""

import pickle
import re
import sys
from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, GuessingGame, SequentialMNIST, evaluate, initial_carry, rollout
from badger.cli.main import main
from badger.testing.task.cases import play
from tasks.data import idx
from tiny_mnist import TEST, TRAIN, by_hand, images, write
from toys import game, seeded, toy_agent

SPLITS = {
    "train": ("train", slice(0, 22)),
    "validation": ("train", slice(22, 26)),
    "train+validation": ("train", slice(0, 26)),
    "test": ("test", slice(0, 9)),
}


def mnist(steps=4, **options):
    return SequentialMNIST(steps, dtype=torch.float64, **options)


def shown(task, batch=4, seed=0):
    """Which images an episode shows, and all their pixels in the order in which they come, (B, 784)."""
    results = play(task, [torch.zeros(batch, dtype=torch.long)] * task.steps, seed)
    return results[0][0].image.numpy(), torch.cat([step.obs for _, step in results[:-1]], -1).numpy()


# --- what is shown


@pytest.mark.parametrize("steps", [1, 28, 112, 784])
def test_the_pixels_of_an_image_come_row_by_row_as_grey_values_from_0_to_1(steps, tiny_data):
    grey, _ = by_hand(tiny_data, "train")
    image, pixels = shown(mnist(steps))
    assert mnist(steps).obs_size == 784 // steps
    np.testing.assert_allclose(pixels, grey[image], rtol=0, atol=1e-15)
    assert pixels.min() == 0 and pixels.max() == 1


@pytest.mark.parametrize("seed", [0, 3])
def test_one_permutation_is_shared_by_all_images(seed, tiny_data):
    grey, _ = by_hand(tiny_data, "train")
    order = np.random.RandomState(seed).permutation(784)
    for episode in (0, 1):
        image, pixels = shown(mnist(permuted=True, seed=seed), seed=episode)
        np.testing.assert_allclose(pixels, grey[image][:, order], rtol=0, atol=1e-15)


def test_the_permutation_is_the_same_in_all_splits_and_at_any_number_of_steps(tiny_data):
    _, few = shown(mnist(2, permuted=True))
    _, many = shown(mnist(784, permuted=True))
    np.testing.assert_array_equal(few, many)
    image, pixels = shown(mnist(split="test", permuted=True))
    order = np.random.RandomState(0).permutation(784)
    np.testing.assert_allclose(pixels, by_hand(tiny_data, "test")[0][image][:, order], rtol=0, atol=1e-15)


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_is_its_part_of_the_files(split, tiny_data):
    part, rows = SPLITS[split]
    grey, labels = (array[rows] for array in by_hand(tiny_data, part))
    task = mnist(split=split)
    assert task.num_episodes == len(labels)
    everything = torch.arange(task.num_episodes)
    state, reset_step = task.reset_to(everything, seeded())
    np.testing.assert_allclose(reset_step.obs.numpy(), grey[:, :196], rtol=0, atol=1e-15)
    for _ in range(4):
        state, step = task.step(state, torch.tensor(labels), seeded())
    assert (step.reward == 1).all()  # labels are in the order of their images
    with pytest.raises(IndexError, match=f"want numbers from 0 to {len(labels) - 1}"):
        task.reset_to(everything + 1, seeded())
    with pytest.raises(IndexError, match="index from -1 to -1, want"):
        task.reset_to(torch.tensor([-1]), seeded())


def test_training_and_validation_images_are_all_training_images_and_none_is_in_both(tiny_data):
    pixels = [
        mnist(1, split=s).reset_to(torch.arange(n), seeded())[1].obs for s, n in (("train", 22), ("validation", 4))
    ]
    np.testing.assert_allclose(torch.cat(pixels).numpy(), by_hand(tiny_data, "train")[0], atol=1e-15)


# --- what an answer earns


def test_only_the_last_answer_counts(tiny_data):
    _, labels = by_hand(tiny_data, "train")
    task, logits = mnist(), torch.randn(4, 5, 10, generator=seeded(3), dtype=torch.float64)
    results = play(task, list(logits))
    expected = labels[results[0][0].image]
    for _, step in results[:-1]:
        assert not step.reward.any() and all(score.isnan().all() for score in step.scores.values())
    last = logits[-1].numpy()
    given = last[np.arange(5), expected] - np.log(np.exp(last).sum(-1))
    right = (last.argmax(-1) == expected).astype(float)
    step = results[-1][1]
    for got, want in (
        (step.reward, given),
        (step.scores["cross_entropy"], -given),
        (step.scores["accuracy"], right),
        (step.scores["error"], 1 - right),
    ):
        np.testing.assert_allclose(got.numpy(), want, rtol=1e-12)


def test_an_integer_earns_1_or_0_and_has_no_cross_entropy(tiny_data):
    _, labels = by_hand(tiny_data, "train")
    task = mnist()
    state, _ = task.reset(6, seeded())
    answer = torch.tensor(labels[state.image]) + torch.tensor([0, 1, 0, -1, 0, 2])
    step = play(task, [answer] * 4)[-1][1]
    assert step.reward.tolist() == step.scores["accuracy"].tolist() == [1, 0, 1, 0, 1, 0]
    assert step.scores["error"].tolist() == [0, 1, 0, 1, 0, 1]
    assert step.scores["cross_entropy"].isnan().all()


def test_the_references_are_chance_and_what_the_labels_alone_tell(tiny_data):
    _, labels = by_hand(tiny_data, "test")
    often = np.array([(labels == digit).mean() for digit in range(10)])
    entropy = -sum(p * log(p) for p in often if p)
    lines = mnist(split="test").references()
    assert lines["error"] == pytest.approx({"chance": 0.9, "commonest digit": 1 - often.max()})
    assert lines["accuracy"] == pytest.approx({"chance": 0.1, "commonest digit": often.max()})
    assert lines["cross_entropy"] == pytest.approx({"chance": log(10), "frequencies of digits": entropy})


def test_an_agent_beats_the_label_frequencies_on_a_few_images():
    task = mnist(2, split="validation")
    learner = BPTT(toy_agent(task, experts=1, bus="silent", topology="none", core="lstm"), task, batch=4, lr=5e-2)
    losses = [learner.update()["loss"].item() for _ in range(40)]
    assert losses[-1] < 0.8 * task.references()["cross_entropy"]["frequencies of digits"] < losses[0]


# --- which episodes there are


def test_batches_are_sampled_without_replacement():
    task = mnist()
    drawn = [task.reset(22, seeded(s))[0].image for s in (0, 1)]
    assert all(torch.equal(image.sort().values, torch.arange(22)) for image in drawn)
    assert not torch.equal(*drawn)
    assert len(task.reset(7, seeded())[0].image.unique()) == 7


def test_images_of_a_small_batch_are_uniformly_sampled():
    task, rng = mnist(1, split="test"), seeded()
    often = torch.cat([task.reset(2, rng)[0].image for _ in range(3000)]).bincount(minlength=TEST)
    assert_close(often / 6000, torch.full((TEST,), 1 / TEST), atol=0.015, rtol=0)


def test_a_batch_is_at_most_the_split():
    with pytest.raises(ValueError, match="batch=23, want at most the 22 images of split='train'"):
        mnist().reset(23, seeded())


@pytest.mark.parametrize("largest", [1024, 5])
def test_an_evaluation_of_a_finite_task_covers_each_episode_once(largest, monkeypatch, tiny_data):
    monkeypatch.setattr(sys.modules["badger.evaluation.batches"], "MAX_BATCH_EPISODES", largest)
    met, task = [], mnist(2, split="train+validation")
    agent, pick = toy_agent(task), SequentialMNIST.reset_to
    monkeypatch.setattr(
        SequentialMNIST, "reset_to", lambda self, index, rng: met.append(index) or pick(self, index, rng)
    )
    scores = evaluate(agent, task, episodes=None, rng=seeded())
    assert torch.equal(torch.cat(met), torch.arange(TRAIN))
    assert max(map(len, met)) == min(largest, TRAIN)
    assert all(score.shape == (TRAIN,) for score in scores.values())
    rng = seeded()
    frames, _ = rollout(agent, task, initial_carry(agent, task, torch.arange(TRAIN), rng), rng, steps=2)
    if largest > TRAIN:  # else the identities of the parts are drawn separately
        assert_close(scores["cross_entropy"], frames.scores["cross_entropy"][-1])
    guess = evaluate(
        agent, task, None, seeded(), policy=lambda output, mask, state, rng: (output.argmax(-1) * 0 + 3, ())
    )
    np.testing.assert_array_equal(guess["accuracy"].numpy(), by_hand(tiny_data, "train")[1] == 3)


def test_an_evaluation_of_more_episodes_than_images_samples_several_batches():
    task = mnist(1, split="test")
    assert evaluate(toy_agent(task), task, 2 * TEST + 1, seeded())["error"].shape == (2 * TEST + 1,)


def test_a_task_that_is_not_finite_refuses_episode_numbers():
    task = game()
    assert task.num_episodes is None
    with pytest.raises(ValueError, match="episodes=None: GuessingGame is endless, want a number of episodes"):
        evaluate(toy_agent(task), task, None, seeded())
    with pytest.raises(ValueError, match="GuessingGame is not a finite task, so its episodes have no numbers"):
        GuessingGame().reset_to(torch.arange(2), seeded())


# --- the dataclass


def test_a_task_is_made_compared_named_and_copied_without_data(monkeypatch, tmp_path):
    monkeypatch.setenv("BADGER_DATA", str(tmp_path / "nothing"))
    task = SequentialMNIST(data_dir=str(tmp_path), permuted=True)
    assert task == SequentialMNIST(data_dir=str(tmp_path), permuted=True) != SequentialMNIST()
    assert len({task, pickle.loads(pickle.dumps(task)), replace(task, steps=784)}) == 2
    assert replace(task, steps=784).obs_size == 1 and task.obs_size == 7


def test_files_are_read_once(monkeypatch, tmp_path):
    folder, reads = write(tmp_path), []
    read = idx.read
    monkeypatch.setattr(idx, "read", lambda path: reads.append(path.name) or read(path))
    for task in (mnist(data_dir=folder), mnist(7, data_dir=folder, permuted=True)):
        play(task, [torch.zeros(3, dtype=torch.long)] * task.steps)
        task.references()
    assert reads == ["train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("steps, near", [(100, 98), (783, 392), (785, 784)])
def test_steps_divide_the_pixels(steps, near):
    with pytest.raises(ValueError, match=f"steps={steps}, want a divisor of 784 pixels, such as {near}"):
        SequentialMNIST(steps)


def test_there_is_at_least_one_step():
    with pytest.raises(ValueError, match="steps=0, want at least 1"):
        SequentialMNIST(0)


def test_an_unknown_split_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match=r"split='valid', want one of: train, validation, train\+validation, test"):
        SequentialMNIST(split="valid")


def test_a_split_that_would_be_empty_is_refused(tmp_path):
    write(tmp_path, train=5)
    assert mnist(data_dir=tmp_path).num_episodes == 5
    with pytest.raises(ValueError, match="split='validation' is empty: there are 5 images, want at least 6"):
        _ = mnist(data_dir=tmp_path, split="validation").num_episodes


def test_the_tiny_images_are_not_all_of_one_digit():
    assert len(set(images("train", TRAIN)[1])) > 5


@pytest.mark.parametrize(
    ("trained", "judged"),
    [("train", "validation"), ("train+validation", "test"), ("validation", "validation"), ("test", "test")],
)
def test_an_agent_is_judged_by_images_that_it_was_not_trained_on(trained, judged):
    task = SequentialMNIST(28, split=trained, permuted=True)
    assert task.evaluation_task == replace(task, split=judged)


def test_the_command_line_evaluates_on_held_out_images(tmp_path, capsys):
    folder = str(tmp_path / "run")
    flags = {
        "pixels": 28, "core.hidden-size": 4, "core.slots": 4, "core.key-size": 2, "batch": 2, "outer-steps": 1,
    }  # fmt: skip
    words = [word for name, value in flags.items() for word in (f"--{name}", str(value))]
    assert main(["train", "sequential_mnist", *words, "--folder", folder, "--no-tensorboard"]) == 0
    assert main(["evaluate", folder]) == 0
    assert re.findall(r"error +[\d.]+ \+- [\d.]+ over (\d+) episodes", capsys.readouterr().out) == ["4", "4"]
