"""Runs on the meta device and under FakeTensorMode, where tensors have no values.

A tensor that is made on another device, or a value that the host reads (`.item()`, `bool(tensor)`, `.tolist()`,
`.nonzero()`, `.cpu()`), raises there. On a GPU the first would fail as well, and the second would wait for
the device.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from badger.testing.contract import ContractError, expect, line
from experts.torch_internals import fake_tensors

Place: TypeAlias = Callable[[nn.Module], nn.Module]  # a module on the meta device -> the module that is checked
META = torch.device("meta")


class WithoutGenerators(TorchFunctionMode):
    """Random numbers are drawn without a generator, as the meta device has none."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = {name: value for name, value in (kwargs or {}).items() if not isinstance(value, torch.Generator)}
        return func(*args, **kwargs)


@contextmanager
def meta_device() -> Iterator[Place]:
    """Real tensors of the meta device. Yields a function that returns a module as it is."""
    with WithoutGenerators():
        yield lambda module: module


@contextmanager
def fake_device() -> Iterator[Place]:
    """Fake tensors of the meta device. Yields a function that copies a module."""
    with fake_tensors() as fake_copy, WithoutGenerators():
        yield fake_copy


REAL, FAKE = "the meta device", "the meta device under FakeTensorMode"
MODES: dict[str, Callable[[], AbstractContextManager[Place]]] = {
    REAL: meta_device,  # first, so that tables that are cached for each device are real tensors
    FAKE: fake_device,
}


def without_values(
    build: Callable[[Any], nn.Module], modes: Collection[str] = tuple(MODES)
) -> Callable[[Callable[[Any, Any], None]], Callable[[Any], None]]:
    """Decorator: a property of a part and a module, checked in each mode, as a property of the part.

    Args:
        build: part -> module. It is called on the CPU and without a mode, and the module is then moved.
        modes: names out of `MODES`.
    """

    def decorate(check: Callable[[Any, Any], None]) -> Callable[[Any], None]:
        @wraps(check)
        def checked(part: Any) -> None:
            for name in modes:
                module = build(part).to(META)
                try:
                    with MODES[name]() as place:
                        check(part, place(module))
                except ContractError:
                    raise
                except Exception as error:
                    came = f"{type(error).__name__}: {error}"
                    wanted = "no value read by the host and no tensor on another device"
                    raise ContractError(f"want {wanted} on {name}, got {came}") from error

        return line(checked)

    return decorate


def all_on_meta(found: Iterable[Tensor | None], what: str) -> None:
    """Raises ContractError unless all tensors are on the meta device."""
    others = {tensor.device.type for tensor in found if tensor is not None} - {META.type}
    expect(not others, f"{what} on {META.type} alone", others)
