"""Second derivatives of autograd functions with a hand-written backward pass: correct, or an error.

A backward pass of in-place operations cannot be differentiated. Where a function can also be computed by plain
operations, `differentiable_gradients` computes its gradient by these if it is to be differentiated; else
`first_order_only` raises. torch's `once_differentiable` is not sufficient: it returns None, or omits terms, where the
gradient of the output is constant or where `torch.autograd.grad` takes the second derivative of some inputs only.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from experts.torch_internals import functorch_active, recorded_outside


def first_order_only(what: str, instead: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator of a backward pass without second derivatives: raises RuntimeError with create_graph=True.

    Under `torch.func`, which always sets create_graph, the error is raised when a second derivative is computed. A
    function that supports `torch.func` calls `note_recorded` in its `setup_context`; others raise there at once.

    Args:
        what: subject of the message, such as a class.
        instead: a sentence that names a form with second derivatives.
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
            return _raise_on_backward(message, outputs, recorded) if recorded else outputs

        return checked

    return decorate


def note_recorded(ctx: Any, inputs: Sequence[Any]) -> None:
    """Stores in ctx, under `torch.func`, the inputs that are also recorded outside of the innermost transform."""
    ctx.recorded = _recorded(inputs) if functorch_active() else []


def _recorded(values: Sequence[Any]) -> list[Tensor]:
    return [x for x in values if isinstance(x, Tensor) and recorded_outside(x)]


def _raise_on_backward(
    message: str, outputs: Sequence[Tensor | None], recorded: list[Tensor]
) -> tuple[Tensor | None, ...]:
    """The outputs; a derivative of them with respect to the recorded tensors raises."""
    tensors = [x for x in outputs if x is not None]
    marked = iter(RaiseOnBackward.apply(message, len(tensors), *tensors, *recorded))
    return tuple(None if x is None else next(marked) for x in outputs)


class RaiseOnBackward(Function):
    """The identity of the first `count` tensors, whose derivative with respect to any tensor raises."""

    generate_vmap_rule = True

    @staticmethod
    def forward(message: str, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(x.clone() for x in tensors[:count])  # cloned, as gradients of a log are changed in place

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.message = inputs[0]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(ctx.message)


def differentiable_gradients(
    function: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], grads: Sequence[Tensor | None]
) -> tuple[Tensor | None, ...]:
    """Gradients of `function(*inputs)` that can be differentiated again; None for inputs without gradients.

    Args:
        function: computed by plain operations.
        inputs: with their graph, as in `ctx.saved_tensors`.
        grads: gradients of the outputs; None for outputs without one.
    """
    with torch.enable_grad():
        copies = [x.view_as(x) for x in inputs]  # separate variables, as an input may depend on another
        outputs = function(*copies)
    pairs = [(y, g) for y, g in zip(outputs, grads, strict=True) if g is not None and y.requires_grad]
    needed = [x for x in copies if x.requires_grad]
    ys, gs = zip(*pairs, strict=True)
    results = iter(torch.autograd.grad(ys, needed, gs, create_graph=True, materialize_grads=True))
    return tuple(next(results) if x.requires_grad else None for x in copies)
