"""How an agent's step is computed: with rounded products, or compiled. The agent itself stays as it is."""

import copy
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from badger.agent import Agent

Precision = Literal["float32", "bf16"]

MATMUL_OPS = {
    functional.linear, functional.scaled_dot_product_attention,
    torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum,
    Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__, Tensor.__rmatmul__,
}  # fmt: skip


def wrap_forward(agent: Agent, *, precision: Precision = "float32", compiled: bool | str = False) -> Agent:
    """An agent that shares everything with this one but takes its steps as asked for.

    Args:
        precision: "bf16" computes matrix products in bfloat16 (`Bf16MatmulMode`).
        compiled: by torch.compile, or by its backend of that name.

    Raises:
        ValueError: an unknown precision.
    """
    if precision not in get_args(Precision):
        raise ValueError(f"precision={precision!r}, want one of {', '.join(get_args(Precision))}")
    if precision == "float32" and not compiled:
        return agent
    step: Callable[..., Any] = agent.forward
    if precision == "bf16":
        step = _with_bf16_matmuls(step)
    if compiled:
        step = torch.compile(step, backend=compiled if isinstance(compiled, str) else "inductor")
    other = copy.copy(agent)
    other.forward = step  # type: ignore[method-assign]
    return other


class Bf16MatmulMode(TorchFunctionMode):
    """Matrix products of float32 numbers take them rounded to bfloat16, and give float32.

    `torch.autocast` is not that: its products stay bfloat16, so that it would round what an agent must keep for a whole
    episode, hidden states and the log, and sum a weight's gradient over all steps in bfloat16.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func not in MATMUL_OPS:
            return func(*args, **kwargs)
        result = func(*map(_to_bf16, args), **{name: _to_bf16(value) for name, value in kwargs.items()})
        return result.float() if result.dtype == torch.bfloat16 else result


def _to_bf16(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return type(value)(map(_to_bf16, value))
    return value.bfloat16() if isinstance(value, Tensor) and value.dtype == torch.float32 else value


def _with_bf16_matmuls(step: Callable[..., Any]) -> Callable[..., Any]:
    def rounded(*arguments: Any) -> Any:
        with Bf16MatmulMode():  # here and not around the rollout: a segment may be played again in another thread
            return step(*arguments)

    return rounded
