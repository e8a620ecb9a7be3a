"""A whole outer step as one CUDA graph: rollout, backward pass, clipping and optimiser, launched at once.

The many small kernels of an inner loop then cost what they compute, not what the host needs to launch them. The
numbers are those of the plain step: the generator is registered with the graph and seeded anew before each replay.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from badger import distributed

WARMUP = 3  # steps before the capture, in which libraries choose their kernels and the optimiser makes its state

OuterStep = Callable[[torch.Generator, float | Tensor], dict[str, Tensor]]


def check_capturable(device: torch.device, *, segment: int | None, varied: bool = False) -> None:
    """Raises ValueError where an outer step cannot be captured."""
    why = {
        f"the agent is on {device}, want a CUDA device": device.type != "cuda",
        f"{distributed.world_size()} processes share the run, want 1": distributed.world_size() > 1,
        f"segment={segment} plays segments again from saved generators, want None": segment is not None,
        "sizes are drawn anew for each outer step, want the same in all": varied,
    }
    reasons = [reason for reason, holds in why.items() if holds]
    if reasons:
        raise ValueError(f"cuda_graph=True, but {'; '.join(reasons)}; or leave cuda_graph out")


class CudaGraphStep:
    """An outer step that is captured when first called, and replayed from then on.

    Args:
        step: (rng, lr) -> metrics; must not wait for the device, and must launch the same kernels each time.
        parameters: what it changes, with `optimiser`, whose groups must be capturable.

    Raises:
        RuntimeError: on the first call, where the step cannot be captured.
    """

    def __init__(self, step: OuterStep, parameters: Sequence[Tensor], optimiser: Optimizer):
        self.step, self.parameters, self.optimiser = step, parameters, optimiser
        device = parameters[0].device
        self.rng, self.lr = torch.Generator(device), torch.zeros((), device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.static_metrics: dict[str, Tensor] = {}

    def __call__(self, rng: torch.Generator, lr: float | Tensor) -> dict[str, Tensor]:
        self.lr.fill_(lr)
        if self.graph is None:
            self._warm_up(rng.initial_seed())
            self.graph = self._captured()
        self.rng.manual_seed(rng.initial_seed())
        self.graph.replay()
        for group in self.optimiser.param_groups:
            group["lr"] = lr  # in a checkpoint a number, not the graph's tensor
        return {name: value.clone() for name, value in self.static_metrics.items()}  # the next replay writes over them

    def _warm_up(self, seed: int) -> None:
        """Some steps on a side stream, and then everything is as it was, in the same storage."""
        parameters = [p.detach().clone() for p in self.parameters]
        moments = {p: {k: v.clone() for k, v in s.items()} for p, s in self.optimiser.state.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # torch tells of steps outside of a graph
            for _ in range(WARMUP):
                self.step(self.rng.manual_seed(seed), self.lr)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.no_grad():
            for p, before in zip(self.parameters, parameters, strict=True):
                p.copy_(before)
            for p, state in self.optimiser.state.items():
                for name, value in state.items():
                    value.copy_(moments[p][name]) if p in moments else value.zero_()

    def _captured(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.rng)
        self.optimiser.zero_grad()  # gradients of the warm-up lie outside of the graph's memory
        try:
            with torch.cuda.graph(graph):
                self.static_metrics = self.step(self.rng, self.lr)
        except RuntimeError as error:
            raise RuntimeError(
                "this outer step cannot be captured as a CUDA graph: it waits for the device, or its shapes are not "
                f"the same each time ({str(error).splitlines()[0]}); leave cuda_graph out"
            ) from error
        return graph
