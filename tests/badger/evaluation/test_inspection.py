"""Inspection of an agent: metrics by hand, plots and embeddings."""

import math
import sys
from functools import cache

import networkx as nx
import pytest
import torch

import toy_worlds
from badger import (
    CORES,
    Greedy,
    Gymnasium,
    RepeatPrevious,
    SequentialMNIST,
    act,
    build_run,
    figures,
    initial_carry,
    inspect_agent,
    rollout,
)
from badger.evaluation import inspection
from badger.evaluation.inspection import attention_entropy, embeddings, mean_cosine
from badger.figures import agents as graph_plots
from toys import MESSAGE, Walk, game, png, seeded, toy_agent

EPISODES = 5
cores = pytest.mark.parametrize("core", CORES)
ROWS_WRITTEN = {  # core -> rows of 6 steps: an episodic memory writes that of the last with the next step
    "episodic": 5,
    "episodic_shared": 5 * 4,
    "episodic_tagged": 5 * 4,
    "episodic_both": 5 * 4,
    "episodic_cpc": 5,
    "episodic_reconstruction": 5,
    "clustered": 6,
    "lookup_table": 6,
    "gtrxl": 6,
    "window": 6,
    "mqn": 6,
    "rmqn": 6,
    "frmqn": 6,
}
NEURAL = ("neural_memory", "neural_memory_gradient")
ADDRESSED = ("dnc", "ntm", "sam", "sdnc", "merlin")  # writes, too, have weights over slots
BELIEFS = ("exact_belief", "kalman_filter", "particle_filter", "dvrl", "dvbf", "psd", "psr", "rpsp")
WITH_METRICS = {
    "decision_transformer",
    "hcam",
    "neural_map",
    "relational_memory",
    "rssm",
    "mdn_rnn",
    "generalized_dt",
    "trajectory_transformer",
    "working_memory_graph",
    *ROWS_WRITTEN,
    *ADDRESSED,
    *BELIEFS,
    *NEURAL,
    "plastic",
    "plastic_modulated",
}


def inspected(core="gru", task=None, **options):
    task = task or game(steps=6)
    agent = toy_agent(task, core=core, **options)
    return inspect_agent(agent, task, seeded(), EPISODES), agent


@cache
def numbers_and_plots(core):
    """Metrics, and the names of plots, of an agent with that core in the guessing game."""
    inspection, _ = inspected(core)
    return inspection.scalars, set(inspection.plots)


def test_an_inspection_ends_with_the_last_episode_and_has_fewer_where_they_may_be_long(monkeypatch):
    task, played = Gymnasium(toy_worlds.Counter), []  # ends after 6 steps at most; 10,000 by default
    agent = build_run("gymnasium", env="toy_worlds:Counter", outer_steps=1, device="cpu").learner.agent

    def recorded(*args, **options):
        played.append(rollout(*args, **options))
        return played[-1]

    monkeypatch.setattr(inspection, "rollout", recorded)
    inspect_agent(agent, task, seeded(), policy=Greedy(task.action_space))
    assert played[0][0].valid.shape in ((6, 6), (5, 6))


# --- numbers


@cores
def test_every_number_is_finite_and_has_a_group(core):
    numbers, _ = numbers_and_plots(core)
    groups = {tag.split("/")[0] for tag in numbers}
    assert groups == {"evaluation", "inner", "comms", "experts"} | ({"memory"} if core in WITH_METRICS else set())
    assert all(isinstance(value, float) and math.isfinite(value) for value in numbers.values())


def test_scores_are_means_over_steps_and_episodes():
    inspection, agent = inspected()
    task = game(steps=6)
    trajectory, _ = rollout(agent, task, initial_carry(agent, task, EPISODES, seeded()), seeded(), steps=6)
    assert inspection.scalars["evaluation/error"] == pytest.approx(trajectory.scores["error"].mean().item())
    assert inspection.scalars["evaluation/final_error"] == pytest.approx(trajectory.scores["error"][-1].mean().item())
    moments = {tag: value for tag, value in inspection.scalars.items() if tag.startswith("inner/")}
    curve = trajectory.scores["error"].mean(1)
    expected = {f"inner/error/step_{t:03d}": curve[t - 1].item() for t in (1, 2, 3, 5, 6)}
    assert moments == pytest.approx(expected)


def test_only_steps_with_a_score_are_plotted():
    task = RepeatPrevious(6, 4, dtype=torch.float64)
    numbers = inspected(task=task)[0].scalars
    assert {tag for tag in numbers if tag.startswith("inner/")} == {f"inner/accuracy/step_{t:03d}" for t in (5, 6)}


@pytest.mark.parametrize("core", ROWS_WRITTEN)
def test_a_memory_has_used_a_slot_for_each_row_written(core):
    numbers, _ = numbers_and_plots(core)
    merged = numbers.get("memory/merge_rate", 0) * ROWS_WRITTEN[core]
    assert numbers["memory/slots_used"] + merged == pytest.approx(ROWS_WRITTEN[core])
    assert 0 <= numbers["memory/duplicate_rate"] <= 1
    assert 0 <= numbers["memory/read_entropy"] <= math.log(8)


@pytest.mark.parametrize(
    ("bus", "topology", "messages", "floats"),
    [
        ("attention", "complete", 12, 12 * (16 + MESSAGE)),
        ("mean", "ring", 8, 8 * MESSAGE),
        ("silent", "complete", 0, 0),
        ("attention", "none", 0, 0),
    ],
)
def test_messages_and_floats_of_a_step_are_counted(bus, topology, messages, floats):
    numbers = inspected(bus=bus, topology=topology)[0].scalars
    assert (numbers["comms/messages"], numbers["comms/floats"]) == (messages, floats)


def test_an_inspection_does_not_change_the_agent():
    task = game(steps=6)
    agent = toy_agent(task, core="episodic")
    before = [p.clone() for p in agent.parameters()]
    inspect_agent(agent, task, seeded(), EPISODES)
    assert all(torch.equal(a, b) for a, b in zip(before, agent.parameters(), strict=True))


@pytest.mark.parametrize("task", [Walk(dtype=torch.float64)])
def test_tasks_of_variable_length_can_be_inspected(task):
    inspection, _ = inspected(task=task)
    assert 1 <= inspection.scalars["evaluation/length"] <= task.steps


def test_similarity_is_the_mean_cosine_of_two_experts():
    y = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]], [[1.0, 1.0], [2.0, 2.0], [-1.0, -1.0]]])
    assert mean_cosine(y).tolist() == pytest.approx([(0 + 1 + 0) / 3, (1 - 1 - 1) / 3], abs=1e-6)


def test_one_expert_is_similar_to_itself():
    assert mean_cosine(torch.randn(2, 1, 3)).tolist() == [1, 1]


def test_attention_entropy_is_that_of_the_incoming_weights():
    weights = torch.tensor([[0.5, 0.5, 1.0, 0.0, 0.25, 0.75]])  # two incoming edges for each receiver
    expected = (math.log(2) + 0 - 0.25 * math.log(0.25) - 0.75 * math.log(0.75)) / 3
    assert attention_entropy(weights, 3).item() == pytest.approx(expected)


def test_a_mean_of_all_the_others_has_the_entropy_of_their_number():
    assert inspected(bus="mean", experts=6)[0].scalars["comms/attention_entropy"] == pytest.approx(math.log(5))


# --- plots


@pytest.mark.parametrize("core", ["gru", *ROWS_WRITTEN, *ADDRESSED, *NEURAL])
def test_plots_of_a_guessing_game_are_those_of_the_task_and_the_memory(core):
    _, plots = numbers_and_plots(core)
    memory = {"memory/reads"} if core in (*ROWS_WRITTEN, *ADDRESSED) else set()
    memory |= {"memory/writes"} if core in ADDRESSED else set()
    if core in ({*ROWS_WRITTEN, *ADDRESSED, *NEURAL} - {"clustered"}):  # which has no read and write vectors
        memory |= {"memory/similarity"}
    assert plots == {"comms/graph", "episode/steps", "inner/error", "inner/guesses"} | memory


@pytest.mark.parametrize("core", ["gru", "episodic", "dnc"])
def test_plots_can_be_saved_and_all_differ(core):
    plots = inspected(core)[0].plots
    assert len({png(plot) for plot in plots.values()}) == len(plots)


def test_without_a_target_no_guesses_are_plotted():
    assert inspected(task=RepeatPrevious(6, 2, dtype=torch.float64))[0].plots.keys() == {
        "comms/graph",
        "episode/steps",
        "inner/accuracy",
    }


@pytest.mark.parametrize(
    ("core", "experts", "topology"),
    [("episodic", 1, "complete"), ("gru", 4, "none"), ("episodic_shared", 64, "ring")],
)
def test_any_number_of_experts_can_be_plotted(core, experts, topology):
    inspection, agent = inspected(core, task=game(steps=3), experts=experts, topology=topology)
    assert all(math.isfinite(value) for value in inspection.scalars.values())
    for plot in inspection.plots.values():
        png(plot)
    png(figures.plot_agent(agent))


@pytest.mark.parametrize("topology", ["none", "star", nx.DiGraph([(0, 1)])])
def test_every_expert_is_a_node_of_the_graph(topology):
    nodes = 2 if isinstance(topology, nx.DiGraph) else 5
    inspection, _ = inspected(experts=nodes, topology=topology)
    axes = inspection.plots["comms/graph"].axes[0]
    assert {text.get_text() for text in axes.texts} >= {str(i) for i in range(nodes)}


def test_a_graph_shows_a_limited_number_of_experts():
    inspection, _ = inspected(task=game(steps=2), experts=64, topology="ring")
    texts = {text.get_text() for text in inspection.plots["comms/graph"].axes[0].texts}
    assert str(graph_plots.MAX_NODES - 1) in texts and str(graph_plots.MAX_NODES) not in texts


def test_an_inspection_of_very_many_experts_has_fewer_episodes(monkeypatch):
    """With the same metrics and plots."""
    task, batches = game(), []
    agent = toy_agent(task, experts=4)
    module = sys.modules["badger.evaluation.inspection"]
    monkeypatch.setattr(module, "MAX_TOTAL_EXPERTS", 12)
    monkeypatch.setattr(module, "initial_carry", lambda a, t, n, rng: batches.append(n) or initial_carry(a, t, n, rng))
    assert inspect_agent(agent, task, seeded()).scalars and batches == [3]


# --- embeddings


@pytest.mark.parametrize("critic", [False, True])
@pytest.mark.parametrize(("port", "columns"), [("round_robin", 3), ("random_owners", 3), ("mean", 2), ("readout", 2)])
def test_points_are_labelled_with_episode_expert_and_owned_output(port, columns, critic):
    agent = toy_agent(port=port)
    agent.act = act.WithCritic(agent.act) if critic else agent.act
    state = initial_carry(agent, game(), 3, seeded()).agent_state
    state = state._replace(y=torch.randn(state.y.shape, generator=seeded(), dtype=state.y.dtype))
    result = embeddings(agent, state)
    assert result.header == ["episode", "expert", "output"][:columns]
    for point, (episode, expert, *owned) in zip(result.points, result.labels, strict=True):
        assert torch.equal(point, state.y[episode, expert])
        assert all(state.assignment[episode, output, expert] > 0 for output in owned)


@pytest.mark.parametrize(("experts", "points"), [(4, 1000), (300, 900), (2000, 1000)])
def test_points_are_at_most_a_thousand(experts, points):
    agent = toy_agent(port="round_robin", bus="silent", topology="none")
    state = initial_carry(agent, game(), 300 if experts == 4 else 10, seeded(), experts=experts).agent_state
    result = embeddings(agent, state)
    assert len(result.points) == len(result.labels) == points


def test_an_inspection_has_at_most_the_episodes_of_a_finite_task():
    task = SequentialMNIST(28, split="validation", dtype=torch.float64)  # of the tests' own images, 4
    inspection = inspect_agent(toy_agent(task), task, seeded())
    assert 0 <= inspection.scalars["evaluation/error"] <= 1
