"""Contract of output heads: `check_act` and `ACT_PROPERTIES`.

Shapes: B episode, E expert, Y output of an expert, D numbers of an action.
"""

from collections.abc import Callable, Collection
from typing import TypeAlias

import torch
from torch import Tensor

from badger.act import Act
from badger.rng import drawing_from, seeded_generator
from badger.testing.contract import Properties, by_name, check_all, close, equal, expect, line, no_gradient
from badger.testing.devices import META, all_on_meta, without_values

Make: TypeAlias = Callable[[int, int], Act]
B, E, Y, D = 2, 4, 3, 2
SIZES = ((2, 2), (6, 2), (1, 1), (4, 1))  # experts and outputs that every head supports


def check_act(factory: Make, *, properties: Collection[str] | None = None) -> None:
    """Checks an output head against the contract: from the experts' outputs to one action.

    Args:
        factory: (input_size, outputs) -> Act, as in `badger.act.ACTS`. It is called once for each property.
        properties: names out of `ACT_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold, with the wanted and the actual value.
        ValueError: a name that is no property.
    """
    check_all(ACT_PROPERTIES, factory, properties)


def build(make: Make, outputs: int = D) -> Act:
    """The head, with the same weights at each call."""
    with drawing_from(seeded_generator(0)):
        return make(Y, outputs).double()


def seeded(seed: int = 0) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def case(make: Make) -> tuple[Act, Tensor, Tensor | None]:
    """A head, outputs (B, E, Y) of four experts, and an assignment."""
    act, y = build(make), torch.randn(B, E, Y, generator=seeded(1), dtype=torch.float64)
    return act, y, act.make_assignment(y, E, D, seeded())


@line
def every_size_makes_one_action(make: Make) -> None:
    for experts, outputs in SIZES:
        for dtype in (torch.float64, torch.float32):
            act, y = build(make, outputs).to(dtype), torch.ones(B, experts, Y, dtype=dtype)
            action = act(y, act.make_assignment(y, experts, outputs, seeded()), None)
            equal((action.shape[0], action.dim(), action.dtype), (B, 2, dtype), "an action (episodes, axes, dtype)")
            equal((act.input_size, act.outputs), (Y, outputs), "(input_size, outputs)")


@line
def rows_do_not_leak(make: Make) -> None:
    act, y, assignment = case(make)
    other = torch.cat([y[:1], 1 - y[1:]])
    close(
        act(other, assignment, None)[0], act(y, assignment, None)[0], "an action that does not depend on other episodes"
    )


@line
def gradient_reaches_every_expert(make: Make) -> None:
    act, y, assignment = case(make)
    (gradient,) = torch.autograd.grad(act(y.requires_grad_(), assignment, None).square().sum(), y)
    expect(
        gradient.isfinite().all() and gradient.any(-1).all(), "a finite gradient into each expert", gradient.tolist()
    )


@line
def all_present_equals_present_none(make: Make) -> None:
    act, y, assignment = case(make)
    present = torch.ones(B, E, dtype=torch.bool)
    close(act(y, assignment, present), act(y, assignment, None), "the action of present=None")


@line
def absent_experts_are_masked_out(make: Make) -> None:
    act, y, assignment = case(make)
    present = torch.tensor([[True, False, True, True]]).expand(B, -1)
    action = act(y.requires_grad_(), assignment, present)
    (gradient,) = torch.autograd.grad(action.square().sum(), y)
    no_gradient(gradient[:, 1], "an absent expert")
    changed = y.detach().clone()
    changed[:, 1] += 100
    close(act(changed, assignment, present), action, "an action that does not depend on an absent expert")


@line
def actions_are_finite_without_experts(make: Make) -> None:
    act, y, assignment = case(make)
    present = torch.zeros(B, E, dtype=torch.bool)
    action = act(y.requires_grad_(), assignment, present)
    expect(action.isfinite().all(), "a finite action", action.tolist())
    (gradient,) = torch.autograd.grad(action.sum(), y)
    no_gradient(gradient, "absent experts")


@line
def the_same_generator_gives_the_same_assignment(make: Make) -> None:
    act, y, assignment = case(make)
    second = act.make_assignment(y, E, D, seeded())
    same = assignment is second if assignment is None or second is None else torch.equal(assignment, second)
    expect(same, f"the assignment {assignment}", second)


@line
def names_have_their_size(make: Make) -> None:
    act, _, assignment = case(make)
    names = act.output_names(assignment, E)
    if act.name_size:
        equal(None if names is None else tuple(names.shape), (B, E, act.name_size), "names of shape")
    else:
        expect(names is None, "no names, as name_size is 0", names)


@line
def experts_can_be_added(make: Make) -> None:
    act, y, assignment = case(make)
    after = act.extend_assignment(assignment, y, 2 * E, seeded(2))
    names = act.output_names(after, 2 * E)
    action = act(torch.cat([y, y], 1), after, None)
    equal(action.shape, act(y, assignment, None).shape, "an action of shape")
    equal(0 if names is None else names.shape[-1], act.name_size, "names of size")


@without_values(build)
def actions_are_made_on_the_meta_device(make: Make, act: Act) -> None:
    y = torch.zeros(B, E, Y, dtype=torch.float64, device=META, requires_grad=True)
    address = act.make_assignment(y, E, D, seeded())
    present = torch.ones(B, E, dtype=torch.bool, device=META)
    after = act.extend_assignment(address, y, 2 * E, seeded())
    found = [act(y, address, None), act(y, address, present), act(torch.cat([y, y], 1), after, None)]
    gradients = torch.autograd.grad(torch.cat(found).sum(), [y, *act.parameters()], allow_unused=True)
    names = [act.output_names(address, E), act.output_names(after, 2 * E)]
    all_on_meta([*found, *names, *gradients, address, after], "actions, names, gradients and assignments")


ACT_PROPERTIES: Properties = by_name(
    every_size_makes_one_action,
    rows_do_not_leak,
    gradient_reaches_every_expert,
    all_present_equals_present_none,
    absent_experts_are_masked_out,
    actions_are_finite_without_experts,
    the_same_generator_gives_the_same_assignment,
    names_have_their_size,
    experts_can_be_added,
    actions_are_made_on_the_meta_device,
)
"""Properties of an output head, by name."""
