"""A GRU's steps over sequences, forward and back, against torch's own."""

import pytest
import torch
from torch.testing import assert_close

from experts import GRU
from experts.kernels.library import without_kernels
from experts.recurrent.cell import Cell
from toys import seeded


def gone_through(core, reset, own, monkeypatch):
    """Outputs, last state, and the gradients of a sum of both with respect to all that they follow from."""
    rng = seeded(1)
    xs, h, w, v = (
        torch.randn(size, dtype=torch.float64, generator=rng, requires_grad=i < 2)
        for i, size in enumerate([(7, 3, 2, 4), (3, 2, 5), (7, 3, 2, 5), (3, 2, 5)])
    )
    with monkeypatch.context() as patch, without_kernels():
        if not own:
            patch.setattr(GRU, "_sequence", Cell._sequence)
        ys, (last,) = core.unroll(xs, core.State(h), reset)
    return [ys, last, *torch.autograd.grad((ys * w).sum() + (last * v).sum(), [xs, h, *core.parameters()])]


@pytest.mark.parametrize("chance", [None, 0.0, 0.3, 1.0])
def test_its_outputs_and_gradients_are_those_of_torch_wherever_rows_begin_anew(chance, monkeypatch):
    torch.manual_seed(0)
    core = GRU(4, 5).double()
    reset = None if chance is None else torch.rand(7, 3, generator=seeded()) < chance
    ours, theirs = (gone_through(core, reset, own, monkeypatch) for own in (True, False))
    assert_close(ours, theirs)
    assert all(part.abs().sum() > 0 for part in ours[:3])
