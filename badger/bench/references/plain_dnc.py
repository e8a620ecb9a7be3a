"""The reference of a differentiable neural computer: the equations of Graves et al. 2016 one after the other, head by
head, in plain operations under autograd.

Shapes: T step, B episode, D input, Y output, S slot, W numbers in a slot.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

SMALL = 1e-6


def content(memory: Float[Tensor, "B S W"], key: Float[Tensor, "B W"], strength: Float[Tensor, "B 1"]) -> Tensor:
    norms = (memory.square().sum(-1) + SMALL).sqrt() * (key.square().sum(-1, keepdim=True) + SMALL).sqrt()
    return torch.softmax(strength * (memory @ key.unsqueeze(-1)).squeeze(-1) / norms, -1)


def allocation(usage: Float[Tensor, "B S"]) -> Float[Tensor, "B S"]:
    order = (usage.detach() * 1e4).round().argsort(dim=-1, stable=True)  # ties as in ours
    used = SMALL + (1 - SMALL) * usage.gather(-1, order)
    before = torch.cat([torch.ones_like(used[:, :1]), used[:, :-1].cumprod(-1)], -1)
    return torch.zeros_like(usage).scatter(-1, order, (1 - used) * before)


class PlainDNC(nn.Module):
    """What `DNC` around an `LSTM` computes with one member, without improvements; its parameters have the same names.

    Vectorised over the slots; heads are a loop.

    Args:
        by_row: so are the episodes, each played alone.
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
        if self.by_row:
            return torch.cat([self._play(row) for row in xs.split(1, 1)], 1)
        return self._play(xs)

    def _play(self, xs: Tensor) -> Tensor:
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
            key, value, keys, erase, gates, free, strength, strengths, modes = self._parts(self.interface(h))
            retained = torch.ones_like(usage)
            for head in range(self.heads):
                retained = retained * (1 - free[:, head : head + 1] * weights[head])
            usage = (usage + written - usage * written) * retained
            found = content(memory, key, strength)
            written = gates[:, :1] * (gates[:, 1:] * allocation(usage) + (1 - gates[:, 1:]) * found)
            row, column = written.unsqueeze(2), written.unsqueeze(1)
            memory = memory * (1 - row * erase.unsqueeze(1)) + row * value.unsqueeze(1)
            link = ((1 - row - column) * link + row * precedence.unsqueeze(1)) * other
            precedence = (1 - written.sum(-1, keepdim=True)) * precedence + written
            for head in range(self.heads):
                last = weights[head].unsqueeze(-1)
                before, after = (link.mT @ last).squeeze(-1), (link @ last).squeeze(-1)
                found = content(memory, keys[head], strengths[:, head : head + 1])
                mode = torch.softmax(modes[head], -1)
                weights[head] = mode[:, :1] * before + mode[:, 1:2] * found + mode[:, 2:] * after
                reads[head] = (weights[head].unsqueeze(1) @ memory).squeeze(1)
            ys.append(self.output(torch.cat([h, *reads], -1)))
        return torch.stack(ys)

    def _parts(self, vector: Tensor) -> tuple:
        w, r = self.width, self.heads
        key, value, keys, erase, gates, free, strength, strengths, modes = vector.split(
            [w, w, r * w, w, 2, r, 1, r, 3 * r], -1
        )
        above = [1 + softplus(part) for part in (strength, strengths)]
        bounded = [torch.sigmoid(part) for part in (erase, gates, free)]
        return key, value, keys.split(w, -1), *bounded, *above, modes.split(3, -1)
