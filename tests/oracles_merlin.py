"""MERLIN row by row and head by head, as algorithm 1 of Wayne et al. 2018 stands: one member, loops, no batches.

`MERLIN.step` takes an input and the random numbers of a step, and returns the output, KL divergence and
log-likelihood.
"""

import math

import numpy as np

from oracles_dnc import content, sigmoid

SMALLEST_STD = 0.01


def softplus(x):
    return np.log1p(np.exp(x))


def linear(layer, x):
    return layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()


def hidden_layer(first, second, x):
    return linear(second, np.tanh(linear(first, x)))


def gaussian(model, x):
    mean, raw = np.split(hidden_layer(model.hidden, model.out, x), 2)
    return mean, softplus(raw) + SMALLEST_STD


def lstm(cell, x, h, c):
    weights = [part.detach().numpy() for part in (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)]
    i, f, g, o = np.split(weights[0] @ x + weights[1] @ h + weights[2] + weights[3], 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


class MERLIN:
    def __init__(self, core):
        self.core, y, z = core, core.output_size, core.latent_size
        self.rows, self.empty = [np.zeros(2 * z) for _ in range(core.slots)], set(range(core.slots))
        self.usage, self.written_at, self.latents = [0.0] * core.slots, {}, []
        self.predictor, self.policy = (np.zeros(y), np.zeros(y)), (np.zeros(y), np.zeros(y))
        self.m, self.n = np.zeros(2 * z * core.heads), np.zeros(2 * z)

    def read(self, heads, h):
        reads, weights = [], []
        for parameters in np.split(linear(heads.address, h), heads.heads):
            key, strength = parameters[:-1], softplus(parameters[-1])
            weights.append(content(self.rows, key, strength, np.ones(len(key))))
            reads.append(sum(w * row for w, row in zip(weights[-1], self.rows, strict=True)))
        return np.concatenate(reads), weights

    def step(self, x, noise):
        core, h = self.core, self.predictor[0]
        prior_mean, prior_std = gaussian(core.prior, np.concatenate([h, self.m]))
        evidence = [np.tanh(linear(core.encoder[0], x)), h, self.m, prior_mean, np.log(prior_std)]
        shift, log_scale = np.split(hidden_layer(core.correction[0], core.correction[2], np.concatenate(evidence)), 2)
        mean, std = prior_mean + shift, prior_std * np.exp(log_scale)
        z = mean + std * noise
        divergence = sum(
            math.log(q / s) + (s**2 + (a - b) ** 2) / (2 * q**2) - 0.5
            for a, s, b, q in zip(mean, std, prior_mean, prior_std, strict=True)
        )
        log_likelihood = sum(
            -((a - b) ** 2) / (2 * core.std**2) - math.log(core.std) - 0.5 * math.log(2 * math.pi)
            for a, b in zip(x, hidden_layer(core.decoder[0], core.decoder[2], z), strict=False)  # the first numbers
        )
        self.predictor = lstm(core.predictor, np.concatenate([z, self.m]), *self.predictor)
        self.policy = lstm(core.policy, np.concatenate([z, self.n]), *self.policy)
        self.m, weights = self.read(core.predictor_heads, self.predictor[0])
        self.n, policy_weights = self.read(core.policy_head, self.policy[0])
        y = np.tanh(linear(core.out, np.concatenate([z, self.policy[0], self.n])))
        self.write(z, np.mean(weights + policy_weights, axis=0))
        return y, divergence, log_likelihood

    def write(self, z, read):
        """Replaces a row; then computes the second half of each row anew, from all latents since it was written."""
        slots, discount = self.core.slots, self.core.discount
        for i in set(range(slots)) - self.empty:
            self.usage[i] = (1 - 1 / slots) * self.usage[i] + read[i]
        row = min(self.empty) if self.empty else int(np.argmin(np.round(np.array(self.usage) * 1e4)))
        self.empty -= {row}
        self.usage[row], self.written_at[row] = 1.0, len(self.latents)
        self.latents.append(z)
        for i, time in self.written_at.items():
            later = self.latents[time + 1 :]
            followed = sum(((1 - discount) * discount**k * other for k, other in enumerate(later)), np.zeros(len(z)))
            self.rows[i] = np.concatenate([self.latents[time], followed])
