"""Deep variational Bayes filter (DVBF): a latent state-space model of the observations, with linear transitions.

Shapes: B episode, N members, Z of a latent state, M transitions, O numbers that are predicted, D input, Y output.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.belief.variational.gaussian import (
    Gaussian,
    check_predicted,
    divergence_from_standard_normal,
    gaussian_log_density,
)
from experts.core import Core, check_positive, mean_of_present
from experts.random_key import RandomKey, initial_key


class DVBFState(NamedTuple):
    """A sample of the belief, and the two parts of the bound of the last step.

    Args:
        z: latent state; zeros before the first step.
        y: last output.
        log_likelihood: of the last observation given z; 0 of absent members.
        divergence: of the proposal of the noise from its prior; 0 of absent members.
        present: members that took part in the last step.
        key: of random numbers.
    """

    z: Float[Tensor, "B N Z"]
    y: Float[Tensor, "B N Y"]
    log_likelihood: Float[Tensor, "B N"]
    divergence: Float[Tensor, "B N"]
    present: Bool[Tensor, "B N"]
    key: RandomKey


class DVBF(Core):
    """Deep variational Bayes filter with locally linear transitions: z' = A z + B u + C w, y = tanh(W z' + b).

    The input x is [o, u]: o is predicted from z', and u, such as the last action, is a control. [A B C] is the mean of
    M learned matrices with the weights softmax f(z, u). The noise w has a standard normal prior; the filter draws it
    from a proposal q(w | z, u, o) that has seen o, so that w corrects the prediction A z + B u. As the observations'
    errors pass through the transition, the model must put into z what moves it, such as velocities. At the first
    step, z' is a network of w instead. Random numbers follow from the key in the state.

    The loss "negative_elbo" is KL(q | N(0, 1)) - log p(o | z'), a bound of -log p(o) over an episode. Its two parts are
    in the state, so that a training loop of one's own may anneal it, as the paper does: the likelihood has the weight
    min(1, .01 + i / T) in update i. The core itself does not anneal, because it knows of no updates.

    A state may grow without bound where a learned A has eigenvalues above 1 and the proposal does not correct it; those
    of the initial A are near .9, and at most about 1.

    Args:
        input_size: D.
        hidden_size: Y, also of the hidden layers.
        latent_size: Z, of the state and of the noise.
        matrices: M.
        predicted: O, the first numbers of the input; None: all.

    Raises:
        ValueError: a size out of range.

    Source: Karl et al. 2017 (arXiv:1605.06432), where the proposal of the first noise reads the whole episode.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 64,
        *,
        latent_size: int = 16,
        matrices: int = 16,
        predicted: int | None = None,
    ):
        super().__init__()
        check_positive(hidden_size=hidden_size, latent_size=latent_size, matrices=matrices)
        self.input_size, self.output_size, self.latent_size = input_size, hidden_size, latent_size
        self.predicted = check_predicted(predicted, input_size)
        self.loss_weights = {"negative_elbo": 0.1}
        h, z, moved = hidden_size, latent_size, latent_size + input_size - self.predicted  # [z, u]
        self.proposal = Gaussian(moved + self.predicted, h, z)
        self.mixture = nn.Sequential(nn.Linear(moved, h), nn.Tanh(), nn.Linear(h, matrices))
        scale = 0.1 * (matrices / moved) ** 0.5  # of the mean of all matrices: .1, so that parts of a state are coupled
        transitions = scale * torch.randn(matrices, z, moved + z)
        transitions[:, :, :z] += 0.9 * torch.eye(z)  # states are kept, more or less
        self.transitions = nn.Parameter(transitions)  # [A B C]
        self.first = nn.Sequential(nn.Linear(z, h), nn.Tanh(), nn.Linear(h, z))
        self.decoder = Gaussian(z, h, self.predicted)
        self.out = nn.Linear(z, hidden_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> DVBFState:
        lead = x.shape[:2]
        return DVBFState(
            x.new_zeros(*lead, self.latent_size),
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(lead),
            x.new_zeros(lead),
            x.new_zeros(lead, dtype=torch.bool),
            initial_key(x),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: DVBFState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], DVBFState]:
        observed, control = x[..., : self.predicted], x[..., self.predicted :]
        mean, std = self.proposal(state.z, control, observed)
        w = mean + std * state.key.normal(x, self.latent_size)
        is_first = (state.key.step == 0).unsqueeze(-1)
        z = torch.where(is_first, self.first(w), self.transition(state.z, control, w))
        log_likelihood = gaussian_log_density(observed, *self.decoder(z))
        divergence = divergence_from_standard_normal(mean, std)
        y, here = torch.tanh(self.out(z)), torch.ones_like(state.present)
        new = DVBFState(z, y, log_likelihood, divergence, here, state.key.next())
        if present is not None:
            nothing = torch.zeros_like(divergence)
            absent = state._replace(log_likelihood=nothing, divergence=nothing, present=torch.zeros_like(here))
            new = states.where(present, new, absent)
        return new.y, new

    def transition(
        self, z: Float[Tensor, "*B Z"], control: Float[Tensor, "*B U"], noise: Float[Tensor, "*B Z"]
    ) -> Float[Tensor, "*B Z"]:
        """The next latent state, A z + B u + C w; with noise from its prior, a prediction without an observation.

        Args:
            z: latent state.
            control: u, the inputs that are not predicted.
            noise: w, standard normal.
        """
        moved = torch.cat([z, control], -1)
        alpha = self.mixture(moved).softmax(-1)
        matrix = torch.einsum("...m,mij->...ij", alpha, self.transitions)
        return (matrix @ torch.cat([moved, noise], -1).unsqueeze(-1)).squeeze(-1)

    def losses(self, state: DVBFState) -> dict[str, Float[Tensor, " B"]]:
        return {"negative_elbo": mean_of_present(state.divergence - state.log_likelihood, state.present)}

    def metrics(self, state: DVBFState) -> dict[str, Float[Tensor, " B"]]:
        """The divergence of the noise's proposal from its prior in nats; 0: observations are not used."""
        return {"noise_divergence": mean_of_present(state.divergence, state.present)}
