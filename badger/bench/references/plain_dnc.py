"""Reference of the differentiable neural computer: the equations of Graves et al. 2016 under autograd.

Shapes: T step, B episode, D input, Y output, S slot, W numbers in a slot.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

EPS = 1e-6


def content_weights(
    memory: Float[Tensor, "B S W"], key: Float[Tensor, "B W"], strength: Float[Tensor, "B 1"]
) -> Tensor:
    """Weights by content: softmax of the cosine similarity times the strength."""
    norms = (memory.square().sum(-1) + EPS).sqrt() * (key.square().sum(-1, keepdim=True) + EPS).sqrt()
    return torch.softmax(strength * (memory @ key.unsqueeze(-1)).squeeze(-1) / norms, -1)


def allocation_weights(usage: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    """Weights by usage: free slots first."""
    order = (usage.detach() * 1e4).round().argsort(dim=-1, stable=True)  # ties as in `experts.DNC`
    used = EPS + (1 - EPS) * usage.gather(-1, order)
    product = torch.cat([torch.ones_like(used[:, :1]), used[:, :-1].cumprod(-1)], -1)
    return torch.zeros_like(usage).scatter(-1, order, (1 - used) * product)


class PlainDNC(nn.Module):
    """A DNC with an LSTM controller and one member, vectorized over slots, in a loop over heads.

    Equal to `experts.DNC` without its optional improvements; parameters have the same names.

    Args:
        input_size: D.
        hidden_size: of the LSTM.
        slots: S.
        slot_size: W.
        heads: read heads.
        by_row: a loop over episodes, too.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, slots: int, slot_size: int, heads: int, by_row: bool = False
    ):
        super().__init__()
        self.slots, self.width, self.heads, self.by_row = slots, slot_size, heads, by_row
        reads = heads * slot_size
        self.controller = nn.LSTMCell(input_size + reads, hidden_size)
        self.interface = nn.Linear(hidden_size, reads + 3 * slot_size + 5 * heads + 3)
        self.output = nn.Linear(hidden_size + reads, hidden_size)

    def forward(self, xs: Float[Tensor, "T B D"]) -> Float[Tensor, "T B Y"]:
        """Returns the outputs of an episode.

        Args:
            xs: inputs.
        """
        if self.by_row:
            return torch.cat([self._unroll(row) for row in xs.split(1, 1)], 1)
        return self._unroll(xs)

    def _unroll(self, xs: Tensor) -> Tensor:
        batch, slots = xs.shape[1], self.slots
        h = c = xs.new_zeros(batch, self.controller.hidden_size)
        memory, link = xs.new_zeros(batch, slots, self.width), xs.new_zeros(batch, slots, slots)
        usage = precedence = written = xs.new_zeros(batch, slots)
        weights = [xs.new_zeros(batch, slots)] * self.heads
        reads = [xs.new_zeros(batch, self.width)] * self.heads
        other = 1 - torch.eye(slots, dtype=xs.dtype, device=xs.device)
        ys = []
        for x in xs:
            h, c = self.controller(torch.cat([x, *reads], -1), (h, c))
            key, value, keys, erase, gates, free, strength, strengths, modes = self._split_interface(self.interface(h))
            retained = torch.ones_like(usage)
            for head in range(self.heads):
                retained = retained * (1 - free[:, head : head + 1] * weights[head])
            usage = (usage + written - usage * written) * retained
            by_content = content_weights(memory, key, strength)
            written = gates[:, :1] * (gates[:, 1:] * allocation_weights(usage) + (1 - gates[:, 1:]) * by_content)
            row, column = written.unsqueeze(2), written.unsqueeze(1)
            memory = memory * (1 - row * erase.unsqueeze(1)) + row * value.unsqueeze(1)
            link = ((1 - row - column) * link + row * precedence.unsqueeze(1)) * other
            precedence = (1 - written.sum(-1, keepdim=True)) * precedence + written
            for head in range(self.heads):
                previous = weights[head].unsqueeze(-1)
                backward, forward = (link.mT @ previous).squeeze(-1), (link @ previous).squeeze(-1)
                by_content = content_weights(memory, keys[head], strengths[:, head : head + 1])
                mode = torch.softmax(modes[head], -1)
                weights[head] = mode[:, :1] * backward + mode[:, 1:2] * by_content + mode[:, 2:] * forward
                reads[head] = (weights[head].unsqueeze(1) @ memory).squeeze(1)
            ys.append(self.output(torch.cat([h, *reads], -1)))
        return torch.stack(ys)

    def _split_interface(self, vector: Tensor) -> tuple:
        w, r = self.width, self.heads
        key, value, keys, erase, gates, free, strength, strengths, modes = vector.split(
            [w, w, r * w, w, 2, r, 1, r, 3 * r], -1
        )
        above_one = [1 + softplus(part) for part in (strength, strengths)]
        bounded = [torch.sigmoid(part) for part in (erase, gates, free)]
        return key, value, keys.split(w, -1), *bounded, *above_one, modes.split(3, -1)
