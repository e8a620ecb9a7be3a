"""Shapes, dtypes and devices of a core. Shapes as in `badger.testing.core.cases`."""

import torch

from badger.testing.contract import by_name, equal, expect, line
from badger.testing.core.cases import B, D, H, Make, N, T, build, inputs, run, tensors
from experts import state as states
from experts.core import READ_WRITE_FIELDS


@line
def outputs_have_the_documented_shape(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, state = core.unroll(xs, core.initial_state(xs[0]))
    y, _ = core(xs[0], state)
    equal(tuple(ys.shape), (T, B, N, core.output_size), "outputs of unroll (steps, episodes, members, output_size)")
    equal(tuple(y.shape), (B, N, core.output_size), "an output of forward (episodes, members, output_size)")


@line
def sizes_are_those_asked_for(make: Make) -> None:
    core = build(make)
    equal((core.input_size, core.output_size), (D, H), "(input_size, output_size)")


@line
def losses_and_metrics_are_one_number_an_episode(make: Make) -> None:
    core, xs = build(make), inputs()
    _, final = run(core, xs)
    for state in (core.initial_state(xs[0]), final):
        for name, number in {**core.losses(state), **core.metrics(state)}.items():
            equal(tuple(number.shape), (B,), f"{name!r} of shape")
            expect(number.isfinite().all(), f"a finite {name!r}", number.tolist())


@line
def weights_are_one_row_of_slots_a_member(make: Make) -> None:
    core, xs = build(make), inputs()
    _, final = run(core, xs)
    for state in (core.initial_state(xs[0]), final):
        for name, weights in {"read": core.read_weights(state), "write": core.write_weights(state)}.items():
            if weights is not None:
                fits = weights.dim() == 3 and weights.shape[:2] == (B, N)
                expect(fits, f"{name}_weights None or ({B}, {N}, slots)", tuple(weights.shape))


@line
def read_write_vectors_are_one_for_each_member(make: Make) -> None:
    """Their sizes are constant in an episode, as vectors of different steps are compared with each other."""
    core, xs = build(make), inputs()
    sizes = []
    for steps in (1, 2, T):
        vectors = core.read_write_vectors(run(core, xs[:steps])[1])
        expect(set(vectors) <= set(READ_WRITE_FIELDS), f"names out of {READ_WRITE_FIELDS}", sorted(vectors))
        for name, vector in vectors.items():
            expect(vector.dim() == 3 and vector.shape[:2] == (B, N), f"{name!r} ({B}, {N}, size)", tuple(vector.shape))
            expect(vector.isfinite().all(), f"a finite {name!r}", vector.tolist())
        sizes.append({name: tuple(vector.shape) for name, vector in vectors.items()})
    expect(sizes[0] == sizes[1] == sizes[2], "vectors of one size in all steps", sizes)


@line
def any_number_of_members_works(make: Make) -> None:
    core = build(make)
    for n in (1, 2, 5):
        equal(tuple(run(core, inputs(n=n))[0].shape), (T, B, n, H), f"outputs of {n} members")


@line
def precision_follows_the_input(make: Make) -> None:
    for dtype in (torch.float32, torch.float64):
        core, xs = build(make).to(dtype), inputs().to(dtype)
        y, state = run(core, xs)
        reported = {**core.losses(state), **core.metrics(state)}.values()
        results = [y, *tensors(states.pack(state)), *tensors(states.pack(core.initial_state(xs[0]))), *reported]
        equal({t.dtype for t in results if t.is_floating_point()}, {dtype}, "all floating-point tensors of")


@line
def device_follows_the_input(make: Make) -> None:
    """Without a GPU on the meta device, whose tensors cannot be mixed with those of the CPU either."""
    device = torch.device("cuda" if torch.cuda.is_available() else "meta")
    core, xs = build(make).to(device), inputs()[:2].to(device)
    reset = torch.zeros(2, B, dtype=torch.bool, device=device)
    ys, state = core.unroll(xs, core.initial_state(xs[0]), reset)
    y, state = core(xs[0], state, torch.ones(B, N, dtype=torch.bool, device=device))
    results = [ys, y, *tensors(states.pack(state)), *core.losses(state).values(), *core.metrics(state).values()]
    equal({t.device.type for t in results}, {device.type}, "all tensors on")


SHAPES = by_name(
    outputs_have_the_documented_shape,
    sizes_are_those_asked_for,
    losses_and_metrics_are_one_number_an_episode,
    weights_are_one_row_of_slots_a_member,
    read_write_vectors_are_one_for_each_member,
    any_number_of_members_works,
    precision_follows_the_input,
    device_follows_the_input,
)
