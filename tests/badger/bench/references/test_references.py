"""References of the benchmarks have the outputs and gradients of this library."""

from functools import partial

import networkx as nx
import pytest
import torch

from badger import GRU, Agent, Attention, EpisodicMemory, GuessingGame, Private, act, generator, sense
from badger.bench.cases.agents import PARAMETERS, Game
from badger.bench.cases.million import filled_state
from badger.bench.references import (
    AttentionAgent,
    DenseAttention,
    DenseRing,
    LoopExperts,
    PlainDNC,
    broadcast_multiply,
    dense_read,
    matrix_products,
    selected_read,
)
from comms import make_edges
from experts import DNC, LSTM
from toys import seeded

CPU = torch.device("cpu")
D, H, SIZES = 3, 4, {"slots": 6, "top_k": 2, "key_size": 5}


def memories(row_content, read=dense_read, slots=SIZES["slots"]):
    """Ours and the dense ring, of the same weights."""
    sizes = {**SIZES, "slots": slots}
    memory = EpisodicMemory(D, partial(GRU, hidden_size=H), row_content=row_content, **sizes).double()
    ring = DenseRing(D, H, row_content=row_content, read=read, **sizes).double()
    ring.load_state_dict(memory.state_dict())
    return memory, ring


def inputs(members, steps=9):
    return torch.randn(steps, 2, members, D, generator=seeded(1), dtype=torch.float64, requires_grad=True)


def gradients(ys, xs, module):
    found = torch.autograd.grad(ys.sin().sum(), [xs, *module.parameters()])
    return dict(zip(["xs", *dict(module.named_parameters())], found, strict=True))


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("row_content", ["x", "both"])
@pytest.mark.parametrize("read", [dense_read, selected_read])
def test_the_dense_ring_gives_the_outputs_and_gradients_of_our_memory(read, row_content, members):
    memory, ring = memories(row_content, read, slots=7)  # no multiple of 3
    xs = inputs(members)
    ours, theirs = memory.unroll(xs, memory.initial_state(xs[0]))[0], ring(xs)
    torch.testing.assert_close(theirs, ours)
    torch.testing.assert_close(gradients(theirs, xs, ring), gradients(ours, xs, memory))


@pytest.mark.parametrize("by_row", [False, True])
def test_the_plain_differentiable_neural_computer_gives_the_outputs_and_gradients_of_ours(by_row):
    sizes = {"slots": 5, "slot_size": 3, "heads": 2}
    core, plain = (
        DNC(D, partial(LSTM, hidden_size=H), **sizes).double(),
        PlainDNC(D, H, **sizes, by_row=by_row).double(),
    )
    torch.nn.init.normal_(core.interface.weight, generator=seeded(4))
    plain.load_state_dict(core.state_dict())
    xs = inputs(1, steps=12)
    ours, theirs = core.unroll(xs, core.initial_state(xs[0]))[0], plain(xs.squeeze(2)).unsqueeze(2)
    torch.testing.assert_close(theirs, ours)
    torch.testing.assert_close(gradients(theirs, xs, plain), gradients(ours, xs, core))


def split(rows):
    """Keys and values."""
    return rows.split([SIZES["key_size"], rows.shape[-1] - SIZES["key_size"]], -1)


def test_the_dense_ring_gives_the_outputs_and_gradients_of_our_memory_that_begins_full():
    memory, ring = memories("x")
    rows = torch.randn(2, SIZES["slots"], SIZES["key_size"] + D, generator=seeded(2), dtype=torch.float64)
    xs = inputs(2)
    ours, theirs = memory.unroll(xs, filled_state(memory, *split(rows), xs[0].detach()))[0], ring(xs, rows)
    torch.testing.assert_close(theirs, ours)
    torch.testing.assert_close(gradients(theirs, xs, ring), gradients(ours, xs, memory))


def test_a_full_memory_reads_what_it_was_filled_with_at_its_first_step():
    memory, _ = memories("x")
    rows = torch.randn(1, SIZES["slots"], SIZES["key_size"] + D, generator=seeded(2), dtype=torch.float64)
    x = inputs(2)[0, :1].detach()
    keys, values = split(rows)
    _, state = memory(x, filled_state(memory, keys, values, x))
    torch.testing.assert_close(state.log.keys(), keys)
    assert state.log.valid().all()


def test_the_two_forms_of_the_published_agent_give_the_same_error_and_gradients():
    agents = [AttentionAgent(attend).double() for attend in (broadcast_multiply, matrix_products)]
    agents[1].load_state_dict(agents[0].state_dict())
    target, identity, address = (
        torch.randn(2, *shape, generator=seeded(), dtype=torch.float64) for shape in ((3,), (5, 16), (3, 16))
    )
    errors = [agent(target, identity, address, 4) for agent in agents]
    torch.testing.assert_close(errors[0], errors[1])
    found = [torch.autograd.grad(e.sum(), list(a.parameters())) for e, a in zip(errors, agents, strict=True)]
    torch.testing.assert_close(found[0], found[1])


def test_the_published_agent_has_its_number_of_parameters_to_a_quarter_per_cent():
    assert count(AttentionAgent(matrix_products)) == pytest.approx(PARAMETERS, rel=0.0025)


@pytest.mark.parametrize("memory", [False, True])
def test_our_agent_has_at_least_as_many_parameters_as_the_published_one(memory):
    assert count(Game().learner(CPU, memory=memory).agent) >= PARAMETERS


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_a_step_of_the_published_agent_changes_every_parameter():
    training = Game(batch=2, experts=3, dims=2, steps=3).reference(CPU, matrix_products)
    before = [p.clone() for p in training.agent.parameters()]
    training.update()
    assert all((new != old).any() for new, old in zip(training.agent.parameters(), before, strict=True))


def test_the_loop_over_experts_acts_as_the_batched_agent():
    count, message, identity = 6, 4, 3
    input_size = 1 + message + identity
    core = Private(EpisodicMemory(input_size, partial(GRU, hidden_size=H), **SIZES))
    agent = Agent(
        sense=sense.Broadcast(1),
        core=core,
        bus=Attention(H, message, key_size=SIZES["key_size"]),
        act=act.Mean(H, 2),
        topology=nx.cycle_graph,
        experts=count,
        identity_size=identity,
    ).double()
    obs = torch.randn(9, 1, 1, generator=seeded(3), dtype=torch.float64)
    state = agent.initial_state(obs[0], generator(0, "toy"))
    neighbours = [[(i - 1) % count, (i + 1) % count] for i in range(count)]
    sizes = {"obs_size": 1, "hidden_size": H, "message_size": message, "outputs": 2, **SIZES}
    loop = LoopExperts(state.identity[0], neighbours, **sizes).double()
    parts = {"core.core.": "", "bus.": "", "act.linear.": "act."}
    weights = agent.state_dict()
    loop.load_state_dict({new + k[len(old) :]: w for old, new in parts.items() for k, w in weights.items() if old in k})
    for step_obs in obs:
        output, state = agent(step_obs, state)
        torch.testing.assert_close(loop(step_obs[0]), output[0])
    torch.testing.assert_close(torch.stack(loop.inbox), state.inbox[0])


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("graph", [nx.complete_graph, nx.cycle_graph])
def test_dense_attention_delivers_what_our_bus_delivers(graph, heads):
    y = torch.randn(2, 5, H, generator=seeded(), dtype=torch.float64)
    bus, dense = Attention(H, 4, heads=heads, key_size=3), DenseAttention(H, 4, heads=heads, key_size=3)
    dense.load_state_dict(bus.state_dict())
    mask = torch.from_numpy(nx.to_numpy_array(graph(5))) > 0
    delivery, _ = bus.double()(y, make_edges(graph, 5, 2, y), (), None)
    torch.testing.assert_close(dense.double()(y, mask), delivery.inbox)


def test_dense_attention_without_a_mask_hears_itself_too():
    y = torch.randn(2, 5, H, generator=seeded(), dtype=torch.float64)
    dense = DenseAttention(H, 4, heads=2, key_size=3).double()
    torch.testing.assert_close(dense(y), dense(y, torch.ones(5, 5, dtype=torch.bool)))


def test_the_task_of_the_published_agent_is_ours():
    """The error of a guess in the reference equals the score of the task."""
    task, agent = GuessingGame(dims=2, dtype=torch.float64), AttentionAgent(matrix_products).double()
    env_state, _ = task.reset(3, generator(0, "toy"))
    guess = torch.randn(3, 2, generator=seeded(), dtype=torch.float64)
    _, step = task.step(env_state, guess, generator(0, "toy"))
    torch.testing.assert_close(agent._error(guess, task.target(env_state)), step.scores["error"])
