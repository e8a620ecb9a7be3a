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
    close(run(core, others, present=present)[0], ys, "the same outputs whatever the absent are given")
    no_gradient(grads(ys, xs)[0][2:5, 0, 1], "an absent member's inputs")


@line
def absent_members_give_their_last_output(make: Make) -> None:
    core, xs = build(make), inputs()
    present = torch.ones(T, B, N, dtype=torch.bool)
    present[2:4, 0, 1] = False
    ys, _ = run(core, xs, present=present)
    close(ys[2, 0, 1], ys[1, 0, 1], "an absent member's last output")
    close(ys[3, 0, 1], ys[1, 0, 1], "an absent member's last output")
    expect(differs(ys[4, 0, 1], ys[1, 0, 1]), "another output after the member's return", "the same")


@line
def an_absent_step_never_was(make: Make) -> None:
    core, xs = build(make), inputs(n=1)
    there = torch.tensor([True, True, False, False, True, True])
    ys, _ = run(core, xs, present=there.view(T, 1, 1).expand(T, B, 1))
    close(ys[there], run(core, xs[there])[0], "the outputs of a run without those steps")


@line
def private_equals_separate_copies(make: Make) -> None:
    core, xs = build(make), inputs()
    ys, _ = run(Private(core), xs)
    apart = torch.cat([run(core, xs[:, :, i : i + 1])[0] for i in range(N)], 2)
    equal_runs(core, xs, ys, apart)


@line
def members_may_change_places(make: Make) -> None:
    core, first, second, order = build(make), inputs(0), inputs(1), torch.tensor([2, 0, 1])
    _, state = run(core, first)
    moved = core.select_members(state, order, second[0][:, order])
    went_on = run(core, second, state)[0][:, :, order]
    close(run(core, second[:, :, order], moved)[0], went_on, "outputs that follow the members to their new places")


@line
def members_leave_and_fresh_ones_join(make: Make) -> None:
    """Seen from the one that stays: it goes on, whoever comes. Stores of their own, for a shared one remembers."""
    core, first, second = Private(build(make)), inputs(0), inputs(1, n=4)
    _, state = run(core, first)
    state = core.select_members(state, torch.tensor([-1, 2, 0, -1]), second[0])
    ys, _ = run(core, second, state)
    went_on, _ = run(core, torch.cat([first[:, :, [2, 0]], second[:, :, 1:3]]))
    close(ys[:, :, 1:3], went_on[T:], "members that go on where they were")
    close(ys[:, :, [0, 3]], run(core, second[:, :, [0, 3]])[0], "newcomers that begin anew")


@line
def fresh_members_of_a_fresh_state_are_fresh(make: Make) -> None:
    core, xs = build(make), inputs(n=5)
    state = core.select_members(core.initial_state(xs[0][:, :2]), torch.tensor([-1, 1, -1, 0, -1]), xs[0])
    close(run(core, xs, state)[0], run(core, xs)[0], "the outputs of a fresh state")


@line
def overridden_members_equal_the_default(make: Make) -> None:
    """Where the default applies, which wants the members' axis in every leaf of the state."""
    core, xs, later = build(make), inputs(0), inputs(1)
    _, state = run(core, xs)
    for index in ([1, 1, 0], [2, -1, 0]):
        try:
            default = Core.select_members(core, state, torch.tensor(index), later[0])
        except (IndexError, RuntimeError):  # a leaf without that axis: a shared store
            return
        own = core.select_members(state, torch.tensor(index), later[0])
        close(run(core, later, own)[0], run(core, later, default)[0], "the outputs of Core.members")


MEMBERS = by_name(
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
)
