"""Exact solutions against an enumeration of all plans, and published values."""

import dataclasses
import itertools
import time
from functools import cache

import numpy as np
import pytest

from badger.planning import (
    AlphaVectors,
    belief_agent,
    policy_graph,
    policy_iteration,
    prune,
    value_iteration,
)
from badger.planning.pruning import below_a_mixture_of_two, best_advantage
from tasks.pomdp import PomdpModel, load_model

TIGER = load_model("tiger.95")
UNDISCOUNTED = dataclasses.replace(TIGER, discount=1.0)


def every_plan(model, horizon):
    """The values of all plans of so many steps, (K, S): an action, and a plan for each observation."""
    if horizon == 0:
        return np.zeros((1, len(model.states)))
    rest, found = every_plan(model, horizon - 1), []
    for a in range(len(model.actions)):
        for chosen in itertools.product(rest, repeat=len(model.observations)):
            future = sum(model.transition[a] @ (model.observation[a, :, o] * v) for o, v in enumerate(chosen))
            found.append(model.expected_reward[a] + model.discount * future)
    return np.array(found)


def random_model(seed, s=3, a=2, o=2):
    rng = np.random.default_rng(seed)
    names = [tuple(map(str, range(n))) for n in (s, a, o)]
    tables = rng.dirichlet(np.ones(s), (a, s)), rng.dirichlet(np.ones(o), (a, s)), rng.standard_normal((a, s, s, o))
    return PomdpModel(*names, 0.9, *tables, rng.dirichlet(np.ones(s)))


@pytest.mark.parametrize("model", [TIGER, UNDISCOUNTED, *map(random_model, range(3))], ids=str)
def test_three_steps_have_the_value_of_the_best_of_all_plans(model):
    plans, all_plans = value_iteration(model, 3), every_plan(model, 3)
    beliefs = np.random.default_rng(0).dirichlet(np.ones(len(model.states)), 500)
    np.testing.assert_allclose(plans.value(beliefs), (beliefs @ all_plans.T).max(-1), atol=1e-7)
    assert all(np.abs(all_plans - vector).max(-1).min() < 1e-9 for vector in plans.vectors)


@pytest.mark.parametrize(
    ("model", "want"),
    [
        (UNDISCOUNTED, [-1, -2, 2.72, 2.42125, 3.60915, 5.618819]),
        (TIGER, [-1, -1.95, 2.3098, 1.795544, 2.763096, 4.428531]),
    ],
    ids=["undiscounted", "discounted"],
)
def test_the_tiger_with_one_to_six_steps(model, want):
    assert [value_iteration(model, h).value(model.start) for h in range(1, 7)] == pytest.approx(want, abs=1e-6)


@pytest.fixture(scope="module")
def tiger():
    """The solution, and the CPU time that it took, of which the checks of annotations are a part here."""
    began = time.process_time()
    return policy_iteration(TIGER, 1e-9), time.process_time() - began


def test_the_tiger_is_solved_to_1e9_within_seconds(tiger):
    found, seconds = tiger
    assert seconds < 5
    assert found.error <= 1e-9 and found.plans.value(TIGER.start) == pytest.approx(19.371368375, abs=1e-9)


@cache
def optimal_plans(name):
    return policy_iteration(load_model(name), 1e-6).plans


@pytest.mark.parametrize(("name", "want"), [("tiger.aaai", 1.933439), ("1d", 1.26035)])
def test_other_models_have_the_published_optimum(name, want):
    assert optimal_plans(name).value(load_model(name).start) == pytest.approx(want, abs=1e-5)


def test_the_policy_graph_of_the_tiger_has_nine_plans_that_listen_until_one_side_leads_by_two(tiger):
    found, _ = tiger
    graph = policy_graph(TIGER, found.plans)
    assert len(found.plans) == 9
    (start,) = [node for node, data in graph.nodes(data=True) if data["start"]]
    actions = []
    for side in ("hear-left", "hear-right"):
        node = start
        for _ in range(2):
            assert graph.nodes[node]["action"] == "listen"
            (node,) = [v for _, v, data in graph.out_edges(node, data=True) if side in data["observations"]]
        actions.append(graph.nodes[node]["action"])
    assert actions == ["open-right", "open-left"]


def test_an_agent_that_acts_by_alpha_vectors_gets_their_value():
    from badger import evaluate, generator
    from badger.policies.policies import Greedy

    model, plans = load_model("tiger.aaai"), optimal_plans("tiger.aaai")
    agent, task = belief_agent(model, plans)
    scores = evaluate(agent, task, 500, generator(0, "evaluate"), Greedy(task.action_space))["discounted_return"]
    assert scores.mean().item() == pytest.approx(plans.value(model.start), abs=4 * scores.std().item() / 500**0.5)


def test_a_vector_below_a_mixture_is_pruned_and_one_above_is_kept():
    vectors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.4, 0.4, 0.4], [0.3, 0.3, 0.3], [0.49, 0.49, -1]])
    assert prune(vectors).tolist() == [0, 1, 2, 3]
    assert below_a_mixture_of_two(vectors[5], vectors[:2], 0) and not below_a_mixture_of_two(vectors[3], vectors[:3], 0)
    belief, gain = best_advantage(vectors[3], vectors[:3])
    np.testing.assert_allclose([*belief, gain], [1 / 3, 1 / 3, 1 / 3, 0.4 - 1 / 3], atol=1e-9)


def test_equal_vectors_are_kept_once():
    assert len(prune(np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 1.0]]))) == 2


def test_alpha_vectors_have_the_action_of_the_highest_one():
    policy = AlphaVectors(np.array([[1.0, 0.0], [0.0, 2.0]]), np.array([5, 7]))
    assert policy.action(np.array([0.9, 0.1])) == 5 and policy.value(np.array([0.5, 0.5])) == 1
    assert policy.best(np.eye(2)).tolist() == [0, 1]


def test_a_horizon_of_at_least_one_step_is_wanted():
    with pytest.raises(ValueError, match="horizon=0, want at least 1"):
        value_iteration(TIGER, 0)


def test_a_graph_ends_at_its_largest_number_of_nodes(tiger):
    assert len(policy_graph(TIGER, tiger[0].plans, max_nodes=2)) == 2
