"""The second half of an outer step, the same for all who learn by gradient: from gradients to new parameters."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from badger import distributed
from badger.learners.schedules import LearningRate, WarmupCosine
from badger.rollouts.trajectory import Trajectory
from experts import Core, Private
from experts.torch_internals import skip_next_step
from tasks import Task

METRIC_FIELDS = ("scores", "losses")  # of Frames: numbers told for each step
BASE_METRICS = frozenset(
    {"loss", "return", "gradient_norm", "parameter_norm", "finite", "lr"}
)  # what every update tells


class GuardedAdamW:
    """AdamW, which never makes a step of which the loss or the gradient is not finite.

    The check stays on the device: the optimiser skips that step there, and `finite` in the metrics says so.

    Args:
        lr: a learning rate, or one for each outer step, such as a `WarmupCosine`.
        betas, eps, weight_decay: of AdamW (Loshchilov and Hutter 2019).
        clip: largest norm of the gradient; None: any.
        capturable: by a CUDA graph.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: LearningRate,
        clip: float | None,
        betas: tuple[float, float],
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        capturable: bool = False,
    ):
        self.parameters, self.clip = list(parameters), clip
        self.schedule = lr if callable(lr) else WarmupCosine(lr)
        # fused: one kernel, and the only AdamW that can skip a step on the device (found_inf)
        self.optimiser = torch.optim.AdamW(
            self.parameters,
            lr=1.0,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            fused=True,
            capturable=capturable,
        )

    @property
    def device(self) -> torch.device:
        return self.parameters[0].device

    def step(self, lr: float | Tensor, means: dict[str, Tensor], totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """A step along the gradient that is in the parameters, averaged over processes; and the metrics to tell of it.

        Args:
            means: numbers of which the processes tell the mean; `loss` is among them. They are changed in place.
            totals: sum and count, (2,), of numbers of which they tell the mean over all of them.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        distributed.all_reduce_mean_([*gradients, *means.values(), *totals.values()])
        norm = get_total_norm(gradients)
        if self.clip is not None:
            clip_grads_with_norm_(self.parameters, self.clip, norm)
        finite = torch.isfinite(means["loss"]) & torch.isfinite(norm)
        self._guarded_step(lr, ~finite)
        return {
            **means,
            **{name: total / count for name, (total, count) in totals.items()},
            "gradient_norm": norm,
            "parameter_norm": get_total_norm(self.parameters).detach(),
            "finite": finite,
        }

    def _guarded_step(self, lr: float | Tensor, skip: Tensor) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        skip_next_step(self.optimiser, skip)
        self.optimiser.step()
        increment_version(self.parameters)  # fused, AdamW does not tell that it changes them, as others do


def metric_totals(
    pieces: Sequence[Trajectory], task: Task, learner: object, reserved: frozenset[str] = BASE_METRICS
) -> dict[str, Tensor]:
    """Sum and count (2,) of each score and auxiliary loss over all steps and episodes in which it was due: means of
    means would not be right where processes differ in how many were.

    Raises:
        ValueError: one has a name of the learner's own metrics.
    """
    totals = {name: _total(pieces, field, name) for field in METRIC_FIELDS for name in getattr(pieces[0], field)}
    if totals.keys() & reserved:
        raise ValueError(
            f"{type(task).__name__} or its agent tells {sorted(totals.keys() & reserved)}, which {type(learner).__name__} "
            "tells itself; give the score or the loss another name"
        )
    return totals


def masked(frames: Trajectory, counts: Bool[Tensor, "T B"]) -> Trajectory:
    """The same, detached; what was told of other steps is not due."""

    def those(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.where(counts, value.detach(), torch.nan) for name, value in values.items()}

    return frames._replace(scores=those(frames.scores), losses=those(frames.losses))


def check_sizes(sizes: Mapping[str, int | None], shares: Mapping[str, float]) -> None:
    """Raises ValueError unless every size that is given is at least 1, and every share from 0 to 1."""
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name}={size}, want at least 1")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share}, want 0 to 1")


def check_auxiliary(weights: dict[str, float] | None, core: Core) -> dict[str, float]:
    """Weights of the auxiliary losses that are trained on, by name.

    Raises:
        ValueError: the core does not have one of them.
    """
    if not weights:
        return {}
    like = next(core.parameters(), torch.empty(0))
    with torch.no_grad():
        known = core.losses(core.initial_state(like.new_zeros(1, 1, core.input_size)))
    unknown = set(weights) - set(known)
    if unknown:
        inner = core.core if isinstance(core, Private) else core
        raise ValueError(
            f"the core {type(inner).__name__} has no auxiliary loss {sorted(unknown)}; it has {sorted(known) or 'none'}"
        )
    return dict(weights)


def _total(pieces: Sequence[Trajectory], field: str, name: str) -> Tensor:
    values = torch.cat([getattr(piece, field)[name].detach() for piece in pieces])
    return torch.stack([values.nansum(), (~values.isnan()).sum().to(values.dtype)])
