"""The members of a core: order, absence, leaving and joining. Shapes as in `badger.testing.core.cases`."""

import torch

from badger.testing.contract import by_name, close, expect, line, no_gradient
from badger.testing.core.cases import B, Make, N, T, build, differs, equal_runs, grads, inputs, run
from experts import Core, Private


@line
def members_permute(make: Make) -> None:
    core, xs, order = build(make), inputs(), [2, 0, 1]
    close(run(core, xs[:, :, order])[0], run(core, xs)[0][:, :, order], "outputs that permute with the members")


@line
def absent_members_do_not_change_the_others(make: Make) -> None:
    core, xs = build(make), inputs()
    present = torch.tensor([True, True, False]).expand(T, B, N)
    ys, _ = run(core, xs, present=present)
    without, _ = run(core, xs[:, :, :2])
    close(ys[:, :, :2], without, "the outputs of a run without the absent member")
    no_gradient(grads(ys[:, :, :2], xs)[0][:, :, 2], "an absent member's inputs")


@line
def a_member_that_leaves_later_does_not_change_the_others(make: Make) -> None:
    core, xs = build(make), inputs()
    present = torch.ones(T, B, N, dtype=torch.bool)
    present[2:5, 0, 1] = False
    ys, _ = run(core, xs, present=present)
    others = torch.where(present.unsqueeze(-1), xs, xs + 1)
    close(run(core, others, present=present)[0], ys, "outputs that do not depend on the inputs of absent members")
    no_gradient(grads(ys, xs)[0][2:5, 0, 1], "an absent member's inputs")


@line
def absent_members_return_their_last_output(make: Make) -> None:
    core, xs = build(make), inputs()
    present = torch.ones(T, B, N, dtype=torch.bool)
    present[2:4, 0, 1] = False
    ys, _ = run(core, xs, present=present)
    close(ys[2, 0, 1], ys[1, 0, 1], "an absent member's last output")
    close(ys[3, 0, 1], ys[1, 0, 1], "an absent member's last output")
    expect(differs(ys[4, 0, 1], ys[1, 0, 1]), "a new output after the member's return", "the same one")


@line
def absent_steps_are_skipped(make: Make) -> None:
    core, xs = build(make), inputs(n=1)
    active = torch.tensor([True, True, False, False, True, True])
    ys, _ = run(core, xs, present=active.view(T, 1, 1).expand(T, B, 1))
    close(ys[active], run(core, xs[active])[0], "the outputs of a run without those steps")


@line
def private_equals_separate_copies(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, _ = run(Private(core), xs)
    separate = torch.cat([run(core, xs[:, :, i : i + 1])[0] for i in range(N)], 2)
    equal_runs(core, xs, ys, separate)


@line
def members_can_be_reordered(make: Make) -> None:
    core, first, second, order = build(make), inputs(0), inputs(1), torch.tensor([2, 0, 1])
    _, state = run(core, first)
    moved = core.select_members(state, order, second[0][:, order])
    expected = run(core, second, state)[0][:, :, order]
    close(run(core, second[:, :, order], moved)[0], expected, "outputs that follow the members to their new positions")


@line
def members_can_leave_and_new_ones_join(make: Make) -> None:
    """Members that stay are unaffected by new ones. With private stores, as a shared store keeps the old rows."""
    core, first, second = Private(build(make)), inputs(0), inputs(1, n=4)
    _, state = run(core, first)
    state = core.select_members(state, torch.tensor([-1, 2, 0, -1]), second[0])
    ys, _ = run(core, second, state)
    expected, _ = run(core, torch.cat([first[:, :, [2, 0]], second[:, :, 1:3]]))
    close(ys[:, :, 1:3], expected[T:], "members that continue from their state")
    close(ys[:, :, [0, 3]], run(core, second[:, :, [0, 3]])[0], "new members that start from an initial state")


@line
def new_members_of_an_initial_state_are_initial(make: Make) -> None:
    core, xs = build(make), inputs(n=5)
    state = core.select_members(core.initial_state(xs[0][:, :2]), torch.tensor([-1, 1, -1, 0, -1]), xs[0])
    close(run(core, xs, state)[0], run(core, xs)[0], "the outputs of an initial state")


@line
def overridden_select_members_equals_the_default(make: Make) -> None:
    """Only where the default can be used, which needs a members' axis in each leaf of the state."""
    core, xs, later = build(make), inputs(0), inputs(1)
    _, state = run(core, xs)
    for index in ([1, 1, 0], [2, -1, 0]):
        try:
            default = Core.select_members(core, state, torch.tensor(index), later[0])
        except (IndexError, RuntimeError):  # a leaf without that axis: a shared store
            return
        overridden = core.select_members(state, torch.tensor(index), later[0])
        close(run(core, later, overridden)[0], run(core, later, default)[0], "the outputs of Core.select_members")


MEMBERS = by_name(
    members_permute,
    absent_members_do_not_change_the_others,
    a_member_that_leaves_later_does_not_change_the_others,
    absent_members_return_their_last_output,
    absent_steps_are_skipped,
    private_equals_separate_copies,
    members_can_be_reordered,
    members_can_leave_and_new_ones_join,
    new_members_of_an_initial_state_are_initial,
    overridden_select_members_equals_the_default,
)
