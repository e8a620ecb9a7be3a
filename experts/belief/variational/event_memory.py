"""The memory of MERLIN: a row for each step, which later steps extend by what followed it (Wayne et al. 2018).

Shapes: B episode, N members, S rows, H read heads, Z numbers of a latent.
"""

from math import log
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from experts.dnc.addressing import USAGE_LEVELS, content_weights


class EventMemory(NamedTuple):
    """The memory of each member after a step.

    A row is [z, f] with the latent z of the step that wrote it, and f, a discounted sum of the latents that followed.

    Args:
        rows: zeros where nothing was written.
        usage: 1 of a row that has just been written; see `updated_usage`; 0: empty.
        written: one-hot, the row that the step wrote.
        trace: weights with which the step's latent was added to f of each row.
    """

    rows: Float[Tensor, "B N S Z2"]
    usage: Float[Tensor, "B N S"]
    written: Float[Tensor, "B N S"]
    trace: Float[Tensor, "B N S"]

    @classmethod
    def empty(cls, x: Float[Tensor, "B N D"], slots: int, latent_size: int) -> "EventMemory":
        """A memory in which nothing is written.

        Args:
            x: gives batch, members, dtype and device.
            slots: S.
            latent_size: Z.
        """
        lead = x.shape[:2]
        return cls(x.new_zeros(*lead, slots, 2 * latent_size), *(x.new_zeros(*lead, slots) for _ in range(3)))

    def write(self, z: Float[Tensor, "B N Z"], usage: Float[Tensor, "B N S"], discount: float) -> "EventMemory":
        """The memory after z is written: [z, 0] replaces the least used row, and f of the others grows.

        f of the row that was written k steps ago grows by (1 - discount) discount^(k - 1) z. A row that is replaced
        loses its f, and its trace.

        Args:
            z: latent of this step.
            usage: of the rows after the reads of this step.
            discount: of what follows an event; 1: f stays 0.
        """
        row = (usage * USAGE_LEVELS).round().argmin(-1, keepdim=True)  # not by rounding errors; of equal ones the first
        written = (torch.arange(usage.shape[-1], device=z.device) == row).to(z.dtype)
        trace = (discount * self.trace + (1 - discount) * self.written) * (1 - written)
        added = torch.cat([part.unsqueeze(-1) * z.unsqueeze(-2) for part in (written, trace)], -1)
        rows = self.rows * (1 - written).unsqueeze(-1) + added
        return EventMemory(rows, torch.where(written > 0, 1, usage), written, trace)


def updated_usage(usage: Float[Tensor, "B N S"], read: Float[Tensor, "B N S"]) -> Float[Tensor, "B N S"]:
    """Usage after reads: it decays by 1 - 1 / S a step, and grows by the read weights; empty rows stay at 0.

    The mean usage of a full memory is then about 1, as that of a new row, so that the newest row is not the next one
    to be replaced.

    Args:
        usage: before.
        read: read weights, mean over heads.
    """
    return torch.where(usage > 0, (1 - 1 / usage.shape[-1]) * usage + read.detach(), 0)


class ReadHeads(nn.Module):
    """Read heads with keys and strengths that are linear maps of a hidden state, addressed by cosine similarity.

    A row gets the weight softmax(strength * similarity). Strengths begin near log S, with which a row that equals the
    key gets as much weight as all others together, so that a read is no mean over all rows.

    Args:
        hidden_size: of the hidden state.
        slots: S.
        width: numbers of a row.
        heads: H.
    """

    def __init__(self, hidden_size: int, slots: int, width: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, width
        self.address = nn.Linear(hidden_size, heads * (width + 1))
        with torch.no_grad():
            self.address.bias.view(heads, -1)[:, -1] += log(max(slots - 1, 1))  # softplus of it is log S

    def forward(
        self, h: Float[Tensor, "B N _"], rows: Float[Tensor, "B N S Z2"]
    ) -> tuple[Float[Tensor, "B N HZ2"], Float[Tensor, "B N H S"]]:
        """The vectors read, side by side, and the weights over rows.

        Args:
            h: hidden state.
            rows: of the memory; those that are empty have similarity 0 to every key.
        """
        keys, strengths = self.address(h).unflatten(-1, (self.heads, -1)).split([self.width, 1], -1)
        flat = rows.flatten(0, 1)
        weights, _ = content_weights(keys.flatten(0, 1), softplus(strengths).squeeze(-1).flatten(0, 1), flat, None)
        read, lead = weights @ flat, h.shape[:2]
        return read.flatten(1).unflatten(0, lead), weights.unflatten(0, lead)
