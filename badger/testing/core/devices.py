"""A core on the meta device and under FakeTensorMode, forward and backward.

Shapes as in `badger.testing.core.cases`.
"""

import torch
from torch import Tensor

from badger.testing.contract import by_name
from badger.testing.core.cases import B, D, Make, N, build, tensors
from badger.testing.devices import META, all_on_meta, without_values
from experts import Core, State
from experts import state as states

T = 2
on_meta = without_values(build)


def case(core: Core) -> tuple[Tensor, State]:
    """Inputs (T, B, N, D) that require a gradient, and the initial state."""
    xs = torch.zeros(T, B, N, D, dtype=torch.double, device=META, requires_grad=True)
    return xs, core.initial_state(xs[0])


def check_backward(core: Core, xs: Tensor, ys: list[Tensor], state: State) -> None:
    """The backward pass of outputs and losses; the gradients and the state are on the meta device too."""
    found = [*ys, *core.losses(state).values()]
    total = torch.stack([part.sum() for part in found]).sum()
    gradients = torch.autograd.grad(total, [xs, *core.parameters()], allow_unused=True)
    all_on_meta([*found, *gradients, *tensors(states.pack(state))], "outputs, losses, gradients and state")


@on_meta
def steps_run_on_the_meta_device(make: Make, core: Core) -> None:
    xs, state = case(core)
    present, ys = torch.ones(B, N, dtype=torch.bool, device=META), []
    for t, x in enumerate(xs):
        y, state = core(x, state, present if t % 2 else None)
        ys.append(y)
    check_backward(core, xs, ys, state)


@on_meta
def unrolling_runs_on_the_meta_device(make: Make, core: Core) -> None:
    for reset in (None, torch.ones(T, B, dtype=torch.bool, device=META)):
        xs, state = case(core)
        ys, state = core.unroll(xs, state, reset)
        check_backward(core, xs, [ys], state)


@on_meta
def resets_and_new_members_run_on_the_meta_device(make: Make, core: Core) -> None:
    xs, state = case(core)
    y, state = core(xs[0], state)
    state = core.select_members(state, torch.zeros(N, dtype=torch.int64, device=META), xs[1])
    state = states.where(torch.ones(B, dtype=torch.bool, device=META), core.initial_state(xs[1]), state)
    after, state = core(xs[1], state)
    diagnostics = [*core.metrics(state).values(), *core.read_write_vectors(state).values()]
    all_on_meta([y, *diagnostics, core.read_weights(state), core.write_weights(state)], "outputs and metrics")
    check_backward(core, xs, [y, after], state)


DEVICES = by_name(
    steps_run_on_the_meta_device,
    unrolling_runs_on_the_meta_device,
    resets_and_new_members_run_on_the_meta_device,
)
