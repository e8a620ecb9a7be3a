"""Learning-rate schedules against values computed by hand."""

import pytest
from torch.testing import assert_close

from badger.learners.schedules import Cooldown, WarmupCosine


def rates(schedule, steps):
    return [schedule(step) for step in steps]


def test_a_schedule_warms_up_and_decays():
    schedule = WarmupCosine(2.0, total=10, warmup=4)
    assert_close(rates(schedule, [0, 1, 2, 3, 4]), [0.4, 0.8, 1.2, 1.6, 2.0])
    assert_close(rates(schedule, [6, 7, 8, 10]), [1.5, 1.0, 0.5, 0.0])  # a half cosine of 6 steps


def test_a_schedule_is_flat_after_its_end():
    assert rates(WarmupCosine(2.0, total=10, final=0.25), [10, 11, 1000]) == [0.5] * 3


def test_a_schedule_may_end_above_zero():
    assert_close(rates(WarmupCosine(1.0, total=4, final=0.2), [0, 2, 4]), [1.0, 0.6, 0.2])


def test_a_schedule_without_an_end_stays_at_its_peak():
    assert rates(WarmupCosine(3.0), [0, 5, 10**6]) == [3.0] * 3
    assert_close(rates(WarmupCosine(3.0, warmup=2), [0, 1, 2, 10**6]), [1.0, 2.0, 3.0, 3.0])


def test_a_cooldown_is_flat_and_then_a_straight_line():
    assert_close(rates(Cooldown(2.0, 10, fraction=0.4), [0, 5, 6, 7, 9, 10, 100]), [2.0, 2.0, 2.0, 1.5, 0.5, 0.0, 0.0])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"peak": 0.0, "total": 9}, "peak=0.0, want a learning rate above 0"),
        ({"peak": 1.0, "total": 0}, "total=0, fraction=0.3, want total >= 1"),
        ({"peak": 1.0, "total": 9, "fraction": 0.0}, r"fraction=0\.0, want total >= 1 and 0 < fraction <= 1"),
        ({"peak": 1.0, "total": 9, "fraction": 1.5}, r"fraction=1\.5, want"),
    ],
)
def test_a_cooldown_with_options_out_of_range_is_refused(options, error):
    with pytest.raises(ValueError, match=error):
        Cooldown(**options)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"peak": 0.0}, "peak=0.0, want a learning rate above 0"),
        ({"peak": float("nan")}, "peak=nan, want"),
        ({"peak": 1.0, "total": 5, "warmup": 5}, "warmup=5, want 0 <= warmup < total=5"),
        ({"peak": 1.0, "total": 5, "warmup": -1}, "warmup=-1, want"),
        ({"peak": 1.0, "total": 0}, "warmup=0, want 0 <= warmup < total=0"),
    ],
)
def test_a_schedule_with_options_out_of_range_is_refused(options, error):
    with pytest.raises(ValueError, match=error):
        WarmupCosine(**options)
