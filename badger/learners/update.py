"""The guarded optimizer step that all gradient-based learners share, their metrics, and checks of their options."""

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

METRIC_FIELDS = ("scores", "losses")  # of Trajectory: dicts of values for each step, NaN where there is none
BASE_METRICS = frozenset(
    {"loss", "return", "episodes", "gradient_norm", "parameter_norm", "finite", "lr"}
)  # of every update


class GuardedAdamW:
    """AdamW that skips every step whose loss or gradient is not finite.

    The check stays on the device: the optimizer skips the step there, and the metric `finite` is 0.

    Args:
        parameters: the parameters to optimize.
        lr: learning rate: a number, or a function of the outer step, such as a `WarmupCosine`.
        clip: largest norm of the gradient; None: no clipping.
        betas, eps, weight_decay: of AdamW.
        capturable: whether a CUDA graph may capture the step.

    Raises:
        ValueError: an option that is out of range.

    Source: Loshchilov and Hutter 2019, arXiv:1711.05101.
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
        if clip is not None and not clip > 0:
            raise ValueError(f"clip={clip}, want a number above 0, or None")
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f"betas={tuple(betas)}, want two numbers from 0 to below 1")
        for name, value in {"eps": eps, "weight_decay": weight_decay}.items():
            if not value >= 0:
                raise ValueError(f"{name}={value}, want at least 0")
        self.parameters, self.clip = list(parameters), clip
        self.schedule = lr if callable(lr) else WarmupCosine(lr)
        # fused: one kernel, and the only AdamW that can skip a step on the device (found_inf); not on the meta device
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=1.0,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            fused=self.device.type != "meta",
            capturable=capturable,
        )

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return self.parameters[0].device

    def step(self, lr: float | Tensor, means: dict[str, Tensor], totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """Averages the gradients over processes, clips them, makes a step, and returns the metrics.

        Args:
            lr: the learning rate of this step.
            means: metrics to average over processes, changed in place; `loss` is one of them.
            totals: metrics as sum and count, (2,) each, whose mean is over the counts of all processes.
        """
        return self.inner_step(lr, means, totals) | {"parameter_norm": self.parameter_norm()}

    def inner_step(self, lr: float | Tensor, means: dict[str, Tensor], totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """One of several steps of an update: as `step`, without `parameter_norm`, which is that after the last one.

        Args:
            lr: the learning rate of this step.
            means: as in `step`.
            totals: as in `step`.
        """
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        distributed.all_reduce_mean_([*gradients, *means.values(), *totals.values()])
        return self._clipped_step(lr, means, totals)

    def apply(self, lr: float | Tensor, means: dict[str, Tensor], totals: dict[str, Tensor]) -> dict[str, Tensor]:
        """The same with gradients and metrics that are equal in all processes already.

        Args:
            lr: the learning rate of this step.
            means: metrics; `loss` is one of them.
            totals: metrics as sum and count, (2,) each.
        """
        return self._clipped_step(lr, means, totals) | {"parameter_norm": self.parameter_norm()}

    def parameter_norm(self) -> Tensor:
        """The norm of all parameters together."""
        return get_total_norm(self.parameters).detach()

    def _clipped_step(
        self, lr: float | Tensor, means: dict[str, Tensor], totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = get_total_norm(gradients)
        if self.clip is not None:
            clip_grads_with_norm_(self.parameters, self.clip, norm)
        finite = torch.isfinite(means["loss"]) & torch.isfinite(norm)
        self._guarded_step(lr, ~finite)
        return {
            **means,
            **{name: total / count for name, (total, count) in totals.items()},
            "gradient_norm": norm,
            "finite": finite,
        }

    def _guarded_step(self, lr: float | Tensor, skip: Tensor) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.optimizer.defaults["fused"]:
            skip_next_step(self.optimizer, skip)
        self.optimizer.step()
        increment_version(self.parameters)  # the fused AdamW does not count its in-place changes


def metric_totals(
    trajectories: Sequence[Trajectory], task: Task, learner: object, reserved: frozenset[str] = BASE_METRICS
) -> dict[str, Tensor]:
    """The sum and count (2,) of each score and auxiliary loss over all steps and episodes where it is not NaN.

    Sums and counts, not means: processes may differ in their counts, and a mean of means would be wrong.

    Args:
        trajectories: consecutive rollouts of the same episodes.
        task: the task, for the error message.
        learner: the learner, for the error message.
        reserved: names of the learner's own metrics.

    Raises:
        ValueError: a score or an auxiliary loss has a reserved name.
    """
    first = trajectories[0]
    totals = {
        name: _sum_and_count(trajectories, field, name) for field in METRIC_FIELDS for name in getattr(first, field)
    }
    if totals.keys() & reserved:
        raise ValueError(
            f"{type(task).__name__} or its agent returns {sorted(totals.keys() & reserved)}, a metric of "
            f"{type(learner).__name__} itself; give the score or the auxiliary loss another name"
        )
    return totals


def masked(trajectory: Trajectory, mask: Bool[Tensor, "T B"]) -> Trajectory:
    """The trajectory with scores and losses detached, and NaN outside of the mask.

    Args:
        trajectory: a rollout.
        mask: the steps to keep.
    """

    def select(values: dict[str, Tensor]) -> dict[str, Tensor]:
        return {name: torch.where(mask, value.detach(), torch.nan) for name, value in values.items()}

    return trajectory._replace(scores=select(trajectory.scores), losses=select(trajectory.losses))


def check_sizes(sizes: Mapping[str, int | None], fractions: Mapping[str, float]) -> None:
    """Raises ValueError unless each size is None or at least 1, and each fraction is from 0 to 1.

    Args:
        sizes: option name to size.
        fractions: option name to fraction.

    Raises:
        ValueError: names the first option that is out of range.
    """
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"{name}={size}, want at least 1")
    for name, fraction in fractions.items():
        if not 0 <= fraction <= 1:
            raise ValueError(f"{name}={fraction}, want 0 to 1")


def check_auxiliary(weights: dict[str, float] | None, core: Core) -> dict[str, float]:
    """A copy of the weights of the auxiliary losses, {} for None.

    Args:
        weights: weight by name of the loss.
        core: the core whose `losses` are trained on.

    Raises:
        ValueError: the core has no auxiliary loss of that name.
    """
    if not weights:
        return {}
    like = next(core.parameters(), torch.empty(0))
    with torch.no_grad():
        names = set(core.losses(core.initial_state(like.new_zeros(1, 1, core.input_size))))
    if set(weights) - names:
        inner = core.core if isinstance(core, Private) else core
        raise ValueError(
            f"auxiliary={sorted(set(weights) - names)}: the core {type(inner).__name__} has no such auxiliary loss; "
            f"it has {sorted(names) or 'none'}"
        )
    return dict(weights)


def _sum_and_count(trajectories: Sequence[Trajectory], field: str, name: str) -> Tensor:
    values = torch.cat([getattr(trajectory, field)[name].detach() for trajectory in trajectories])
    return torch.stack([values.nansum(), (~values.isnan()).sum().to(values.dtype)])
