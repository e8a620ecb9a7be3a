"""MERLIN: a policy whose memory is formed by a predictor of what is observed (Wayne et al. 2018).

Shapes: B episode, N members, Z of a latent, S rows of the memory, H read heads of the predictor, O numbers that are
reconstructed, D input, Y output.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.belief.variational.event_memory import EventMemory, ReadHeads, updated_usage
from experts.belief.variational.gaussian import Gaussian, gaussian_divergence, gaussian_log_density
from experts.core import Core, check_positive, check_target_size, mean_of_present
from experts.random_key import RandomKey, initial_key
from experts.recurrent.lstm import LSTM, LSTMState


class MERLINState(NamedTuple):
    """State of a `MERLIN` core.

    Args:
        z: latent; zeros before the first step.
        memory: of latents.
        predictor: state of the predictor's LSTM.
        read: what the predictor read, heads side by side.
        policy: state of the policy's LSTM.
        policy_read: what the policy read.
        read_weights: over rows, of the predictor's heads and, last, of the policy's.
        y: last output.
        log_likelihood: of the last input given z; 0 of absent members.
        divergence: of the posterior from the prior; 0 of absent members.
        present: members that took part in the last step.
        key: of random numbers.
    """

    z: Float[Tensor, "B N Z"]
    memory: EventMemory
    predictor: LSTMState
    read: Float[Tensor, "B N HZ2"]
    policy: LSTMState
    policy_read: Float[Tensor, "B N Z2"]
    read_weights: Float[Tensor, "B N H1 S"]
    y: Float[Tensor, "B N Y"]
    log_likelihood: Float[Tensor, "B N"]
    divergence: Float[Tensor, "B N"]
    present: Bool[Tensor, "B N"]
    key: RandomKey


class MERLIN(Core):
    """MERLIN: a memory-based predictor, and a policy that reads the predictor's memory without changing it.

    The predictor is a variational model of the input x, which should hold the observation, the last action and the last
    reward (`tasks.PreviousActionReward`). With h, the output of its LSTM, and m, its reads of the memory:

        prior: mean, std = network(h, m)           posterior: mean + d, std exp(e) with d, e = network(x, h, m, prior)
        z ~ posterior      h = LSTM(h, [z, m])     m = reads of the memory with keys from h

    The policy has an LSTM of its own: g = LSTM(g, [z, n]), n = a read with a key from g, y = tanh(W [z, g, n]). It gets
    z and the memory **without their gradient**, so that what is remembered is learned by prediction alone, and not from
    rewards; neither are senses and messages, which reach the output through z. Last, z is written: [z, 0] replaces the
    least used row of the memory, and z is added to the second halves of the rows written before, by which a row tells
    what followed it (`EventMemory.write`). Random numbers follow from the key in the state. Each member has a memory of
    its own.

    The loss "negative_elbo" is KL(posterior | prior) - log p(x | z), with a normal distribution of each number of x,
    whose mean depends on z. Its standard deviation is fixed: a learned one grows in the first updates, and then nothing
    rewards a z that tells more than its prior, which the policy cannot use either (notebooks/LOG.md).

    Not in here: the paper also predicts the return from z, with a gradient into the predictor. A core sees neither the
    return nor the policy, so that a value estimate is learned from y, and its gradient ends at z. And the LSTM knows an
    action one step later than in the paper, as a part of the next x.

    Args:
        input_size: D.
        hidden_size: Y, also of both LSTMs and of the hidden layers.
        latent_size: Z.
        slots: S.
        heads: H; the policy has one head.
        std: standard deviation of a number of x given z; a smaller one makes z more exact.
        discount: of the latents that follow an event in the second half of its row; 1: they are not written.
        policy_gradient: whether z and the memory carry the gradient of the output, too, as an ablation.
        target_size: only the first `target_size` numbers of x are reconstructed; None: all. In an agent x is [obs,
            inbox, identity].

    Raises:
        ValueError: a size, a deviation or a discount out of range.

    Source: Wayne et al. 2018 (arXiv:1803.10760), algorithm 1; the decay of usage is our own.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 64,
        *,
        latent_size: int = 32,
        slots: int = 32,
        heads: int = 3,
        std: float = 0.2,
        discount: float = 0.9,
        policy_gradient: bool = False,
        target_size: int | None = None,
    ):
        super().__init__()
        check_positive(hidden_size=hidden_size, latent_size=latent_size, slots=slots, heads=heads)
        if not 0 <= discount <= 1:
            raise ValueError(f"discount={discount}, want 0 to 1")
        if not std > 0:
            raise ValueError(f"std={std}, want a number above 0")
        self.target_size = check_target_size(target_size, input_size)
        self.input_size, self.output_size, self.latent_size = input_size, hidden_size, latent_size
        self.slots, self.heads, self.std, self.discount = slots, heads, std, discount
        self.policy_gradient = policy_gradient
        self.loss_weights = {"negative_elbo": 0.1}
        y, z, row, reads = hidden_size, latent_size, 2 * latent_size, 2 * latent_size * heads
        self.prior = Gaussian(y + reads, y, z)
        self.encoder = nn.Sequential(nn.Linear(input_size, y), nn.Tanh())
        self.correction = nn.Sequential(nn.Linear(2 * y + reads + 2 * z, y), nn.Tanh(), nn.Linear(y, 2 * z))
        self.decoder = nn.Sequential(nn.Linear(z, y), nn.Tanh(), nn.Linear(y, self.target_size))
        self.predictor, self.predictor_heads = LSTM(z + reads, y), ReadHeads(y, slots, row, heads)
        self.policy, self.policy_head = LSTM(z + row, y), ReadHeads(y, slots, row, 1)
        self.out = nn.Linear(z + y + row, y)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> MERLINState:
        lead, row = x.shape[:2], 2 * self.latent_size
        return MERLINState(
            x.new_zeros(*lead, self.latent_size),
            EventMemory.empty(x, self.slots, self.latent_size),
            self.predictor.initial_state(x),
            x.new_zeros(*lead, self.heads * row),
            self.policy.initial_state(x),
            x.new_zeros(*lead, row),
            x.new_zeros(*lead, self.heads + 1, self.slots),
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(lead),
            x.new_zeros(lead),
            x.new_zeros(lead, dtype=torch.bool),
            initial_key(x),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: MERLINState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], MERLINState]:
        z, divergence = self._infer(x, state)
        target = x[..., : self.target_size].detach()
        log_likelihood = gaussian_log_density(target, self.decoder(z), target.new_full(target.shape[-1:], self.std))
        rows = state.memory.rows
        h, predictor = self.predictor(torch.cat([z, state.read], -1), state.predictor)
        read, weights = self.predictor_heads(h, rows)
        y, policy, policy_read, policy_weights = self._act(z, rows, state)
        weights = torch.cat([weights, policy_weights], 2)
        memory = state.memory.write(z, updated_usage(state.memory.usage, weights.mean(2)), self.discount)
        here = torch.ones_like(state.present)
        new = MERLINState(
            z, memory, predictor, read, policy, policy_read, weights, y, log_likelihood, divergence, here,
            state.key.next(),
        )  # fmt: skip
        if present is not None:
            nothing = torch.zeros_like(divergence)
            absent = state._replace(log_likelihood=nothing, divergence=nothing, present=torch.zeros_like(here))
            new = states.where(present, new, absent)
        return new.y, new

    def _infer(self, x: Tensor, state: MERLINState) -> tuple[Float[Tensor, "B N Z"], Float[Tensor, "B N"]]:
        """A sample of the posterior, and its divergence from the prior."""
        history = state.predictor.h, state.read
        prior_mean, prior_std = self.prior(*history)
        evidence = torch.cat([self.encoder(x), *history, prior_mean, prior_std.log()], -1)
        shift, log_scale = self.correction(evidence).chunk(2, -1)
        mean, std = prior_mean + shift, prior_std * log_scale.exp()
        z = mean + std * state.key.normal(x, self.latent_size)
        return z, gaussian_divergence(mean, std, prior_mean, prior_std)

    def _act(self, z: Tensor, rows: Tensor, state: MERLINState) -> tuple[Tensor, LSTMState, Tensor, Tensor]:
        """The output, and the policy's state, read vector and read weights."""
        if not self.policy_gradient:
            z, rows = z.detach(), rows.detach()
        g, policy = self.policy(torch.cat([z, state.policy_read], -1), state.policy)
        read, weights = self.policy_head(g, rows)
        return torch.tanh(self.out(torch.cat([z, g, read], -1))), policy, read, weights

    def losses(self, state: MERLINState) -> dict[str, Float[Tensor, " B"]]:
        return {"negative_elbo": mean_of_present(state.divergence - state.log_likelihood, state.present)}

    def metrics(self, state: MERLINState) -> dict[str, Float[Tensor, " B"]]:
        """Divergence of the posterior from the prior in nats, rows used, and the entropy of read weights in nats."""
        entropy = -torch.xlogy(state.read_weights, state.read_weights).sum(-1)
        return {
            "latent_divergence": mean_of_present(state.divergence, state.present),
            "slots_used": (state.memory.usage > 0).sum(-1).to(entropy.dtype).mean(1),
            "read_entropy": entropy[..., :-1].mean((1, 2)),
            "policy_read_entropy": entropy[..., -1].mean(1),
        }

    def read_weights(self, state: MERLINState) -> Float[Tensor, "B N slots"]:
        """Mean over the predictor's heads and the policy's."""
        return state.read_weights.mean(2)

    def write_weights(self, state: MERLINState) -> Float[Tensor, "B N slots"]:
        """1 for the row that the last step wrote."""
        return state.memory.written

    def read_write_vectors(self, state: MERLINState) -> dict[str, Float[Tensor, "B N _"]]:
        """The vector that the policy read, and the row that the step wrote: z and zeros."""
        return {"read": state.policy_read, "write_value": torch.cat([state.z, torch.zeros_like(state.z)], -1)}
