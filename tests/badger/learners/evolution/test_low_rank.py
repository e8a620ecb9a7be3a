"""Low-rank perturbations: members equal to those with the sums as weights, for every core, and their gradient."""

import pytest
import torch
from torch.func import functional_call, vmap

from badger import BPTT, GuessingGame
from badger.learners import Evolution
from badger.learners.evolution.low_rank import LowRankWeights
from badger.learners.evolution.perturbations import Dense, LowRank, add_perturbations, sample_perturbations
from badger.rng import drawing_from, generator
from badger.testing.learner import small_agent
from experts import CORES
from toys import seeded

GAME = GuessingGame(4, 2, dtype=torch.float64)


def low_rank(task=GAME, **options):
    return Evolution(small_agent(task), task, **{"batch": 4, "population": 6, "sigma": 0.1, "noise_rank": 1} | options)


def as_dense(perturbations):
    """The same perturbations with every product computed."""
    return [Dense(one.left @ one.right.mT) if isinstance(one, LowRank) else one for one in perturbations]


def test_entries_of_low_rank_noise_have_unit_variance_and_are_uncorrelated():
    matrix = torch.nn.Parameter(torch.zeros(8, 8, dtype=torch.float64))
    ((left, right),) = sample_perturbations([matrix], 20_000, 2, seeded())
    entries = (left @ right.mT).flatten(1)
    assert (entries.mT @ entries / len(entries) - torch.eye(64)).abs().max() < 0.1


def test_sums_of_low_rank_noise_are_sums_of_the_products():
    matrix = torch.nn.Parameter(torch.zeros(5, 7, dtype=torch.float64))
    first, second = (sample_perturbations([matrix], 3, 2, seeded(seed)) for seed in (0, 1))
    weight = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    (total,) = add_perturbations(first, second)
    (wanted,) = add_perturbations(as_dense(first), as_dense(second))
    torch.testing.assert_close(total.weighted_sum(weight), wanted.weighted_sum(weight))


def test_vectors_and_matrices_that_are_smaller_than_their_factors_have_dense_noise():
    shapes = [(6,), (1, 6), (6, 6), (2, 6, 6)]
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    kinds = [type(one) for one in sample_perturbations(parameters, 2, 2, seeded())]
    assert kinds == [Dense, Dense, LowRank, Dense]


class Steps(torch.nn.Module):
    """Steps of a core from its initial state, which is made with the weights of the member."""

    def __init__(self, core):
        super().__init__()
        self.core = core

    def forward(self, xs):
        state, ys = self.core.initial_state(xs[0]), []
        for x in xs:
            y, state = self.core(x, state)
            ys.append(y)
        return torch.stack(ys)


@pytest.mark.parametrize("name", CORES)
def test_every_core_computes_as_with_the_sums_as_weights(name):
    with drawing_from(generator(0, "core")):
        steps = Steps(CORES[name](9, 8)).double()
    pair, scale = torch.tensor([0, 1, 0]), torch.tensor([0.1, 0.1, -0.1], dtype=torch.float64)
    noise = [one.scaled(pair, scale) for one in sample_perturbations(steps.parameters(), 2, 1, seeded())]
    assert any(isinstance(one, LowRank) for one in noise)
    parameters = dict(steps.named_parameters())
    xs = torch.randn(2, 3, 2, 9, generator=seeded(), dtype=torch.float64)  # (T, B, N, D)

    def outputs(weights, factors):
        with LowRankWeights({parameters[name]: one for name, one in factors.items()}):
            return functional_call(steps, weights, (xs,))

    def played(perturbations):
        named = dict(zip(parameters, perturbations, strict=True))
        dense = {name: parameters[name] + one.noise for name, one in named.items() if isinstance(one, Dense)}
        factors = {name: one for name, one in named.items() if isinstance(one, LowRank)}
        return vmap(outputs, randomness="same")(dense, factors)

    with torch.no_grad():
        torch.testing.assert_close(played(noise), played(as_dense(noise)), rtol=1e-9, atol=1e-9)


def gradients(learner):
    return torch.cat([parameter.grad.flatten() for parameter in learner.agent.parameters()])


def test_the_gradient_is_that_of_members_with_the_sums_as_weights():
    learner, materialized = low_rank(), low_rank()
    plain = materialized._perturbations
    materialized._perturbations = lambda step: as_dense(plain(step))
    torch.testing.assert_close(learner.update()["return"], materialized.update()["return"])
    torch.testing.assert_close(gradients(learner), gradients(materialized))


def test_rank_one_points_along_the_gradient_of_backpropagation_as_well_as_dense_noise():
    task, agent = GuessingGame(2, 2, dtype=torch.float64), small_agent(GAME)
    learner = low_rank(task, population=4000, batch=8, sigma=0.01)
    exact = BPTT(agent, task.mirrored, batch=8)
    exact.rng = lambda: generator(0, "train", 0)
    learner.update(), exact._backward(exact.rng())
    wanted = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in agent.parameters()])
    cosine = torch.nn.functional.cosine_similarity(gradients(learner), wanted, 0)
    assert cosine > 0.9 * (2000 / (len(wanted) + 2000)) ** 0.5
