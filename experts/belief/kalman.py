"""The exact belief of a linear Gaussian model, the Kalman filter, as a recurrent core.

Shapes: B episode, N members, A action, S hidden state, O observation, D input, H output.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from experts import state as states
from experts.belief.exact import FilterWithNetwork
from experts.belief.model import LinearGaussianModel
from experts.core import Core

MATRICES = (
    "transition", "transition_covariance", "observation", "observation_covariance", "start_mean", "start_covariance",
)  # fmt: skip


class KalmanState(NamedTuple):
    """The belief, a normal distribution.

    Args:
        mean: of the hidden state.
        covariance: of the hidden state.
        started: whether an observation was seen.
    """

    mean: Float[Tensor, "B N S"]
    covariance: Float[Tensor, "B N S S"]
    started: Bool[Tensor, "B N"]


class KalmanFilter(Core):
    """Kalman filter; the output is [mean, standard deviations] of the belief.

    s' = F s + control(a) + noise of covariance Q; o = H s + noise of covariance R. The input begins with the
    observation and the last action, as `PreviousActionReward(MountainHike())` gives them; what follows is not read. The
    first observation of an episode is of the start, before any action. Members have separate beliefs.

    Args:
        input_size: D, at least O + A.
        model: F, Q, H, R and the start, which become buffers in float64, converted to the dtype of the input.

    Raises:
        ValueError: no model, one of another kind, or an input that is too small for it.

    Source: Kalman 1960; the covariance in the form of Bucy and Joseph 1968, which stays symmetric.
    """

    reads_measurements = True
    transition: Tensor
    transition_covariance: Tensor
    observation: Tensor
    observation_covariance: Tensor
    start_mean: Tensor
    start_covariance: Tensor

    def __init__(self, input_size: int, *, model: object):
        super().__init__()
        if not isinstance(model, LinearGaussianModel):
            got = "none" if model is None else type(model).__name__
            raise ValueError(
                f"core 'kalman_filter' needs the linear Gaussian model of its task, got {got}; want a task that has "
                "one, such as mountain_hike"
            )
        self.num_observations, states_ = np.shape(model.observation)
        self.num_actions = model.action_size
        least = self.num_observations + self.num_actions
        if input_size < least:
            raise ValueError(
                f"input_size={input_size}, want at least {self.num_observations} observations + {self.num_actions} "
                f"actions = {least}: the task in PreviousActionReward, and a sense that does not change it, such as "
                "broadcast"
            )
        self.input_size, self.output_size = input_size, 2 * states_
        self.control: Callable[[Tensor], Tensor] = model.control
        for name in MATRICES:
            self.register_buffer(name, torch.tensor(np.asarray(getattr(model, name)), dtype=torch.float64))

    def initial_state(self, x: Float[Tensor, "B N D"]) -> KalmanState:
        s = len(self.start_mean)
        return KalmanState(
            self.start_mean.to(x).expand(*x.shape[:2], s),
            self.start_covariance.to(x).expand(*x.shape[:2], s, s),
            torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: KalmanState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], KalmanState]:
        f, q, h, r = (getattr(self, name).to(x) for name in MATRICES[:4])
        o, a, _ = x.tensor_split([self.num_observations, self.num_observations + self.num_actions], -1)
        moved = state.mean @ f.mT + self.control(a), f @ state.covariance @ f.mT + q
        mean, covariance = states.where(state.started, moved, (state.mean, state.covariance))
        of_observation = h @ covariance @ h.mT + r
        gain = covariance @ h.mT @ torch.linalg.inv_ex(of_observation).inverse  # inv would synchronize
        mean = mean + (gain @ (o - mean @ h.mT).unsqueeze(-1)).squeeze(-1)
        rest = torch.eye(mean.shape[-1], dtype=x.dtype, device=x.device) - gain @ h
        covariance = rest @ covariance @ rest.mT + gain @ r @ gain.mT
        new = KalmanState(mean, covariance, torch.ones_like(state.started))
        if present is not None:
            new = states.where(present, new, state)
        return torch.cat([new.mean, _deviations(new)], -1), new

    def metrics(self, state: KalmanState) -> dict[str, Float[Tensor, " B"]]:
        """The mean standard deviation of the hidden state, as `belief_deviation`."""
        return {"belief_deviation": _deviations(state).mean((1, 2))}


class KalmanBelief(FilterWithNetwork):
    """The exact belief of a linear Gaussian model, read by a feed-forward network: y = tanh(W2 relu(W1 [mean, std])).

    The control for learned memories, as `ExactBelief` is where the states are finitely many.

    Args:
        input_size: D, at least O + A.
        hidden_size: H, of the hidden layer and of the output.
        model: of the task.

    Raises:
        ValueError: hidden_size < 1, no model, one of another kind, or an input that is too small for it.
    """

    def __init__(self, input_size: int, hidden_size: int, *, model: object):
        super().__init__(lambda: KalmanFilter(input_size, model=model), hidden_size)


def _deviations(state: KalmanState) -> Float[Tensor, "B N S"]:
    return state.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt()
