"""Exploration noise that is correlated in time, for continuous actions.

Independent noise of many small steps averages out: a car that is pushed left and right at random stays where it is.
Noise that keeps its direction for some steps moves it.

Shapes: B episode, P agent of the environment, D numbers of an action; ... any leading axes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from badger.policies import gaussian
from badger.policies.mixed import Product
from badger.policies.policies import Sampled
from tasks import ActionSpace, Continuous, Mixed


def exploring_policy(space: ActionSpace, correlation: float) -> "Sampled | CorrelatedGaussian | Product":
    """The policy of a training: sampled choices, and real numbers with correlated noise.

    Args:
        space: the action space.
        correlation: of noise one step apart; 0: independent.
    """
    if isinstance(space, Continuous) and correlation:
        return CorrelatedGaussian(space, correlation)
    if isinstance(space, Mixed) and correlation:
        return Product(space, Sampled(space.choices), CorrelatedGaussian(space.numbers, correlation))
    return Sampled(space)


@dataclass(frozen=True)
class CorrelatedGaussian:
    """Gaussian policy with first-order autoregressive noise: e_t = c e_{t-1} + sqrt(1 - c^2) n_t, action m + s e_t.

    Each e_t is standard normal, as in `Sampled`. The state is e_{t-1}, drawn anew at the start of an episode. Given the
    state, the action is normal, too, so that its log-probability is exact (`conditional_output`).

    Args:
        space: the action space.
        correlation: c of noise one step apart; 0: independent.

    Raises:
        ValueError: a correlation outside 0 to below 1.

    Source: Eberhard et al. 2023, "Pink Noise Is All You Need", on the color of noise; Wawrzynski 2015 on AR(1) noise.
    """

    space: Continuous
    correlation: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.correlation < 1:
            raise ValueError(f"noise_correlation={self.correlation}, want 0 to below 1")

    def initial_state(self, like: Float[Tensor, "B *P"], rng: torch.Generator) -> Float[Tensor, "B *P D"]:
        """Noise of the step before the first one.

        Args:
            like: gives batch, agents, device and dtype.
            rng: the generator.
        """
        return torch.randn((*like.shape, self.space.size), generator=rng, device=like.device, dtype=like.dtype)

    def __call__(
        self, output: Tensor, action_mask: Tensor | None, state: Tensor, rng: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        white = torch.randn(state.shape, generator=rng, device=state.device, dtype=state.dtype)
        noise = self.correlation * state + (1 - self.correlation**2) ** 0.5 * white
        return gaussian.add_noise(output, noise, self.space), noise

    def conditional_output(self, output: Float[Tensor, "*B _"], state: Float[Tensor, "*B D"]) -> Float[Tensor, "*B _"]:
        """The output whose distribution the action was drawn from, given the noise of the step before.

        Args:
            output: of the agent.
            state: of the policy before the action.
        """
        return gaussian.conditional_output(output, state, self.correlation, self.space)
