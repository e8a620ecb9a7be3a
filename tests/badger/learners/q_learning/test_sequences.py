"""Sequences that are cut from a stream equal those that are cut from whole episodes."""

import io

import pytest
import torch

from badger import Greedy, RepeatPrevious, initial_carry, rollout
from badger.learners.q_learning.replay import Transitions
from badger.learners.q_learning.sequences import WHOLE_EPISODE, SequenceBuilder, SequenceSpec, with_recurrent_states
from toys import Steps as Walking
from toys import seeded, toy_agent

CUTS = [
    SequenceSpec(4, 2, 2),
    SequenceSpec(3, 3, 1),
    SequenceSpec(2, 5, 1),
    SequenceSpec(5, 0, 0),
    SequenceSpec(6, 1, 3, stored_state=False),
    SequenceSpec(1, 0, 0, context=3),
    SequenceSpec(4, 2, 2, context=4),
    SequenceSpec(1, 0, 0, lookahead=2, stored_state=False),
    SequenceSpec(4, 1, 2, lookahead=3),
]


def pieces_of(lengths, cut):
    """The expected sequences: (number of the episode, start of the burn-in, start and end of the training steps, end of
    the lookahead)."""
    found = []
    for number, length in enumerate(lengths):
        new, k = 0, 0  # steps before `new` are in a sequence already
        while new < length:
            learn = k * (cut.train_length - cut.overlap)
            end = min(length, learn + cut.train_length)
            seen = min(length, learn + cut.train_length + cut.lookahead)
            found.append((number, learn - cut.burn_in, max(0, learn), end, seen))
            new, k = end, k + 1
    return found


def stream(lengths, rows):
    """A stream of episodes of these lengths, distributed over the rows; an observation is [episode, step]. It ends with
    the shortest row."""
    episodes_of_rows = [[] for _ in range(rows)]
    for number, length in enumerate(lengths):
        row = min(range(rows), key=lambda i: len(episodes_of_rows[i]))
        episodes_of_rows[row] += [(number, age, age < length, length) for age in range(length + 1)]
    steps = min(len(row) for row in episodes_of_rows)
    table = torch.tensor([[row[t] for row in episodes_of_rows] for t in range(steps)], dtype=torch.float64)
    number, age, there, length = table.unbind(-1)
    there = there.bool()
    ends = there & (age == length - 1) & (number % 2 == 0)
    return Transitions(
        torch.stack([number, age], -1), (number + age).long(), 10 * number + age, ends, there, there & (age == 0), None
    )


def agent_state(steps, at, agent):
    """The states before step `at`, and after it."""
    like = agent.initial_state(steps.obs[0, :, :1], seeded())
    obs = steps.obs[min(at, len(steps.obs) - 1)].unsqueeze(1)
    now = steps.obs[max(0, at - 1)].unsqueeze(1).expand(-1, 4, 1 + 1)
    identity = torch.cat([now, now[..., :1]], -1)
    return like._replace(core=obs.clone(), bus=(), identity=identity)


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("cut", CUTS)
def test_a_stream_gives_the_sequences_of_its_episodes(cut, size):
    lengths = torch.randint(1, 14, (30,), generator=seeded()).tolist()
    steps, agent = stream(lengths, 3), toy_agent()
    builder, found = SequenceBuilder(cut, 3), {}
    for at in range(0, len(steps.obs), size):
        piece = steps.map(lambda part, at=at: part[at : at + size])
        states = [agent_state(steps, t, agent) for t in range(at, at + len(piece.obs) + 1)]
        if at == 2 * size:
            builder = through_a_file(builder, cut, states[0])
        new = builder.add(piece, states)
        for row in range(0 if new is None else len(new.initial_states)):
            key, one = check_sequence(new, row, cut)
            assert key not in found
            found[key] = one
    expected = pieces_of(lengths, cut)
    # sequences of episodes that the end of the stream cuts are missing
    missing = [piece for piece in expected if piece not in found]
    assert set(found) <= set(expected) and len(missing) < 3 * (1 + 14 // cut.stride)
    over = {int(number) for number in steps.obs[~steps.valid][:, 0].tolist()}
    assert not [piece for piece in missing if piece[0] in over]


def through_a_file(builder, cut, state):
    file = io.BytesIO()
    torch.save(builder.pack(), file)
    file.seek(0)
    other = SequenceBuilder(cut, 3)
    other.unpack(torch.load(file, weights_only=True), (state.core, state.bus, state.inbox))
    return other


def check_sequence(new, row, cut):
    """Compares all fields of a sequence with the expected ones; returns which sequence it is."""
    steps = new.steps.map(lambda part: part[:, row]) if new.steps.action_mask is None else None
    learned = cut.context + cut.burn_in + cut.train_length
    length, there = learned + cut.lookahead, steps.valid
    assert len(there) == length + 1 and not there[-1]
    first, last = there.nonzero().min().item(), there.nonzero().max().item()
    assert there[first : last + 1].all()
    number, age = (int(x) for x in steps.obs[first].tolist())
    begin = age - first
    for p in range(length + 1):
        seen = first <= p <= last + 1
        assert steps.obs[p].tolist() == ([number, begin + p] if seen else [0, 0])
        assert steps.action[p] == (number + begin + p if there[p] else 0)
        assert steps.reward[p] == (10 * number + begin + p if there[p] else 0)
        assert steps.episode_start[p] == (bool(there[p]) and begin + p == 0)
    assert (new.identity[row, 0, 0] == number).all()
    start = begin + cut.context  # of the burn-in
    if start > 0 and cut.stored_state:
        assert new.initial_states[row][0].tolist() == [[[number, start]]]
    else:
        assert new.initial_states[row] is None
    return (number, start, start + cut.burn_in, begin + min(last + 1, learned), begin + last + 1), steps


def test_no_sequence_is_longer_than_an_episode():
    assert SequenceSpec(80, 40, 40).clamp_to(21) == SequenceSpec(21, 0, 0)
    assert SequenceSpec(WHOLE_EPISODE, 0, 0).clamp_to(21) == SequenceSpec(21, 0, 0)
    assert SequenceSpec(8, 6, 4).clamp_to(10) == SequenceSpec(8, 4, 4)
    assert SequenceSpec(8, 6, 4).clamp_to(100) == SequenceSpec(8, 6, 4)


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("steps", [1, 3, 5, 9])
def test_a_clamped_spec_cuts_the_same_sequences(cut, steps):
    lengths = [steps, 1, (steps + 1) // 2]
    shorter = cut.clamp_to(steps)
    ours, theirs = pieces_of(lengths, shorter), pieces_of(lengths, cut)
    assert [(n, max(0, b), *ends) for n, b, *ends in ours] == [(n, max(0, b), *ends) for n, b, *ends in theirs]


@pytest.mark.parametrize("core", ["gru", "episodic", "episodic_shared", "dnc"])
def test_a_stored_recurrent_state_continues_exactly(core):
    task = Walking(dtype=torch.float64, steps=9)
    agent = toy_agent(task, core=core)
    carry = initial_carry(agent, task, 3, rng := seeded())
    with torch.no_grad():
        frames, _ = rollout(agent, task, carry, rng, Greedy(task.action_space), steps=5, hook=lambda state: state)
    builder = SequenceBuilder(SequenceSpec(1, 0, 0), 3)
    kept = []
    for t in range(1, 5):
        known = [row_state(frames.hook_outputs[t - 1], row) for row in range(3)]
        fresh = agent.initial_state(frames.obs[t], seeded(5))
        same = frames.hook_outputs[t]
        output, _ = agent(frames.obs[t], with_recurrent_states(known, fresh._replace(identity=same.identity)))
        still = ~frames.episode_start[t]
        kept.append(still)
        torch.testing.assert_close(output[still], frames.output[t][still])
    assert torch.stack(kept).any() and builder.env_steps == 0


def row_state(state, row):
    from badger.learners.q_learning.sequences import recurrent_state

    return recurrent_state(state, row)


def test_episodes_of_fixed_length_show_their_last_observation():
    from badger.learners.q_learning.collector import Collector

    task = RepeatPrevious(5, 2, symbols=3, dtype=torch.float64)
    collector = Collector(toy_agent(task), task, SequenceSpec(5, 0, 0), rows=2, experts=4, rng=seeded())
    frames, found, (_, ended) = collector.collect(99, Greedy(task.action_space), seeded())
    assert len(frames.obs) == task.steps and len(found.initial_states) == 2 and ended.sum() == 2
    assert found.steps.valid.sum(0).tolist() == [task.steps] * 2
    torch.testing.assert_close(found.steps.obs[task.steps], collector.carry.step.obs)
    assert found.steps.terminated[task.steps - 1].all() == frames.terminated[-1].all()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"train_length": 0, "overlap": 0}, "train_length=0, want at least 1"),
        ({"train_length": 4, "overlap": 4}, "overlap=4, want 0 to train_length - 1 = 3"),
        ({"overlap": -1}, "overlap=-1, want"),
        ({"burn_in": -1}, "burn_in=-1, want 0 steps or more"),
    ],
)
def test_lengths_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        SequenceSpec(**options)
