"""Steps of a core without a graph, of which only records are kept for `Core.unroll_recorded`.

Shapes: T step, B episode, N members that share one store, D input.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experts import state as states
from experts.core import Core
from experts.state import State
from experts.torch_internals import functorch_active


def keeps_records(core: Core, state: State) -> bool:
    """Whether a gradient is wanted that a core computes from records of its steps instead of their graph.

    Not under `torch.func`, nor where the state before the first step has a graph, which would get no gradient.

    Args:
        core: any core.
        state: before the first step.
    """
    if not torch.is_grad_enabled() or functorch_active():
        return False
    records = core.step_record(state)
    return bool(records) and not any(record.requires_grad for record in records)


@torch.no_grad()
def record_steps(
    core: Core, xs: Float[Tensor, "T B N D"], state: State, reset: Bool[Tensor, "T B"] | None = None
) -> tuple[tuple[Tensor, ...], State]:
    """The records of all steps with the present parameters, and the state after the last one.

    Args:
        core: a core that keeps records.
        xs: the inputs of all steps.
        state: the state before the first of them.
        reset: as in `Core.unroll`.
    """
    initial, records = core.initial_state(xs[0]), []
    for t, x in enumerate(xs):
        if reset is not None:
            state = states.where(reset[t], initial, state)
        _, state = core(x, state)
        records.append(core.step_record(state))
    return tuple(torch.stack(parts) for parts in zip(*records, strict=True)), state
