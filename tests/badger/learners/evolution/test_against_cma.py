"""Evolution strategies beside CMA-ES of the library `cma`, on a problem of 13 weights."""

import numpy as np
import pytest
import torch

from badger.learners import Evolution
from badger.learners.evolution.members import Members
from badger.learners.evolution.perturbations import Dense
from badger.rng import generator
from toy_efforts import Aim, effort_agent

cma = pytest.importorskip("cma")
TASK = Aim(dtype=torch.float64)


def flat(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors]).numpy()


def costs(learner, candidates):
    """Minus the return of each vector of weights, all of which play at once."""
    agent = learner.agent
    steps = torch.as_tensor(np.stack(candidates) - flat(agent.parameters()))
    parts = steps.split([parameter.numel() for parameter in agent.parameters()], 1)
    noise = [Dense(part.view(-1, *one.shape)) for part, one in zip(parts, agent.parameters(), strict=True)]
    members = Members(agent, TASK, learner.eval_policy, experts=None, batch=1, learner=learner)
    index, scale = torch.arange(len(steps)), torch.ones(len(steps), dtype=torch.float64)
    with torch.no_grad():
        return -members.play(noise, index, scale, None, generator(0, "train"), 1, last=True).return_.numpy()


def start(learner, sigma, **options):
    options = {"seed": 1, "verbose": -9} | options
    return cma.CMAEvolutionStrategy(flat(learner.agent.parameters()), sigma, options)


def test_both_solve_a_small_problem():
    learner = Evolution(effort_agent(), TASK, batch=1, population=16, sigma=0.05, lr=0.1)
    strategy = start(learner, 0.3, popsize=16)
    for _ in range(25):
        candidates = strategy.ask()
        strategy.tell(candidates, costs(learner, candidates))
    assert strategy.result.fbest < 1e-3
    found = [learner.update()["return"] for _ in range(30)]
    assert found[0] < -0.05 and -found[-1] < 0.01


def test_the_gradient_points_where_the_first_step_of_cma_goes():
    learner = Evolution(effort_agent(), TASK, batch=1, population=2000, sigma=0.02)
    strategy = start(learner, 0.02, popsize=2000)
    before = strategy.mean.copy()
    candidates = strategy.ask()
    strategy.tell(candidates, costs(learner, candidates))
    learner.update()
    gradient = -flat(parameter.grad for parameter in learner.agent.parameters())
    step = strategy.mean - before
    assert gradient @ step / np.linalg.norm(gradient) / np.linalg.norm(step) > 0.9
