"""A core in the shape of nn.GRU."""

import pytest
import torch

from badger.testing.contract import close
from badger.testing.core.cases import noise
from badger.testing.core.stepping import unchecked
from experts import CORES, GRU, Unrolled


def made(core=GRU):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return core(3, 5).double()


def test_an_unrolled_gru_equals_that_of_torch():
    core, reference, xs = made(), torch.nn.GRU(3, 5).double(), noise(7, 2, 3)
    reference.load_state_dict({f"{name}_l0": value for name, value in core.state_dict().items()})
    ys, state = Unrolled(core)(xs)
    close(ys, reference(xs)[0])
    close(state.h.squeeze(1), reference(xs)[1][0])


@pytest.mark.parametrize("name", CORES)
def test_a_sequence_may_be_fed_in_parts(name):
    unrolled, xs = Unrolled(made(CORES[name])), noise(9, 2, 3)
    first, state = unrolled(xs[:4])
    rest, _ = unrolled(xs[4:], state)
    close(torch.cat([first, rest]), unrolled(xs)[0])


def test_the_batch_may_come_first():
    core, xs = made(), noise(7, 2, 3)
    close(Unrolled(core, batch_first=True)(xs.transpose(0, 1))[0].transpose(0, 1), Unrolled(core)(xs)[0])


def test_a_reset_begins_a_sequence_anew():
    unrolled, xs, reset = Unrolled(made(CORES["episodic"])), noise(7, 2, 3), torch.zeros(7, 2, dtype=torch.bool)
    reset[4, 1] = True
    ys, _ = unrolled(xs, None, reset)
    close(ys[4:, 1:], unrolled(xs[4:, 1:])[0])
    close(ys[:, :1], unrolled(xs[:, :1])[0])


@pytest.mark.parametrize("shape", [(0, 2, 3), (7, 2, 4)], ids=str)
def test_a_sequence_of_another_shape_is_refused(shape):
    with unchecked(), pytest.raises(ValueError, match=r"want \(steps, batch, input\) .* input_size=3"):
        Unrolled(made())(torch.zeros(shape, dtype=torch.double))
