"""Contracts: named properties, and assertions whose errors give the property, the wanted and the actual value."""

from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from badger.errors import BadgerError

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Properties = dict[str, Callable[[Any], None]]
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}  # of float64


class ContractError(BadgerError, AssertionError):
    """A part violates its contract; the message has the property, the wanted and the actual value."""


def line(check: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Decorator of a property: any exception becomes a `ContractError` that begins with the property's name."""

    @wraps(check)
    def named(*args: Any, **kwargs: Any) -> Result:  # beartype 0.18 has no ParamSpec.args
        try:
            return check(*args, **kwargs)
        except ContractError as error:
            raise ContractError(f"{check.__name__}: {error}") from error.__cause__
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
            raise ContractError(f"{check.__name__}: want no exception, got {got}") from error

    return named


def by_name(*checks: Callable[..., None]) -> Properties:
    """A dict of properties by their names, in this order."""
    return {check.__name__: check for check in checks}


def check_all(properties: Properties, part: Any, names: Collection[str] | None) -> None:
    """Checks a part against the named properties, in order; None: against all.

    Raises:
        ContractError: the first property that does not hold.
        ValueError: a name that is no property of the contract.
    """
    unknown = [] if names is None else sorted(set(names) - set(properties))
    if unknown:
        raise ValueError(f"properties={unknown}, want names out of {', '.join(properties)}")
    for name, holds in properties.items():
        if names is None or name in names:
            holds(part)


def expect(holds: bool | np.bool_ | Tensor, wanted: str, got: object) -> None:
    """Raises ContractError("want ..., got ...") unless the condition is true."""
    if not bool(holds):
        raise ContractError(f"want {wanted}, got {got}")


def equal(got: object, want: object, what: str) -> None:
    """Raises ContractError unless the two are equal."""
    expect(got == want, f"{what} {want}", got)


def close(got: Any, want: Any, what: str = "equal numbers", **tolerance: Any) -> None:
    """Raises ContractError unless tensors, or sequences of them, agree to the last digits of float64."""
    try:
        torch.testing.assert_close(got, want, **(TOLERANCE | tolerance))
    except AssertionError as error:
        raise ContractError(f"want {what}, got others: {' '.join(str(error).split())}") from None


def no_gradient(gradient: Tensor, what: str) -> None:
    """Raises ContractError unless a gradient is zero everywhere."""
    expect(not gradient.any(), f"no gradient into {what}", f"one of size {gradient.abs().max().item():.3g}")
