"""Randomness is derived: the same names give the same stream, and other ones another."""

import pytest
import torch

from badger.rng import drawing_from, generator

BASE = {"seed": 3, "stream": "train", "step": 5, "rank": 1}


@pytest.fixture
def default():
    """The state of torch's default generator, a state in which no other test leaves it."""
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        yield torch.get_rng_state()


def draws(rng):
    return torch.rand(8, generator=rng).tolist()


def test_the_same_names_give_the_same_stream():
    assert draws(generator(**BASE)) == draws(generator(**BASE))


@pytest.mark.parametrize("change", [{"seed": 4}, {"stream": "evaluate"}, {"step": 6}, {"rank": 0}])
def test_another_name_gives_another_stream(change):
    assert draws(generator(**BASE | change)) != draws(generator(**BASE))


def test_seed_stream_rank_and_step_are_not_interchangeable():
    """Every one of the four has a place of its own in what a stream follows from."""
    streams = [
        generator(s, "train", step, rank=r).initial_seed() for s in range(4) for step in range(4) for r in range(4)
    ]
    assert len(set(streams)) == 64


def test_a_stream_does_not_depend_on_the_process():
    assert generator(1, "train", 2, rank=3).initial_seed() == 10985546866714295317  # written down once


def test_a_stream_does_not_touch_the_default_generator(default):
    draws(generator(0, "train"))
    assert torch.equal(torch.get_rng_state(), default)


def test_code_without_a_generator_argument_samples_from_the_given_one():
    with drawing_from(generator(0, "init")):
        drawn = torch.rand(8).tolist()
    assert drawn == draws(generator(0, "init"))


def test_the_default_generator_is_restored(default):
    with drawing_from(generator(0, "init")):
        torch.rand(8)
    assert torch.equal(torch.get_rng_state(), default)


def test_the_default_generator_is_restored_after_an_error(default):
    with pytest.raises(ZeroDivisionError), drawing_from(generator(0, "init")):
        torch.rand(8)
        raise ZeroDivisionError
    assert torch.equal(torch.get_rng_state(), default)
