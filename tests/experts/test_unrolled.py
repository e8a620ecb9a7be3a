"""A core in the shape of nn.GRU."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence, pad_packed_sequence

from badger.testing.contract import close
from badger.testing.core.cases import noise
from badger.testing.core.stepping import unchecked
from experts import CORES, GRU, LSTM, Unrolled

CELLS = pytest.mark.parametrize("cell, reference", [(GRU, nn.GRU), (LSTM, nn.LSTM)])
LENGTHS = [3, 7, 1, 7]


def made(core=GRU):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return core(3, 5).double()


def pair(cell, reference, **options):
    """An unrolled cell, and torch's own with the same weights."""
    core, theirs = made(cell), reference(3, 5, **options).double()
    theirs.load_state_dict({f"{name}_l0": value for name, value in core.state_dict().items()})
    return Unrolled(core, **options), theirs


def inputs(reference, batch, seed=3):
    parts = tuple(noise(1, batch, 5, seed=seed + i) for i in range(2))
    return parts if reference is nn.LSTM else parts[0]


@CELLS
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("start", [False, True])
def test_sequences_and_states_are_those_of_torch(cell, reference, batch_first, start):
    ours, theirs = pair(cell, reference, batch_first=batch_first)
    xs, state = noise(4, 2, 3), inputs(reference, 2 if not batch_first else 4) if start else None
    close(ours(xs, state), theirs(xs, state))


@CELLS
@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("order", [LENGTHS, sorted(LENGTHS, reverse=True)])
def test_packed_sequences_are_those_of_torch(cell, reference, start, order):
    ours, theirs = pair(cell, reference)
    packed = pack_padded_sequence(noise(7, 4, 3), torch.tensor(order), enforce_sorted=order != LENGTHS)
    state = inputs(reference, 4) if start else None
    (got, end), (want, last) = ours(packed, state), theirs(packed, state)
    close(end, last)
    assert all(a is b is None or torch.equal(a, b) for a, b in zip(got[1:], want[1:], strict=True))
    close(got.data, want.data)


@CELLS
def test_gradients_through_packed_sequences_are_those_of_torch(cell, reference):
    ours, theirs = pair(cell, reference)
    slopes = []
    for module in (ours, theirs):
        xs = [noise(n, 3, seed=i).requires_grad_() for i, n in enumerate(LENGTHS)]
        ys, _ = module(pack_sequence(xs, enforce_sorted=False))
        slopes.append(torch.autograd.grad(ys.data.square().sum(), [*xs, *module.parameters()]))
    close(slopes[0], slopes[1])


@pytest.mark.parametrize("name", CORES)
def test_packed_sequences_are_each_sequence_alone(name):
    unrolled, xs = Unrolled(made(CORES[name])), [noise(n, 1, 3, seed=i) for i, n in enumerate(LENGTHS)]
    packed, state = unrolled(pack_sequence([x.squeeze(1) for x in xs], enforce_sorted=False))
    ys, lengths = pad_packed_sequence(packed)
    assert lengths.tolist() == LENGTHS
    more = noise(2, 4, 3, seed=9)
    continued, _ = unrolled(more, state)
    for i, x in enumerate(xs):
        y, end = unrolled(x)
        close(ys[: len(x), i : i + 1], y)
        close(continued[:, i : i + 1], unrolled(more[:, i : i + 1], end)[0])


@pytest.mark.parametrize("name", CORES)
def test_a_sequence_may_be_fed_in_parts(name):
    unrolled, xs = Unrolled(made(CORES[name])), noise(9, 2, 3)
    first, state = unrolled(xs[:4])
    rest, _ = unrolled(xs[4:], state)
    close(torch.cat([first, rest]), unrolled(xs)[0])


@pytest.mark.parametrize("name", CORES)
def test_no_sequences_at_all_are_unrolled(name):
    ys, _ = Unrolled(made(CORES[name]))(noise(7, 0, 3))
    assert ys.shape == (7, 0, 5)


def test_the_state_of_no_sequences_is_that_of_torch():
    ours, theirs = pair(GRU, nn.GRU)
    assert ours(noise(7, 0, 3))[1].shape == theirs(noise(7, 0, 3))[1].shape


def test_a_state_of_the_core_itself_is_taken_too():
    ours, theirs = pair(GRU, nn.GRU)
    xs, h = noise(7, 2, 3), inputs(nn.GRU, 2)
    close(ours(xs, ours.core.State(h.transpose(0, 1)))[0], theirs(xs, h)[0])


def test_a_reset_begins_a_sequence_anew():
    unrolled, xs, reset = Unrolled(made(CORES["episodic"])), noise(7, 2, 3), torch.zeros(7, 2, dtype=torch.bool)
    reset[4, 1] = True
    ys, _ = unrolled(xs, None, reset)
    close(ys[4:, 1:], unrolled(xs[4:, 1:])[0])
    close(ys[:, :1], unrolled(xs[:, :1])[0])


@pytest.mark.parametrize("shape", [(0, 2, 3), (7, 2, 4), (7, 3)], ids=str)
def test_a_sequence_of_another_shape_is_refused(shape):
    with unchecked(), pytest.raises(ValueError, match=r"want \(steps, batch, input\) .* input_size=3"):
        Unrolled(made())(torch.zeros(shape, dtype=torch.double))


@pytest.mark.parametrize(("shape", "core"), [((2, 1, 5), GRU), ((1, 3, 5), GRU), ((1, 2, 5), LSTM)], ids=str)
def test_a_state_of_another_shape_is_refused(shape, core):
    with pytest.raises(ValueError, match=r"state \[\(.*\)\], want h.* of shape \(1, 2, 5\), or None"):
        Unrolled(made(core))(noise(7, 2, 3), noise(*shape))


def test_packed_numbers_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"x.data \(4, 2\), want \(steps, input_size=3\)"):
        Unrolled(made())(pack_sequence([noise(4, 2)]))


def test_packed_sequences_do_not_begin_anew():
    with pytest.raises(ValueError, match="reset with a PackedSequence, want None: pass padded"):
        Unrolled(made())(pack_sequence([noise(4, 3)]), None, torch.zeros(4, 1, dtype=torch.bool))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bidirectional": True}, r"bidirectional=True, want False: .*xs\.flip"),
        ({"num_layers": 2}, "num_layers=2, want 1: stack several Unrolled"),
        ({"dropout": 0.5}, r"dropout=0\.5, want 0: .*nn\.Dropout"),
    ],
)
def test_what_a_core_cannot_do_is_refused_in_words(options, message):
    with pytest.raises(ValueError, match=message):
        Unrolled(made(), **options)
