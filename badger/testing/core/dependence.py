"""Independence of episodes, rows and steps in a core. Shapes as in `badger.testing.core.cases`."""

import torch

from badger.testing.contract import by_name, close, expect, line, no_gradient
from badger.testing.core.cases import B, Make, T, build, equal_runs, grads, inputs, run, tensors
from experts import state as states


@line
def rows_do_not_leak_into_each_other(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, _ = run(core, xs)
    alone, _ = run(core, xs[:, 1:])
    close(ys[:, 1:], alone, "the outputs of an episode that is run alone")
    no_gradient(grads(ys[:, 1], xs)[0][:, 0], "another episode of the batch")


@line
def an_episode_does_not_leak_into_the_next(make: Make) -> None:
    core, first, second = build(make), inputs(0), inputs(1)
    _, state = run(core, first)
    state = states.where(torch.ones(B, dtype=torch.bool), core.initial_state(second[0]), state)
    ys, _ = run(core, second, state)
    equal_runs(core, second, ys, run(core, second)[0])
    no_gradient(grads(ys, first)[0], "the episode before")


@line
def a_reset_touches_only_its_rows(make: Make) -> None:
    core, xs = build(make), inputs()
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[3, 0] = True
    ys, _ = core.unroll(xs, core.initial_state(xs[0]), reset)
    close(ys[:, 1], run(core, xs)[0][:, 1], "the outputs of a row without a reset")
    close(ys[:3, 0], run(core, xs)[0][:3, 0], "the outputs before the reset")
    close(ys[3:, 0], run(core, xs[3:])[0][:, 0], "after the reset the outputs of a new episode")


@line
def the_future_cannot_change_the_past(make: Make) -> None:
    core, xs = build(make), inputs()
    other = torch.cat([xs[:3], inputs(1)[3:]])
    ys, _ = core.unroll(xs, core.initial_state(xs[0]))
    changed, _ = core.unroll(other, core.initial_state(xs[0]))
    close(changed[:3], ys[:3], "the same outputs before the step at which inputs differ")
    no_gradient(grads(ys[:3], xs)[0][3:], "later inputs")


@line
def a_step_leaves_the_old_state_as_it_was(make: Make) -> None:
    core, xs = build(make), inputs()
    _, state = run(core, xs)
    before = list(tensors(states.pack(state)))
    run(core, inputs(1), state)
    for now, then in zip(tensors(states.pack(state)), before, strict=True):
        expect(now.equal(then), "a state that later steps do not write into", "another one")


@line
def a_core_keeps_nothing_between_calls(make: Make) -> None:
    core, xs = build(make), inputs()
    other = run(build(make), inputs(1))[1]
    ys, state = [], core.initial_state(xs[0])
    for x in xs:  # steps of another episode in between
        y, state = core(x, state)
        _, other = core(x + 1, other)
        ys.append(y)
    equal_runs(core, xs, torch.stack(ys), run(core, xs)[0])


@line
def gradient_reaches_the_first_input(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, _ = run(core, xs)
    (grad,) = grads(ys[-1], xs)
    expect(grad.isfinite().all(), "a finite gradient", grad.tolist())
    sizes = grad[0].abs().amax(-1)
    expect((sizes > 0).all(), "a gradient of the last output into each member's first input", sizes.tolist())


@line
def detaching_cuts_the_past_off(make: Make) -> None:
    core, first, second = build(make), inputs(0), inputs(1)
    _, state = run(core, first)
    ys, _ = run(core, second, states.detach(state))
    close(ys, run(core, second, state)[0], "the outputs of the state that was not detached")
    no_gradient(grads(ys, first)[0], "inputs before the detached state")


DEPENDENCE = by_name(
    rows_do_not_leak_into_each_other,
    an_episode_does_not_leak_into_the_next,
    a_reset_touches_only_its_rows,
    the_future_cannot_change_the_past,
    a_step_leaves_the_old_state_as_it_was,
    a_core_keeps_nothing_between_calls,
    gradient_reaches_the_first_input,
    detaching_cuts_the_past_off,
)
