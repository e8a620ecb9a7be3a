"""Working memory graph, WMG (Loynd et al. 2020)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive
from experts.relational.attention import MultiHeadAttention


class WorkingMemoryGraphState(NamedTuple):
    """State of a `WorkingMemoryGraph`.

    Args:
        memos: the last memos, newest last.
        written: number of memos that were written, at most S.
        y: the last output.
        weights: attention of the core node in the last layer over the memos and, last, the nodes of the observation.
    """

    memos: Float[Tensor, "B N S V"]
    written: Int[Tensor, "B N"]
    y: Float[Tensor, "B N W"]
    weights: Float[Tensor, "B N slots"]


class WorkingMemoryGraph(Core):
    """Working memory graph: a transformer over the observation and the vectors that the agent has written before.

    The nodes of a step are the core node, a linear map of the input; a node for each of its `factors`, if it has any;
    and a node for each of the last S memos, a linear map of the memo and of its age, one-hot. All attend to each other
    in `layers` layers without positions,

        h = LayerNorm(h + W attention(h));   h = LayerNorm(h + MLP(h))

    and y is the core node's result. The step writes the memo tanh(W_m y). So an agent remembers by what it wrote, which
    the gradient goes through, and not by a hidden state.

    An input with factors begins with `factors` rows of `factor_size` numbers, such as one for each object; what follows
    is for the core node. Each member has memos of its own.

    Args:
        input_size: D.
        hidden_size: W, size of the nodes and of the output.
        slots: S, memos that are kept.
        memo_size: V, numbers in a memo.
        layers: number of layers.
        heads: attention heads.
        key_size: numbers of a query, a key and a value of each head; None: hidden_size // heads.
        inner: hidden units of the MLP; None: 4 hidden_size.
        factors: number of factors of the input.
        factor_size: numbers in a factor.

    Raises:
        ValueError: a size below 1, or factors that the input has no room for.

    Source: Loynd et al. 2020 (arXiv:1911.07141), section 3.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        slots: int = 16,
        memo_size: int = 32,
        layers: int = 2,
        heads: int = 4,
        key_size: int | None = None,
        inner: int | None = None,
        factors: int = 0,
        factor_size: int = 1,
    ):
        super().__init__()
        check_positive(input_size=input_size, hidden_size=hidden_size, slots=slots, memo_size=memo_size, layers=layers)
        check_positive(heads=heads, factor_size=factor_size)
        check_positive(key_size=1 if key_size is None else key_size, inner=1 if inner is None else inner)
        key_size = max(1, hidden_size // heads) if key_size is None else key_size
        rest = input_size - factors * factor_size
        if factors < 0 or rest < 1:
            raise ValueError(
                f"factors={factors}, factor_size={factor_size}: want at least 0 factors, and an input of more than "
                f"their numbers; it has {input_size}"
            )
        self.input_size, self.output_size = input_size, hidden_size
        self.slots, self.factors, self.factor_size = slots, factors, factor_size
        self.embed_core = nn.Linear(rest, hidden_size)
        self.embed_factor = nn.Linear(factor_size, hidden_size) if factors else None
        self.embed_memo, self.embed_age = nn.Linear(memo_size, hidden_size), nn.Embedding(slots, hidden_size)
        inner = 4 * hidden_size if inner is None else inner
        self.layers = nn.ModuleList(Layer(hidden_size, heads, key_size, inner) for _ in range(layers))
        self.memo = nn.Linear(hidden_size, memo_size)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> WorkingMemoryGraphState:
        lead = x.shape[:2]
        return WorkingMemoryGraphState(
            x.new_zeros(*lead, self.slots, self.memo.out_features),
            x.new_zeros(lead, dtype=torch.long),
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(*lead, self.slots + 1 + self.factors),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: WorkingMemoryGraphState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N W"], WorkingMemoryGraphState]:
        of_factors, rest = x.tensor_split([self.factors * self.factor_size], -1)
        nodes = [self.embed_memo(state.memos) + self.embed_age.weight, self.embed_core(rest).unsqueeze(-2)]
        if self.embed_factor is not None:
            nodes.append(self.embed_factor(of_factors.unflatten(-1, (self.factors, self.factor_size))))
        h = torch.cat(nodes, -2)
        oldest = self.slots - state.written.unsqueeze(-1)
        visible = torch.arange(h.shape[-2], device=x.device) >= oldest  # memos, then the nodes of the observation
        for layer in self.layers:
            h, weights = layer(h, visible)
        y = h[..., self.slots, :]
        memos = torch.cat([state.memos[..., 1:, :], torch.tanh(self.memo(y)).unsqueeze(-2)], -2)
        new = WorkingMemoryGraphState(memos, (state.written + 1).clamp(max=self.slots), y, weights[..., self.slots, :])
        new = new if present is None else states.where(present, new, state)
        return new.y, new

    def metrics(self, state: WorkingMemoryGraphState) -> dict[str, Float[Tensor, " B"]]:
        """Memos written, attention to memos, and its entropy in nats."""
        of_memos = state.weights[..., : self.slots].sum(-1)
        return {
            "slots_used": state.written.to(of_memos.dtype).mean(-1),
            "attention_to_memos": of_memos.mean(-1),
            "read_entropy": -torch.xlogy(state.weights, state.weights).sum(-1).mean(-1),
        }

    def read_weights(self, state: WorkingMemoryGraphState) -> Float[Tensor, "B N slots"]:
        """Attention of the core node in the last layer: memos, newest last; the core node; and factors."""
        return state.weights

    def read_write_vectors(self, state: WorkingMemoryGraphState) -> dict[str, Float[Tensor, "B N _"]]:
        """The memo that the last step wrote."""
        return {"write_value": state.memos[..., -1, :]}


class Layer(nn.Module):
    """Attention of all nodes to the visible ones, then an MLP on each node.

    Args:
        width: W.
        heads: attention heads.
        key_size: numbers of a query, a key and a value of each head.
        inner: hidden units of the MLP.
    """

    def __init__(self, width: int, heads: int, key_size: int, inner: int):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, key_size, bias=True)
        self.out = nn.Linear(heads * key_size, width)
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))

    def forward(
        self, h: Float[Tensor, "*B R W"], visible: Bool[Tensor, "*B R"]
    ) -> tuple[Float[Tensor, "*B R W"], Float[Tensor, "*B R R"]]:
        """The nodes after this layer, and their attention weights, mean over heads."""
        read, weights = self.attention(h, h, visible)
        h = self.attention_norm(h + self.out(read))
        return self.mlp_norm(h + self.mlp(h)), weights
