"""What every part must hold, as properties that any implementation can be put through.

`check_core(make)` takes a factory (input_size, hidden_size) -> Core, as `experts.CORES` holds them, and raises
AssertionError where the core breaks the contract. Everything runs in float64 on few, small steps.

Shapes: T step, B episode, N members that share one store, D input, Y output.
"""

import io
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import jaxtyping
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from experts import Core, Private, State
from experts import state as states
from experts.core import TRACES
from experts.recurrent.cell import Cell

Make = Callable[[int, int], Core]
T, B, N, D, H = 6, 2, 3, 4, 6
CLOSE = {"rtol": 1e-10, "atol": 1e-12}


def check_core(make: Make, *, ordered: bool = False, but: Collection[Callable] = ()) -> None:
    """Puts a core through the whole contract.

    ordered: members write one after the other, so they do not permute. but: properties that are tested elsewhere.
    """
    exempt = {*but, *((members_permute, members_may_change_places) if ordered else ())}
    for holds in CORE_PROPERTIES:
        if holds not in exempt:
            holds(make)


def build(make: Make) -> Core:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(D, H).double()


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def inputs(seed: int = 0, *, n: int = N) -> Tensor:
    return noise(T, B, n, D, seed=seed).requires_grad_()


def run(core: Callable, xs: Tensor, state: State = None, present: Tensor | None = None) -> tuple[Tensor, State]:
    """The loop of forward; present (T, B, N)."""
    state = core.initial_state(xs[0]) if state is None else state
    ys = []
    for t, x in enumerate(xs):
        y, state = core(x, state) if present is None else core(x, state, present[t])
        ys.append(y)
    return torch.stack(ys), state


def grads(ys: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a random projection of the outputs; zero where there is no path."""
    loss = (ys * noise(*ys.shape, seed=9)).sum()
    return torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True)


def close(got: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(got, want, **CLOSE)


def equal_runs(core: Core, xs: Tensor, got: Tensor, want: Tensor) -> None:
    """Same outputs, same gradients of inputs and parameters."""
    close(got, want)
    sources = [xs, *core.parameters()]
    for a, b in zip(grads(got, *sources), grads(want, *sources), strict=True):
        close(a, b)


@contextmanager
def unchecked() -> Iterator[None]:
    """Without the checks of the annotations, as outside of the tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)


@contextmanager
def compiled(core: Core, backend: str | Callable = "aot_eager") -> Iterator[Callable]:
    """A compiled core. The checks of the annotations cannot be traced."""
    torch._dynamo.reset()
    with unchecked(), torch._functorch.config.patch(donated_buffer=False):  # so that a graph may be walked again
        yield torch.compile(core, backend=backend)
    torch._dynamo.reset()


def tensors(packed: states.Packed) -> Iterator[Tensor]:
    if isinstance(packed, Tensor):
        yield packed
    elif isinstance(packed, list | dict):
        for part in packed.values() if isinstance(packed, dict) else packed:
            yield from tensors(part)


def differs(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() > 1e-6)


# Shapes, types and places


def outputs_have_the_documented_shape(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, state = core.unroll(xs, core.initial_state(xs[0]))
    y, _ = core(xs[0], state)
    assert ys.shape == (T, B, N, core.output_size) and y.shape == (B, N, core.output_size)


def sizes_are_those_asked_for(make: Make) -> None:
    core = build(make)
    assert (core.input_size, core.output_size) == (D, H)


def losses_and_metrics_are_one_number_an_episode(make: Make) -> None:
    core, xs = build(make), inputs()
    _, after = run(core, xs)
    for state in (core.initial_state(xs[0]), after):
        for name, number in {**core.losses(state), **core.metrics(state)}.items():
            assert number.shape == (B,) and number.isfinite().all(), name


def read_weights_are_one_row_of_slots_a_member(make: Make) -> None:
    core, xs = build(make), inputs()
    _, after = run(core, xs)
    for state in (core.initial_state(xs[0]), after):
        weights = core.read_weights(state)
        assert weights is None or (weights.dim() == 3 and weights.shape[:2] == (B, N))


def traces_are_vectors_of_each_member(make: Make) -> None:
    """Of the last step, in one size throughout an episode: those of many steps are compared with each other."""
    core, xs = build(make), inputs()
    sizes = []
    for steps in (1, 2, T):
        found = core.traces(run(core, xs[:steps])[1])
        assert set(found) <= set(TRACES)
        assert all(
            trace.dim() == 3 and trace.shape[:2] == (B, N) and trace.isfinite().all() for trace in found.values()
        )
        sizes.append({name: trace.shape for name, trace in found.items()})
    assert sizes[0] == sizes[1] == sizes[2]


def any_number_of_members_works(make: Make) -> None:
    core = build(make)
    for n in (1, 2, 5):
        ys, _ = run(core, inputs(n=n))
        assert ys.shape == (T, B, n, H)


def precision_follows_the_input(make: Make) -> None:
    for dtype in (torch.float32, torch.float64):
        core, xs = build(make).to(dtype), inputs().to(dtype)
        y, state = run(core, xs)
        reported = {**core.losses(state), **core.metrics(state)}.values()
        found = [y, *tensors(states.pack(state)), *tensors(states.pack(core.initial_state(xs[0]))), *reported]
        assert {t.dtype for t in found if t.is_floating_point()} == {dtype}


def device_follows_the_input(make: Make) -> None:
    """Without a GPU the meta device stands in: it refuses to be mixed with the CPU all the same."""
    device = torch.device("cuda" if torch.cuda.is_available() else "meta")
    core, xs = build(make).to(device), inputs().to(device)
    reset = torch.zeros(T, B, dtype=torch.bool, device=device)
    ys, state = core.unroll(xs, core.initial_state(xs[0]), reset)
    y, state = core(xs[0], state, torch.ones(B, N, dtype=torch.bool, device=device))
    found = [ys, y, *tensors(states.pack(state)), *core.losses(state).values(), *core.metrics(state).values()]
    assert {t.device.type for t in found} == {device.type}


# What may depend on what


def rows_do_not_leak_into_each_other(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, _ = run(core, xs)
    alone, _ = run(core, xs[:, 1:])
    close(ys[:, 1:], alone)
    assert not grads(ys[:, 1], xs)[0][:, 0].any()


def an_episode_does_not_leak_into_the_next(make: Make) -> None:
    core, first, second = build(make), inputs(0), inputs(1)
    _, state = run(core, first)
    state = states.where(torch.ones(B, dtype=torch.bool), core.initial_state(second[0]), state)
    ys, _ = run(core, second, state)
    equal_runs(core, second, ys, run(core, second)[0])
    assert not grads(ys, first)[0].any()


def a_reset_touches_only_its_rows(make: Make) -> None:
    core, xs = build(make), inputs()
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[3, 0] = True
    ys, _ = core.unroll(xs, core.initial_state(xs[0]), reset)
    close(ys[:, 1], run(core, xs)[0][:, 1])
    close(ys[:3, 0], run(core, xs)[0][:3, 0])
    close(ys[3:, 0], run(core, xs[3:])[0][:, 0])


def the_future_cannot_change_the_past(make: Make) -> None:
    core, xs = build(make), inputs()
    other = torch.cat([xs[:3], inputs(1)[3:]])
    ys, _ = core.unroll(xs, core.initial_state(xs[0]))
    changed, _ = core.unroll(other, core.initial_state(xs[0]))
    close(changed[:3], ys[:3])
    assert not grads(ys[:3], xs)[0][3:].any()


def a_step_leaves_the_old_state_as_it_was(make: Make) -> None:
    core, xs = build(make), inputs()
    _, state = run(core, xs)
    before = list(tensors(states.pack(state)))
    run(core, inputs(1), state)
    for now, then in zip(tensors(states.pack(state)), before, strict=True):
        assert now.equal(then)


def a_core_keeps_nothing_between_calls(make: Make) -> None:
    core, xs = build(make), inputs()
    other = run(build(make), inputs(1))[1]
    ys, state = [], core.initial_state(xs[0])
    for x in xs:  # steps of another episode in between
        y, state = core(x, state)
        _, other = core(x + 1, other)
        ys.append(y)
    equal_runs(core, xs, torch.stack(ys), run(core, xs)[0])


def gradient_reaches_the_first_input(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, _ = run(core, xs)
    (grad,) = grads(ys[-1], xs)
    assert grad.isfinite().all() and (grad[0].abs().amax(-1) > 0).all()


def detaching_cuts_the_past_off(make: Make) -> None:
    core, first, second = build(make), inputs(0), inputs(1)
    _, state = run(core, first)
    ys, _ = run(core, second, states.detach(state))
    close(ys, run(core, second, state)[0])
    assert not grads(ys, first)[0].any()


# Members


def members_permute(make: Make) -> None:
    core, xs, order = build(make), inputs(), [2, 0, 1]
    close(run(core, xs[:, :, order])[0], run(core, xs)[0][:, :, order])


def absent_members_do_not_change_the_others(make: Make) -> None:
    core, xs = build(make), inputs()
    present = torch.tensor([True, True, False]).expand(T, B, N)
    ys, _ = run(core, xs, present=present)
    without, _ = run(core, xs[:, :, :2])
    close(ys[:, :, :2], without)
    assert not grads(ys[:, :, :2], xs)[0][:, :, 2].any()


def a_member_that_leaves_later_does_not_change_the_others(make: Make) -> None:
    core, xs = build(make), inputs()
    present = torch.ones(T, B, N, dtype=torch.bool)
    present[2:5, 0, 1] = False
    ys, _ = run(core, xs, present=present)
    others = torch.where(present.unsqueeze(-1), xs, xs + 1)
    close(run(core, others, present=present)[0], ys)
    assert not grads(ys, xs)[0][2:5, 0, 1].any()


def absent_members_give_their_last_output(make: Make) -> None:
    core, xs = build(make), inputs()
    present = torch.ones(T, B, N, dtype=torch.bool)
    present[2:4, 0, 1] = False
    ys, _ = run(core, xs, present=present)
    close(ys[2, 0, 1], ys[1, 0, 1])
    close(ys[3, 0, 1], ys[1, 0, 1])
    assert differs(ys[4, 0, 1], ys[1, 0, 1])


def an_absent_step_never_was(make: Make) -> None:
    core, xs = build(make), inputs(n=1)
    there = torch.tensor([True, True, False, False, True, True])
    ys, _ = run(core, xs, present=there.view(T, 1, 1).expand(T, B, 1))
    close(ys[there], run(core, xs[there])[0])


def private_equals_separate_copies(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, _ = run(Private(core), xs)
    apart = torch.cat([run(core, xs[:, :, i : i + 1])[0] for i in range(N)], 2)
    equal_runs(core, xs, ys, apart)


def members_may_change_places(make: Make) -> None:
    core, first, second, order = build(make), inputs(0), inputs(1), torch.tensor([2, 0, 1])
    _, state = run(core, first)
    moved = core.members(state, order, second[0][:, order])
    close(run(core, second[:, :, order], moved)[0], run(core, second, state)[0][:, :, order])


def members_leave_and_fresh_ones_join(make: Make) -> None:
    """Seen from the one that stays: it goes on, whoever comes. Stores of their own, for a shared one remembers."""
    core, first, second = Private(build(make)), inputs(0), inputs(1, n=4)
    _, state = run(core, first)
    state = core.members(state, torch.tensor([-1, 2, 0, -1]), second[0])
    ys, _ = run(core, second, state)
    went_on, _ = run(core, torch.cat([first[:, :, [2, 0]], second[:, :, 1:3]]))
    close(ys[:, :, 1:3], went_on[T:])
    close(ys[:, :, [0, 3]], run(core, second[:, :, [0, 3]])[0])


def fresh_members_of_a_fresh_state_are_fresh(make: Make) -> None:
    core, xs = build(make), inputs(n=5)
    state = core.members(core.initial_state(xs[0][:, :2]), torch.tensor([-1, 1, -1, 0, -1]), xs[0])
    close(run(core, xs, state)[0], run(core, xs)[0])


def overridden_members_equal_the_default(make: Make) -> None:
    """Where the default applies, which wants the members' axis in every leaf of the state."""
    core, xs, later = build(make), inputs(0), inputs(1)
    _, state = run(core, xs)
    for index in ([1, 1, 0], [2, -1, 0]):
        try:
            default = Core.members(core, state, torch.tensor(index), later[0])
        except (IndexError, RuntimeError):  # a leaf without that axis: a shared store
            return
        own = core.members(state, torch.tensor(index), later[0])
        close(run(core, later, own)[0], run(core, later, default)[0])


# Ways to step


def a_cells_written_out_gradient_is_that_of_autograd(make: Make) -> None:
    """Of cores that are a `Cell`: memories around them take its word for it."""
    core = build(make)
    if not isinstance(core, Cell):
        return
    parts = len(core.initial_state(noise(B, N, D)))
    from_x, from_h = (noise(B, N, core.gates * H, seed=i).requires_grad_() for i in (1, 2))
    state = tuple(noise(B, N, H, seed=3 + i).requires_grad_() for i in range(parts))
    given = tuple(noise(B, N, H, seed=6 + i) for i in range(parts))
    new, kept = core.advance(from_x, from_h, state)
    want = torch.autograd.grad(new, (from_x, from_h, *state), given, materialize_grads=True)
    with torch.no_grad():
        to_x, to_h, to_state = core.retreat(given, state, kept)
    for a, b in zip((to_x, to_h, *to_state), want, strict=True):
        close(a, b)


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
        close(run(core, xs, last)[0], run(core, xs, end)[0])


def branches_of_an_old_state_do_not_meet(make: Make) -> None:
    """Outputs and gradients of two branches, stepped in turns, are those of two whole episodes."""
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


def rows_of_a_state_may_be_picked(make: Make) -> None:
    core, first, second, rows = build(make), inputs(0), inputs(1), torch.tensor([1, 0, 1])
    _, state = run(core, first)
    ys, _ = run(core, second[:, rows], states.index(state, rows))
    equal_runs(core, first, ys, run(core, second, state)[0][:, rows])


def the_state_survives_a_save_in_mid_episode(make: Make) -> None:
    core, first, second = build(make), inputs(0), inputs(1)
    _, state = run(core, first)
    file = io.BytesIO()
    torch.save(states.pack(state), file)
    file.seek(0)
    loaded = states.unpack(torch.load(file, weights_only=True), core.initial_state(first[0]))
    equal_runs(core, second, run(core, second, loaded)[0], run(core, second, states.detach(state))[0])


def one_step_may_be_checkpointed(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, state = [], core.initial_state(xs[0])
    for x in xs:
        y, state = checkpoint(core, x, state, use_reentrant=False)
        ys.append(y)
    equal_runs(core, xs, torch.stack(ys), run(core, xs)[0])


def several_steps_may_be_checkpointed(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, state = [], core.initial_state(xs[0])
    for segment in xs.split(3):
        y, state = checkpoint(core.unroll, segment, state, use_reentrant=False)
        ys.append(y)
    equal_runs(core, xs, torch.cat(ys), run(core, xs)[0])


def one_step_may_be_compiled(make: Make) -> None:
    core, xs = build(make), inputs()
    with compiled(core) as step:
        ys, _ = run(step, xs, core.initial_state(xs[0]))
        equal_runs(core, xs, ys, run(core, xs)[0])


CORE_PROPERTIES: list[Callable[[Make], None]] = [
    outputs_have_the_documented_shape,
    sizes_are_those_asked_for,
    losses_and_metrics_are_one_number_an_episode,
    read_weights_are_one_row_of_slots_a_member,
    traces_are_vectors_of_each_member,
    any_number_of_members_works,
    precision_follows_the_input,
    device_follows_the_input,
    rows_do_not_leak_into_each_other,
    an_episode_does_not_leak_into_the_next,
    a_reset_touches_only_its_rows,
    the_future_cannot_change_the_past,
    a_step_leaves_the_old_state_as_it_was,
    a_core_keeps_nothing_between_calls,
    gradient_reaches_the_first_input,
    detaching_cuts_the_past_off,
    members_permute,
    absent_members_do_not_change_the_others,
    a_member_that_leaves_later_does_not_change_the_others,
    absent_members_give_their_last_output,
    an_absent_step_never_was,
    private_equals_separate_copies,
    members_may_change_places,
    members_leave_and_fresh_ones_join,
    fresh_members_of_a_fresh_state_are_fresh,
    overridden_members_equal_the_default,
    a_cells_written_out_gradient_is_that_of_autograd,
    unroll_equals_the_loop_of_forward,
    branches_of_an_old_state_do_not_meet,
    rows_of_a_state_may_be_picked,
    the_state_survives_a_save_in_mid_episode,
    one_step_may_be_checkpointed,
    several_steps_may_be_checkpointed,
    one_step_may_be_compiled,
]
