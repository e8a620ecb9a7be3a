"""Learning speed: first crossings of a threshold."""

import itertools

import pytest

from badger.runs.milestones import MIN_AVERAGED_STEPS, first_crossing
from badger.runs.run import SMOOTHING


@pytest.mark.parametrize("better, values", [("lower", [3, None, 1, 0.5]), ("higher", [1, None, 3, 9])])
def test_the_threshold_is_crossed_when_the_average_is_better_than_it(better, values):
    values = [None] + [values[0]] * MIN_AVERAGED_STEPS + values[1:]
    rows = [{"step": i, "error_ema": value} for i, value in enumerate(values)]
    *before, last = rows
    assert first_crossing(rows, "error", 2, better) is before[-1]
    assert first_crossing(before[:-1], "error", 2, better) is None
    assert first_crossing(rows, "error", before[-1]["error_ema"], better) is last


def test_averages_of_too_few_batches_cross_no_threshold():
    batches = [0.0] + [5.0] * 99
    averages = itertools.accumulate(batches, lambda before, new: SMOOTHING * before + (1 - SMOOTHING) * new)
    rows = [{"step": i, "error_ema": value} for i, value in enumerate(averages, 1)]
    assert rows[0]["error_ema"] < rows[MIN_AVERAGED_STEPS - 2]["error_ema"] < 3.2
    assert (
        first_crossing(rows, "error", 3.0) is None and first_crossing(rows, "error", 3.3)["step"] == MIN_AVERAGED_STEPS
    )
