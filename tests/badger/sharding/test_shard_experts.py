"""Agents whose experts are spread over processes: equal to one process, gradients included, or refused in words."""

import networkx as nx
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, GuessingGame, act, distributed, load_run, read_metrics, train
from badger.sharding import shard_experts
from badger.sharding.agent import shard_of
from comms import Attention, Delayed, Gated, Noisy, PerEpisode, Workspace
from tiny_ranks import together
from tiny_shards import (
    CASES,
    PRODUCT,
    actor_critic,
    first_half,
    made_learners,
    made_run,
    played,
    product_played,
    sharded_updates,
    two_updates,
)
from toys import HIDDEN, MESSAGE, game, observations, seeded, toy_agent

NAMES = [*CASES, "a2c", "ppo", "reinforce", "per_expert"]


@pytest.fixture(scope="module", params=[2, 3])
def shards(request, tmp_path_factory):
    """The updates on each of several ranks."""
    return together(sharded_updates, tmp_path_factory.mktemp("shards"), request.param)


@pytest.fixture(scope="module")
def whole():
    """The updates of agents that are in one process."""
    return {name: two_updates(made) for name, made in made_learners().items()}


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_one_process(shards, whole, name):
    for rank in shards:
        assert_close(rank[name]["gradients"], whole[name]["gradients"])


@pytest.mark.parametrize("name", NAMES)
def test_metrics_are_those_of_one_process(shards, whole, name):
    for rank in shards:
        assert_close(rank[name]["metrics"], whole[name]["metrics"])


@pytest.mark.parametrize("name", NAMES)
def test_trained_agents_are_those_of_one_process(shards, whole, name):
    for rank in shards:
        for part in ("parameters", "buffers"):
            assert_close(rank[name][part], whole[name][part])


def test_outputs_are_exchanged_once_in_a_round_forward_and_backward(shards):
    rounds = 3 * 2
    assert {rank["exchanges"] for rank in shards} == {rounds + rounds - 1}  # what the last round sends has no reader


@pytest.mark.nightly
@pytest.mark.parametrize("processes", [2, 3])
def test_every_bus_topology_head_and_core_equals_one_process_or_is_refused(tmp_path, processes):
    ranks, refused = together(product_played, tmp_path, processes, seconds=1200), set()
    for name, parts in PRODUCT.items():
        if isinstance(ranks[0][name], str):
            refused.add(parts["core"])
            assert "the experts share the memory of core" in ranks[0][name]
            continue
        for rank in ranks:
            assert_close(rank[name], played(toy_agent(experts=6, **parts)))
    assert refused == {"episodic_shared", "episodic_both", "episodic_tagged"}


# --- runs


def test_a_run_resumes_with_another_number_of_processes(tmp_path):
    together(first_half, tmp_path, 3)
    with pytest.warns(UserWarning, match="saved with processes 3, now 1"):
        train(load_run(tmp_path / "run"), tensorboard=False)
    train(made_run(tmp_path / "alone"), tensorboard=False)
    losses, alone = ([row["loss"] for row in read_metrics(tmp_path / name)] for name in ("run", "alone"))
    assert_close(losses, alone, rtol=1e-4, atol=1e-5)


# --- what cannot be spread over processes


def pretend(monkeypatch, processes=2):
    monkeypatch.setattr(distributed, "world_size", lambda: processes)


@pytest.mark.parametrize(
    ("bus", "topology", "words"),
    [
        (lambda: Delayed(Workspace(HIDDEN, MESSAGE)), "ring", "a Workspace inside of Delayed"),
        (lambda: Noisy(Delayed(Attention(HIDDEN, MESSAGE))), "ring", "want the reverse"),
        (lambda: Noisy(Attention(HIDDEN, MESSAGE)), PerEpisode("random_regular", graphs=2), "drawn for each episode"),
        (lambda: Workspace(HIDDEN, MESSAGE), PerEpisode("random_regular", graphs=2), "drawn for each episode"),
        (lambda: Old(HIDDEN, MESSAGE), "ring", "bus Old works in one process only: its forward has no parameter shard"),
    ],
)
def test_a_bus_that_needs_all_experts_is_refused(monkeypatch, bus, topology, words):
    pretend(monkeypatch)
    agent = toy_agent()
    agent.bus, agent.topology = bus(), topology
    with pytest.raises(ValueError, match=words):
        shard_experts(agent)


class Old(Attention):
    """A bus from before agents were spread over processes."""

    def forward(self, y, edges, state, rng):
        return super().forward(y, edges, state, rng)


@pytest.mark.parametrize("core", ["episodic_shared", "episodic_both", "episodic_tagged"])
def test_experts_that_share_a_memory_are_refused(monkeypatch, core):
    pretend(monkeypatch)
    with pytest.raises(ValueError, match="shard_experts=True: the experts share the memory of core "):
        shard_experts(toy_agent(core=core))


def test_a_head_that_needs_all_experts_is_refused(monkeypatch):
    pretend(monkeypatch)
    agent = toy_agent()
    agent.act = act.Gaussian(act.Team(HIDDEN, 2, 2))
    with pytest.raises(ValueError, match="shard_experts=True: act Team needs all experts in one process"):
        shard_experts(agent)


def test_each_process_needs_an_expert(monkeypatch):
    pretend(monkeypatch, 5)
    with pytest.raises(
        ValueError, match="shard_experts=True: 5 processes for experts=4, want at least one expert for each"
    ):
        BPTT(toy_agent(), game(), shard_experts=True)


def test_compiled_steps_are_refused():
    with pytest.raises(ValueError, match="shard_experts=True with compile=True: the exchange is not compiled"):
        BPTT(toy_agent(), game(), shard_experts=True, compile=True)


def test_an_external_environment_is_refused(monkeypatch):
    monkeypatch.setattr(GuessingGame, "external", True)
    with pytest.raises(ValueError, match="shard_experts=True: GuessingGame is an external environment"):
        BPTT(toy_agent(), game(), shard_experts=True)


def test_running_episodes_of_several_processes_are_not_saved(monkeypatch):
    made = actor_critic("a2c", shard_experts=True)
    made.update()
    assert made.state_dict()["stream"] is not None
    pretend(monkeypatch)
    saved = made.state_dict()
    made.load_state_dict(saved)
    assert saved["stream"] is None and made.stream is None


def test_interventions_are_refused():
    agent = shard_experts(toy_agent())
    state = agent.initial_state(observations()[0], seeded())
    with pytest.raises(ValueError, match="shard_experts=True: silence needs all experts in one process"):
        agent.silence(state, [0])


# --- a single process


def test_in_one_process_the_agent_is_the_same():
    agent = toy_agent(bus="noisy", core="particle_filter", topology="grid", port="named_outputs", experts=6)
    assert torch.equal(played(shard_experts(agent))["output"], played(agent)["output"])


def test_a_saved_topology_is_the_one_that_is_cut():
    rng = np.random.default_rng(0)  # other edges in each call

    def drawn(experts):
        return nx.gnp_random_graph(experts, 0.5, seed=int(rng.integers(1000)))

    agent, loaded = (toy_agent(topology=drawn, experts=9) for _ in range(2))
    loaded.load_state_dict(agent.state_dict())
    assert np.array_equal(shard_of(shard_experts(loaded)).graphs[0], agent.edge_rows(9))


def test_processes_with_different_graphs_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "same_on_all_ranks", lambda tensors: False)
    with pytest.raises(ValueError, match="shard_experts=True: the topology among 4 experts has other edges in other"):
        shard_experts(toy_agent())


def test_a_bus_without_a_shard_still_works_inside_of_a_wrapper():
    agent = toy_agent()
    agent.bus = Delayed(Gated(Noisy(Old(HIDDEN, MESSAGE)))).double()
    assert played(agent)["output"].isfinite().all()
