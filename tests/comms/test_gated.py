"""Gated messages."""

import torch

from comms import Gated, Mean, make_edges

Y = 5


def example(experts):
    y = torch.randn(2, experts, Y, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return y, make_edges("complete", experts, 2, y)


def gated(**gate):
    """A gated mean; weight and bias of its gate are set where given."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        bus = Gated(Mean(Y, 4)).double()
    for name, value in gate.items():
        torch.nn.init.constant_(getattr(bus.gate, name), value)
    return bus


def test_a_closed_gate_sends_no_messages_and_counts_none():
    y, edges = example(4)
    bus = gated(weight=0.0, bias=0.0)
    delivery, _ = bus(y, edges, (), torch.Generator().manual_seed(0))
    draws = torch.rand(2, 4, generator=torch.Generator().manual_seed(0), dtype=y.dtype)
    is_open = draws < 0.5
    assert 0 < is_open.sum() < 8
    assert delivery.num_messages.tolist() == (3 * is_open.sum(1)).tolist()
    assert torch.equal(delivery.weights.bool(), is_open.gather(1, edges.senders))


def test_most_gates_are_open_at_initialization():
    y, edges = example(50)
    fraction = gated()(y, edges, (), torch.Generator().manual_seed(0))[0].num_messages / (50 * 49)
    assert ((fraction > 0.5) & (fraction < 0.95)).all()


def test_gradient_reaches_open_and_closed_gates():
    y, edges = example(4)
    bus = gated(weight=0.0, bias=0.0)
    logits = []
    bus.gate.register_forward_hook(lambda *call: logits.append(call[-1]))
    delivery, _ = bus(y, edges, (), torch.Generator().manual_seed(0))
    (slope,) = torch.autograd.grad(delivery.inbox.square().sum(), logits)
    is_open = torch.zeros(2, 4, dtype=y.dtype).scatter_add(1, edges.senders, delivery.weights).bool()
    assert slope[is_open].any() and slope[~is_open].all()


def test_gates_in_eval_mode_open_above_one_half_without_a_draw():
    y, edges = example(4)
    rng = torch.Generator().manual_seed(0)
    before = rng.get_state()
    opened, closed = (gated(weight=0.0, bias=b).eval()(y, edges, (), rng)[0] for b in (0.1, -0.1))
    assert opened.num_messages.tolist() == [12, 12] and closed.num_messages.tolist() == [0, 0]
    assert torch.equal(rng.get_state(), before)


def test_gates_follow_the_generator():
    y, edges = example(20)
    bus = gated()
    first, again, other = (bus(y, edges, (), torch.Generator().manual_seed(s))[0] for s in (0, 0, 1))
    assert torch.equal(first.inbox, again.inbox)
    assert not torch.equal(first.num_messages, other.num_messages)
