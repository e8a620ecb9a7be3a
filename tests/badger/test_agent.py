"""The agent: step, identities, any number of experts and outputs, populations, random graphs."""

from functools import partial

import networkx as nx
import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, stack_module_state
from torch.testing import assert_close

from badger import (
    BPTT,
    BUSES,
    CORES,
    GRU,
    Agent,
    EpisodicMemory,
    Private,
    RepeatPrevious,
    Silent,
    act,
    evaluate,
    initial_carry,
    rollout,
    sense,
)
from pairwise import pairwise
from toys import HEADS, HIDDEN, IDENTITY, MESSAGE, game, observations, run, seeded, toy_agent, with_seeds_of

B = 3
OBS = torch.zeros(B, 1, dtype=torch.float64)


# --- shapes and sizes


@pairwise(core=CORES, bus=BUSES, port=HEADS)
def test_every_combination_of_parts_returns_an_action_and_a_state(core, bus, port):
    agent = toy_agent(core=core, bus=bus, port=port)
    state = agent.initial_state(OBS, seeded())
    outputs, after = run(agent, state)
    assert outputs.shape == (3, B, 2) and outputs.isfinite().all()
    assert after.y.shape == (B, 4, HIDDEN)
    assert after.inbox.shape == (B, 4, agent.bus.message_size)
    assert after.weights.shape == after.edges.weight.shape == (B, 12)
    assert after.delivery.num_messages.shape == (B,)
    assert torch.equal(after.identity, state.identity)


def test_dtype_follows_the_input():
    agent = toy_agent(core="episodic", port="readout").float()
    _, state = run(agent, agent.initial_state(OBS.float(), seeded()), observations().float())
    kinds = {x.dtype for x in (state.y, state.inbox, state.identity, state.assignment, state.edges.weight)}
    assert kinds == {torch.float32}


def built(**changes):
    parts = {
        "sense": sense.Broadcast(2),
        "core": GRU(2 + MESSAGE + IDENTITY, HIDDEN),
        "bus": BUSES["mean"](HIDDEN, MESSAGE),
        "act": act.Mean(HIDDEN, 2),
        "experts": 3,
        "identity_size": IDENTITY,
    }
    return Agent(**parts | changes)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"core": GRU(8, HIDDEN)}, r"core\.input_size=8, want obs 2 \+ message 4 \+ identity 3 = 9; build .*=9"),
        ({"sense": sense.Broadcast(5)}, r"core\.input_size=9, want obs 5 \+ message 4 \+ identity 3 = 12"),
        ({"bus": Silent(HIDDEN)}, r"core\.input_size=9, want obs 2 \+ message 0 \+ identity 3 = 5"),
        ({"bus": BUSES["mean"](5, MESSAGE)}, r"bus\.input_size=5, want the core's output_size=6; build .*=6"),
        ({"act": act.Mean(7, 2)}, r"act\.input_size=7, want the core's output_size=6; build .*=6"),
        ({"comm_rounds": 0}, r"comm_rounds=0, want at least 1"),
        ({"experts": 0}, r"experts=0, want at least 1"),
        ({"topology": nx.path_graph(5)}, r"the graph has 5 nodes, want experts=3"),
        ({"topology": "rign"}, r"unknown topology 'rign', .*Did you mean 'ring'"),
    ],
)
def test_sizes_that_do_not_fit_raise(changes, error):
    with pytest.raises(ValueError, match=error):
        built(**changes)


def test_a_given_graph_fixes_the_number_of_experts():
    agent = built(topology=nx.path_graph(3))
    with pytest.raises(ValueError, match=r"the graph has 3 nodes, want experts=4"):
        agent.initial_state(torch.zeros(B, 2), seeded(), experts=4)


def test_a_topology_is_computed_once_for_each_number_of_experts():
    calls = []
    agent = built(topology=lambda n: calls.append(n) or nx.complete_graph(n))
    for experts in (3, 4, 3, 4, None):
        agent.initial_state(torch.zeros(B, 2), seeded(), experts)
    assert calls == [3, 4]


# --- one step, by hand


@pytest.mark.parametrize("comm_rounds", [1, 3])
def test_a_step_is_sense_core_bus_act(comm_rounds):
    agent = toy_agent(bus="mean", comm_rounds=comm_rounds)
    state = agent.initial_state(OBS, seeded())
    obs = observations(2)
    outputs, after = run(agent, state, obs)
    h, inbox = torch.zeros(B, 4, HIDDEN, dtype=torch.float64), torch.zeros(B, 4, MESSAGE, dtype=torch.float64)
    for t in range(2):
        for _ in range(comm_rounds):
            x = torch.cat([obs[t].unsqueeze(1).expand(-1, 4, -1), inbox, state.identity], -1)
            h, _ = agent.core(x, type(state.core)(h))
            message = agent.bus.message(h)
            inbox = (message.sum(1, keepdim=True) - message) / 3  # from all the others
        assert_close(outputs[t], agent.act.linear(h).mean(1))
    assert_close(after.y, h)
    assert_close(after.inbox, inbox)


def test_communication_rounds_repeat_core_and_bus_within_a_step():
    slow, quick = toy_agent(core="episodic"), toy_agent(core="episodic", comm_rounds=2)
    obs = observations(3)
    twice, _ = run(slow, slow.initial_state(OBS, seeded()), obs.repeat_interleave(2, 0))
    once, _ = run(quick, quick.initial_state(OBS, seeded()), obs)
    assert_close(once, twice[1::2])


def test_an_unconnected_expert_receives_no_messages():
    agent = toy_agent(topology="none")
    outputs, after = run(agent, agent.initial_state(OBS, seeded()))
    assert outputs.isfinite().all() and not after.inbox.any() and after.weights.shape == (B, 0)


def test_an_agent_may_have_a_single_expert():
    agent = toy_agent(core="episodic", experts=1)
    assert run(agent, agent.initial_state(OBS, seeded()))[0].isfinite().all()


# --- identities


def test_identities_differ_between_experts_and_episodes():
    identity = toy_agent().initial_state(OBS, seeded()).identity
    assert identity.shape == (B, 4, IDENTITY)
    assert len(identity.flatten(0, 1).unique(dim=0)) == 4 * B


def test_identities_are_sampled_from_the_generator():
    agent = toy_agent()
    first, again, other = (agent.initial_state(OBS, seeded(s)).identity for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_identities_are_standard_normal():
    identity = toy_agent().initial_state(torch.zeros(2000, 1, dtype=torch.float64), seeded()).identity
    assert abs(identity.mean()) < 0.02 and abs(identity.std() - 1) < 0.02


def test_experts_without_identities_stay_equal():
    agent = toy_agent()
    state = agent.initial_state(OBS, seeded())
    _, after = run(agent, state._replace(identity=torch.zeros_like(state.identity)))
    assert_close(after.y, after.y[:, :1].expand_as(after.y))


# a noisy bus drops edges by index
@pairwise(core=CORES, bus=[bus for bus in BUSES if bus != "noisy"], port=["mean", "readout"])
def test_experts_permute_with_their_identities(core, bus, port):
    agent = toy_agent(core=core, bus=bus, port=port).eval()  # in training, gates are sampled by index
    state, order = agent.initial_state(OBS, seeded()), torch.tensor([2, 0, 3, 1])
    outputs, plain = run(agent, state)
    x = state.identity.new_zeros(len(OBS), len(order), agent.core.input_size)
    seeds = agent.core.select_members(state.core, order, x)
    permuted = state._replace(identity=state.identity[:, order], core=with_seeds_of(state.core, seeds))
    same, moved = run(agent, permuted)
    assert_close(same, outputs)
    assert_close(moved.y, plain.y[:, order])


def test_episodes_do_not_leak_into_each_other():
    agent = toy_agent(core="episodic_shared", port="readout")
    state, obs = agent.initial_state(OBS, seeded()), observations()
    other = obs.clone()
    other[:, 1:] += 1
    assert_close(run(agent, state, other)[0][:, 0], run(agent, state, obs)[0][:, 0])


# --- any number of experts and outputs, and longer episodes, after training


def trained(port, *, core="episodic", updates=3):
    task = game(steps=4, dims=4)
    agent = toy_agent(task, core=core, port=port)
    learner = BPTT(agent, task, batch=4)
    for _ in range(updates):
        learner.update()
    return agent


def error(agent, *, experts=None, dims=4, steps=4):
    scores = evaluate(agent, game(steps, dims), 5, seeded(), experts=experts)["final_error"]
    assert scores.shape == (5,)
    return scores


@pytest.mark.parametrize("core", ["gru", "episodic", "episodic_shared"])
@pytest.mark.parametrize(
    ("port", "experts"),
    [(p, e) for p in ("mean", "readout") for e in (3, 8, 64)]
    + [(p, e) for p in ("round_robin", "random_owners") for e in (8, 64)],
)
def test_an_agent_runs_with_other_numbers_of_experts(port, experts, core):
    agent = toy_agent(game(dims=4), core=core, port=port)
    assert error(agent, experts=experts).isfinite().all()


@pytest.mark.parametrize(("port", "wanted"), [("round_robin", "a multiple of"), ("random_owners", "at least")])
def test_heads_with_owners_need_enough_experts(port, wanted):
    with pytest.raises(ValueError, match=f"experts=3, want {wanted} outputs=4: .*act.Mean and act.Readout"):
        error(toy_agent(game(dims=4), port=port), experts=3)


@pytest.mark.parametrize("dims", [1, 3, 7])
@pytest.mark.parametrize("port", ["random_owners", "readout"])
def test_random_owners_and_readout_run_with_other_numbers_of_outputs(port, dims):
    agent = toy_agent(game(dims=4), core="episodic", port=port, experts=8)
    assert error(agent, dims=dims).isfinite().all()


@pytest.mark.parametrize("port", ["mean", "round_robin"])
def test_mean_and_round_robin_raise_for_other_numbers_of_outputs(port):
    with pytest.raises(ValueError, match="want"):
        error(toy_agent(game(dims=4), port=port), dims=3)


@pytest.mark.parametrize("port", HEADS)
def test_episodes_longer_than_trained_stay_finite(port):
    task = game(steps=80, dims=4)
    agent = trained(port)
    with torch.no_grad():
        frames, _ = rollout(agent, task, initial_carry(agent, task, 4, seeded()), seeded(), steps=80)
    assert frames.output.isfinite().all() and frames.reward.isfinite().all()


# --- populations


class Rollout(nn.Module):
    def __init__(self, agent, task):
        super().__init__()
        self.agent, self.task = agent, task

    def forward(self):
        carry = initial_carry(self.agent, self.task, B, seeded())
        frames, _ = rollout(self.agent, self.task, carry, seeded(1), steps=3)
        return frames.reward.sum(), frames.output


def small_memory(input_size, hidden_size):
    return EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size), slots=8, top_k=2, key_size=3)


@pytest.mark.parametrize("port", HEADS)
@pytest.mark.parametrize("core", ["gru", small_memory, lambda *sizes: Private(small_memory(*sizes))])
def test_a_population_of_agents_runs_under_vmap(core, port):
    task = game(steps=3)
    rollouts = [Rollout(toy_agent(task, core=core, port=port, seed=s), task) for s in range(2)]
    stacked, _ = stack_module_state(rollouts)

    def value(parameters):
        return functional_call(rollouts[0], parameters, ())

    grad = torch.func.vmap(torch.func.grad(value, has_aux=True), randomness="same")
    gradients, outputs = grad(stacked)
    for i, module in enumerate(rollouts):
        return_, output = module()
        return_.backward()
        assert_close(outputs[i], output)
        for name, parameter in module.named_parameters():
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            assert_close(gradients[name][i], gradient)


def test_a_choice_among_symbols_is_an_action_of_logits():
    task = RepeatPrevious(steps=5, k=2, dtype=torch.float64)
    agent = toy_agent(task, port="readout")
    frames, _ = rollout(agent, task, initial_carry(agent, task, B, seeded()), seeded(), steps=5)
    assert frames.action.shape == (5, B, 4)


# --- random graphs


def random_agent(seed):
    """An agent whose topology is sampled at construction, by its own generator."""
    rng = np.random.default_rng(seed)
    return toy_agent(
        topology=lambda experts: nx.gnp_random_graph(experts, 0.5, seed=int(rng.integers(1000))), experts=7
    )


def edges_of(agent, experts=None):
    state = agent.initial_state(OBS, seeded(), experts)
    return list(zip(state.edges.senders[0].tolist(), state.edges.receivers[0].tolist(), strict=True))


def test_a_random_graph_is_loaded_with_the_agent():
    one, other = random_agent(0), random_agent(1)
    assert edges_of(one) != edges_of(other)  # and the edges of the other one are cached now
    other.load_state_dict(one.state_dict())
    assert edges_of(one) == edges_of(other)


def test_a_graph_for_another_number_of_experts_is_loaded_for_that_number():
    one, other = random_agent(0), toy_agent(topology=nx.path_graph, experts=5)
    other.load_state_dict(one.state_dict())
    assert edges_of(other, 7) == edges_of(one) and len(edges_of(other)) == 8


def test_a_topology_given_by_name_is_kept():
    named, random = toy_agent(topology="ring", experts=7), random_agent(0)
    before = edges_of(named), edges_of(random)
    named.load_state_dict(random.state_dict())
    random.load_state_dict(toy_agent(topology="ring", experts=7).state_dict())
    assert (edges_of(named), edges_of(random)) == before
