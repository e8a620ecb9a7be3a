"""A shared global workspace: experts compete to write into a few slots, which all then read."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from comms.bus import Bus, Delivery, State
from comms.topology import Edges, max_edge_weights


class Workspace(Bus):
    """S slots of `message_size` numbers, all that is known to everybody: bounded bandwidth, and linear in experts.

    In a round each slot s attends to the writers, each reader then to the slots as they have become:

        write_si ~ loud_i exp(q_s . k_i / sqrt(key_size)),   new_s = tanh(sum_i write_si v_i)
        slot_s  += gate_s (new_s - slot_s),                  gate_s = sigmoid(linear[slot_s, new_s])
        read_js  ~ exp(q_j . k_s / sqrt(key_size)),          inbox_j = sum_s read_js slot_s

    With `top_k`, only the experts with the `top_k` highest scores (and those equal to the last of them) write into a
    slot. Slots begin as zeros; q_s and k_s are also of a learned address, which tells slots apart.

    **The topology is ignored**, except that an expert without a live outgoing edge (silenced, absent) does not write,
    and one without a live incoming edge does not read and gets zeros. loud_i is the largest weight among i's outgoing
    edges. So one hears also those from whom there is no edge, and what the silenced wrote before stays in the slots.

    The delivery's weights tell, of each receiver's live edges, how much of what it reads was written by that sender in
    this round, as shares of what all its senders wrote; they carry no gradient. Each writer sends its key and value to
    the workspace, whether it wins or not, and each slot its key and itself to every reader: writers + S readers
    messages of key_size + message_size floats.

    Raises ValueError where a size is below 1.

    Goyal et al. 2022, "Coordination among neural modules through a shared global workspace" (arXiv:2103.01197), with
    one gate in the place of their two.
    """

    def __init__(
        self, input_size: int, message_size: int, *, slots: int = 8, key_size: int = 16, top_k: int | None = None
    ) -> None:
        super().__init__()
        for name, size in {"message_size": message_size, "slots": slots, "key_size": key_size, "top_k": top_k}.items():
            if size is not None and size < 1:
                raise ValueError(f"{name}={size}, want at least 1" + (", or None for all" if name == "top_k" else ""))
        self.input_size, self.message_size = input_size, message_size
        self.key_size, self.top_k = key_size, top_k
        self.sizes = [key_size, key_size, message_size]
        self.query_key_value = nn.Linear(input_size, sum(self.sizes))  # of experts: to read with, to write with
        self.address = nn.Parameter(torch.randn(slots, message_size))
        self.query = nn.Linear(message_size, key_size, bias=False)  # of slots: to be written by
        self.key = nn.Linear(message_size, key_size, bias=False)  # to be read by
        self.gate = nn.Linear(2 * message_size, message_size)

    def initial_state(self, y: Float[Tensor, "B E Y"]) -> Float[Tensor, "B S M"]:
        """Empty slots."""
        return y.new_zeros(y.shape[0], *self.address.shape)

    def forward(
        self, y: Float[Tensor, "B E Y"], edges: Edges, state: State, rng: torch.Generator | None
    ) -> tuple[Delivery, State]:
        """Everyone writes, then everyone reads."""
        assert isinstance(state, Tensor)
        said, heard = max_edge_weights(edges, y.shape[1])
        reader, key, value = self.query_key_value(y).split(self.sizes, dim=-1)
        write = self._write_weights(self.query(state + self.address) @ key.mT, said)  # (B, S, E)
        new = (write @ value).tanh()
        gate = self.gate(torch.cat([state, new], -1)).sigmoid()
        slots = torch.where(said.any(-1)[:, None, None], state + gate * (new - state), state)
        scores = reader @ self.key(slots + self.address).mT  # (B, E, S)
        read = (scores * self.key_size**-0.5).softmax(-1) * heard.ne(0).unsqueeze(-1)
        weights = _edge_credit(read.detach(), write.detach(), edges)
        messages = (said.count_nonzero(-1) + len(self.address) * heard.count_nonzero(-1)).to(y.dtype)
        return Delivery(read @ slots, weights, messages, messages * (self.key_size + self.message_size)), slots

    def _write_weights(self, scores: Tensor, said: Tensor) -> Tensor:
        """Each writer's part in each slot; zeros where nobody writes."""
        loud = said.unsqueeze(1)  # (B, 1, E)
        scores = scores * self.key_size**-0.5
        live = scores.detach().masked_fill(loud == 0, -torch.inf)
        rate = (scores - live.amax(-1, keepdim=True)).clamp(max=0).exp()  # where all are silent, inf becomes 0
        if self.top_k is not None and self.top_k < live.shape[-1]:
            rate = rate.masked_fill(live < live.topk(self.top_k).values[..., -1:], 0)
        total = (rate * loud).sum(-1, keepdim=True)
        return rate * loud * total.masked_fill(total == 0, 1).reciprocal()

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """The slots are everybody's, and stay."""
        return state


def _edge_credit(read: Tensor, write: Tensor, edges: Edges) -> Float[Tensor, "B K"]:
    """Each live edge's part in what its receiver reads of its senders' writing. read (B, E, S), write (B, S, E)."""
    senders, receivers, weight = edges[:3]
    rate = torch.zeros_like(weight)
    for here, there in zip(read.unbind(-1), write.unbind(1), strict=True):  # slot by slot: nothing of size K S
        rate = rate + here.gather(1, receivers) * there.gather(1, senders)
    rate = rate.masked_fill(weight == 0, 0)
    total = torch.zeros_like(read[..., 0]).scatter_add(1, receivers, rate)
    return rate / total.masked_fill(total == 0, 1).gather(1, receivers)
