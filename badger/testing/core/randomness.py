"""Random numbers of a core: functions of its state alone. Shapes as in `badger.testing.core.cases`.

A core that draws nothing holds these properties trivially, except the first.
"""

import torch
from torch import Tensor

from badger.rng import drawing_from, seeded_generator
from badger.testing.contract import by_name, close, expect, line
from badger.testing.core.cases import B, D, Make, N, build, differs, inputs, noise, run, through_a_file
from experts import Core, State, random_seeds, seeded, with_random_seeds
from experts import state as states


def seeded_state(core: Core, x: Tensor, seed: int = 0) -> State:
    """An initial state with a random seed for each episode and member."""
    return seeded(core.initial_state(x), seeded_generator(seed))


@line
def outputs_do_not_depend_on_the_global_generator(make: Make) -> None:
    core, xs = build(make), inputs()
    ys = []
    for seed in (1, 2):
        with drawing_from(seeded_generator(seed)):
            ys.append(run(core, xs, seeded_state(core, xs[0]))[0])
    close(ys[0], ys[1], "the same outputs whatever torch's default generator draws: a RandomKey in the state")


@line
def unrolling_draws_as_stepping_does(make: Make) -> None:
    core, xs = build(make), inputs()
    state = seeded_state(core, xs[0])
    ys, end = core.unroll(xs, state, noise(len(xs), B) > 9)  # without a reset, which the caller seeds
    looped, looped_end = run(core, xs, state)
    close(ys, looped, "the outputs of the loop of forward")
    close(run(core, xs, end)[0], run(core, xs, looped_end)[0], "a last state that draws as that of the loop")


@line
def a_copy_of_the_state_draws_the_same(make: Make) -> None:
    """A branch, and a run that is resumed from a file, go on bit for bit."""
    core, first, second = build(make), inputs(0), inputs(1)
    _, state = run(core, first, seeded_state(core, first[0]))
    copy = states.unpack(through_a_file(states.pack(state)), core.initial_state(first[0]))
    ys, copied = run(core, second, state)[0], run(core, second, copy)[0]
    expect(ys.equal(copied), "outputs that are equal bit for bit", f"differences up to {(ys - copied).abs().max()}")


@line
def each_seed_draws_other_numbers(make: Make) -> None:
    """Episodes and members with equal inputs differ where their seeds do; with one seed they are equal."""
    core, xs = build(make), noise(4, 1, 1, D).expand(-1, B, N, -1)
    state = seeded_state(core, xs[0])
    seeds = random_seeds(state)
    if seeds is None:
        return
    ys, _ = run(core, xs, state)
    rows = ys.flatten(1, 2).transpose(0, 1)  # all steps: numbers that are rounded may agree in one of them
    for i, row in enumerate(rows[1:], 1):
        expect(differs(row, rows[0]), "other numbers in each episode and member", f"the same in rows 0 and {i}")
    equal, _ = run(core, xs, with_random_seeds(state, torch.ones_like(seeds)))
    close(equal, equal[:, :1, :1].expand_as(equal), "equal outputs where seeds are equal")
    y, last = run(core, xs[:1], state)
    expect(differs(core(xs[0], last)[0], y[0]), "other numbers in each step", "the same")


RANDOMNESS = by_name(
    outputs_do_not_depend_on_the_global_generator,
    unrolling_draws_as_stepping_does,
    a_copy_of_the_state_draws_the_same,
    each_seed_draws_other_numbers,
)
