"""Second derivatives of functions whose gradient is written out: right, or refused.

A backward pass that is made of in-place operations cannot be differentiated again. Where a function can also be
computed by plain operations, `differentiable_gradients` makes the gradient by those when it is to be differentiated;
where it cannot, `first_order_only` raises. torch's `once_differentiable` does neither reliably: it returns None, or
leaves terms out, where the gradient of the output is constant or where the second derivative is taken by
`torch.autograd.grad` of some inputs only.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from experts.torch_internals import functorch_active, recorded_outside


def first_order_only(what: str, instead: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a backward pass that has no second derivatives: with create_graph=True it raises RuntimeError.

    Under `torch.func`, which always sets create_graph, the error comes when a second derivative is taken. A function
    that can be called there calls `note_recorded` in its `setup_context`; any other is refused there at once.

    Args:
        what: has first derivatives only. instead: what has second derivatives, as a sentence.
    """
    message = f"{what} has no second derivatives (create_graph=True). {instead}"

    def decorate(backward: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(backward)
        def checked(ctx: Any, *grads: Any) -> Any:
            if not torch.is_grad_enabled():
                return backward(ctx, *grads)
            if not functorch_active() or not hasattr(ctx, "recorded"):
                raise RuntimeError(message)
            with torch.no_grad():
                outputs = backward(ctx, *grads)
            recorded = [*ctx.recorded, *_recorded(grads)]
            return _refused(message, outputs, recorded) if recorded else outputs

        return checked

    return decorate


def note_recorded(ctx: Any, inputs: Sequence[Any]) -> None:
    """Keeps, under `torch.func`, the inputs that are also recorded outside of the innermost transform."""
    ctx.recorded = _recorded(inputs) if functorch_active() else []


def _recorded(values: Sequence[Any]) -> list[Tensor]:
    return [x for x in values if isinstance(x, Tensor) and recorded_outside(x)]


def _refused(message: str, outputs: Sequence[Tensor | None], recorded: list[Tensor]) -> tuple[Tensor | None, ...]:
    """The outputs, of which a derivative with respect to the recorded tensors raises."""
    own = [x for x in outputs if x is not None]
    marked = iter(Refuse.apply(message, len(own), *own, *recorded))
    return tuple(None if x is None else next(marked) for x in outputs)


class Refuse(Function):
    """The identity of the first `count` tensors, of which the derivative, with respect to any, raises."""

    generate_vmap_rule = True

    @staticmethod
    def forward(message: str, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.clone() for x in tensors[:count])  # as gradients of a log are added to in place

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.message = inputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(ctx.message)


def differentiable_gradients(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], grads: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Gradients of `function(*inputs)`, which can be differentiated again; None for inputs that need none.

    Args:
        function: of plain operations. inputs: with their graph, as `ctx.saved_tensors` gives them.
        grads: of the outputs; None for those that have none.
    """
    with torch.enable_grad():
        own = [x.view_as(x) for x in inputs]  # an input that depends on another is a variable of its own
        outputs = function(*own)
    pairs = [(y, g) for y, g in zip(outputs, grads, strict=True) if g is not None and y.requires_grad]
    needed = [x for x in own if x.requires_grad]
    ys, gs = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(ys, needed, gs, create_graph=True, materialize_grads=True))
    return tuple(next(found) if x.requires_grad else None for x in own)
