"""A replay: the newest sequences, drawn as often as they shall be, and the same after loading."""

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
from toys import seeded


def sequences(*numbers, states=True):
    """One sequence a number, which is all that is said in it; of the odd ones the agent knew something at first."""
    n = torch.tensor(numbers, dtype=torch.float64)
    flat, yes = n.expand(3, -1), torch.ones(3, len(n), dtype=torch.bool)
    steps = Transitions(flat.unsqueeze(-1), flat.long(), flat, yes, yes, yes, None)
    first = [(torch.full((1, 2), x),) if states and x % 2 else None for x in numbers]
    return SequenceBatch(steps, n.reshape(-1, 1, 1), None, first, [(torch.full((1, 2), -x),) for x in numbers])


def replay(*numbers, capacity=4, draw=None):
    made = ReplayBuffer(capacity, draw or UniformSampler())
    for number in numbers:
        made.add(sequences(number))
    return made


def content(replay):
    return sorted(replay.get(torch.arange(len(replay))).steps.reward[0].tolist())


def test_the_oldest_makes_room():
    assert content(replay(1, 2, 3)) == [1, 2, 3]
    assert content(replay(1, 2, 3, 4, 5, 6)) == [3, 4, 5, 6]


def test_of_more_than_it_holds_the_last_are_kept():
    kept = replay(7)
    kept.add(sequences(1, 2, 3, 4, 5, 6))
    assert content(kept) == [3, 4, 5, 6]
    kept.add(sequences(8))
    assert content(kept) == [4, 5, 6, 8]


def test_all_that_is_said_of_a_sequence_stays_together():
    kept = replay(1, 2, 3, 4, 5, 6)
    drawn, _, _ = kept.sample(50, seeded())
    number = drawn.identity.flatten()
    assert len(set(number.tolist())) == 4
    assert (drawn.steps.obs == number.unsqueeze(-1)).all() and (drawn.steps.action == number).all()
    assert drawn.steps.obs.shape == (3, 50, 1)
    for x, first in zip(number.tolist(), drawn.initial_states, strict=True):
        assert first is None if x % 2 == 0 else (first[0] == x).all()
    assert [last[0][0, 0].item() for last in drawn.final_states] == (-number).tolist()


def shares(kept, draws=40_000):
    _, places, _ = kept.sample(draws, seeded())
    return places.bincount(minlength=len(kept)) / draws


def test_uniform_draws_are_uniform():
    kept = replay(1, 2, 3)
    kept.update_priorities(torch.tensor([0, 1, 2]), torch.tensor([1.0, 5.0, 9.0]))
    assert_close(shares(kept), torch.full((3,), 1 / 3), atol=0.01, rtol=0)
    assert kept.sample(5, seeded())[2].tolist() == [1.0] * 5


def test_prioritised_draws_are_in_proportion():
    kept = replay(1, 2, 3, draw=PrioritizedSampler(0.5, 0.7))
    kept.update_priorities(torch.tensor([0, 1, 2]), torch.tensor([1.0, 16.0, 25.0]))
    assert_close(shares(kept), torch.tensor([0.1, 0.4, 0.5]), atol=0.01, rtol=0)


def test_what_is_drawn_more_often_counts_less():
    kept = replay(1, 2, 3, draw=PrioritizedSampler(0.5, 0.7))
    kept.update_priorities(torch.tensor([0, 1, 2]), torch.tensor([1.0, 16.0, 25.0]))
    _, places, weights = kept.sample(50, seeded())
    by_hand = (torch.tensor([0.1, 0.4, 0.5], dtype=torch.float64) * 3) ** -0.7
    assert_close(weights, by_hand[places] / by_hand[places].max())


def test_a_new_sequence_is_as_likely_as_the_likeliest():
    kept = replay(1, 2, draw=PrioritizedSampler())
    kept.update_priorities(torch.tensor([0, 1]), torch.tensor([0.2, 0.5]))
    kept.add(sequences(3))
    assert_close(kept.priority.tolist(), [0.2, 0.5, 0.5, 0.0])


def test_a_priority_that_is_no_number_changes_nothing():
    kept = replay(1, 2, draw=PrioritizedSampler())
    kept.update_priorities(torch.tensor([0, 1]), torch.tensor([float("nan"), 0.5]))
    assert_close(kept.priority.tolist(), [1.0, 0.5, 0.0, 0.0])


def test_the_same_generator_draws_the_same():
    kept = replay(1, 2, 3, 4)
    assert torch.equal(kept.sample(9, seeded(3))[1], kept.sample(9, seeded(3))[1])


@pytest.mark.parametrize("numbers", [(), (1, 2), (1, 2, 3, 4, 5, 6, 7)])
def test_it_is_the_same_after_loading(numbers):
    kept = replay(*numbers, draw=PrioritizedSampler())
    if numbers:
        kept.update_priorities(torch.tensor([0, 1]), torch.tensor([0.3, 0.4]))
    file = io.BytesIO()
    torch.save(kept.pack(), file)
    file.seek(0)
    other = replay(9, 9, draw=PrioritizedSampler())
    other.unpack(torch.load(file, weights_only=True), (torch.zeros(1, 2),))
    for one in (kept, other):
        one.add(sequences(8))
    assert content(kept) == content(other) and torch.equal(kept.priority, other.priority)
    for one, same in zip(kept.states, other.states, strict=True):
        for known, still in zip(one, same, strict=True):
            assert (known is None) == (still is None) and (known is None or torch.equal(known[0], still[0]))


def test_an_empty_replay_gives_nothing():
    with pytest.raises(ValueError, match="the replay buffer is empty"):
        replay().sample(1, seeded())


def test_a_replay_of_another_size_is_refused():
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
def test_options_that_make_no_sense_are_refused(make, error):
    with pytest.raises(ValueError, match=error):
        make()
