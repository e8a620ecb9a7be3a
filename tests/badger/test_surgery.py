"""Lesions, silencing, added experts and resets in mid-episode, with every core, bus and output head."""

from functools import cache

import pytest
import torch
from torch.testing import assert_close

from badger import BUSES, CORES, initial_carry, rollout
from experts import state as states
from experts.attention.step_window import StepWindow
from experts.fast_weights.low_rank_sum import LowRankSum
from pairwise import each_value, pairwise
from toys import HEADS, game, observations, run, seeded, toy_agent, with_seeds_of

B, E = 3, 4
OBS = torch.zeros(B, 1, dtype=torch.float64)
OTHERS = [0, 2, 3]  # than expert 1
SHARED = ("episodic_shared", "episodic_tagged", "episodic_both")
cores = pytest.mark.parametrize("core", CORES)
ports = pytest.mark.parametrize("port", HEADS)
combinations = pairwise(core=CORES, bus=BUSES, port=HEADS)


def midway(agent, steps=3):
    return run(agent, agent.initial_state(OBS, seeded()), observations(steps))[1]


@cache
def halfway(core, bus="attention", port="mean"):
    """An agent of these parts and a state of it in mid-episode: both are values that no test changes."""
    agent = toy_agent(core=core, bus=bus, port=port)
    return agent, midway(agent)


def equal(a, b):
    """Whether two states (or parts of them) hold the same."""
    a, b = states.pack(a), states.pack(b)
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def scrambled(state, expert=1):
    """The state with changed state, output, inbox and identity of one expert; its writes to memories stay."""

    def change(x):
        x = x.clone()
        x[:, expert] += 3 if x.is_floating_point() else True
        return x

    def inside(core):
        for name in ("core", "memory", "inner"):
            part = getattr(core, name, None)
            if type(part).__name__.endswith("State"):  # of a core inside a wrapper
                return core._replace(**{name: inside(part)})
        if hasattr(core, "controller"):
            own = {name: change(getattr(core, name)) for name in ("h", "read") if hasattr(core, name)}
            return core._replace(controller=inside(core.controller), **own)
        if isinstance(getattr(core, "window", None), StepWindow):
            window = StepWindow(tuple(map(change, core.window.parts)), core.window.count)
            return states.map(change, core._replace(window=None))._replace(window=window)
        if isinstance(getattr(core, "trace", None), LowRankSum):
            trace = LowRankSum.from_dense(change(core.trace.dense()))
            return core._replace(h=change(core.h), trace=trace, rate=change(core.rate))
        return states.map(change, core)

    delivery = state.delivery._replace(inbox=change(state.inbox))
    return state._replace(
        core=inside(state.core), identity=change(state.identity), y=change(state.y), delivery=delivery
    )


# --- lesions


@combinations
def test_lesioned_experts_do_not_influence_the_others(core, bus, port):
    agent, state = halfway(core, bus, port)
    state = agent.remove(state, [1])
    outputs, after = run(agent, state)
    same, other = run(agent, scrambled(state))
    assert torch.equal(same, outputs)
    assert torch.equal(other.y[:, OTHERS], after.y[:, OTHERS])
    assert torch.equal(other.inbox[:, OTHERS], after.inbox[:, OTHERS])


@pairwise(core=CORES, bus=["silent", "mean", "attention"], port=["mean", "readout"])
def test_a_lesion_from_the_start_equals_fewer_experts(core, bus, port):
    agent = toy_agent(core=core, bus=bus, port=port)
    state = agent.initial_state(OBS, seeded())
    few = agent.initial_state(OBS, seeded(), experts=3)
    x = OBS.new_zeros(B, 3, agent.core.input_size)
    others = agent.core.select_members(state.core, torch.tensor(OTHERS), x)
    few = few._replace(identity=state.identity[:, OTHERS], assignment=state.assignment)
    few = few._replace(core=with_seeds_of(few.core, others))
    assert_close(run(agent, agent.remove(state, [1]))[0], run(agent, few)[0])


@cores
def test_lesioned_experts_keep_their_state_and_send_no_messages(core):
    agent, state = halfway(core)
    _, after = run(agent, agent.remove(state, [1]))
    assert torch.equal(after.y[:, 1], state.y[:, 1])
    touched = (after.edges.senders == 1) | (after.edges.receivers == 1)
    assert not after.weights[touched].any() and after.weights[~touched].all()
    assert after.delivery.num_messages.tolist() == [6.0] * B  # 3 x 2 of the 4 x 3


def test_lesioned_experts_do_not_write():
    agent = toy_agent(core="episodic_shared")
    state = midway(agent, 1)  # its 4 rows are made, and written by the next step
    _, after = run(agent, agent.remove(state, [1, 2]), observations(3))
    assert agent.core.metrics(after.core)["slots_used"].tolist() == [4 + 2 + 2] * B


def test_lesions_add_up():
    agent = toy_agent()
    state = agent.remove(agent.remove(midway(agent), [1]), [3])
    assert state.present.tolist() == [[True, False, True, False]] * B


@ports
def test_an_agent_without_experts_returns_zero(port):
    agent = toy_agent(core="episodic_shared", port=port)
    outputs, _ = run(agent, agent.remove(midway(agent), range(E)))
    assert not outputs.any()


@pytest.mark.parametrize("expert", [-1, 4])
def test_an_expert_to_be_lesioned_must_exist(expert):
    agent = toy_agent()
    with pytest.raises(IndexError, match=f"expert {expert} does not exist, want 0 to 3"):
        agent.remove(midway(agent), [0, expert])


# --- silencing


@each_value(core=CORES, bus=BUSES)
def test_silenced_experts_send_no_messages(core, bus):
    agent, state = halfway(core, bus)
    _, after = run(agent, agent.silence(state, [1]), observations(1))
    assert not after.weights[after.edges.senders == 1].any()
    changed = agent.bus(scrambled(after).y, after.edges, after.bus, seeded())[0].inbox
    wanted = agent.bus(after.y, after.edges, after.bus, seeded())[0].inbox
    torch.testing.assert_close(changed[:, OTHERS], wanted[:, OTHERS], rtol=1e-12, atol=1e-12)  # but for rounding


def test_silenced_experts_still_receive_and_act():
    agent = toy_agent(game(dims=4), bus="mean", port="round_robin")
    state = midway(agent)
    before, _ = run(agent, state)
    outputs, after = run(agent, agent.silence(state, [1]))
    assert_close(outputs[0], before[0])  # messages sent before were received
    assert not torch.equal(outputs[1, :, OTHERS], before[1, :, OTHERS])
    alone, _ = run(agent, agent.silence(state, OTHERS))
    assert after.weights[after.edges.receivers == 1].all()
    assert not torch.equal(outputs[2, :, 1], alone[2, :, 1])  # expert 1 receives from the others


def test_an_expert_to_be_silenced_must_exist():
    agent = toy_agent()
    with pytest.raises(IndexError, match="expert 4 does not exist, want 0 to 3"):
        agent.silence(midway(agent), [4])


# --- added experts


def with_added(agent, state, n=2):
    return agent.add(state, n, OBS, seeded(3))


@combinations
def test_adding_experts_keeps_the_state_of_the_old_ones(core, bus, port):
    agent, state = halfway(core, bus, port)
    after = with_added(agent, state)
    old, x = torch.arange(E), OBS.new_zeros(B, E, agent.core.input_size)
    equal(agent.core.select_members(after.core, old, x), agent.core.select_members(state.core, old, x))
    equal(agent.bus.select_members(after.bus, old, state.y), state.bus)
    for field in ("y", "inbox", "identity"):
        assert torch.equal(getattr(after, field)[:, :E], getattr(state, field)), field
    for part, before in zip(after.edges[:3], state.edges[:3], strict=True):
        assert torch.equal(part[:, : before.shape[1]], before)


@combinations
def test_new_experts_have_an_initial_state(core, bus, port):
    agent, state = halfway(core, bus, port)
    after = with_added(agent, state)
    x = OBS.new_zeros(B, 2, agent.core.input_size)
    new = agent.core.select_members(after.core, torch.tensor([4, 5]), x)
    fresh = with_seeds_of(agent.core.initial_state(x), new)
    read_weights, initial = agent.core.read_weights(new), agent.core.read_weights(fresh)
    assert read_weights is None or not read_weights.any() or torch.equal(read_weights, initial)
    step = torch.randn(x.shape, generator=seeded(), dtype=x.dtype)
    if core not in SHARED:  # where new experts read the shared store
        assert_close(agent.core(step, new)[0], agent.core(step, fresh)[0])
    assert not after.y[:, E:].any() and not after.inbox[:, E:].any()
    assert len(after.identity.flatten(0, 1).unique(dim=0)) == 6 * B


@combinations
def test_an_agent_continues_with_added_experts(core, bus, port):
    agent, state = halfway(core, bus, port)
    outputs, after = run(agent, with_added(agent, state))
    assert outputs.shape == (3, B, 2) and outputs.isfinite().all()
    assert after.weights.shape == after.edges.weight.shape == (B, 6 * 5)


@pytest.mark.parametrize("port", ["mean", "readout"])
@pytest.mark.parametrize("core", ["gru", "lstm", "episodic"])
def test_experts_added_before_the_episode_equal_a_larger_agent(core, port):
    agent = toy_agent(core=core, port=port)
    state = with_added(agent, agent.initial_state(OBS, seeded()))
    many = agent.initial_state(OBS, seeded(), experts=6)
    many = many._replace(identity=state.identity, assignment=state.assignment)
    assert_close(run(agent, state)[0], run(agent, many)[0])


@cores
def test_new_experts_depend_on_the_past_through_a_shared_store_only(core):
    agent = toy_agent(core=core, bus="silent")
    state = with_added(agent, midway(agent))
    other = midway(agent, 2)  # another past
    other = with_added(agent, other._replace(identity=state.identity[:, :E]))
    after, other_after = (run(agent, s, observations(2))[1].y[:, E:] for s in (state, other))
    assert torch.equal(after, other_after) == (core not in SHARED)


@each_value(core=CORES, bus=BUSES)
def test_experts_added_after_a_lesion_are_present_and_the_lesion_stays(core, bus):
    agent, state = halfway(core, bus)
    state = with_added(agent, agent.remove(state, [1]))
    assert state.present.tolist() == [[True, False, True, True, True, True]] * B
    outputs, after = run(agent, state)
    same, _ = run(agent, scrambled(state))
    assert torch.equal(same, outputs)
    assert torch.equal(after.y[:, 1], state.y[:, 1])
    assert not torch.equal(after.y[:, 4], state.y[:, 4])


def test_owners_keep_their_outputs_when_experts_are_added():
    agent = toy_agent(port="random_owners")
    state = midway(agent)
    after = with_added(agent, state)
    assert torch.equal(after.assignment[..., :E] > 0, state.assignment > 0)


def test_the_codes_of_the_outputs_stay_when_experts_are_added():
    agent = toy_agent(port="readout")
    state = midway(agent)
    assert torch.equal(with_added(agent, state).assignment, state.assignment)


def test_new_experts_are_sampled_from_the_generator():
    agent = toy_agent(port="random_owners")
    state = midway(agent)
    first, again, other = (agent.add(state, 2, OBS, seeded(s)) for s in (3, 3, 4))
    assert torch.equal(first.identity, again.identity) and torch.equal(first.assignment, again.assignment)
    assert not torch.equal(first.identity, other.identity)


def test_experts_may_be_added_repeatedly():
    agent = toy_agent(core="episodic")
    state = midway(agent)
    for n in (1, 3):
        state = with_added(agent, state, n)
        outputs, state = run(agent, state)
        assert outputs.isfinite().all()
    assert state.y.shape[1] == E + 4


def test_adding_no_expert_raises():
    agent = toy_agent()
    with pytest.raises(ValueError, match="n=0, want at least 1"):
        with_added(agent, midway(agent), 0)


# --- resets


@combinations
def test_a_reset_changes_only_its_rows(core, bus, port):
    agent = toy_agent(core=core, bus=bus, port=port).eval()  # in training, gates are sampled
    state, rows = midway(agent), torch.tensor([False, True, False])
    reset = agent.reset(state, rows, OBS, seeded(5))
    fresh = agent.initial_state(OBS, seeded(5))
    outputs, new, old = (run(agent, s)[0] for s in (reset, fresh, state))
    assert_close(outputs[:, rows], new[:, rows])
    assert_close(outputs[:, ~rows], old[:, ~rows])


@cores
def test_a_reset_keeps_edges_and_lesions(core):
    agent, state = halfway(core)
    state = agent.silence(agent.remove(state, [1]), [2])
    reset = agent.reset(state, torch.tensor([True, False, True]), OBS, seeded(5))
    assert torch.equal(reset.present, state.present)
    equal(reset.edges, state.edges)
    assert run(agent, reset)[0].isfinite().all()


@each_value(core=CORES, port=HEADS)
def test_a_reset_keeps_added_experts(core, port):
    agent = toy_agent(core=core, port=port)
    reset = agent.reset(with_added(agent, midway(agent)), torch.tensor([True, False, True]), OBS, seeded(5))
    assert reset.y.shape[1] == 6 and not reset.y[0].any() and reset.y[1, :E].any()
    outputs, after = run(agent, reset)
    assert outputs.isfinite().all() and after.weights.shape == (B, 30)


def test_owners_are_sampled_at_a_reset():
    agent = toy_agent(game(dims=4), port="random_owners", experts=8)
    state = agent.initial_state(OBS, seeded())
    reset = agent.reset(state, torch.tensor([True, False, False]), OBS, seeded(5))
    assert torch.equal(reset.assignment[1:], state.assignment[1:])
    assert not torch.equal(reset.assignment[0], state.assignment[0])


# --- rewiring


@cores
def test_another_topology_in_mid_episode(core):
    agent, state = halfway(core)
    outputs, after = run(agent, agent.rewire(state, "ring"))
    assert outputs.isfinite().all() and after.delivery.num_messages.tolist() == [2.0 * E] * B
    reset = agent.reset(after, torch.tensor([True, False, True]), OBS, seeded(5))
    assert run(agent, reset)[1].weights.shape == (B, 2 * E)


def test_lesions_last_over_the_episodes_of_a_rollout():
    task = game(steps=3)
    agent = toy_agent(task, core="episodic")
    carry = initial_carry(agent, task, B, seeded())
    carry = carry._replace(agent_state=agent.remove(carry.agent_state, [1]))
    frames, _ = rollout(agent, task, carry, seeded(), steps=7, hook=lambda s: s.y[:, 1])
    assert not torch.stack(frames.hook_outputs).any()
