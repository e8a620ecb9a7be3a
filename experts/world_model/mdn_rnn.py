"""MDN-RNN: the world model of World Models, a VAE of the observation and an LSTM that predicts its latent states.

Shapes: T step, B episode, N members, D input, H units of the LSTM, Z latent state, P = 2 Z parameters of its
distribution, F = Y features, A numbers of an action, O numbers that are predicted.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.belief.variational.gaussian import divergence_from_standard_normal, gaussian_log_density
from experts.core import check_positive, mean_of_present
from experts.random_key import RandomKey, initial_key
from experts.recurrent.lstm import LSTM, LSTMState
from experts.trajectory.layout import StepLayout
from experts.world_model.base import WorldModel
from experts.world_model.latents import Normal
from experts.world_model.mixture import MixtureDensity
from experts.world_model.networks import mlp

SMALLEST_STD = 1e-3  # of a latent state


class MDNRNNState(NamedTuple):
    """The state after a step, and what its losses depend on.

    Args:
        h: hidden state of the LSTM, which has not read z; zeros before the first step.
        c: cell state of the LSTM.
        z: latent state; zeros before the first step.
        posterior: parameters of the distribution that z was drawn from; in imagination those of the last observation.
        target: the last observation.
        action: the action before it.
        present: members that took part in the last step.
        key: of random numbers.
    """

    h: Float[Tensor, "*B N H"]
    c: Float[Tensor, "*B N H"]
    z: Float[Tensor, "*B N Z"]
    posterior: Float[Tensor, "*B N P"]
    target: Float[Tensor, "*B N O"]
    action: Float[Tensor, "*B N A"]
    present: Bool[Tensor, "*B N"]
    key: RandomKey


class MDNRNN(WorldModel):
    """MDN-RNN: z' ~ V(x') of a variational autoencoder; h' = LSTM([z, a]), which predicts z' as a mixture of normals.

    The input x is [observation, last action a, last reward, end of the episode, rest]. A step draws z' from what the
    encoder says of the observation and the rest, such as messages; imagination draws it from the mixture. Reward and
    end are not read, and are for a learner to predict from [z', h'], as with `RSSM`. The output is [z', h'], and of
    [z', h', c'] with `cell`, as it is: for a linear controller. A `latent_size` of `hidden_size` leaves z' alone, so
    that the output has no memory. Random numbers follow from the key in the state.

    Losses: "kl", the divergence of the latent state from the standard normal distribution, of which `kl_floor` for each
    number is free; "reconstruction", minus the log-likelihood of the observation given z' with the standard deviation
    `obs_std`; and "transition", minus the log-likelihood of z' in the mixture, without a gradient through z' itself.

    Args:
        input_size: D.
        hidden_size: Y, numbers of the output; also of the hidden layers of encoder and decoder.
        latent_size: Z; None: an eighth of hidden_size.
        components: normal distributions in the mixture of each number.
        cell: the output has the cell state of the LSTM, too.
        kl_floor: nats of divergence of each latent number that are not reduced further.
        obs_std: standard deviation of reconstructed observations.
        temperature: of the mixture in imagination, see `MixtureDensity`.
        layout: of the input, which recipes pass: where observation and last action are; None: no action.
        target_size: O where there is no layout; None: all.

    Raises:
        ValueError: a size, deviation, floor or temperature out of range.

    Source: Ha and Schmidhuber 2018 (arXiv:1803.10122, 1809.01999).
    """

    vision_losses = ("kl", "reconstruction")

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 64,
        *,
        latent_size: int | None = None,
        components: int = 5,
        cell: bool = False,
        kl_floor: float = 0.5,
        obs_std: float = 0.1,
        temperature: float = 1.0,
        layout: StepLayout | None = None,
        target_size: int | None = None,
    ):
        z = max(1, hidden_size // 8) if latent_size is None else latent_size
        check_positive(hidden_size=hidden_size, latent_size=z, components=components)
        units = _units(hidden_size, z, cell)
        _check_numbers(kl_floor, obs_std, temperature)
        super().__init__(input_size, layout, target_size)
        self.latent, self.cell = Normal(z, SMALLEST_STD), cell
        self.output_size = self.feature_size = hidden_size
        self.kl_floor, self.obs_std, self.temperature = kl_floor, obs_std, temperature
        self.loss_weights = {"kl": 1.0, "reconstruction": 1.0, "transition": 1.0}
        self.encoder = mlp(self.encoder_size, hidden_size, self.latent.parameters)
        self.decoder = mlp(z, hidden_size, self.target_size)
        self.memory = LSTM(z + self.action_size, units)
        self.mixture = MixtureDensity(units, z, components)
        self.out = nn.Identity()

    @property
    def vision(self) -> list[nn.Parameter]:
        """The parameters of V: encoder and decoder."""
        return [*self.encoder.parameters(), *self.decoder.parameters()]

    @property
    def predictor(self) -> list[nn.Parameter]:
        """The parameters of M: LSTM and mixture."""
        return [*self.memory.parameters(), *self.mixture.parameters()]

    def initial_state(self, x: Float[Tensor, "B N D"]) -> MDNRNNState:
        lead, recurrent = x.shape[:2], self.memory.initial_state(x)
        return MDNRNNState(
            recurrent.h,
            recurrent.c,
            x.new_zeros(*lead, self.latent.size),
            x.new_zeros(*lead, self.latent.parameters),
            x.new_zeros(*lead, self.target_size),
            x.new_zeros(*lead, self.action_size),
            x.new_zeros(lead, dtype=torch.bool),
            initial_key(x),
        )

    def imagine(self, action: Float[Tensor, "B N A"], state: MDNRNNState) -> MDNRNNState:
        h, c = self._next(action, state)
        z = self.mixture.sample(h, state.key, self.temperature)
        return state._replace(h=h, c=c, z=z, action=action, key=state.key.next())

    def features(self, state: MDNRNNState) -> Float[Tensor, "*B N F"]:
        every = torch.cat([state.z, state.h, state.c] if self.cell else [state.z, state.h], -1)
        return every[..., : self.output_size]

    def predict(self, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B O"]:
        return self.decoder(features[..., : self.latent.size])

    def losses(self, state: MDNRNNState) -> dict[str, Float[Tensor, " B"]]:
        divergence = divergence_from_standard_normal(*self.latent.moments(state.posterior))
        predicted = self.decoder(state.z)
        terms = {
            "kl": divergence.clamp(min=self.kl_floor * self.latent.size),
            "reconstruction": -gaussian_log_density(state.target, predicted, torch.full_like(predicted, self.obs_std)),
            "transition": -self.mixture.log_density(state.h, state.z.detach()),
        }
        return {name: mean_of_present(value, state.present) for name, value in terms.items()}

    def metrics(self, state: MDNRNNState) -> dict[str, Float[Tensor, " B"]]:
        """The divergence of the latent state in nats, and the root of the mean squared error of reconstructions."""
        divergence = divergence_from_standard_normal(*self.latent.moments(state.posterior))
        error = (self.decoder(state.z) - state.target).square().mean(-1)
        return {
            "latent_divergence": mean_of_present(divergence, state.present).detach(),
            "prediction_error": mean_of_present(error, state.present).detach().sqrt(),
        }

    def _step(self, x: Float[Tensor, "B N D"], posterior: Float[Tensor, "B N P"], state: MDNRNNState) -> MDNRNNState:
        target, action = self._observed(x)
        h, c = self._next(action, state)
        z, here = self.latent.sample(posterior, state.key), torch.ones_like(state.present)
        return MDNRNNState(h, c, z, posterior, target.detach(), action.detach(), here, state.key.next())

    def _encode(self, x: Float[Tensor, "*T B N D"]) -> Float[Tensor, "*T B N P"]:
        return self.encoder(self._encoder_input(x))

    def _next(self, action: Float[Tensor, "B N A"], state: MDNRNNState) -> LSTMState:
        return self.memory(torch.cat([state.z, action], -1), LSTMState(state.h, state.c))[1]


def _units(hidden_size: int, latent_size: int, cell: bool) -> int:
    """Units of the LSTM, so that latent and recurrent state together are the output; 1 where it has none of them."""
    left = hidden_size - latent_size
    if left < 0:
        raise ValueError(f"latent_size={latent_size}, want at most hidden_size={hidden_size}, numbers of the output")
    if cell and left % 2:
        raise ValueError(
            f"cell=True with hidden_size={hidden_size} and latent_size={latent_size}, want an even number of numbers "
            f"beside the latent state for h and c, not {left}"
        )
    return max(1, left // 2 if cell else left)


def _check_numbers(kl_floor: float, obs_std: float, temperature: float) -> None:
    if not kl_floor >= 0:
        raise ValueError(f"kl_floor={kl_floor}, want at least 0")
    for name, value in {"obs_std": obs_std, "temperature": temperature}.items():
        if not value > 0:
            raise ValueError(f"{name}={value}, want a number above 0")
