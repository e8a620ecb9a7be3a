"""Uniformly random actions."""

import torch

from badger.policies.uniform import Uniform
from tasks import Continuous, Discrete, Mixed, MultiDiscrete

OUTPUT = torch.randn(4000, 9, generator=torch.Generator().manual_seed(1)) * 9


def draw(space, mask=None, seed=0):
    return Uniform(space)(OUTPUT, mask, (), torch.Generator().manual_seed(seed))[0]


def test_choices_are_uniform_among_those_allowed():
    mask = torch.tensor([True, False, True, True]).expand(4000, 4)
    counts = draw(Discrete(4), mask).bincount(minlength=4) / 4000
    assert torch.allclose(counts, torch.tensor([1 / 3, 0, 1 / 3, 1 / 3]), atol=0.04)


def test_numbers_are_uniform_between_their_bounds():
    numbers = draw(Continuous(2, -1.0, 3.0))
    assert numbers.shape == (4000, 2) and numbers.min() >= -1 and numbers.max() <= 3
    assert torch.allclose(numbers.mean(0), torch.ones(2), atol=0.1)


def test_numbers_without_bounds_are_normal():
    numbers = draw(Continuous(1))
    assert abs(numbers.mean()) < 0.06 and abs(numbers.std() - 1) < 0.06
    assert draw(Continuous(1, low=0.0)).min() == 0


def test_choices_and_numbers_are_both_drawn():
    actions = draw(Mixed(MultiDiscrete((2, 3)), Continuous(2, 0.0, 1.0)))
    assert actions.shape == (4000, 4) and actions.unique(dim=0).shape[0] == 4000
    assert actions.amax(0)[:2].tolist() == [1, 2]
