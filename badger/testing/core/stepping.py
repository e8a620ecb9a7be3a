"""Equivalent ways to step a core: unrolled, branched, saved, checkpointed, compiled.

Shapes as in `badger.testing.core.cases`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import jaxtyping
import torch
from torch.utils.checkpoint import checkpoint

from badger.testing.contract import by_name, close, line
from badger.testing.core.cases import B, D, H, Make, N, T, build, equal_runs, inputs, noise, run, through_a_file
from experts import Core
from experts import state as states
from experts.recorded import keeps_records, record_steps
from experts.recurrent.cell import Cell


@contextmanager
def unchecked() -> Iterator[None]:
    """Disables jaxtyping's checks of annotations, which test runs may enable."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@contextmanager
def compiled(core: Core, backend: str | Callable = "eager") -> Iterator[Callable]:
    """A compiled core, with graph breaks at functions that it excludes from compilation.

    jaxtyping's checks of annotations, which cannot be traced, are disabled.
    """
    torch.compiler.reset()
    with unchecked():
        yield torch.compile(core, backend=backend)
    torch.compiler.reset()


@line
def cell_backward_equals_autograd(make: Make) -> None:
    """Only for a `Cell`, whose backward pass memories use."""
    core = build(make)
    if not isinstance(core, Cell):
        return
    parts = len(core.initial_state(noise(B, N, D)))
    x_proj, h_proj = (noise(B, N, core.gates * H, seed=i).requires_grad_() for i in (1, 2))
    state = tuple(noise(B, N, H, seed=3 + i).requires_grad_() for i in range(parts))
    grad_state = tuple(noise(B, N, H, seed=6 + i) for i in range(parts))
    new, saved = core.cell_forward(x_proj, h_proj, state)
    want = torch.autograd.grad(new, (x_proj, h_proj, *state), grad_state, materialize_grads=True)
    with torch.no_grad():
        grad_x, grad_h, grad_old = core.cell_backward(grad_state, state, saved)
    for a, b in zip((grad_x, grad_h, *grad_old), want, strict=True):
        close(a, b, "the gradient of autograd")


@line
def unroll_equals_the_loop_of_forward(make: Make) -> None:
    core, xs = build(make), inputs()
    _, state = run(core, inputs(1))
    for reset in (None, noise(T, B) > 0):
        looped, end = [], state
        for t, x in enumerate(xs):
            if reset is not None:
                end = states.where(reset[t], core.initial_state(x), end)
            y, end = core(x, end)
            looped.append(y)
        ys, last = core.unroll(xs, state, reset)
        equal_runs(core, xs, ys, torch.stack(looped))
        close(run(core, xs, last)[0], run(core, xs, end)[0], "a last state equivalent to that of the loop")


@line
def unroll_recorded_equals_the_loop_of_forward(make: Make) -> None:
    """Outputs, losses and gradients of both, with resets, from a state in mid-episode; only for cores with records."""
    core, xs = build(make), inputs()
    with torch.no_grad():
        _, state = run(core, inputs(1))
    if not keeps_records(core, state):
        return
    for reset in (None, noise(T, B) > 0):
        with torch.no_grad():
            records, _ = record_steps(core, xs, state, reset)
        looped, losses, end = [], [], state
        for t, x in enumerate(xs):
            if reset is not None:
                end = states.where(reset[t], core.initial_state(x), end)
            y, end = core(x, end)
            looped.append(y)
            losses.append(core.losses(end))
        got = core.unroll_recorded(xs, records, state, reset)
        equal_runs(core, xs, got[0], torch.stack(looped))
        for name in losses[0]:
            equal_runs(core, xs, got[1][name], torch.stack([loss[name] for loss in losses]))


@line
def branches_of_an_old_state_are_independent(make: Make) -> None:
    """Outputs and gradients of two branches, stepped alternately, are those of two separate episodes."""
    core, trunk, left, right = build(make), inputs(0), inputs(1), inputs(2)
    _, state = run(core, trunk)
    ys: tuple[list, list] = ([], [])
    ends = [state, state]
    for t in range(T):
        for side, xs in enumerate((left, right)):
            y, ends[side] = core(xs[t], ends[side])
            ys[side].append(y)
    whole = [run(core, torch.cat([trunk, xs]))[0][T:] for xs in (left, right)]
    equal_runs(core, trunk, torch.stack([*ys[0], *ys[1]]), torch.cat(whole))


@line
def episodes_of_a_state_can_be_selected(make: Make) -> None:
    core, first, second, rows = build(make), inputs(0), inputs(1), torch.tensor([1, 0, 1])
    _, state = run(core, first)
    ys, _ = run(core, second[:, rows], states.index(state, rows))
    equal_runs(core, first, ys, run(core, second, state)[0][:, rows])


@line
def the_state_survives_a_save_in_mid_episode(make: Make) -> None:
    core, first, second = build(make), inputs(0), inputs(1)
    _, state = run(core, first)
    loaded = states.unpack(through_a_file(states.pack(state)), core.initial_state(first[0]))
    equal_runs(core, second, run(core, second, loaded)[0], run(core, second, states.detach(state))[0])


@line
def one_step_may_be_checkpointed(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, state = [], core.initial_state(xs[0])
    for x in xs:
        y, state = checkpoint(core, x, state, use_reentrant=False)
        ys.append(y)
    equal_runs(core, xs, torch.stack(ys), run(core, xs)[0])


@line
def several_steps_may_be_checkpointed(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, state = [], core.initial_state(xs[0])
    for segment in xs.split(3):
        y, state = checkpoint(core.unroll, segment, state, use_reentrant=False)
        ys.append(y)
    equal_runs(core, xs, torch.cat(ys), run(core, xs)[0])


@line
def one_step_may_be_compiled(make: Make) -> None:
    """By the eager backend, which traces the step and generates no code."""
    core, xs = build(make), inputs()[:3]
    with compiled(core) as step:
        ys, _ = run(step, xs, core.initial_state(xs[0]))
        equal_runs(core, xs, ys, run(core, xs)[0])


@line
def one_step_may_be_compiled_to_code(make: Make) -> None:
    """By inductor, which needs a C++ compiler and half a minute; `check_core` does not include it."""
    core, xs = build(make), inputs()[:3]
    sources = [xs, *core.parameters()]
    with compiled(core, "inductor") as step:
        runs = [run(function, xs, core.initial_state(xs[0]))[0] for function in (step, core)]
        gradients = [torch.autograd.grad(ys.square().sum(), sources, materialize_grads=True) for ys in runs]
    close(runs[0], runs[1], "equal outputs")
    close(gradients[0], gradients[1], "equal gradients of inputs and parameters")


STEPPING = by_name(
    cell_backward_equals_autograd,
    unroll_equals_the_loop_of_forward,
    unroll_recorded_equals_the_loop_of_forward,
    branches_of_an_old_state_are_independent,
    episodes_of_a_state_can_be_selected,
    the_state_survives_a_save_in_mid_episode,
    one_step_may_be_checkpointed,
    several_steps_may_be_checkpointed,
    one_step_may_be_compiled,
)
