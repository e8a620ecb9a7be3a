"""The kernel Bayes rule, and two-stage regression of a filter that conditions by it.

Shapes: M number in the predictive state, F feature of an input, H feature of a history.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


def kernel_bayes_rule(
    joint: Float[Tensor, "*lead M F"],
    covariance: Float[Tensor, "*lead F F"],
    feature: Float[Tensor, "*lead F"],
    ridge: float,
) -> Float[Tensor, "*lead M"]:
    """The mean of a statistic given an observation: J (C^2 + ridge^2 I)^-1 C phi(o), with C made symmetric.

    With one-hot features and no ridge this is E[s | o] = E[s 1(o)] / P(o). The square keeps the matrix positive
    definite for any C that a regression predicts.

    Args:
        joint: J = E[s phi(o)'], of a statistic s.
        covariance: C = E[phi(o) phi(o)'].
        feature: phi of what was observed.
        ridge: above 0.

    Source: Fukumizu, Song and Gretton 2013, Kernel Bayes' rule, section 3.
    """
    symmetric = (covariance + covariance.mT) / 2
    identity = torch.eye(feature.shape[-1], dtype=feature.dtype, device=feature.device)
    regular = symmetric @ symmetric + ridge**2 * identity
    solved, _ = torch.linalg.solve_ex(regular, symmetric @ feature.unsqueeze(-1))
    return (joint @ solved).squeeze(-1)


class Affine(NamedTuple):
    """An affine map, x -> weight x + bias.

    Args:
        weight: (outputs, inputs).
        bias: (outputs,).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """The outputs at rows x."""
        return x @ self.weight.T + self.bias


def ridge_regression(x: Float[Tensor, "rows I"], y: Float[Tensor, "rows O"], ridge: float) -> Affine:
    """The affine map with the least mean squared error + ridge^2 |weight|^2.

    Args:
        x: inputs.
        y: outputs.
        ridge: above 0.
    """
    mean_x, mean_y = x.mean(0), y.mean(0)
    centered = x - mean_x
    gram = centered.T @ centered / len(x) + ridge**2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.solve(gram, centered.T @ (y - mean_y) / len(x)).T
    return Affine(weight, mean_y - mean_x @ weight.T)


class FilterWeights(NamedTuple):
    """What two-stage regression finds.

    Args:
        extended: predictive state -> [joint, covariance] of the next state with the features of an input.
        predictor: predictive state -> next input.
        states: the predictive states of all rows, denoised by their histories.
    """

    extended: Affine
    predictor: Affine
    states: Tensor


def two_stage_regression(
    history: Float[Tensor, "rows H"],
    future: Float[Tensor, "rows M"],
    later: Float[Tensor, "rows M"],
    feature: Float[Tensor, "rows F"],
    x: Float[Tensor, "rows D"],
    ridge: float,
) -> FilterWeights:
    """Two-stage regression: both sides of p = W q are regressed on histories, then one on the other.

    The noise of the futures is independent given the history only in expectation, so that a regression of the one on
    the other would be biased; histories are the instruments.

    Args:
        history: features of the steps before.
        future: features of the coming steps, whose mean given the history is the predictive state q.
        later: the same one step later.
        feature: features of the input in between.
        x: that input.
        ridge: of all regressions.

    Source: Hefny, Downey and Gordon 2015, Supervised learning for dynamical system learning; Hefny et al. 2018,
    Recurrent predictive state policy networks, section 4.2.
    """
    rows = len(x)
    products = later.unsqueeze(2) * feature.unsqueeze(1), feature.unsqueeze(2) * feature.unsqueeze(1)
    extended = torch.cat([product.reshape(rows, -1) for product in products], 1)
    states = ridge_regression(history, future, ridge)(history)
    denoised = ridge_regression(history, extended, ridge)(history)
    return FilterWeights(ridge_regression(states, denoised, ridge), ridge_regression(states, x, ridge), states)
