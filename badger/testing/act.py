"""What every acting part must hold: `check_act` and `ACT_PROPERTIES`.

Shapes: B episode, E expert, Y output of an expert, D numbers of an action.
"""

from collections.abc import Callable, Collection
from typing import TypeAlias

import torch
from torch import Tensor

from badger.act import Act
from badger.testing.contract import Properties, by_name, check_all, close, equal, expect, line, no_gradient
from badger.testing.devices import META, all_on_meta, without_values

Make: TypeAlias = Callable[[int, int], Act]
B, E, Y, D = 2, 4, 3, 2
SIZES = ((2, 2), (6, 2), (1, 1), (4, 1))  # experts and outputs that every acting part takes


def check_act(factory: Make, *, properties: Collection[str] | None = None) -> None:
    """Checks an acting part against the contract: from the experts' outputs to one action.

    Args:
        factory: (input_size, outputs) -> Act, as in `badger.act.ACTS`. It is called once for each property.
        properties: names out of `ACT_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold: its name, what was wanted, what came.
        ValueError: a name that is no property.
    """
    check_all(ACT_PROPERTIES, factory, properties)


def build(make: Make, outputs: int = D) -> Act:
    """The part with the same weights at each call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(Y, outputs).double()


def seeded(seed: int = 0) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def case(make: Make) -> tuple[Act, Tensor, Tensor | None]:
    """A part, outputs (B, E, Y) of four experts, and an address."""
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
    act, y, address = case(make)
    other = torch.cat([y[:1], 1 - y[1:]])
    close(act(other, address, None)[0], act(y, address, None)[0], "an action that does not depend on other episodes")


@line
def gradient_reaches_every_expert(make: Make) -> None:
    act, y, address = case(make)
    (slope,) = torch.autograd.grad(act(y.requires_grad_(), address, None).square().sum(), y)
    expect(slope.isfinite().all() and slope.any(-1).all(), "a finite gradient into each expert", slope.tolist())


@line
def all_present_is_the_same_as_present_none(make: Make) -> None:
    act, y, address = case(make)
    there = torch.ones(B, E, dtype=torch.bool)
    close(act(y, address, there), act(y, address, None), "the action of present=None")


@line
def the_absent_have_no_say(make: Make) -> None:
    act, y, address = case(make)
    present = torch.tensor([[True, False, True, True]]).expand(B, -1)
    action = act(y.requires_grad_(), address, present)
    (slope,) = torch.autograd.grad(action.square().sum(), y)
    no_gradient(slope[:, 1], "an absent expert")
    louder = y.detach().clone()
    louder[:, 1] += 100
    close(act(louder, address, present), action, "the same action whatever an absent expert puts out")


@line
def actions_are_finite_where_nobody_is_present(make: Make) -> None:
    act, y, address = case(make)
    nobody = torch.zeros(B, E, dtype=torch.bool)
    action = act(y.requires_grad_(), address, nobody)
    expect(action.isfinite().all(), "a finite action", action.tolist())
    (slope,) = torch.autograd.grad(action.sum(), y)
    no_gradient(slope, "absent experts")


@line
def the_same_generator_gives_the_same_address(make: Make) -> None:
    act, y, address = case(make)
    again = act.make_assignment(y, E, D, seeded())
    same = address is again is None or (address is not None and again is not None and torch.equal(address, again))
    expect(same, f"the address {address}", again)


@line
def names_have_their_size(make: Make) -> None:
    act, _, address = case(make)
    names = act.output_names(address, E)
    if act.name_size:
        equal(None if names is None else tuple(names.shape), (B, E, act.name_size), "names of shape")
    else:
        expect(names is None, "no names, as name_size=0 says", names)


@line
def newcomers_may_join(make: Make) -> None:
    act, y, address = case(make)
    after = act.extend_assignment(address, y, 2 * E, seeded(2))
    names = act.output_names(after, 2 * E)
    action = act(torch.cat([y, y], 1), after, None)
    equal(action.shape, act(y, address, None).shape, "an action of shape")
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
    all_present_is_the_same_as_present_none,
    the_absent_have_no_say,
    actions_are_finite_where_nobody_is_present,
    the_same_generator_gives_the_same_address,
    names_have_their_size,
    newcomers_may_join,
    actions_are_made_on_the_meta_device,
)
"""The contract of acting parts, by the names of its lines."""
