"""The evaluation protocol: policies by name, and trained environment steps."""

import pytest

from badger import EpsilonGreedy, Greedy, Sampled, build_run
from badger.runs.protocol import evaluation_policies, learner_evaluation, trained_env_steps

SIZES = {"batch": 4, "core.hidden_size": 4, "outer_steps": 2}


@pytest.mark.parametrize("own, first", [("sampled", "sampled"), ("greedy", "deterministic")])
def test_a_stochastic_policy_is_judged_in_two_ways_the_learners_own_first(own, first):
    learner = build_run("cartpole", **SIZES, **{"learner.eval_policy": own}).learner
    policies = evaluation_policies(learner)
    assert next(iter(policies)) == first and policies[first] == learner.eval_policy
    space = learner.task.action_space
    assert {policies["deterministic"], policies["sampled"]} == {Greedy(space), Sampled(space)}


def test_a_policy_of_the_users_own_is_the_first():
    learner = build_run("cartpole", **SIZES).learner
    learner.eval_policy = EpsilonGreedy(learner.task.action_space, 0.1)
    assert list(evaluation_policies(learner)) == ["own policy", "deterministic", "sampled"]


def test_other_learners_have_one_policy():
    assert list(evaluation_policies(build_run("guessing_game", batch=2).learner)) == ["deterministic"]
    assert list(evaluation_policies(build_run("t_maze", learner="drqn").learner)) == ["deterministic"]


@pytest.mark.parametrize("recipe, options, steps", [
    ("guessing_game", {"steps": 5}, 3 * 4 * 5), ("cartpole", {"learner.horizon": 8}, 3 * 4 * 8),
    ("t_maze", {"learner": "drqn", "learner.prefill": 1}, None),
])  # fmt: skip
def test_the_trained_steps_are_those_over_all_rows(recipe, options, steps):
    learner = build_run(recipe, batch=4, **options).learner
    assert trained_env_steps(learner) == 0 and learner_evaluation(learner) == (learner.task, 10)
    metrics = [learner.update() for _ in range(3)][-1]
    assert trained_env_steps(learner) == (metrics["env_steps"] if steps is None else steps)
