"""Reference of sparse access memory: the same controller and heads, with all slots in every read and write.

Shapes: T step, B episode, D input, H head, R slot, W slot size.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus


class DenseAccess(nn.Module):
    """Dense access memory (Rae et al. 2016, section 3): reads and writes are weighted over all slots, under autograd.

    Args:
        input_size: D.
        hidden_size: of the LSTM.
        slot_size: W.
        heads: H.
    """

    def __init__(self, input_size: int, hidden_size: int, *, slot_size: int, heads: int):
        super().__init__()
        self.heads, self.width = heads, slot_size
        self.controller = nn.LSTMCell(input_size + heads * slot_size, hidden_size)
        self.interface = nn.Linear(hidden_size, heads * (2 * slot_size + 3))
        self.output = nn.Linear(hidden_size + heads * slot_size, hidden_size)

    def forward(self, xs: Float[Tensor, "T B D"], memory: Float[Tensor, "B R W"]) -> Float[Tensor, "T B Y"]:
        """Returns the outputs of an episode.

        Args:
            xs: inputs.
            memory: content of the slots at its start.
        """
        batch, slots, _ = memory.shape
        read = xs.new_zeros(batch, self.heads * self.width)
        weights, state, used = xs.new_zeros(batch, self.heads, slots), None, xs.new_zeros(batch, slots)
        ys: list[Tensor] = []
        for t, x in enumerate(xs):
            state = self.controller(torch.cat([x, read], -1), state)
            parts = self.interface(state[0]).unflatten(-1, (self.heads, -1))
            query, add, strength, gates = parts.split([self.width, self.width, 1, 2], -1)
            alpha, gamma = torch.sigmoid(gates).split(1, -1)
            oldest = used.topk(self.heads, largest=False).indices
            unused = torch.zeros_like(weights).scatter(-1, oldest.unsqueeze(-1), 1)
            written = alpha * (gamma * weights + (1 - gamma) * unused)
            memory = memory * (1 - unused.sum(1)).unsqueeze(-1) + written.mT @ add
            cosine = normalize(query, dim=-1) @ normalize(memory, dim=-1).mT
            weights = torch.softmax(cosine * (softplus(strength) + 1), -1)
            used = torch.where((written + weights).amax(1) > 0.005, t + 1.0, used)
            read = (weights @ memory).flatten(1)
            ys.append(self.output(torch.cat([state[0], read], -1)))
        return torch.stack(ys)
