"""An episode in segments gives the same numbers, and autograd keeps less of it."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.testing import assert_close

from badger import BPTT, generator, initial_carry, rollout
from badger.rollouts.checkpointing import checkpointed_rollout
from toy_learners import NEVER, flat, slopes
from toys import Walk, game, toy_agent

STEPS = 7  # no segment below divides it


def learner(core="episodic", bus="attention", task=None, **options):
    task = task or game(steps=STEPS)
    agent = toy_agent(task, core=core, bus=bus, port="readout")
    return BPTT(agent, task, **{"batch": 3, "clip": NEVER} | options)


def assert_same_update(**options):
    ours, theirs = learner(**options), learner(**options | {"segment": None})
    told, expected = ours.update(), theirs.update()
    assert_close(slopes(ours.agent), slopes(theirs.agent))
    assert_close(flat(ours.agent), flat(theirs.agent))
    for name, value in expected.items():
        assert_close(torch.as_tensor(told[name]), torch.as_tensor(value), equal_nan=True)


@pytest.mark.parametrize("core", ["gru", "lstm", "episodic", "episodic_shared"])
@pytest.mark.parametrize("segment", [1, 3, 5])
def test_segments_change_no_gradient(core, segment):
    assert_same_update(core=core, segment=segment)


@pytest.mark.parametrize("segment", [2, 3])
def test_gates_draw_the_same_numbers_when_a_segment_is_played_again(segment):
    assert_same_update(bus="gated", segment=segment)


@pytest.mark.parametrize("bus", ["workspace", "delayed", "noisy"])
def test_what_a_bus_remembers_and_draws_is_the_same_when_a_segment_is_played_again(bus):
    assert_same_update(bus=bus, segment=2)


def test_a_memory_that_wraps_around_is_played_again_as_it_was():
    assert_same_update(task=game(steps=75), segment=9)


@pytest.mark.parametrize("truncation", [2, 4, 5, 6])
def test_a_truncated_piece_may_consist_of_segments(truncation):
    assert_same_update(bus="gated", truncation=truncation, segment=2)


def test_episodes_that_end_within_a_segment_are_played_again_with_their_resets():
    assert_same_update(task=Walk(9, dtype=torch.float64), segment=2)


@pytest.mark.parametrize("bus", ["attention", "gated"])
def test_frames_and_draws_are_those_of_one_rollout(bus):
    task = game(steps=STEPS)
    agent = toy_agent(task, core="episodic", bus=bus)
    played = []
    for segment in (STEPS, 3):
        rng = generator(0, "test")
        frames, carry = checkpointed_rollout(
            agent, task, initial_carry(agent, task, 3, rng), rng, steps=STEPS, grad_checkpoint_steps=segment
        )
        played.append((frames, carry.step, carry.elapsed, rng.get_state()))
    rng = generator(0, "test")
    frames, carry = rollout(agent, task, initial_carry(agent, task, 3, rng), rng, steps=STEPS)
    played.append((frames, carry.step, carry.elapsed, rng.get_state()))
    for one in played[:2]:
        assert_close(one, played[2], rtol=0, atol=0, equal_nan=True)


def kept(**options):
    """Numbers that autograd has saved by the end of the forward pass."""
    made, sizes = learner(task=game(steps=64), **options), []
    rng = generator(0, "test")
    carry = initial_carry(made.agent, made.task, 3, rng)
    with saved_tensors_hooks(lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor):
        checkpointed_rollout(
            made.agent, made.task, carry, rng, steps=64, grad_checkpoint_steps=made.grad_checkpoint_steps or 64
        )
    return sum(sizes)


@pytest.mark.parametrize("core", ["gru", "episodic"])
def test_autograd_keeps_nothing_of_the_steps_within_a_segment(core):
    assert kept(core=core, segment=8) < kept(core=core) / 50


def test_a_segment_below_one_is_refused():
    with pytest.raises(ValueError, match="segment=0, want at least 1"):
        learner(segment=0)
