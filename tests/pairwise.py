"""Pairwise testing: the few cases of a product of parameters that cover every pair of values; the rest is nightly."""

from collections.abc import Iterable
from itertools import combinations, product
from typing import Any

import pytest

NIGHTLY = pytest.mark.nightly  # deselected by `make test`; `make nightly` runs these alone


def pairs(case: tuple[int, ...]) -> set[tuple[tuple[int, int], ...]]:
    """The pairs of (parameter, value) that a case covers, both given by their indices."""
    return set(combinations(enumerate(case), 2))


def covering(sizes: Iterable[int]) -> list[tuple[int, ...]]:
    """Cases of a product that cover every pair: all pairs of the two longest parameters, the others in rotation.

    Args:
        sizes: How many values each parameter has.

    Returns:
        Cases as indices: for up to three parameters as few as there can be. Pairs that the rotation leaves out, as it
        may with four or more, get cases of their own.
    """
    sizes = list(sizes)
    longest = sorted(range(len(sizes)), key=lambda p: -sizes[p])[:2]
    cases = []
    for chosen in product(*(range(sizes[p]) for p in longest)):
        case = [sum(chosen) % size for size in sizes]
        for p, value in zip(longest, chosen, strict=True):
            case[p] = value
        cases.append(tuple(case))
    everything = list(product(*map(range, sizes)))
    missing = set().union(*map(pairs, everything)) - set().union(*map(pairs, cases))
    while missing:
        best = max(everything, key=lambda case: len(pairs(case) & missing))
        cases.append(best)
        missing -= pairs(best)
    return cases


def pairwise(**parameters: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrizes a test over a product: cases that cover every pair of values in each run, the others nightly.

    Args:
        **parameters: The values of each parameter of the test, by its name.
    """
    return _parametrize(parameters, lambda sizes: set(covering(sizes)))


def each_value(**parameters: Iterable[Any]) -> pytest.MarkDecorator:
    """Parametrizes a test over a product: cases that cover every single value in each run, the others nightly.

    Args:
        **parameters: The values of each parameter of the test, by its name.
    """
    return _parametrize(parameters, lambda sizes: {tuple(i % size for size in sizes) for i in range(max(sizes))})


def _parametrize(parameters, choose) -> pytest.MarkDecorator:
    values = [list(options) for options in parameters.values()]
    sizes = [len(options) for options in values]
    quick = choose(sizes)
    cases = [
        pytest.param(*(v[i] for v, i in zip(values, case, strict=True)), marks=() if case in quick else NIGHTLY)
        for case in product(*map(range, sizes))
    ]
    return pytest.mark.parametrize(list(parameters), cases)
