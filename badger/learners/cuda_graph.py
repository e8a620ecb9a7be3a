"""CUDA-graph capture of a whole outer step: rollout, backward pass, clipping and optimizer in one launch.

The many small kernels of an inner loop then cost their computation only, not their launches by the host. The numbers
equal those of the plain step: the generator is registered with the graph and seeded again before each replay.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from badger import distributed

WARMUP = 3  # steps before the capture, in which libraries choose their kernels and the optimizer creates its state

OuterStep = Callable[[torch.Generator, float | Tensor], dict[str, Tensor]]  # (rng, lr) -> metrics


def check_capturable(device: torch.device, *, grad_checkpoint_steps: int | None, randomized: bool = False) -> None:
    """Raises ValueError where an outer step cannot be captured.

    Args:
        device: of the agent.
        grad_checkpoint_steps: the option of the learner.
        randomized: whether sizes are sampled for each outer step.

    Raises:
        ValueError: lists all reasons.
    """
    problems = {
        f"the agent is on {device}, want a CUDA device": device.type != "cuda",
        f"{distributed.world_size()} processes share the run, want 1": distributed.world_size() > 1,
        f"grad_checkpoint_steps={grad_checkpoint_steps} recomputes steps from saved generators, want None":
            grad_checkpoint_steps is not None,
        "sizes are sampled for each outer step, want the same in all": randomized,
    }  # fmt: skip
    reasons = [reason for reason, holds in problems.items() if holds]
    if reasons:
        raise ValueError(f"cuda_graph=True, but {'; '.join(reasons)}; or leave cuda_graph out")


class CudaGraphStep:
    """An outer step, captured as a CUDA graph on the first call and replayed from then on.

    Args:
        step: (rng, lr) -> metrics; must not synchronize with the device, and must launch the same kernels each time.
        parameters: the tensors that the step updates.
        optimizer: their optimizer, with capturable groups.

    Raises:
        RuntimeError: on the first call, where the step cannot be captured.
    """

    def __init__(self, step: OuterStep, parameters: Sequence[Tensor], optimizer: Optimizer):
        self.step, self.parameters, self.optimizer = step, parameters, optimizer
        device = parameters[0].device
        self.rng, self.lr = torch.Generator(device), torch.zeros((), device=device)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.static_metrics: dict[str, Tensor] = {}

    def __call__(self, rng: torch.Generator, lr: float | Tensor) -> dict[str, Tensor]:
        self.lr.fill_(lr)
        if self.graph is None:
            self._warm_up(rng.initial_seed())
            self.graph = self._capture()
        self.rng.manual_seed(rng.initial_seed())
        self.graph.replay()
        for group in self.optimizer.param_groups:
            group["lr"] = lr  # in a checkpoint a number, not the graph's tensor
        return {name: value.clone() for name, value in self.static_metrics.items()}  # the next replay overwrites them

    def _warm_up(self, seed: int) -> None:
        """Runs some steps on a side stream, then restores parameters and optimizer state in the same storage."""
        saved_parameters = [p.detach().clone() for p in self.parameters]
        saved_moments = {p: {k: v.clone() for k, v in s.items()} for p, s in self.optimizer.state.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*capturable=True")  # torch warns of steps outside of a graph
            for _ in range(WARMUP):
                self.step(self.rng.manual_seed(seed), self.lr)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.no_grad():
            for p, saved in zip(self.parameters, saved_parameters, strict=True):
                p.copy_(saved)
            for p, state in self.optimizer.state.items():
                for name, value in state.items():
                    value.copy_(saved_moments[p][name]) if p in saved_moments else value.zero_()

    def _capture(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.rng)
        self.optimizer.zero_grad()  # gradients of the warm-up lie outside of the graph's memory
        try:
            with torch.cuda.graph(graph):
                self.static_metrics = self.step(self.rng, self.lr)
        except RuntimeError as error:
            raise RuntimeError(
                "this outer step cannot be captured as a CUDA graph: it synchronizes with the device, or its shapes "
                f"differ between steps ({str(error).splitlines()[0]}); leave cuda_graph out"
            ) from error
        return graph
