"""Agents whose communication graph is drawn for each episode: rollouts, replay, learners, resumption."""

from functools import partial

import pytest
import torch
from torch.testing import assert_close

from badger import DRQN, PPO, R2D2, RepeatPrevious, act, initial_carry, rollout
from badger.rng import seeded_generator
from badger.rollouts.recording import record, replay
from badger.testing.core.cases import through_a_file
from badger.testing.devices import META, all_on_meta, without_values
from badger.testing.learner import differences, update
from comms import PerEpisode
from comms.generators import random_regular
from toys import Walk, seeded, toy_agent

E, GRAPHS = 12, 6
RANDOM = PerEpisode(partial(random_regular, degree=3), graphs=GRAPHS)
B, T = 5, 9


def walking(bus="attention", topology=RANDOM):
    task = Walk(dtype=torch.float64)
    return toy_agent(task, bus=bus, topology=topology, experts=E), task


@pytest.mark.parametrize("bus", ["attention", "mean", "workspace", "noisy"])
def test_a_step_of_the_batch_equals_agents_with_each_graph_alone(bus):
    agent, _ = walking(bus)
    agent.eval()
    obs, rng = torch.randn(B, T, 2, generator=seeded(), dtype=torch.float64).unbind(1), seeded()
    if bus == "noisy":
        agent.bus.drop = 0
    initial = agent.initial_state(obs[0], rng)
    assert len(set(initial.graph.tolist())) > 1
    state, outputs = initial, []
    for x in obs:
        output, state = agent(x, state, rng)
        outputs.append(output)
    for row, graph in enumerate(initial.graph.tolist()):
        alone, _ = walking(bus, partial(random_regular, degree=3, seed=graph))
        alone.load_state_dict(agent.state_dict())
        alone.eval()
        if bus == "noisy":
            alone.bus.drop = 0
        one = alone.initial_state(obs[0][row : row + 1], seeded())
        one = one._replace(identity=initial.identity[row : row + 1])
        for x, want in zip(obs, outputs, strict=True):
            output, one = alone(x[row : row + 1], one, seeded())
            assert_close(output, want[row : row + 1], rtol=1e-10, atol=1e-12)


def test_a_new_episode_has_a_new_graph_and_the_others_keep_theirs():
    agent, task = walking()
    carry = initial_carry(agent, task, 16, seeded())
    graphs = []
    trajectory, last = rollout(
        agent, task, carry, seeded(1), steps=T, hook=lambda s: (s.graph, s.edges.senders[:, :12])
    )
    for t in range(1, T):
        changed = trajectory.hook_outputs[t][0] != trajectory.hook_outputs[t - 1][0]
        assert not (changed & ~trajectory.episode_start[t]).any()
        graphs.append(bool(changed.any()))
        want = agent.with_graph(last.agent_state, trajectory.hook_outputs[t][0]).edges.senders[:, :12]
        assert torch.equal(trajectory.hook_outputs[t][1], want)
    assert any(graphs)


@pytest.mark.parametrize("bus", ["attention", "silent"])
def test_a_replay_over_several_episodes_uses_the_graph_of_each(bus):
    agent, task = walking(bus)
    rng = seeded(2)
    carry = initial_carry(agent, task, B, rng)
    _, carry = rollout(agent, task, carry, rng, steps=2)
    trajectory, recording, _ = record(agent, task, carry, rng, lambda o, m, s, r: (o, s), steps=T)
    assert trajectory.episode_start[1:].any()
    output, _, last = replay(agent, recording)
    assert_close(output, trajectory.output, rtol=1e-10, atol=1e-12)
    assert torch.equal(last.graph, recording.graph[-1])
    assert torch.equal(last.edges.senders, agent.with_graph(last, last.graph).edges.senders)
    rows = torch.tensor([3, 1])
    assert_close(replay(agent, recording.select(rows))[0], output[:, rows], rtol=1e-10, atol=1e-12)


REPLAY = {"batch": 4, "horizon": 5, "gradient_steps": 1, "replay_batch": 4, "prefill": 4}
LEARNERS = {
    "ppo": partial(PPO, batch=4, horizon=5, sequence_length=4, epochs=1, minibatches=2),
    "drqn": partial(DRQN, **REPLAY),
    "r2d2": partial(R2D2, **REPLAY, train_length=2, burn_in=1, overlap=0),
}


def learner(name):
    task = RepeatPrevious(5, 2, symbols=3, dtype=torch.float64)
    agent = toy_agent(task, topology=RANDOM, experts=E)
    if name == "ppo":
        agent.act = act.WithCritic(agent.act).double()
    return LEARNERS[name](agent, task, seed=0)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_learner_resumes_exactly(name):
    one = learner(name)
    for _ in range(2):
        assert one.update()["finite"]
    state = through_a_file(one.state_dict())
    other = learner(name)
    other.load_state_dict(state)
    assert differences(update(one), update(other)) == []


def test_sequences_of_the_replay_buffer_have_the_graph_of_their_episode():
    drqn = learner("drqn")
    collector = drqn._make_collector(seeded(3))
    collector.collect(5, drqn.eval_policy, seeded(4))
    trajectory, sequences, _ = collector.collect(5, drqn.eval_policy, seeded(5))  # the second episode of each row
    assert len(set(sequences.graph.tolist())) > 1
    with torch.no_grad():
        output, _, _ = replay(drqn.agent, drqn._to_recording(sequences, seeded(6)))
    assert_close(output[:5], trajectory.output, rtol=1e-10, atol=1e-12)


def test_graphs_are_drawn_on_the_meta_device():
    @without_values(lambda agent: agent)
    def drawn(_, agent):
        rng, obs = seeded_generator(0, META), torch.zeros(B, 2, dtype=torch.float64, device=META)
        state = agent.initial_state(obs, rng)
        output, state = agent(obs, agent.reset(state, torch.ones(B, dtype=torch.bool, device=META), obs, rng), rng)
        all_on_meta([output, state.graph, *state.edges], "outputs, graphs and edges")

    drawn(walking()[0])


def test_a_first_replay_of_ppo_has_the_probabilities_of_the_rollout():
    assert abs(float(learner("ppo").update()["approx_kl"])) < 0.1
    frozen = PPO(learner("ppo").agent, learner("ppo").task, lr=1e-300, batch=4, horizon=10, epochs=1, minibatches=2)
    assert float(frozen.update()["approx_kl"]) == pytest.approx(0, abs=1e-12)


def test_added_experts_get_a_new_graph_and_a_rewired_state_keeps_its_own():
    agent, _ = walking()
    rng, obs = seeded(), torch.zeros(B, 2, dtype=torch.float64)
    state = agent.initial_state(obs, rng)
    more = agent.add(state, 2, obs, rng)
    assert more.edges.senders.max() == E + 1 and more.weights.shape == more.edges.weight.shape
    rows = torch.tensor([True, False, False, False, True])
    assert agent.reset(more, rows, obs, rng).identity.shape[1] == E + 2
    wired = agent.reset(agent.rewire(state, "ring"), rows, obs, rng)
    assert wired.graph is None and wired.edges.weight.shape == (B, 2 * E)


def test_the_same_generator_draws_the_same_graphs():
    agent, task = walking()
    first, second = (initial_carry(agent, task, B, seeded(4)).agent_state.graph for _ in range(2))
    assert torch.equal(first, second)
