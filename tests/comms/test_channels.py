"""Delayed and noisy messages: wrappers of any bus."""

import pytest
import torch
from torch.testing import assert_close

from badger import initial_carry, rollout
from comms import Attention, Delayed, Gated, Mean, Noisy, Workspace, lesion, make_edges, silence
from experts import state as states
from toys import HIDDEN, MESSAGE, game, observations, run, seeded, toy_agent

B, E, Y, M, T = 3, 5, 6, 4, 7
INNER = {
    "mean": lambda: Mean(Y, M),
    "attention": lambda: Attention(Y, M, key_size=3),
    "workspace": lambda: Workspace(Y, M, slots=2, key_size=3),
    "noisy": lambda: Noisy(Attention(Y, M), drop=0.0),
}
every_bus = pytest.mark.parametrize("inner", INNER.values(), ids=INNER)


def made(make, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().double()


def episode(experts=E, batch=B):
    ys = torch.randn(T, batch, experts, Y, dtype=torch.float64, generator=seeded(1))
    return ys, make_edges("ring", experts, batch, ys[0])


def deliveries(bus, ys, edges, state=None, rng=None):
    """Each round's delivery, over edges that may differ from round to round, and the last state."""
    state, received = bus.initial_state(ys[0]) if state is None else state, []
    for y, live in zip(ys, edges if isinstance(edges, list) else [edges] * len(ys), strict=True):
        delivery, state = bus(y, live, state, rng)
        received.append(delivery)
    return received, state


# --- delays


@every_bus
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_messages_arrive_some_rounds_later(inner, steps):
    bus, (ys, edges) = made(inner), episode()
    plain, _ = deliveries(bus, ys, edges)
    late, _ = deliveries(Delayed(bus, steps), ys, edges)
    for delivery in late[:steps]:
        assert not any(part.any() for part in delivery)
    for then, now in zip(plain, late[steps:], strict=False):
        assert_close(now, then)


@every_bus
def test_delays_add_up(inner):
    bus, (ys, edges) = made(inner), episode()
    once, twice = (deliveries(b, ys, edges)[0] for b in (Delayed(bus, 3), Delayed(Delayed(bus, 1), 2)))
    for a, b in zip(once, twice, strict=True):
        assert_close(a, b)


def test_an_edge_that_is_cut_loses_its_queued_messages():
    bus, (ys, edges) = Delayed(made(INNER["mean"]), 2), episode()
    cut = silence(edges, [1], num_experts=E)
    received, _ = deliveries(bus, ys, [edges] * 2 + [cut] * 5)
    louder = ys.clone()
    louder[:, :, 1] += 1
    other, _ = deliveries(bus, louder, [edges] * 2 + [cut] * 5)
    for a, b in zip(received, other, strict=True):
        assert torch.equal(a.inbox, b.inbox) and not a.weights[:, edges.senders[0] == 1].any()


def test_messages_of_silenced_experts_never_arrive():
    bus, (ys, edges) = Delayed(made(INNER["mean"]), 2), episode()
    cut = silence(edges, [1], num_experts=E)
    received, _ = deliveries(bus, ys, [cut] * 3 + [edges] * 4)  # expert 1 sends from round 3, arriving from round 5
    speaks = [bool(delivery.weights[:, edges.senders[0] == 1].any()) for delivery in received]
    assert speaks == [False] * 5 + [True] * 2
    hears = [bool(delivery.inbox[:, 1].any()) for delivery in received]
    assert hears == [False] * 2 + [True] * 5  # silenced experts receive


def test_messages_sent_during_a_lesion_never_arrive():
    bus, (ys, edges) = Delayed(made(INNER["mean"]), 2), episode()
    received, _ = deliveries(bus, ys, [lesion(edges, [1], num_experts=E)] * 3 + [edges] * 4)
    assert [bool(delivery.inbox[:, 1].any()) for delivery in received] == [False] * 5 + [True] * 2


def test_messages_are_counted_on_arrival():
    ys, edges = episode()
    received, _ = deliveries(Delayed(made(INNER["mean"]), 2), ys, edges)
    assert [delivery.num_messages.tolist() for delivery in received] == [[0.0] * B] * 2 + [[2.0 * E] * B] * 5


def test_a_reset_empties_the_queue():
    bus, (ys, edges) = Delayed(made(INNER["attention"]), 2), episode()
    rows = torch.tensor([False, True, False])
    _, state = deliveries(bus, ys[:4], edges)
    mixed, _ = deliveries(bus, ys[4:], edges, states.where(rows, bus.initial_state(ys[0]), state))
    fresh, old = (deliveries(bus, ys[4:], edges, s)[0] for s in (None, state))
    for a, b, c in zip(mixed, fresh, old, strict=True):
        assert_close(a.inbox[rows], b.inbox[rows])
        assert_close(a.inbox[~rows], c.inbox[~rows])


@every_bus
def test_messages_of_new_experts_arrive_after_the_delay(inner):
    bus, (ys, edges) = Delayed(made(inner), 2), episode()
    _, state = deliveries(bus, ys[:3, :, :3], make_edges("ring", 3, B, ys[0]))
    state = bus.select_members(state, torch.tensor([0, 1, 2, -1, -1]), ys[0])
    received, _ = deliveries(bus, ys[3:], edges, state)
    new = [bool(d.inbox[:, 3:].any()) for d in received], [bool(d.weights[edges.senders >= 3].any()) for d in received]
    assert new == ([False, False, True, True],) * 2
    assert all(d.inbox[:, 1].any() for d in received)  # the old experts continue


def test_delays_add_up_for_new_experts():
    bus, (ys, edges) = made(INNER["attention"]), episode()
    received = []
    for late in (Delayed(bus, 3), Delayed(Delayed(bus, 1), 2)):
        _, state = deliveries(late, ys[:3, :, :3], make_edges("ring", 3, B, ys[0]))
        state = late.select_members(state, torch.tensor([0, 1, 2, -1, -1]), ys[0])
        received.append(deliveries(late, ys[3:], edges, state)[0])
    for a, b in zip(*received, strict=True):
        assert_close(a, b)
    assert received[0][-1].inbox[:, 3:].any()


def test_gradient_flows_through_the_delay():
    bus, (ys, edges) = Delayed(made(INNER["attention"]), 2), episode()
    received, _ = deliveries(bus, ys.requires_grad_(), edges)
    (slope,) = torch.autograd.grad(received[4].inbox.square().sum(), ys)
    assert slope[2].any() and not slope[[0, 1, 3, 4, 5, 6]].any()


def test_a_queue_can_be_packed_and_unpacked():
    bus, (ys, edges) = Delayed(made(INNER["workspace"]), 2), episode()
    _, state = deliveries(bus, ys[:4], edges)
    mask = states.unpack(states.pack(state), bus.initial_state(ys[0]))
    for a, b in zip(*(deliveries(bus, ys[4:], edges, s)[0] for s in (state, mask)), strict=True):
        assert torch.equal(a.inbox, b.inbox)


def test_a_delay_of_no_steps_raises():
    with pytest.raises(ValueError, match="steps=0, want at least 1; without a delay, leave Delayed out"):
        Delayed(Mean(Y, M), 0)


# --- noise


def test_without_drops_and_noise_the_wrapper_changes_nothing():
    bus, (ys, edges) = made(INNER["attention"]), episode()
    assert_close(bus(ys[0], edges, (), None)[0], Noisy(bus, drop=0.0)(ys[0], edges, (), None)[0])


@pytest.mark.parametrize("training", [True, False])
def test_edges_are_dropped_independently_in_each_round_and_episode(training):
    ys, edges = episode(experts=400, batch=2)
    bus = Noisy(made(INNER["mean"]), drop=0.3).train(training)
    one, two = (d.weights.bool() for d in deliveries(bus, ys[:2], edges, rng=seeded())[0])
    for lost in (~one[0], ~one[1], ~two[0]):
        assert lost.double().mean() == pytest.approx(0.3, abs=0.06)  # 800 edges: three standard errors are 0.05
    for a, b in ((one[0], one[1]), (one, two)):
        assert (~a & ~b).double().mean() == pytest.approx(0.09, abs=0.04)


def test_dropped_messages_are_neither_delivered_nor_counted():
    ys, edges = episode()
    bus = made(INNER["attention"])
    delivery, _ = Noisy(bus, drop=0.5)(ys[0], edges, (), seeded())
    mask = torch.rand(edges.weight.shape, generator=seeded(), dtype=ys.dtype) >= 0.5
    want, _ = bus(ys[0], edges._replace(weight=edges.weight * mask), (), None)
    assert_close(delivery, want)
    assert delivery.num_messages.tolist() == mask.sum(1).tolist()


@pytest.mark.parametrize("training", [True, False])
def test_noise_is_normal_with_the_given_standard_deviation(training):
    ys, edges = episode(experts=400)
    bus = made(INNER["mean"])
    blurred = Noisy(bus, drop=0.0, noise=0.5).train(training)(ys[0], edges, (), seeded())[0].inbox
    error = blurred - bus(ys[0], edges, (), None)[0].inbox
    assert abs(error.mean()) < 0.03 and abs(error.std() - 0.5) < 0.02


def test_an_inbox_without_messages_has_no_noise():
    ys, edges = episode()
    bus = Noisy(made(INNER["attention"]), drop=0.0, noise=1.0)
    delivery, _ = bus(ys[0], lesion(edges, [2], num_experts=E), (), seeded())
    assert not delivery.inbox[:, 2].any() and delivery.inbox[:, [0, 1, 3, 4]].all()


def test_a_gate_around_a_noisy_bus_receives_gradient():
    ys, edges = episode()
    bus = Gated(Noisy(made(INNER["mean"]), drop=0.5)).double()
    bus(ys[0], edges, (), seeded())[0].inbox.square().sum().backward()
    assert bus.gate.weight.grad.all()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"drop": 1.1}, "drop=1.1, want a probability from 0 to 1"),
        ({"drop": -0.1}, "drop=-0.1, want a probability"),
        ({"drop": float("nan")}, "drop=nan, want a probability"),
        ({"noise": -1.0}, "noise=-1.0, want a finite standard deviation"),
        ({"noise": float("inf")}, "noise=inf, want a finite"),
    ],
)
def test_invalid_options_raise(options, error):
    with pytest.raises(ValueError, match=error):
        Noisy(Mean(Y, M), **options)


# --- in an agent


@pytest.mark.parametrize(
    "wrap",
    [
        lambda bus: Delayed(Noisy(Gated(bus), drop=0.1, noise=0.1), 2),
        lambda bus: Noisy(Delayed(Gated(bus)), noise=0.1),
        lambda bus: Gated(Delayed(bus)),
    ],
)
def test_wrappers_compose_and_train_in_an_agent(wrap):
    task = game(steps=4)
    agent = toy_agent(task)
    agent.bus = made(lambda: wrap(Attention(HIDDEN, MESSAGE)))
    frames, carry = rollout(agent, task, initial_carry(agent, task, 64, seeded()), seeded(), steps=4)
    frames.reward.sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in agent.parameters())
    after = agent.add(carry.agent_state, 2, carry.step.obs, seeded())
    assert run(agent, after, observations(2, batch=64))[0].isfinite().all()
