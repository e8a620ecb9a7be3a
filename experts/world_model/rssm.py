"""Recurrent state-space model (RSSM): a world model of which one part is deterministic and another is drawn.

Shapes: T step, B episode, N members, D input, H deterministic state, Z latent state, P parameters of its distribution,
F = H + Z features, A numbers of an action, O numbers that are predicted, Y = H output.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.belief.variational.gaussian import gaussian_log_density
from experts.core import check_positive, mean_of_present
from experts.random_key import RandomKey, initial_key
from experts.recurrent.gru import GRU, GRUState
from experts.trajectory.layout import StepLayout
from experts.world_model.base import WorldModel
from experts.world_model.latents import Categorical, Latent, Normal
from experts.world_model.networks import mlp, symexp, symlog


class RSSMState(NamedTuple):
    """The state after a step, and what its losses depend on.

    Args:
        h: deterministic state; zeros before the first step.
        z: latent state; zeros before the first step.
        posterior: parameters of the distribution that z was drawn from.
        target: the last observation.
        action: the action before it.
        present: members that took part in the last step.
        key: of random numbers.
    """

    h: Float[Tensor, "*B N H"]
    z: Float[Tensor, "*B N Z"]
    posterior: Float[Tensor, "*B N P"]
    target: Float[Tensor, "*B N O"]
    action: Float[Tensor, "*B N A"]
    present: Bool[Tensor, "*B N"]
    key: RandomKey


class RSSM(WorldModel):
    """Recurrent state-space model: h' = GRU(h, [z, a]); prior p(z' | h'), posterior q(z' | h', x).

    The input x is [observation, last action a, last reward, end of the episode, rest]. A step draws z' from the
    posterior, which has read the observation and the rest, such as messages; imagination draws it from the prior. The
    observation is predicted from [h', z']. The output is a network of [h', z'] with two hidden layers. Random numbers
    follow from the key in the state.

    Reward and end are not read. They are for a learner to predict from [h', z']: a posterior that has read that the
    episode is over says so without any notion of why, and then nothing ends in imagination, as so rare an event hardly
    counts in the divergence from the prior.

    Losses: "kl", the divergence of posterior and prior, of which the part `balance` moves the prior and the rest the
    posterior, and each counts at least `free_nats`; and "reconstruction", minus the log-likelihood of the observation
    with the standard deviation `obs_std`.

    Args:
        input_size: D.
        hidden_size: H, of h, the output and all layers.
        latent_size: numbers of the latent state, or its choices.
        classes: options of each choice (DreamerV2); 0: the latent state are normal numbers (PlaNet).
        uniform: uniform part of the probabilities of choices.
        balance: weight of the prior's side of the divergence.
        free_nats: divergence below which it is not reduced further.
        obs_std: standard deviation of predicted observations.
        squash: observe and predict symlog(x) instead of x (DreamerV3), for observations of any size.
        layout: of the input, which recipes pass: where observation and last action are; None: no action.
        target_size: O where there is no layout; None: all.

    Raises:
        ValueError: a size out of range, or a weight outside of 0 to 1.

    Source: Hafner et al. 2019 (arXiv:1811.04551), PlaNet; 2021 (arXiv:2010.02193), DreamerV2.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 64,
        *,
        latent_size: int = 8,
        classes: int = 8,
        uniform: float = 0.01,
        balance: float = 0.8,
        free_nats: float = 0.0,
        obs_std: float = 0.1,
        squash: bool = False,
        layout: StepLayout | None = None,
        target_size: int | None = None,
    ):
        check_positive(hidden_size=hidden_size, latent_size=latent_size)
        _check_numbers(classes, uniform, balance, free_nats, obs_std)
        super().__init__(input_size, layout, target_size)
        self.latent: Latent = Categorical(latent_size, classes, uniform) if classes else Normal(latent_size)
        self.output_size, self.feature_size = hidden_size, hidden_size + self.latent.size
        self.balance, self.free_nats, self.obs_std, self.squash = balance, free_nats, obs_std, squash
        self.loss_weights = {"kl": 0.1, "reconstruction": 1.0}
        h = hidden_size
        self.encoder = nn.Sequential(nn.Linear(self.encoder_size, h), nn.ELU())
        self.gru = GRU(self.latent.size + self.action_size, h)
        self.prior, self.posterior = mlp(h, h, self.latent.parameters), mlp(2 * h, h, self.latent.parameters)
        self.decoder = mlp(self.feature_size, h, self.target_size)
        self.out = nn.Sequential(mlp(self.feature_size, h, h), nn.ELU())

    def initial_state(self, x: Float[Tensor, "B N D"]) -> RSSMState:
        lead, z = x.shape[:2], self.latent
        return RSSMState(
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(*lead, z.size),
            x.new_zeros(*lead, z.parameters),
            x.new_zeros(*lead, self.target_size),
            x.new_zeros(*lead, self.action_size),
            x.new_zeros(lead, dtype=torch.bool),
            initial_key(x),
        )

    def imagine(self, action: Float[Tensor, "B N A"], state: RSSMState) -> RSSMState:
        h = self._next(action, state)
        prior = self.prior(h)
        return state._replace(
            h=h, z=self.latent.sample(prior, state.key), posterior=prior, action=action, key=state.key.next()
        )

    def features(self, state: RSSMState) -> Float[Tensor, "*B N F"]:
        return torch.cat([state.h, state.z], -1)

    def predict(self, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B O"]:
        predicted = self.decoder(features)
        return symexp(predicted) if self.squash else predicted

    def losses(self, state: RSSMState) -> dict[str, Float[Tensor, " B"]]:
        prior, posterior = self.prior(state.h), state.posterior
        to_posterior = self.latent.divergence(posterior.detach(), prior)
        to_prior = self.latent.divergence(posterior, prior.detach())
        kl = self.balance * to_posterior.clamp(min=self.free_nats) + (1 - self.balance) * to_prior.clamp(
            min=self.free_nats
        )
        predicted = self.decoder(self.features(state))
        likelihood = gaussian_log_density(
            self._squashed(state.target), predicted, torch.full_like(predicted, self.obs_std)
        )
        terms = {"kl": kl, "reconstruction": -likelihood}
        return {name: mean_of_present(value, state.present) for name, value in terms.items()}

    def metrics(self, state: RSSMState) -> dict[str, Float[Tensor, " B"]]:
        """The divergence of posterior and prior in nats, and the root of the mean squared error of predictions."""
        divergence = self.latent.divergence(state.posterior, self.prior(state.h))
        error = (self.predict(self.features(state)) - state.target).square().mean(-1)
        return {
            "latent_divergence": mean_of_present(divergence, state.present).detach(),
            "prediction_error": mean_of_present(error, state.present).detach().sqrt(),
        }

    def _step(self, x: Float[Tensor, "B N D"], embedded: Float[Tensor, "B N H"], state: RSSMState) -> RSSMState:
        target, action = self._observed(x)
        h = self._next(action, state)
        posterior = self.posterior(torch.cat([h, embedded], -1))
        z, here = self.latent.sample(posterior, state.key), torch.ones_like(state.present)
        return RSSMState(h, z, posterior, target.detach(), action.detach(), here, state.key.next())

    def _encode(self, x: Float[Tensor, "*T B N D"]) -> Float[Tensor, "*T B N H"]:
        return self.encoder(self._squashed(self._encoder_input(x)))

    def _next(self, action: Float[Tensor, "B N A"], state: RSSMState) -> Float[Tensor, "B N H"]:
        return self.gru(torch.cat([state.z, action], -1), GRUState(state.h))[0]

    def _squashed(self, x: Tensor) -> Tensor:
        return symlog(x) if self.squash else x


def _check_numbers(classes: int, uniform: float, balance: float, free_nats: float, obs_std: float) -> None:
    if classes < 0 or classes == 1:
        raise ValueError(f"classes={classes}, want 0, for normal latent states, or at least 2 options of a choice")
    if not 0 < uniform <= 1:
        raise ValueError(f"uniform={uniform}, want above 0, so that divergences are finite, and at most 1")
    if not 0 <= balance <= 1:
        raise ValueError(f"balance={balance}, want 0 to 1")
    if not free_nats >= 0:
        raise ValueError(f"free_nats={free_nats}, want at least 0")
    if not obs_std > 0:
        raise ValueError(f"obs_std={obs_std}, want a number above 0")
