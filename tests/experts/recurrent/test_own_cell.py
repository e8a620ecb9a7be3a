"""A cell with a step of its own, derived from one that has quicker forms."""

from functools import partial

import pytest
import torch

from experts import GRU, Core, EpisodicMemory


class Leaky(GRU):
    """Half of the state stays, whatever the gates say."""

    @staticmethod
    def cell_forward(x_proj, h_proj, state):
        (new,), saved = GRU.cell_forward(x_proj, h_proj, state)
        return (0.5 * (new + state[0]),), saved

    @staticmethod
    def cell_backward(grads, state, saved):
        half = 0.5 * grads[0]
        to_x, to_h, (to_state,) = GRU.cell_backward((half,), state, saved)
        return to_x, to_h, (to_state + half,)


def episode():
    return torch.randn(5, 3, 1, 4, generator=torch.Generator().manual_seed(0), dtype=torch.double)


def test_its_step_is_its_own():
    leaky, plain, x = Leaky(4, 7).double(), GRU(4, 7).double(), episode()[0]
    plain.load_state_dict(leaky.state_dict())
    state = plain.State(torch.rand(3, 1, 7, dtype=torch.double))
    torch.testing.assert_close(leaky(x, state)[0], 0.5 * (plain(x, state)[0] + state.h))


@pytest.mark.parametrize("core", [Leaky, partial(EpisodicMemory, controller=partial(Leaky, hidden_size=7), slots=3)])
@pytest.mark.parametrize("resets", [False, True])
def test_an_unroll_is_the_loop_of_its_steps(core, resets):
    built, xs = core(4) if isinstance(core, partial) else core(4, 7), episode()
    built, reset = built.double(), torch.zeros(5, 3, dtype=torch.bool) if resets else None
    if reset is not None:
        reset[2, 1] = True
    found = []
    for unroll in (built.unroll, partial(Core.unroll, built)):
        ys, _ = unroll(xs, built.initial_state(xs[0]), reset)
        found.append([ys, *torch.autograd.grad(ys.square().sum(), list(built.parameters()))])
    torch.testing.assert_close(*found)


def test_a_step_without_its_gradient_is_refused():
    with pytest.raises(TypeError, match="Half has a cell_forward of its own: want cell_backward, its gradient"):
        type("Half", (GRU,), {"cell_forward": staticmethod(Leaky.cell_forward)})
