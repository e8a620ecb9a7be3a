"""The selection of cases from a product of parameters, which covers every pair or every value."""

from itertools import product
from math import prod

import pytest

from pairwise import covering, each_value, pairs, pairwise

SIZES = [(19, 7, 5), (2, 3), (4,), (9, 3, 2, 2), (2, 2, 2, 2), (3, 3, 3, 3), (4, 1, 3)]


def quick(mark):
    """Cases that are not nightly."""
    return [case.values for case in mark.args[1] if not case.marks]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_every_pair_is_covered(sizes):
    everything = set().union(*map(pairs, product(*map(range, sizes))))
    assert set().union(*map(pairs, covering(sizes))) == everything


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_no_case_is_repeated(sizes):
    cases = covering(sizes)
    assert len(set(cases)) == len(cases) <= prod(sizes)


def test_three_parameters_need_as_many_cases_as_the_two_longest_have_pairs():
    assert len(covering((19, 7, 5))) == 19 * 7


def test_the_cases_beyond_the_pairs_are_nightly():
    mark = pairwise(a="xyz", b="uv", c=[1, 2])
    assert len(quick(mark)) == 6 and len(mark.args[1]) == 12
    assert {(a, c) for a, _, c in quick(mark)} == set(product("xyz", [1, 2]))


def test_every_value_is_covered_and_the_other_cases_are_nightly():
    mark = each_value(a="xyz", b="uv")
    assert quick(mark) == [("x", "u"), ("y", "v"), ("z", "u")] and len(mark.args[1]) == 6
