"""What a memory tells of itself, by hand."""

from math import exp, log

import pytest
import torch

from experts.memory_metrics import store_metrics

A, C = [1.0, 0.0], [0.0, 2.0]  # keys, of no cosine


def metrics(keys: list, counts: list, weights: tuple = (1.0,)) -> dict[str, float]:
    """Of a single store, read by one member."""
    numbers = store_metrics(torch.tensor([keys]), torch.tensor([counts]), torch.tensor([[weights]]))
    return {name: value.item() for name, value in numbers.items()}


def test_rows_that_differ_are_worth_one_slot_each():
    assert metrics([A, C], [True, True])["effective_slots"] == pytest.approx(2)


def test_rows_that_are_alike_are_worth_one_slot_together():
    numbers = metrics([A, [3.0, 0.1], A], [True, True, True])
    assert numbers["effective_slots"] == pytest.approx(1) and numbers["duplicate_rate"] == 1


def test_a_rare_thing_is_worth_less_than_a_slot():
    want = exp(-(0.75 * log(0.75) + 0.25 * log(0.25)))
    assert metrics([A, C], [3.0, 1.0])["effective_slots"] == pytest.approx(want)


def test_merging_rows_that_are_alike_changes_no_effective_slot():
    separate, merged = metrics([A, A, C, A], [True] * 4), metrics([A, C], [3.0, 1.0])
    assert separate["effective_slots"] == pytest.approx(merged["effective_slots"])
    assert (separate["duplicate_rate"], merged["duplicate_rate"]) == (0.75, 0)
    assert (separate["slots_used"], merged["slots_used"]) == (4, 2)


def test_rows_that_do_not_count_are_worth_nothing():
    numbers = metrics([A, A, C, C], [True, False, False, False])
    assert (numbers["effective_slots"], numbers["duplicate_rate"], numbers["slots_used"]) == (1, 0, 1)
    assert metrics([A, C], [False, False])["effective_slots"] == 0


def test_a_key_of_zeros_is_one_thing():
    assert metrics([[0.0, 0.0], A], [True, True])["effective_slots"] == pytest.approx(2)


def test_entropy_is_that_of_the_shares_whatever_their_sign():
    assert metrics([A, C], [True, True], (-2.0, 2.0))["read_entropy"] == pytest.approx(log(2))
