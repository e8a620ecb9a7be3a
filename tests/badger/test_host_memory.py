"""Memory of the machine, and errors about too little of it."""

import numpy as np
import pytest
import torch

from badger import GRU, Attention, GuessingGame
from badger.host_memory import check_fits, format_bytes, limited_memory, out_of_memory_message, total_memory
from badger.rollouts.footprint import parameter_bytes, state_bytes, trajectory_bytes

TOO_MUCH = 2**45


def test_the_memory_of_the_machine_holds_this_process():
    assert 2**28 < total_memory() < 2**50


def test_what_does_not_fit_is_refused_with_its_bytes():
    check_fits(1000, "a little")
    with pytest.raises(ValueError, match=rf"want smaller sizes: the lot would take {TOO_MUCH} bytes .35.2 TB., and"):
        check_fits(TOO_MUCH, "the lot")


def test_an_allocation_beyond_the_machine_raises_instead_of_ending_the_process():
    with limited_memory():
        with pytest.raises(MemoryError) as numpy_error:
            np.empty(TOO_MUCH)
        with pytest.raises(RuntimeError) as torch_error:
            torch.zeros(TOO_MUCH)
    assert "Unable to allocate" in out_of_memory_message(numpy_error.value)
    assert f"{4 * TOO_MUCH} bytes (141 TB)" in out_of_memory_message(torch_error.value)


def test_other_errors_have_no_message_about_memory():
    assert out_of_memory_message(RuntimeError("shape mismatch")) is None


@pytest.mark.parametrize(("count", "text"), [(12, "12 bytes"), (1234, "1.23 KB"), (25 * 10**9, "25 GB")])
def test_bytes_are_shown_in_a_readable_unit(count, text):
    assert format_bytes(count) == text


def test_parameters_are_counted():
    assert parameter_bytes(torch.nn.Linear(3, 5)) == 4 * (3 * 5 + 5)


def test_the_state_of_experts_is_counted_without_allocating_it():
    core, bus = GRU(3, 6), Attention(6, 4)
    small, large = (state_bytes(core, bus, batch=batch, experts=2) for batch in (1, TOO_MUCH))
    assert small >= 4 * 2 * (3 + 6 + 6) and large == TOO_MUCH * small


def test_recorded_steps_are_counted():
    assert trajectory_bytes(GuessingGame(dims=2), batch=3, steps=5) == 4 * 3 * 5 * (1 + 2 + 1)
