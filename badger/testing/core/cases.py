"""Small cores, inputs and runs in float64, and comparisons of them.

Shapes: T step, B episode, N members that share one store, D input, H output.
"""

import io
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import torch
from torch import Tensor

from badger.rng import drawing_from, seeded_generator
from badger.testing.contract import close
from experts import Core, State
from experts import state as states

Make: TypeAlias = Callable[[int, int], Core]
T, B, N, D, H = 6, 2, 3, 4, 6


def build(make: Make) -> Core:
    """A core from the factory (input_size, output_size) -> Core, with the same weights at each call."""
    with drawing_from(seeded_generator(0)):
        return make(D, H).double()


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Standard normal numbers in float64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def inputs(seed: int = 0, *, n: int = N) -> Tensor:
    """(T, B, n, D), leaves of the graph."""
    return noise(T, B, n, D, seed=seed).requires_grad_()


def run(core: Callable, xs: Tensor, state: State = None, present: Tensor | None = None) -> tuple[Tensor, State]:
    """The loop of `forward`; present (T, B, N)."""
    state = core.initial_state(xs[0]) if state is None else state  # type: ignore[attr-defined]
    ys = []
    for t, x in enumerate(xs):
        y, state = core(x, state) if present is None else core(x, state, present[t])
        ys.append(y)
    return torch.stack(ys), state


def grads(ys: Tensor, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a random projection of the outputs; zero where there is no path."""
    loss = (ys * noise(*ys.shape, seed=9)).sum()
    return torch.autograd.grad(loss, inputs, retain_graph=True, materialize_grads=True)


def equal_runs(core: Core, xs: Tensor, got: Tensor, want: Tensor) -> None:
    """Raises ContractError unless outputs and gradients of inputs and parameters are equal."""
    close(got, want, "equal outputs")
    sources = {"the inputs": xs, **dict(core.named_parameters())}
    for name, a, b in zip(sources, grads(got, *sources.values()), grads(want, *sources.values()), strict=True):
        close(a, b, f"equal gradients of {name}")


def tensors(packed: states.Packed) -> Iterator[Tensor]:
    """The tensors of a packed state."""
    if isinstance(packed, Tensor):
        yield packed
    elif isinstance(packed, list | dict):
        for part in packed.values() if isinstance(packed, dict) else packed:
            yield from tensors(part)


def through_a_file(packed: Any) -> Any:
    """The object after `torch.save` and `torch.load`."""
    file = io.BytesIO()
    torch.save(packed, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def differs(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors differ by more than rounding errors."""
    return bool((a - b).abs().max() > 1e-6)
