"""Relational memory core, RMC (Santoro et al. 2018)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive
from experts.relational.attention import MultiHeadAttention


class RelationalState(NamedTuple):
    """State of a `RelationalMemory`.

    Args:
        memory: the slots of each member.
        weights: attention of the last step over the slots and, last, the input; mean over heads and slots.
        gates: means over all numbers of the memory of the input gate and of the forget gate.
    """

    memory: Float[Tensor, "B N S W"]
    weights: Float[Tensor, "B N slots"]
    gates: Float[Tensor, "B N 2"]


class RelationalMemory(Core):
    """Relational memory core: a matrix of slots that attend to each other and to the input, then a gated update.

    With the memory M (S slots of W numbers) and the row W_x x of the input, a step is

        H = LayerNorm(M + attention(M; [M, W_x x]));   H = LayerNorm(H + MLP(H))
        i, f = sigmoid(U W_x x + V tanh(M) + b);       M = f M + i tanh(H)

    and y is a linear map of all numbers of M. The biases b are 0 for i and 1 for f. The memory begins with the rows of
    the identity matrix, so that slots differ. The input's own row has no effect beyond the attention, and is not
    computed. Each member has a memory of its own.

    Args:
        input_size: D.
        hidden_size: Y, size of the output.
        slots: S.
        slot_size: W.
        heads: attention heads.
        layers: hidden layers of the MLP, of W units each.

    Raises:
        ValueError: a size below 1, or slots that cannot be divided among the heads.

    Source: Santoro et al. 2018 (arXiv:1806.01822), section 3.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        slots: int = 4,
        slot_size: int = 32,
        heads: int = 4,
        layers: int = 2,
    ):
        super().__init__()
        sizes = {"slots": slots, "slot_size": slot_size, "heads": heads, "layers": layers}
        check_positive(input_size=input_size, hidden_size=hidden_size, **sizes)
        if slot_size % heads:
            raise ValueError(f"slot_size={slot_size}, want a multiple of heads={heads}")
        self.input_size, self.output_size = input_size, hidden_size
        self.slots, self.slot_size = slots, slot_size
        self.embed = nn.Linear(input_size, slot_size)
        self.attention = MultiHeadAttention(slot_size, heads, slot_size // heads)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(slot_size), nn.LayerNorm(slot_size)
        hidden = [part for _ in range(layers - 1) for part in (nn.Linear(slot_size, slot_size), nn.ReLU())]
        self.mlp = nn.Sequential(*hidden, nn.Linear(slot_size, slot_size))
        self.gate_of_input = nn.Linear(slot_size, 2 * slot_size)
        self.gate_of_memory = nn.Linear(slot_size, 2 * slot_size, bias=False)
        with torch.no_grad():  # i, then f
            self.gate_of_input.bias.copy_(torch.tensor([0.0, 1.0]).repeat_interleave(slot_size))
        self.output = nn.Linear(slots * slot_size, hidden_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> RelationalState:
        lead = x.shape[:2]
        identity = torch.eye(self.slots, self.slot_size, dtype=x.dtype, device=x.device)
        memory = identity + x.new_zeros(*lead, 1, 1)
        return RelationalState(memory, x.new_zeros(*lead, self.slots + 1), x.new_zeros(*lead, 2))

    def forward(
        self, x: Float[Tensor, "B N D"], state: RelationalState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], RelationalState]:
        memory, row = state.memory, self.embed(x).unsqueeze(-2)  # (B, N, S, W), (B, N, 1, W)
        read, weights = self.attention(memory, torch.cat([memory, row], -2))
        attended = self.attention_norm(memory + read)
        proposed = self.mlp_norm(attended + self.mlp(attended))
        gates = torch.sigmoid(self.gate_of_input(row) + self.gate_of_memory(torch.tanh(memory)))
        write, keep = gates.chunk(2, -1)
        new = RelationalState(
            keep * memory + write * torch.tanh(proposed),
            weights.mean(2),
            torch.stack([write.mean((-1, -2)), keep.mean((-1, -2))], -1),
        )
        if present is not None:
            new = states.where(present, new, state)
        return self.output(new.memory.flatten(2)), new

    def metrics(self, state: RelationalState) -> dict[str, Float[Tensor, " B"]]:
        """Means of the gates, of the attention to the input, and of the norm of a slot."""
        write, keep = state.gates.mean(1).unbind(-1)
        return {
            "input_gate": write,
            "forget_gate": keep,
            "attention_to_input": state.weights[..., -1].mean(-1),
            "memory_norm": state.memory.norm(dim=-1).mean((1, 2)),
        }

    def read_weights(self, state: RelationalState) -> Float[Tensor, "B N slots"]:
        """Attention weights over the slots and, last, the input; mean over heads and slots."""
        return state.weights

    def read_write_vectors(self, state: RelationalState) -> dict[str, Float[Tensor, "B N _"]]:
        """All slots, which a step writes anew."""
        return {"write_value": state.memory.flatten(2)}
