"""Private and undocumented parts of torch that the library depends on, all in one file.

No other file of the four packages uses a private name of torch (tests/repository/test_torch_internals.py). Each
docstring gives the reason, and the public call that would replace it. `make check-versions` tests them.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.autograd import Function
from torch.optim import Optimizer
from torch.utils._device import DeviceContext

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

gru_sequence, lstm_sequence = torch.gru, torch.lstm
"""The functions behind `nn.GRU` and `nn.LSTM`, which take the weights as arguments.

Undocumented. Public replacement: `torch.func.functional_call` on an `nn.GRU` or `nn.LSTM` module.
"""


def functorch_active() -> bool:
    """Whether a transform of `torch.func` (vmap, grad, jvp) is running.

    Functions with a hand-written gradient use plain operations there, since weights may be batched.
    Public replacement: none; an argument through every call, or `torch.func` rules (`vmap`, `jvp`) for each function.
    """
    return torch._C._are_functorch_transforms_active()


def is_batched(tensor: Tensor) -> bool:
    """Whether a tensor stands for a batch: under vmap, or as a gradient of `grad(..., is_grads_batched=True)`.

    The latter uses an older vmap, of which `functorch_active` knows nothing. Such a tensor has no address.
    Public replacement: none; to catch the RuntimeError of `data_ptr`.
    """
    functorch = torch._C._functorch
    return functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor)


def storage_users(tensor: Tensor) -> int:
    """Number of tensors that share the storage of this one, itself included; those of autograd's graph, too.

    Shows whether memory may be written again. Public replacement: none; to allocate new memory each time.
    """
    return torch._C._storage_Use_Count(tensor.untyped_storage()._cdata) - 1  # without the object made here


def recorded_outside(tensor: Tensor) -> bool:
    """Whether autograd, or a `torch.func.grad` around the innermost transform, records this tensor.

    `torch.func.grad` always sets create_graph=True, so that flag does not indicate whether second derivatives will be
    computed; this function does. Public replacement: none.
    """
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
        if tensor.requires_grad:
            return True
    return False


def not_compiled(function: Decorated) -> Decorated:
    """Decorator: torch.compile breaks its graph here and calls the function uncompiled.

    Public replacement: `torch.compiler.disable`, which loads the compiler when it decorates, so that `import badger`
    would take seconds longer.
    """
    return torch._disable_dynamo(function)  # type: ignore[return-value]


def compiler_error() -> type[Exception]:
    """The exception class that torch.compile raises where it cannot compile; a function, as its import takes seconds.

    Public replacement: none; `except Exception` would also catch errors of the compiled function itself.
    """
    from torch._dynamo.exc import TorchDynamoException

    return TorchDynamoException


def backward_pass() -> int:
    """ID of the backward pass that is running in this thread; -1 outside of one.

    Separates the records of two passes over one graph. Public replacement: none; a gradient for each product.
    """
    return torch._C._current_graph_task_id()


def version(tensor: Tensor) -> int:
    """Number of in-place changes of a tensor; -1 for an inference tensor, which has no counter.

    Shows whether a cached product of it is still valid. Public replacement: none; `torch.equal` with a copy, or to
    compute the product at each step.
    """
    return -1 if tensor.is_inference() else tensor._version


def skip_next_step(optimizer: Optimizer, skip: Bool[Tensor, ""]) -> None:
    """Makes a fused optimizer skip its next step where `skip` is set, without a synchronization.

    `torch.amp.GradScaler` sets the same attribute of fused optimizers. Public replacement: `GradScaler.step`, which
    synchronizes, and checks gradients only, not the loss.
    """
    optimizer.found_inf = skip.to(torch.float32)  # type: ignore[attr-defined]


def made_by(edge: tuple[Any, int], function: type[Function]) -> tuple[Any, int] | None:
    """The node of an autograd `Function` that an edge of the graph leads to, through views only, and its output number.

    None if the edge leads to another node.

    Args:
        edge: (node, output number), as in `Node.next_functions`, or (tensor.grad_fn, tensor.output_nr).
        function: class of the autograd function.

    The class of a Function's nodes is private, and so are the names of torch's own nodes. Public replacement: a
    token that the Function returns and that is passed through the state.
    """
    node, output = edge
    while node is not None and node.name() == "ViewBackward0":
        node, output = node.next_functions[0]
    return (node, output) if isinstance(node, function._backward_cls) else None


@contextmanager
def fake_tensors() -> Iterator[Callable[[nn.Module], nn.Module]]:
    """FakeTensorMode: new tensors have a shape, a device and gradients, but no values.

    Raises where a value or a shape that depends on values is read, and where two devices meet; also in operations that
    let meta tensors pass. Yields a function that returns a copy of a module with fake parameters and buffers.
    Public replacement: tensors of `torch.device("meta")`, which are checked by fewer operations.
    """
    from torch._subclasses.fake_tensor import FakeCopyMode, FakeTensorMode

    mode = FakeTensorMode(allow_non_fake_inputs=True)  # constants, such as tables that are made once for each device

    def fake_copy(module: nn.Module) -> nn.Module:
        with FakeCopyMode(mode):
            return copy.deepcopy(module)

    with mode:
        yield fake_copy


def outside_fake_tensors(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function that is called outside of FakeTensorMode, with tensors that have values.

    Public replacement: none; to leave the `with` block of the mode.
    """
    from torch.utils._python_dispatch import _disable_current_modes

    with _disable_current_modes():
        return function(*args)


def functions_are_changed() -> bool:
    """Whether a `TorchFunctionMode` may change what functions of torch compute, such as one of lower precision.

    The mode of a default device changes where tensors are made, and counts for nothing here.
    Public replacement: none; an argument through every call.
    """
    if not torch._C._len_torch_function_stack():
        return False
    return any(not isinstance(mode, DeviceContext) for mode in torch.overrides._get_current_function_mode_stack())


def host_readable(tensor: Tensor) -> bool:
    """Whether the values of a tensor can be read here without a synchronization or an error.

    So on the CPU, outside of `torch.func`, compilation and FakeTensorMode: where an error may be raised at once.
    Public replacement: `torch.compiler.is_compiling` for a part of it.
    """
    return tensor.device.type == "cpu" and not (
        functorch_active()
        or torch.compiler.is_compiling()
        or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None
    )
