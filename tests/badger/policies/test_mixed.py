"""Policies of choices beside real numbers, checked by hand."""

from math import exp, log, pi

import pytest
import torch
from torch.testing import assert_close

from badger import Greedy, Sampled, build_run
from badger.policies.correlated import exploring_policy
from badger.policies.policies import entropy, log_probability, simpson
from tasks import Continuous, Mixed, MultiDiscrete
from toys import seeded

SPACE = Mixed(MultiDiscrete((2, 3)), Continuous(2))
LOGITS = torch.tensor([0.75, 0.25, 0.5, 0.25, 0.25], dtype=torch.float64).log()
MEAN, STD = (1.0, -2.0), (0.5, 2.0)
OUTPUT = torch.cat([LOGITS, torch.tensor([*MEAN, *map(log, STD)], dtype=torch.float64)])
VALUE = torch.tensor([9.0], dtype=torch.float64)
MASK = torch.tensor([True, True, False, True, True])


def density(x, mean, std):
    return exp(-0.5 * ((x - mean) / std) ** 2) / (std * (2 * pi) ** 0.5)


@pytest.mark.parametrize("output", [OUTPUT, torch.cat([OUTPUT, VALUE])], ids=["output", "with a value"])
def test_probabilities_of_choices_and_densities_of_numbers_multiply(output):
    action = torch.tensor([1, 2, 0.3, 1.0], dtype=torch.float64)
    product = 0.25 * 0.25 * density(0.3, MEAN[0], STD[0]) * density(1.0, MEAN[1], STD[1])
    assert_close(log_probability(output, action, SPACE).item(), log(product))


def test_a_mask_renormalizes_the_choices():
    action = torch.tensor([0, 1, 0.3, 1.0], dtype=torch.float64)
    product = 0.75 * 0.5 * density(0.3, MEAN[0], STD[0]) * density(1.0, MEAN[1], STD[1])
    assert_close(log_probability(OUTPUT, action, SPACE, MASK).item(), log(product))


def test_entropies_and_simpson_indices_add():
    choices = -sum(p * log(p) for p in (0.75, 0.25, 0.5, 0.25, 0.25))
    numbers = sum(0.5 * log(2 * pi * exp(1) * std**2) for std in STD)
    assert_close(entropy(OUTPUT, SPACE).item(), choices + numbers)
    squares = 0.75**2 + 0.25**2 + 0.5**2 + 2 * 0.25**2
    assert_close(simpson(OUTPUT, SPACE).item(), squares + sum(0.5 / (std * pi**0.5) for std in STD))


def test_greedy_takes_the_most_likely_choices_and_the_means():
    assert Greedy(SPACE)(OUTPUT, None, (), seeded())[0].tolist() == [0, 0, *MEAN]
    assert Greedy(SPACE)(OUTPUT, MASK, (), seeded())[0].tolist() == [0, 1, *MEAN]


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_samples_have_the_distribution_of_both_parts(correlation):
    policy, rng, rows = exploring_policy(SPACE, correlation), seeded(), 20_000
    state = policy.initial_state(OUTPUT.new_zeros(rows), rng) if correlation else ()
    action, _ = policy(OUTPUT.expand(rows, -1), MASK.expand(rows, -1), state, rng)
    frequencies = torch.stack([(action[:, 1] == i).double().mean() for i in range(3)])
    assert_close(frequencies, torch.tensor([0, 0.5, 0.5]).double(), rtol=0, atol=0.01)
    assert_close(action[:, 2:].mean(0), torch.tensor(MEAN).double(), rtol=0, atol=0.05)
    assert_close(action[:, 2:].std(0), torch.tensor(STD).double(), rtol=0.03, atol=0)


def test_the_conditional_output_leaves_the_choices_as_they_are():
    policy, noise = exploring_policy(SPACE, 0.5), torch.tensor([1.0, -1.0], dtype=torch.float64)
    given = policy.conditional_output(OUTPUT, noise)
    assert torch.equal(given[:5], OUTPUT[:5])
    assert_close(given[5:7].tolist(), [MEAN[0] + 0.5 * STD[0], MEAN[1] - 0.5 * STD[1]])
    assert exploring_policy(SPACE, 0.0) == Sampled(SPACE)


@pytest.mark.parametrize("learner, steps, more", [("ppo", 4, {"learner.epochs": 4}), ("a2c", 20, {})])
def test_actor_critics_learn_choices_and_numbers_together(learner, steps, more):
    run = build_run(
        "gymnasium", env="toy_worlds:aimed", batch=32, outer_steps=steps, lr=2e-2, schedule="constant", device="cpu",
        learner=learner, core="feedforward", **{"core.hidden_size": 8, "learner.horizon": 8, **more},
    )  # fmt: skip
    returns = [float(run.learner.update()["return"]) for _ in range(steps)]
    assert returns[-1] > returns[0] + 0.7
