"""Agents of many experts: nothing has the size of all pairs of them, and their edges are put on the device once."""

import copy
import pickle

import pytest
import torch
from torch.func import functional_call
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from badger import BUSES
from comms import lesion, make_edges, mask_absent, silence
from comms.topology import is_unmodified
from experts import state as states
from pairwise import each_value
from toys import HIDDEN, observations, run, seeded, toy_agent

MANY = 2000
OBS = torch.zeros(1, 1, dtype=torch.float64)


class Largest(TorchDispatchMode):
    """Notes the number of elements of the largest tensor that any operation gives."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        sizes = [x.numel() for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return out


def test_the_size_of_the_largest_tensor_is_recorded():
    with Largest() as largest:
        (torch.ones(3, 1) * torch.ones(1, 7)).sum()
    assert largest.elements == 21


@each_value(
    bus=[name for name in BUSES if name != "silent"],
    topology=["ring", "ring_lattice", "grid", "random_regular", "star"],
)
def test_no_tensor_has_the_size_of_all_pairs_of_experts(topology, bus):
    obs = observations(2, batch=1)
    with Largest() as largest:
        agent = toy_agent(bus=bus, port="round_robin", topology=topology, experts=MANY)
        _, state = run(agent, agent.initial_state(OBS, seeded()), obs)
        state = agent.remove(agent.silence(state, [0, 5]), [1])
        state = agent.add(state, 2, OBS, seeded())
        outputs, state = run(agent, state, obs)
        state = agent.rewire(agent.reset(state, torch.tensor([True]), OBS, seeded()), topology)
        more, _ = run(agent, state, obs)
        (outputs.square().sum() + more.square().sum()).backward()
    assert MANY < largest.elements < MANY**2 / 4


def test_an_agent_copies_its_edges_to_the_device_once():
    agent = toy_agent(topology="ring")
    first, again = (agent.initial_state(OBS, seeded()).edges for _ in range(2))
    other = agent.initial_state(OBS.float(), seeded()).edges
    assert [x.data_ptr() for x in first] == [x.data_ptr() for x in again]
    assert is_unmodified(first) and is_unmodified(again) and other.weight.dtype == torch.float32


def test_cached_edges_are_copied_and_pickled_with_the_agent_but_not_in_its_state_dict():
    agent = toy_agent()
    names = set(agent.state_dict())
    outputs, _ = run(agent, agent.initial_state(OBS, seeded()), observations(batch=1))
    assert set(agent.state_dict()) == names
    for other in (copy.deepcopy(agent), pickle.loads(pickle.dumps(agent))):
        assert_close(run(other, other.initial_state(OBS, seeded()), observations(batch=1))[0], outputs)


def slopes(agent):
    outputs, _ = run(agent, agent.initial_state(OBS, seeded()), observations(batch=1))
    return torch.autograd.grad(outputs.square().sum(), [*agent.parameters()])


@pytest.mark.parametrize("topology", ["complete", "ring"])
def test_edges_cached_in_inference_mode_can_be_used_in_training(topology):
    agent = toy_agent(topology=topology, experts=9)
    with torch.inference_mode():
        run(agent, agent.initial_state(OBS, seeded()), observations(batch=1))
    assert all(x.isfinite().all() for x in slopes(agent))


@pytest.mark.parametrize("topology", ["complete", "ring"])
def test_edges_cached_under_a_transform_can_be_used_without_it(topology):
    agent, fresh = (toy_agent(topology=topology, experts=9) for _ in range(2))

    obs = observations(batch=1)

    def loss(parameters):
        state = agent.initial_state(OBS, seeded())
        return functional_call(agent, parameters, (obs[0], state))[0].square().sum()

    torch.func.grad(loss)({name: value.detach() for name, value in agent.named_parameters()})
    for after, slope in zip(slopes(agent), slopes(fresh), strict=True):
        assert_close(after, slope)


@pytest.mark.parametrize("topology", ["complete", "ring", "star"])
@pytest.mark.parametrize(
    "change",
    [
        lambda edges: silence(edges, [2], num_experts=9),
        lambda edges: lesion(edges, [0, 3], num_experts=9),
        lambda edges: mask_absent(edges, torch.arange(9).expand(2, 9) != 4),
    ],
    ids=["silence", "lesion", "mask"],
)
def test_surgery_takes_effect_in_every_layout(topology, change):
    y = torch.randn(2, 9, HIDDEN, generator=seeded(), dtype=torch.float64)
    bus = BUSES["attention"](HIDDEN, 4).double()
    edges = change(make_edges(topology, 9, 2, y))
    plain = type(edges)(*edges[:3])
    assert_close(bus(y, edges, (), None)[0], bus(y, plain, (), None)[0])
    assert not bus(y, edges, (), None)[0].weights[edges.weight == 0].any()


def test_a_state_with_added_experts_can_be_packed():
    agent = toy_agent()
    state = agent.initial_state(OBS, seeded())
    grown = agent.add(state, 2, OBS, seeded(1))
    kept = states.unpack(states.pack(grown), state)
    obs = observations(batch=1)
    assert torch.equal(run(agent, kept, obs)[0], run(agent, grown, obs)[0])
