"""Mixed precision and `torch.compile` for the agent's step: wrappers that leave the agent unmodified."""

import copy
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from badger.agent import Agent

Precision = Literal["float32", "bf16"]
"""Precision of matrix products."""

MATMUL_OPS = {
    functional.linear, functional.scaled_dot_product_attention,
    torch.matmul, torch.mm, torch.bmm, torch.addmm, torch.baddbmm, torch.einsum,
    Tensor.matmul, Tensor.mm, Tensor.bmm, Tensor.__matmul__, Tensor.__rmatmul__,
}  # fmt: skip
"""Operations that `Bf16MatmulMode` computes in bfloat16."""


def wrap_forward(agent: Agent, *, precision: Precision = "float32", compiled: bool | str = False) -> Agent:
    """An agent with the same parameters whose forward pass is compiled, or computes in bfloat16.

    Args:
        agent: the agent, which is not modified.
        precision: "bf16" computes matrix products in bfloat16 (`Bf16MatmulMode`).
        compiled: whether to use torch.compile; a string is its backend.

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
    wrapped = copy.copy(agent)
    wrapped.forward = step  # type: ignore[method-assign]
    return wrapped


class Bf16MatmulMode(TorchFunctionMode):
    """Context in which matrix products of float32 tensors are computed in bfloat16 and returned in float32.

    `torch.autocast` returns bfloat16 instead: it would round the states that persist over an episode, such as hidden
    states and memories, and accumulate the gradients of weights over all steps in bfloat16.
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
    def bf16_step(*args: Any) -> Any:
        with Bf16MatmulMode():  # here, not around the rollout: checkpointing may repeat a segment in another thread
            return step(*args)

    return bf16_step
