"""Replay of recorded rollouts: outputs, states and gradients equal those of the rollout."""

import io
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from badger import CORES, Sampled, Silent, initial_carry, rollout
from badger.policies.policies import identity_policy
from badger.rollouts.recording import Recording, concat_batch, record, replay, unpack_recording
from badger.rollouts.trajectory import detach_carry
from experts import GRU, EpisodicMemory, Private
from toy_memories import DrawingGRU
from toys import Steps, game, seeded, toy_agent

WALK = Steps(dtype=torch.float64)  # episodes of 1 to 4 steps, whose rewards have no gradient
B, T = 3, 9


def memory(input_size, hidden_size):
    return Private(EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size), slots=3, top_k=2, key_size=2))


def policy(task):
    return Sampled(task.action_space) if isinstance(task, Steps) else identity_policy


def recorded(agent, task=WALK, *, steps=T, carry=None):
    """Trajectory, recording and carry of a rollout."""
    carry = carry or initial_carry(agent, task, B, seeded(3))
    return record(agent, task, carry, seeded(4), policy(task), steps=steps)


def gradients_of(agent, output, losses):
    loss = (output * torch.randn(output.shape, generator=seeded(5), dtype=output.dtype)).sum()
    loss = loss + sum(value.sum() for value in losses.values())
    gradients = torch.autograd.grad(loss, list(agent.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(agent.parameters(), gradients, strict=True)]


def fingerprint(agent, state):
    """The observable part of a state: the output to given observations, identities, inbox and assignment."""
    obs = torch.randn(2, *state.y.shape[:1], agent.sense.output_size, generator=seeded(6), dtype=state.y.dtype)
    for step_obs in obs:
        output, state = agent(step_obs, state, seeded())
    return output, state.identity, state.inbox, state.assignment


@pytest.mark.parametrize("port", ["mean", "named_outputs"])
@pytest.mark.parametrize("bus", ["silent", "attention"])
@pytest.mark.parametrize("core", ["gru", memory, "neural_memory"])
def test_outputs_states_and_gradients_are_those_of_the_rollout(core, bus, port):
    agent = toy_agent(WALK, core=core, bus=bus, port=port)
    trajectory, recording, after = recorded(agent)
    assert recording.episode_start[1:].any() and not recording.episode_start[1:].all(0).any()
    expected = gradients_of(agent, trajectory.output, trajectory.losses)
    output, losses, state = replay(agent, recording.detach())
    assert_close(output, trajectory.output)
    assert_close(gradients_of(agent, output, losses), expected)
    last = agent.reset(state, after.episode_start, after.step.obs, seeded())._replace(
        identity=after.agent_state.identity
    )
    last = last._replace(assignment=after.agent_state.assignment)  # sampled again in rows that start an episode
    for replayed, original in zip(fingerprint(agent, last), fingerprint(agent, after.agent_state), strict=True):
        assert replayed is original is None or assert_close(replayed, original) is None


def test_within_an_episode_the_state_is_that_of_the_rollout():
    task = game(steps=T)
    for bus in ("silent", "attention"):
        agent = toy_agent(task, core=memory, bus=bus, port="named_outputs")
        _, recording, after = recorded(agent, task)
        assert_close(fingerprint(agent, replay(agent, recording)[2]), fingerprint(agent, after.agent_state))


def test_auxiliary_losses_are_those_of_the_rollout():
    class WithLoss(GRU):
        def losses(self, state):
            return {"size": state.h.square().sum((1, 2))}

    agent = toy_agent(WALK, core=WithLoss, bus="silent")
    trajectory, recording, _ = recorded(agent)
    _, losses, _ = replay(agent, recording)
    assert_close(losses, trajectory.losses)


@pytest.mark.parametrize("bus", ["silent", "attention"])
def test_random_numbers_of_the_core_are_those_of_the_rollout(bus):
    agent = toy_agent(WALK, core=DrawingGRU, bus=bus)
    trajectory, recording, _ = recorded(agent)
    loaded = unpack_recording(recording.pack(), recording.initial_state)
    assert recording.episode_start[1:].any() and recording.random_seeds.unique().numel() > B * agent.experts
    assert torch.equal(replay(agent, loaded)[0], trajectory.output)


def test_recording_does_not_change_a_rollout():
    agent = toy_agent(WALK)
    trajectory, recording, _ = recorded(agent)
    plain, _ = rollout(
        agent, WALK, initial_carry(agent, WALK, B, seeded(3)), seeded(4), Sampled(WALK.action_space), steps=T
    )
    assert torch.equal(trajectory.output, plain.output) and torch.equal(trajectory.episode_start, plain.episode_start)
    assert trajectory.hook_outputs == [] and torch.equal(recording.obs, plain.obs)


def test_episodes_start_in_the_first_step_and_after_the_end_of_another():
    agent = toy_agent(WALK)
    trajectory, _, after = recorded(agent)
    assert trajectory.episode_start[0].all() and torch.equal(trajectory.episode_start[1:], ~trajectory.valid[:-1])
    assert torch.equal(after.episode_start, ~trajectory.valid[-1])
    fixed, _, _ = recorded(toy_agent(game(steps=4)), game(steps=4))
    assert fixed.episode_start.tolist() == [[t % 4 == 0] * B for t in range(T)]


@pytest.mark.parametrize("task", [WALK, game(steps=4)], ids=["variable", "fixed"])
def test_with_keep_state_no_episode_start_is_recorded_later(task):
    agent = toy_agent(task)
    carry = initial_carry(agent, task, B, seeded(3))
    trajectory, _ = rollout(agent, task, carry, seeded(4), policy(task), steps=T, keep_state=True)
    assert trajectory.episode_start[0].all() and not trajectory.episode_start[1:].any()


@pytest.mark.parametrize("bus", ["silent", "attention"])
@pytest.mark.parametrize("core", ["gru", memory])
def test_a_second_recording_continues_the_first(core, bus):
    agent = toy_agent(WALK, core=core, bus=bus)
    _, _, carry = recorded(agent)
    trajectory, recording, _ = recorded(agent, carry=detach_carry(carry))
    assert_close(replay(agent, recording)[0], trajectory.output)


@pytest.mark.parametrize("bus", ["silent", "attention"])
@pytest.mark.parametrize("core", ["gru", memory])
def test_a_recording_may_be_cut_in_steps_and_rows(core, bus):
    agent = toy_agent(WALK, core=core, bus=bus, port="named_outputs")
    trajectory, recording, _ = recorded(agent)
    index = torch.tensor([2, 0])
    assert_close(replay(agent, recording.select(index))[0], trajectory.output[:, index])
    head, _, state = replay(agent, recording.head(4))
    tail, _, _ = replay(agent, recording.tail(4, state))
    assert_close(torch.cat([head, tail]), trajectory.output)


@pytest.mark.parametrize("bus", ["silent", "attention"])
@pytest.mark.parametrize("core", ["gru", memory])
def test_recordings_may_be_concatenated_along_the_batch(core, bus):
    agent = toy_agent(WALK, core=core, bus=bus, port="named_outputs")
    trajectory, recording, carry = recorded(agent)
    later, second, _ = recorded(agent, carry=carry)
    both = concat_batch([recording.detach(), second.detach()])
    assert_close(replay(agent, both)[0], torch.cat([trajectory.output, later.output], 1))
    with pytest.raises(ValueError, match=r"recordings of \[9, 3\] steps, want as many in each"):
        concat_batch([recording, second.head(3)])


@pytest.mark.parametrize("core", CORES)
def test_a_recording_can_be_saved_and_loaded(core):
    agent = toy_agent(WALK, core=core)
    _, _, carry = recorded(agent, steps=3)
    _, recording, _ = recorded(agent, carry=detach_carry(carry), steps=3)
    file = io.BytesIO()
    torch.save(recording.pack(), file)
    file.seek(0)
    like = initial_carry(agent, WALK, 1, seeded()).agent_state
    loaded = unpack_recording(torch.load(file, weights_only=True), like)
    assert_close(replay(agent, loaded)[0], replay(agent, recording)[0])


@pytest.mark.parametrize("bus", ["silent", "attention"])
def test_lesions_are_replayed(bus):
    agent = toy_agent(WALK, bus=bus)
    carry = initial_carry(agent, WALK, B, seeded(3))
    carry = carry._replace(agent_state=agent.remove(carry.agent_state, [1]))
    trajectory, recording, _ = recorded(agent, carry=carry)
    assert_close(replay(agent, recording)[0], trajectory.output)
    all_present = recording._replace(present=torch.ones_like(recording.present))
    assert not torch.allclose(replay(agent, all_present)[0], trajectory.output)


def test_an_inbox_of_another_bus_is_received_in_the_first_step():
    agent = toy_agent(WALK)
    _, _, carry = recorded(agent, steps=1)
    carry = carry._replace(episode_start=torch.zeros(B, dtype=torch.bool))
    agent.bus = Silent(agent.bus.input_size, agent.bus.message_size)
    trajectory, recording, _ = recorded(agent, carry=carry)
    assert recording.initial_state.inbox.any()
    assert_close(replay(agent, recording)[0], trajectory.output)


def test_a_random_bus_samples_again():
    agent = toy_agent(WALK, bus="noisy")
    trajectory, recording, _ = recorded(agent)
    first, second = replay(agent, recording)[0], replay(agent, recording)[0]
    assert torch.equal(first, second) and not torch.allclose(first, trajectory.output)
    assert not torch.equal(replay(agent, recording, seeded(1))[0], first)


def test_replay_does_not_use_the_default_generator_and_detach_drops_the_graph():
    agent = toy_agent(WALK, core=memory)
    _, recording, _ = recorded(agent)
    before = torch.get_rng_state()
    replay(agent, recording)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(recording, Recording) and not recording.detach().initial_state.y.requires_grad
