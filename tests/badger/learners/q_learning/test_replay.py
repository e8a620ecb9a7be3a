"""The replay buffer: circular storage, sampling distributions and loading."""

import io

import pytest
import torch
from torch.testing import assert_close

from badger.learners.q_learning.replay import (
    PrioritizedSampler,
    ReplayBuffer,
    SequenceBatch,
    Transitions,
    UniformSampler,
)
from tasks.observations import ObsPart, fit_bytes
from toys import seeded


def sequences(*numbers, states=True):
    """One sequence for each number, which is in all fields; odd ones have an initial state."""
    n = torch.tensor(numbers, dtype=torch.float64)
    flat, yes = n.expand(3, -1), torch.ones(3, len(n), dtype=torch.bool)
    steps = Transitions(flat.unsqueeze(-1), flat.long(), flat, yes, yes, yes, None)
    first = [(torch.full((1, 2), x),) if states and x % 2 else None for x in numbers]
    return SequenceBatch(steps, n.reshape(-1, 1, 1), None, first)


def replay(*numbers, capacity=4, draw=None):
    made = ReplayBuffer(capacity, draw or UniformSampler())
    for number in numbers:
        made.add(sequences(number))
    return made


def content(replay):
    return sorted(replay.get(torch.arange(len(replay))).steps.reward[0].tolist())


def test_new_sequences_replace_the_oldest():
    assert content(replay(1, 2, 3)) == [1, 2, 3]
    assert content(replay(1, 2, 3, 4, 5, 6)) == [3, 4, 5, 6]


def test_of_a_batch_larger_than_the_capacity_the_last_are_buffer():
    buffer = replay(7)
    buffer.add(sequences(1, 2, 3, 4, 5, 6))
    assert content(buffer) == [3, 4, 5, 6]
    buffer.add(sequences(8))
    assert content(buffer) == [4, 5, 6, 8]


def test_pixels_are_kept_as_bytes_and_come_back_unchanged():
    buffer = ReplayBuffer(4, UniformSampler(), bytes_of=torch.float64)
    buffer.add(sequences(0, 17, 255))
    loaded = ReplayBuffer(4, UniformSampler(), bytes_of=torch.float64)
    loaded.unpack(buffer.pack(), (torch.zeros(1, 2),))
    for kept in (buffer, loaded):
        assert kept.storage[0].dtype == torch.uint8
        obs = kept.get(torch.arange(3)).steps.obs
        assert obs.dtype == torch.float64 and obs[0].flatten().tolist() == [0, 17, 255]


@pytest.mark.parametrize(
    "parts, fit",
    [
        ([ObsPart("image", (2, 2), layout="HW", high=255.0, whole=True), ObsPart("one_hot", (3,))], True),
        ([ObsPart("image", (2, 2), layout="HW", high=255.0)], False),
        ([ObsPart("one_hot", (3,)), ObsPart("vector", (1,))], False),
        ([ObsPart("text", (8,))], False),
    ],
)
def test_observations_of_pixels_and_symbols_fit_into_bytes(parts, fit):
    assert fit_bytes(parts) == fit


def test_fields_and_states_of_a_sequence_stay_together():
    buffer = replay(1, 2, 3, 4, 5, 6)
    batch, _, _ = buffer.sample(50, seeded())
    number = batch.identity.flatten()
    assert len(set(number.tolist())) == 4
    assert (batch.steps.obs == number.unsqueeze(-1)).all() and (batch.steps.action == number).all()
    assert batch.steps.obs.shape == (3, 50, 1)
    for x, first in zip(number.tolist(), batch.initial_states, strict=True):
        assert first is None if x % 2 == 0 else (first[0] == x).all()


def frequencies(buffer, draws=40_000):
    _, places, _ = buffer.sample(draws, seeded())
    return places.bincount(minlength=len(buffer)) / draws


def test_uniform_sampling_is_uniform():
    buffer = replay(1, 2, 3)
    buffer.update_priorities(torch.tensor([0, 1, 2]), torch.tensor([1.0, 5.0, 9.0]))
    assert_close(frequencies(buffer), torch.full((3,), 1 / 3), atol=0.01, rtol=0)
    assert buffer.sample(5, seeded())[2].tolist() == [1.0] * 5


def test_prioritized_sampling_is_proportional_to_powers_of_priorities():
    buffer = replay(1, 2, 3, draw=PrioritizedSampler(0.5, 0.7))
    buffer.update_priorities(torch.tensor([0, 1, 2]), torch.tensor([1.0, 16.0, 25.0]))
    assert_close(frequencies(buffer), torch.tensor([0.1, 0.4, 0.5]), atol=0.01, rtol=0)


def test_importance_weights_correct_the_sampling_bias():
    buffer = replay(1, 2, 3, draw=PrioritizedSampler(0.5, 0.7))
    buffer.update_priorities(torch.tensor([0, 1, 2]), torch.tensor([1.0, 16.0, 25.0]))
    _, places, weights = buffer.sample(50, seeded())
    by_hand = (torch.tensor([0.1, 0.4, 0.5], dtype=torch.float64) * 3) ** -0.7
    assert_close(weights, by_hand[places] / by_hand[places].max())


def test_a_new_sequence_gets_the_largest_priority():
    buffer = replay(1, 2, draw=PrioritizedSampler())
    buffer.update_priorities(torch.tensor([0, 1]), torch.tensor([0.2, 0.5]))
    buffer.add(sequences(3))
    assert_close(buffer.priority.tolist(), [0.2, 0.5, 0.5, 0.0])


def test_a_nonfinite_priority_changes_nothing():
    buffer = replay(1, 2, draw=PrioritizedSampler())
    buffer.update_priorities(torch.tensor([0, 1]), torch.tensor([float("nan"), 0.5]))
    assert_close(buffer.priority.tolist(), [1.0, 0.5, 0.0, 0.0])


def test_each_new_sequence_is_taken_once_the_oldest_first():
    def taken(buffer, new):
        return buffer.sample(3, seeded(), new=new)[0].steps.reward[0, :new].tolist()

    buffer = replay(1, 2, 3, 4, 5)
    assert taken(buffer, 2) == [2, 3] and buffer.num_new == 2
    other = replay()
    other.unpack(buffer.pack(), (torch.zeros(1, 2),))
    for one in (buffer, other):
        one.add(sequences(6))
        assert taken(one, 3) == [4, 5, 6] and one.num_new == 0
        assert torch.equal(one.sample(3, seeded(), new=3)[1], one.sample(3, seeded())[1])


def test_sampling_is_reproducible():
    buffer = replay(1, 2, 3, 4)
    assert torch.equal(buffer.sample(9, seeded(3))[1], buffer.sample(9, seeded(3))[1])


@pytest.mark.parametrize("numbers", [(), (1, 2), (1, 2, 3, 4, 5, 6, 7)])
def test_a_loaded_buffer_equals_the_saved_one(numbers):
    buffer = replay(*numbers, draw=PrioritizedSampler())
    if numbers:
        buffer.update_priorities(torch.tensor([0, 1]), torch.tensor([0.3, 0.4]))
    file = io.BytesIO()
    torch.save(buffer.pack(), file)
    file.seek(0)
    other = replay(9, 9, draw=PrioritizedSampler())
    other.unpack(torch.load(file, weights_only=True), (torch.zeros(1, 2),))
    for one in (buffer, other):
        one.add(sequences(8))
    assert content(buffer) == content(other) and torch.equal(buffer.priority, other.priority)
    assert buffer.states.keys() == other.states.keys()
    for index, pair in buffer.states.items():
        for known, still in zip(pair, other.states[index], strict=True):
            assert (known is None) == (still is None) and (known is None or torch.equal(known[0], still[0]))


def test_sampling_from_an_empty_buffer_is_refused():
    with pytest.raises(ValueError, match="the replay buffer is empty"):
        replay().sample(1, seeded())


def test_a_buffer_of_another_capacity_is_refused():
    with pytest.raises(ValueError, match="capacity=5, and the saved replay buffer has 4"):
        replay(capacity=5).unpack(replay(1).pack(), None)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: ReplayBuffer(0, UniformSampler()), "capacity=0, want room for at least 1"),
        (lambda: PrioritizedSampler(alpha=1.5), "alpha=1.5, want 0 to 1"),
        (lambda: PrioritizedSampler(beta=-1), "beta=-1, want 0 to 1"),
    ],
)
def test_options_out_of_range_are_refused(make, error):
    with pytest.raises(ValueError, match=error):
        make()
