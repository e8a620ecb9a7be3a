"""What was lived through is lived through again: outputs, states and gradients are those of the rollout."""

import io
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from badger import CORES, Sampled, Silent, identity_policy, initial_carry, rollout
from badger.rollouts.recording import Recording, concat_batch, record, replay, unpack_recording
from badger.rollouts.trajectory import detach_carry
from experts import GRU, EpisodicMemory, Private
from toys import Steps, game, seeded, toy_agent

WALK = Steps(dtype=torch.float64)  # episodes of 1 to 4 steps, of which no gradient comes
B, T = 3, 9


def memory(input_size, hidden_size):
    return Private(EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size), slots=3, top_k=2, key_size=2))


def policy(task):
    return Sampled(task.action_space) if isinstance(task, Steps) else identity_policy


def played(agent, task=WALK, *, steps=T, carry=None):
    """Frames, passage and carry; the rollout is a plain one."""
    carry = carry or initial_carry(agent, task, B, seeded(3))
    return record(agent, task, carry, seeded(4), policy(task), steps=steps)


def slopes(agent, output, losses):
    loss = (output * torch.randn(output.shape, generator=seeded(5), dtype=output.dtype)).sum()
    loss = loss + sum(value.sum() for value in losses.values())
    gradients = torch.autograd.grad(loss, list(agent.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(agent.parameters(), gradients, strict=True)]


def seen(agent, state):
    """All of a state that what follows depends on: what the agent will say to what it sees next."""
    obs = torch.randn(2, *state.y.shape[:1], agent.sense.output_size, generator=seeded(6), dtype=state.y.dtype)
    for now in obs:
        output, state = agent(now, state, seeded())
    return output, state.identity, state.inbox, state.address


@pytest.mark.parametrize("port", ["mean", "named"])
@pytest.mark.parametrize("bus", ["silent", "attention"])
@pytest.mark.parametrize("core", ["gru", memory, "neural_memory"])
def test_outputs_states_and_gradients_are_those_of_the_rollout(core, bus, port):
    agent = toy_agent(WALK, core=core, bus=bus, port=port)
    frames, passage, after = played(agent)
    assert passage.episode_start[1:].any() and not passage.episode_start[1:].all(0).any()
    wanted = slopes(agent, frames.output, frames.losses)
    output, losses, state = replay(agent, passage.detach())
    assert_close(output, frames.output)
    assert_close(slopes(agent, output, losses), wanted)
    last = agent.reset(state, after.episode_start, after.step.obs, seeded())._replace(
        identity=after.agent_state.identity
    )
    last = last._replace(assignment=after.agent_state.assignment)  # those who begin anew in the carry have drawn others
    for ours, theirs in zip(seen(agent, last), seen(agent, after.agent_state), strict=True):
        assert ours is theirs is None or assert_close(ours, theirs) is None


def test_without_a_beginning_in_between_the_state_is_that_of_the_rollout():
    task = game(steps=T)
    for bus in ("silent", "attention"):
        agent = toy_agent(task, core=memory, bus=bus, port="named")
        _, passage, after = played(agent, task)
        assert_close(seen(agent, replay(agent, passage)[2]), seen(agent, after.agent_state))


def test_auxiliary_losses_are_those_of_the_rollout():
    class Restless(GRU):
        def losses(self, state):
            return {"size": state.h.square().sum((1, 2))}

    agent = toy_agent(WALK, core=Restless, bus="silent")
    frames, passage, _ = played(agent)
    _, losses, _ = replay(agent, passage)
    assert_close(losses, frames.losses)


def test_a_rollout_is_the_same_where_it_is_recorded():
    agent = toy_agent(WALK)
    frames, passage, _ = played(agent)
    plain, _ = rollout(
        agent, WALK, initial_carry(agent, WALK, B, seeded(3)), seeded(4), Sampled(WALK.action_space), steps=T
    )
    assert torch.equal(frames.output, plain.output) and torch.equal(frames.episode_start, plain.episode_start)
    assert frames.hook_outputs == [] and torch.equal(passage.obs, plain.obs)


def test_episodes_begin_in_the_first_step_and_after_the_last_of_another():
    agent = toy_agent(WALK)
    frames, _, after = played(agent)
    assert frames.episode_start[0].all() and torch.equal(frames.episode_start[1:], ~frames.valid[:-1])
    assert torch.equal(after.episode_start, ~frames.valid[-1])
    fixed, _, _ = played(toy_agent(game(steps=4)), game(steps=4))
    assert fixed.episode_start.tolist() == [[t % 4 == 0] * B for t in range(T)]


@pytest.mark.parametrize("task", [WALK, game(steps=4)], ids=["variable", "fixed"])
def test_an_agent_that_keeps_its_state_does_not_begin_anew(task):
    agent = toy_agent(task)
    carry = initial_carry(agent, task, B, seeded(3))
    frames, _ = rollout(agent, task, carry, seeded(4), policy(task), steps=T, keep_state=True)
    assert frames.episode_start[0].all() and not frames.episode_start[1:].any()


@pytest.mark.parametrize("bus", ["silent", "attention"])
@pytest.mark.parametrize("core", ["gru", memory])
def test_a_second_stretch_goes_on_from_where_the_first_has_ended(core, bus):
    agent = toy_agent(WALK, core=core, bus=bus)
    _, _, carry = played(agent)
    frames, passage, _ = played(agent, carry=detach_carry(carry))
    assert_close(replay(agent, passage)[0], frames.output)


@pytest.mark.parametrize("bus", ["silent", "attention"])
@pytest.mark.parametrize("core", ["gru", memory])
def test_a_passage_may_be_cut_in_steps_and_in_rows(core, bus):
    agent = toy_agent(WALK, core=core, bus=bus, port="named")
    frames, passage, _ = played(agent)
    index = torch.tensor([2, 0])
    assert_close(replay(agent, passage.select(index))[0], frames.output[:, index])
    head, _, state = replay(agent, passage.head(4))
    tail, _, _ = replay(agent, passage.tail(4, state))
    assert_close(torch.cat([head, tail]), frames.output)


@pytest.mark.parametrize("bus", ["silent", "attention"])
@pytest.mark.parametrize("core", ["gru", memory])
def test_passages_may_be_lived_through_beside_each_other(core, bus):
    agent = toy_agent(WALK, core=core, bus=bus, port="named")
    frames, passage, carry = played(agent)
    later, second, _ = played(agent, carry=carry)
    joined = concat_batch([passage.detach(), second.detach()])
    assert_close(replay(agent, joined)[0], torch.cat([frames.output, later.output], 1))
    with pytest.raises(ValueError, match=r"passages of \[9, 3\] steps, want as many in each"):
        concat_batch([passage, second.head(3)])


@pytest.mark.parametrize("core", CORES)
def test_a_passage_survives_a_file(core):
    agent = toy_agent(WALK, core=core)
    _, _, carry = played(agent, steps=3)
    _, passage, _ = played(agent, carry=detach_carry(carry), steps=3)
    file = io.BytesIO()
    torch.save(passage.pack(), file)
    file.seek(0)
    like = initial_carry(agent, WALK, 1, seeded()).agent_state
    loaded = unpack_recording(torch.load(file, weights_only=True), like)
    assert_close(replay(agent, loaded)[0], replay(agent, passage)[0])


@pytest.mark.parametrize("bus", ["silent", "attention"])
def test_the_absent_are_absent_again(bus):
    agent = toy_agent(WALK, bus=bus)
    carry = initial_carry(agent, WALK, B, seeded(3))
    carry = carry._replace(agent_state=agent.remove(carry.agent_state, [1]))
    frames, passage, _ = played(agent, carry=carry)
    assert_close(replay(agent, passage)[0], frames.output)
    everyone = passage._replace(present=torch.ones_like(passage.present))
    assert not torch.allclose(replay(agent, everyone)[0], frames.output)


def test_what_another_bus_said_last_is_heard_in_the_first_step():
    agent = toy_agent(WALK)
    _, _, carry = played(agent, steps=1)
    carry = carry._replace(episode_start=torch.zeros(B, dtype=torch.bool))
    agent.bus = Silent(agent.bus.input_size, agent.bus.message_size)
    frames, passage, _ = played(agent, carry=carry)
    assert passage.initial_state.inbox.any()
    assert_close(replay(agent, passage)[0], frames.output)


def test_a_bus_that_draws_draws_anew():
    agent = toy_agent(WALK, bus="noisy")
    frames, passage, _ = played(agent)
    first, second = replay(agent, passage)[0], replay(agent, passage)[0]
    assert torch.equal(first, second) and not torch.allclose(first, frames.output)
    assert not torch.equal(replay(agent, passage, seeded(1))[0], first)


def test_nothing_is_drawn_from_the_default_generator_nor_kept_of_the_graph():
    agent = toy_agent(WALK, core=memory)
    _, passage, _ = played(agent)
    before = torch.get_rng_state()
    replay(agent, passage)
    assert torch.equal(torch.get_rng_state(), before)
    assert isinstance(passage, Recording) and not passage.detach().initial_state.y.requires_grad
