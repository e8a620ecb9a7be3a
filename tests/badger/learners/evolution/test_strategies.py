"""Evolution strategies: the estimate of the gradient, equal chunks and processes, and what is refused."""

import numpy as np
import pytest
import torch

from badger import BPTT, GuessingGame, build_run
from badger.learners import Evolution
from badger.learners.evolution.ranks import centered_ranks
from badger.normalized_sense import Normalized
from badger.rng import generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from badger.testing.learner import small_agent
from tasks import CartPole, RandomSizes

GAME = GuessingGame(4, 2, dtype=torch.float64)


def evolution(task=GAME, **options):
    return Evolution(small_agent(task), task, **{"batch": 3, "population": 6, "sigma": 0.1} | options)


def test_ranks_are_centered_equal_values_share_theirs_and_nan_is_lowest():
    found = centered_ranks(torch.tensor([3.0, 1.0, 1.0, torch.nan, 9.0]))
    torch.testing.assert_close(found, torch.tensor([0.25, -0.125, -0.125, -0.5, 0.5]))


def played_one_by_one(learner):
    """Returns and perturbations of all members, which play one after the other."""
    agent, returns = learner.agent, []
    noise = [one.noise for one in learner._perturbations(learner.step)]
    center = [parameter.detach().clone() for parameter in agent.parameters()]
    for sign in (1, -1):
        for pair in range(learner.population // 2):
            with torch.no_grad():
                for parameter, weight, drawn in zip(agent.parameters(), center, noise, strict=True):
                    parameter.copy_(weight + sign * learner.sigma * drawn[pair])
                rng = generator(learner.seed, "train", learner.step)
                task = learner.task.mirrored
                carry = initial_carry(agent, task, learner.batch, rng)
                trajectory, _ = rollout(agent, task, carry, rng, learner.eval_policy, steps=task.steps)
            returns.append(trajectory.reward.sum(0).mean())
    with torch.no_grad():
        for parameter, weight in zip(agent.parameters(), center, strict=True):
            parameter.copy_(weight)
    return torch.stack(returns), noise


def test_the_gradient_is_that_of_members_that_play_one_by_one():
    learner = evolution()
    returns, noise = played_one_by_one(learner)
    order = np.argsort(np.argsort(returns.numpy()))
    ranks = order / (len(order) - 1) - 0.5
    wanted = [
        sum((ranks[k] - ranks[k + 3]) * drawn[k].numpy() for k in range(3)) / (6 * learner.sigma) for drawn in noise
    ]
    metrics = learner.update()
    for parameter, gradient in zip(learner.agent.parameters(), wanted, strict=True):
        np.testing.assert_allclose(-parameter.grad.numpy(), gradient, atol=1e-12)
    torch.testing.assert_close(metrics["return"], returns.mean())
    torch.testing.assert_close(metrics["best_return"], returns.max())


def test_members_that_play_in_chunks_play_the_same():
    whole, chunked = evolution(), evolution(chunk_size=2)
    for _ in range(2):
        first, second = whole.update(), chunked.update()
        torch.testing.assert_close(first["return"], second["return"], rtol=1e-12, atol=0)
    for one, other in zip(whole.agent.parameters(), chunked.agent.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_many_perturbations_point_along_the_gradient_of_backpropagation():
    task = GuessingGame(2, 2, dtype=torch.float64)
    learner = evolution(task, population=4000, batch=8, sigma=0.01)
    agent = small_agent(task)
    exact = BPTT(agent, task.mirrored, batch=8)
    exact.rng = lambda: generator(0, "train", 0)
    learner.update(), exact._backward(exact.rng())
    found, wanted = (
        torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in one.parameters()])
        for one in (learner.agent, agent)
    )
    cosine = torch.nn.functional.cosine_similarity(found, wanted, 0)
    weights = len(found)
    assert cosine > 0.9 * (2000 / (weights + 2000)) ** 0.5  # what random directions leave of it


def test_a_discrete_task_that_is_not_differentiable_is_learned_from_first_episodes_alone():
    learner = evolution(CartPole(12, dtype=torch.float64), population=4)
    metrics = [learner.update() for _ in range(2)]
    assert all(metric["finite"] and 1 <= metric["return"] <= 12 for metric in metrics)


def test_observations_of_all_members_are_merged_into_the_moments_of_the_sense():
    learner = evolution(population=4, sigma=1e-9, chunk_size=3)
    agent, task, rng = learner.agent, GAME.mirrored, generator(0, "train", 0)
    agent.sense = Normalized(agent.sense, 1).double()
    carry = initial_carry(agent, task, 3, rng)
    obs = rollout(agent, task, carry, rng, steps=4)[0].obs.detach()
    assert learner.update()["normalizer/obs_std"] != 1
    moments = agent.sense.moments
    assert moments.count == 3 * 4 * 4
    torch.testing.assert_close(moments.mean, obs.mean((0, 1)), rtol=1e-6, atol=0)
    torch.testing.assert_close(moments.var, obs.var((0, 1), correction=0), rtol=1e-6, atol=0)


def test_a_member_that_diverges_is_the_worst_and_the_others_go_on():
    learner = evolution(sigma=1e200)
    before = [parameter.clone() for parameter in learner.agent.parameters()]
    metrics = learner.update()
    assert not metrics["finite"]  # of all members
    for one, other in zip(learner.agent.parameters(), before, strict=True):
        assert torch.equal(one, other)


def test_sizes_are_drawn_anew_in_each_outer_step():
    task = RandomSizes(GAME, {"steps": (2, 4)})
    learner = Evolution(small_agent(GAME), task, batch=2, population=2)
    assert all(learner.update()["finite"] for _ in range(3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"population": 5}, "population=5, want a multiple of 2"),
        ({"sigma": 0.0}, "sigma=0.0, want a number above 0"),
        ({"batch": 0}, "batch=0, want at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        evolution(**options)


def test_environments_outside_of_torch_are_refused():
    with pytest.raises(ValueError, match="Gymnasium is not computed in torch, and Evolution plays all members at once"):
        build_run("gymnasium", env="CartPole-v1", learner="evolution", batch=2)
