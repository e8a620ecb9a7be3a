"""Estimates of the bytes that an agent and its episodes take at least, from tensors of the meta device.

Shapes: B episode, E expert, T step.
"""

import copy
from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from comms import Bus
from experts import Core
from tasks import Task

META = torch.device("meta")


def parameter_bytes(*modules: nn.Module) -> int:
    """Bytes of the parameters and buffers of modules.

    Args:
        modules: on any device.
    """
    return sum(_bytes(tensor) for module in modules for tensor in _tensors(module))


def state_bytes(core: Core, bus: Bus, *, batch: int, experts: int) -> int:
    """Bytes of the inputs, the outputs and the recurrent state of all experts at the start of their episodes.

    Args:
        core: of the agent.
        bus: of the agent.
        batch: B.
        experts: E.
    """
    core, bus = _on_meta(core), _on_meta(bus)
    x = torch.zeros(batch, experts, core.input_size, device=META)
    y = torch.zeros(batch, experts, core.output_size, device=META)
    return sum(
        map(_bytes, {id(leaf): leaf for leaf in _leaves((x, y, core.initial_state(x), bus.initial_state(y)))}.values())
    )


def trajectory_bytes(task: Task, *, batch: int, steps: int, obs: bool = True) -> int:
    """Bytes of the observations, actions and rewards that a rollout records.

    Args:
        task: gives their sizes.
        batch: B.
        steps: T.
        obs: whether observations are kept.
    """
    numbers = task.obs_size * obs + task.action_space.size + 1  # one of each; a policy may have more outputs
    return batch * steps * numbers * (task.agents or 1) * task.dtype.itemsize


def _on_meta(module: Any) -> Any:
    """A copy whose tensors are on the meta device; those of the module are not copied."""
    return copy.deepcopy(module, {id(tensor): _meta_like(tensor) for tensor in _tensors(module)})


def _meta_like(tensor: Tensor) -> Tensor:
    moved = tensor.detach().to(META)
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _leaves(state: Any) -> Iterator[Tensor]:
    if isinstance(state, tuple):
        for part in state:
            yield from _leaves(part)
    elif isinstance(state, Tensor):
        yield state


def _bytes(tensor: Tensor) -> int:
    """Bytes of the storage; axes that were expanded take none."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * prod(size for size, stride in sizes if stride or not size)
