"""Recurrent predictive state policy networks (RPSP): a filter by the kernel Bayes rule, and a network that reads it.

Shapes: T step, B episode, N members, D input, X the numbers of it that are observed, M predictive state, F feature.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.belief.random_features import RandomFeatures
from experts.belief.two_stage import kernel_bayes_rule, ridge_regression, two_stage_regression
from experts.core import Core, check_positive, check_target_size, mean_of_present

HISTORY_FEATURES = 50
LARGEST_FIT = 50_000  # rows; more are thinned out


class RPSPState(NamedTuple):
    """State of an `RPSP` core.

    Args:
        q: the predictive state.
        error: mean squared error of the prediction of the last input; 0 of an absent member.
        present: members that took part in the last step.
    """

    q: Float[Tensor, "B N M"]
    error: Float[Tensor, "B N"]
    present: Bool[Tensor, "B N"]


class RPSP(Core):
    """Recurrent predictive state policy network: y = tanh(V2 relu(V1 q)) of a predictive state q.

    q is the mean of features of the next `future` inputs. A linear map p = W q extends it to the mean of their
    products with features of one more input x, and the kernel Bayes rule conditions on x: q' = f_cond(p, x). The input
    holds the last action besides the observation, for example by `PreviousActionReward`; conditioning on both at once
    is right whatever policy has acted. q is scaled back where it is twice as long as 99 % of those
    of the fit, in which its numbers have mean 0 and deviations up to 1.

    The auxiliary loss "rpsp" is the mean squared error of the next input as an affine map of q. All weights are trained
    by it and by what reads y, through time. `fit` starts them, and sets the features, by two-stage regression on
    recorded steps (`--fit-steps` of recipes); without it they start at random.

    Args:
        input_size: D.
        hidden_size: of the hidden layer and of the output.
        state_size: M.
        features: F.
        future: number of inputs in a future, and in a history.
        random: random Fourier features of which both are components.
        bandwidth: of the kernels, in median distances: the wider, the more linear.
        ridge: of the regressions and of the kernel Bayes rule.
        target_size: X: only the first `target_size` numbers of x are observed and predicted; None: all. In an agent x
            is [obs, inbox, identity].

    Raises:
        ValueError: a size out of range, or a number that is not above 0.

    Source: Hefny et al. 2018 (arXiv:1803.01489); Downey et al. 2017, Predictive state recurrent neural networks.
    """

    start: Tensor
    radius: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        state_size: int = 20,
        features: int = 10,
        future: int = 5,
        random: int = 200,
        bandwidth: float = 4.0,
        ridge: float = 0.01,
        target_size: int | None = None,
    ):
        super().__init__()
        target_size = check_target_size(target_size, input_size)
        check_positive(hidden_size=hidden_size, state_size=state_size, features=features, future=future, random=random)
        for name, value in (("bandwidth", bandwidth), ("ridge", ridge)):
            if not value > 0:
                raise ValueError(f"{name}={value}, want a number above 0")
        self.loss_weights = {"rpsp": 1.0}
        self.input_size, self.output_size, self.target_size = input_size, hidden_size, target_size
        self.future, self.bandwidth, self.ridge = future, bandwidth, ridge
        self.feature = RandomFeatures(target_size, features, random=random)
        self.future_feature = RandomFeatures(future * target_size, state_size, random=random)
        self.history_feature = RandomFeatures(future * target_size, min(HISTORY_FEATURES, random), random=random)
        self.extended = nn.Linear(state_size, (state_size + features) * features)
        self.predictor = nn.Linear(state_size, target_size)
        self.hidden, self.out = nn.Linear(state_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.register_buffer("start", torch.randn(state_size))
        with torch.no_grad():  # a filter that contracts: at first the covariance is nearly the identity
            self.extended.weight[: state_size * features].mul_(0.3)
            self.extended.weight[state_size * features :].mul_(0.05)
            self.extended.bias[state_size * features :].copy_(torch.eye(features).flatten())
        self.register_buffer("radius", torch.tensor(2 * state_size**0.5))

    def initial_state(self, x: Float[Tensor, "B N D"]) -> RPSPState:
        q = self.start.to(x).expand(*x.shape[:2], len(self.start))
        return RPSPState(q, x.new_zeros(x.shape[:2]), torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device))

    def forward(
        self, x: Float[Tensor, "B N D"], state: RPSPState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], RPSPState]:
        observed = x[..., : self.target_size]
        target = self.feature.standardized(observed.detach())
        error = (self.predictor(state.q) - target).square().mean(-1)
        new = RPSPState(self.condition(state.q, observed), error, torch.ones_like(state.present))
        if present is not None:
            absent = state._replace(error=torch.zeros_like(error), present=torch.zeros_like(present))
            new = states.where(present, new, absent)
        return torch.tanh(self.out(torch.relu(self.hidden(new.q)))), new

    def condition(self, q: Float[Tensor, "*lead M"], x: Float[Tensor, "*lead X"]) -> Float[Tensor, "*lead M"]:
        """The predictive state after an input: f_cond(W q, x).

        Args:
            q: the predictive state before it.
            x: what is observed.
        """
        feature = self.feature(x)
        m, f = q.shape[-1], feature.shape[-1]
        joint, covariance = self.extended(q).split([m * f, f * f], -1)
        q = kernel_bayes_rule(joint.unflatten(-1, (m, f)), covariance.unflatten(-1, (f, f)), feature, self.ridge)
        length = torch.linalg.vector_norm(q, dim=-1, keepdim=True)
        return q * (self.radius / length.clamp(min=self.radius))

    def losses(self, state: RPSPState) -> dict[str, Float[Tensor, " B"]]:
        return {"rpsp": mean_of_present(state.error, state.present)}

    def metrics(self, state: RPSPState) -> dict[str, Float[Tensor, " B"]]:
        """The error rpsp_error: the square root of the loss, in standard deviations of x once it is fitted."""
        return {"rpsp_error": self.losses(state)["rpsp"].detach().sqrt()}

    @torch.no_grad()
    def fit(self, xs: Float[Tensor, "T B N D"], start: Bool[Tensor, "T B"]) -> None:
        """Sets features, filter, predictor and first state by two-stage regression on recorded inputs.

        Args:
            xs: inputs of a random policy.
            start: an episode starts with this input.

        Raises:
            ValueError: the record has too few windows of a history, an input and a future within an episode.
        """
        observed = xs[..., : self.target_size].flatten(1, 2)  # (T, B N, X)
        first, k = start.repeat_interleave(xs.shape[2], 1).unsqueeze(-1), self.future
        size = 0
        if len(xs) > 2 * k:
            windows, starts = _windows(observed, k), _windows(first, k)  # of x_t .. x_{t + k - 1}
            cut = starts.any(-1)
            whole = ~cut[1:-k] & ~cut[k + 1 :]  # no episode starts after the first input of the history
            size = int(whole.sum())
        if size < 5 * len(self.start):
            raise ValueError(
                f"core 'rpsp' is fitted to {size} windows of {2 * k + 1} steps within an episode, want at least "
                f"{5 * len(self.start)}: a larger fit_steps or batch, or a smaller core.future"
            )
        thin = slice(None, None, -(-size // LARGEST_FIT))
        shifts = slice(0, -k - 1), slice(k, -1), slice(k + 1, None)
        past, coming, later = (windows[shift][whole][thin] for shift in shifts)
        now = coming[:, : self.target_size]
        for features, rows in ((self.feature, now), (self.history_feature, past), (self.future_feature, coming)):
            features.fit(rows, self.bandwidth)
        history = self.history_feature(past)
        states = ridge_regression(history, self.future_feature(coming), self.ridge)(history)
        self.future_feature.standardize(states)
        found = two_stage_regression(
            history,
            self.future_feature(coming),
            self.future_feature(later),
            self.feature(now),
            self.feature.standardized(now),
            self.ridge,
        )
        for module, affine in ((self.extended, found.extended), (self.predictor, found.predictor)):
            module.weight.copy_(affine.weight)
            module.bias.copy_(affine.bias)
        begins = starts[..., 0] & ~starts[..., 1:].any(-1)
        if begins.any():
            self.start.copy_(self.future_feature(windows[begins]).mean(0))
        self.radius.copy_(2 * torch.linalg.vector_norm(found.states, dim=-1).quantile(0.99))


def _windows(xs: Tensor, steps: int) -> Tensor:
    """So many inputs from each step on, side by side, (T - steps + 1, B, steps X)."""
    return torch.cat([xs[i : len(xs) - steps + 1 + i] for i in range(steps)], -1)
