"""The cells of the controllers are PyTorch's; cores of no episodes at all."""

import pytest
import torch
from torch import nn

from badger.testing.core.cases import B, D, H, N, T, grads, noise, run
from experts import CORES, GRU, LSTM


@pytest.mark.parametrize("name", CORES)
def test_no_episodes_at_all_are_stepped_and_unrolled(name):
    core = CORES[name](D, H)
    xs = torch.zeros(T, 0, N, D)
    ys, state = run(core, xs)
    assert ys.shape == core.unroll(xs, core.initial_state(xs[0]))[0].shape == (T, 0, N, H)
    assert all(number.shape == (0,) for number in core.metrics(state).values())


@pytest.mark.parametrize("cell", [GRU, LSTM])
def test_a_cell_of_no_size_is_refused(cell):
    with pytest.raises(ValueError, match="hidden_size=0, want at least 1"):
        cell(D, 0)


def step_of(cell: nn.RNNCellBase, x: torch.Tensor, state: tuple) -> tuple:
    """One step of PyTorch's cell, seen as a core on (B, N, D)."""
    flat = [part.flatten(0, 1) for part in state]
    new = cell(x.flatten(0, 1), tuple(flat) if len(flat) > 1 else flat[0])
    parts = [part.view(B, N, H) for part in (new if isinstance(new, tuple) else (new,))]
    return parts[0], parts


CELLS = pytest.mark.parametrize("core, cell", [(GRU, nn.GRUCell), (LSTM, nn.LSTMCell)])


@CELLS
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_a_controller_equals_the_cell_of_pytorch(core, cell, dtype, tolerance):
    ours, theirs = core(D, H).to(dtype), cell(D, H).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    xs = noise(T, B, N, D).to(dtype).requires_grad_()
    got, _ = run(ours, xs)
    state, want = ours.initial_state(xs[0]), []
    for x in xs:
        y, state = step_of(theirs, x, state)
        want.append(y)
    pairs = zip(
        [got, *grads(got, xs, *ours.parameters())],
        [torch.stack(want), *grads(torch.stack(want), xs, *theirs.parameters())],
        strict=True,
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(1, b.abs().max().item()))


@CELLS
def test_a_controller_takes_the_weights_of_the_cell_of_pytorch(core, cell):
    ours, theirs = core(D, H), cell(D, H)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(B, N, D, generator=torch.Generator().manual_seed(0))
    state = ours.initial_state(x)
    torch.testing.assert_close(ours(x, state)[0], step_of(theirs, x, state)[0], rtol=1e-6, atol=1e-6)
