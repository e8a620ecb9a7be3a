"""Gradient checkpointing over time: equal numbers, and less memory of autograd."""

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
    checkpointed, plain = learner(**options), learner(**options | {"grad_checkpoint_steps": None})
    metrics, expected = checkpointed.update(), plain.update()
    assert_close(slopes(checkpointed.agent), slopes(plain.agent))
    assert_close(flat(checkpointed.agent), flat(plain.agent))
    for name, value in expected.items():
        assert_close(torch.as_tensor(metrics[name]), torch.as_tensor(value), equal_nan=True)


@pytest.mark.parametrize("core", ["gru", "lstm", "episodic", "episodic_shared"])
@pytest.mark.parametrize("grad_checkpoint_steps", [1, 3, 5])
def test_segments_change_no_gradient(core, grad_checkpoint_steps):
    assert_same_update(core=core, grad_checkpoint_steps=grad_checkpoint_steps)


@pytest.mark.parametrize("grad_checkpoint_steps", [2, 3])
def test_gates_sample_the_same_numbers_when_a_segment_is_repeated(grad_checkpoint_steps):
    assert_same_update(bus="gated", grad_checkpoint_steps=grad_checkpoint_steps)


@pytest.mark.parametrize("bus", ["workspace", "delayed", "noisy"])
def test_bus_states_and_samples_are_the_same_when_a_segment_is_repeated(bus):
    assert_same_update(bus=bus, grad_checkpoint_steps=2)


def test_a_memory_that_wraps_around_is_repeated_exactly():
    assert_same_update(task=game(steps=75), grad_checkpoint_steps=9)


@pytest.mark.parametrize("truncation", [2, 4, 5, 6])
def test_truncated_bptt_may_be_checkpointed(truncation):
    assert_same_update(bus="gated", truncation=truncation, grad_checkpoint_steps=2)


def test_resets_within_a_segment_are_repeated():
    assert_same_update(task=Walk(9, dtype=torch.float64), grad_checkpoint_steps=2)


@pytest.mark.parametrize("bus", ["attention", "gated"])
def test_trajectories_and_samples_equal_those_of_one_rollout(bus):
    task = game(steps=STEPS)
    agent = toy_agent(task, core="episodic", bus=bus)
    results = []
    for grad_checkpoint_steps in (STEPS, 3):
        rng = generator(0, "test")
        trajectory, carry = checkpointed_rollout(
            agent,
            task,
            initial_carry(agent, task, 3, rng),
            rng,
            steps=STEPS,
            grad_checkpoint_steps=grad_checkpoint_steps,
        )
        results.append((trajectory, carry.step, carry.elapsed, rng.get_state()))
    rng = generator(0, "test")
    trajectory, carry = rollout(agent, task, initial_carry(agent, task, 3, rng), rng, steps=STEPS)
    results.append((trajectory, carry.step, carry.elapsed, rng.get_state()))
    for result in results[:2]:
        assert_close(result, results[2], rtol=0, atol=0, equal_nan=True)


def saved_numbers(**options):
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
def test_autograd_saves_no_tensors_of_steps_within_a_segment(core):
    assert saved_numbers(core=core, grad_checkpoint_steps=8) < saved_numbers(core=core) / 50


def test_a_segment_length_below_one_raises():
    with pytest.raises(ValueError, match="grad_checkpoint_steps=0, want at least 1"):
        learner(grad_checkpoint_steps=0)
