"""Gated transformer with a memory of the last inputs of each layer (GTrXL, Parisotto et al. 2019)."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.attention import sliding_window as band
from experts.attention.gtrxl_layer import GTrXLLayer, sinusoidal_encoding
from experts.core import Core, check_positive

MAX_LAYERS = 1000  # each is a module of its own


class GTrXLState(NamedTuple):
    """State of a `GTrXL`.

    Args:
        rows: the last inputs of each layer, newest last.
        written: number of rows written.
        y: the last output.
        read: attention outputs of all layers in the last step, concatenated.
        weights: attention weights of the last step, over the rows and, last, the present step; mean over heads and
            layers.
    """

    rows: Float[Tensor, "B N L M W"]
    written: Int[Tensor, "B N"]
    y: Float[Tensor, "B N W"]
    read: Float[Tensor, "B N LW"]
    weights: Float[Tensor, "B N slots"]


class GTrXL(Core):
    """Gated transformer-XL (GTrXL): attention over the last `memory` inputs of each layer, with gated residuals.

    x = Linear(input); a layer computes, with E = [its last inputs, x],

        x = gate(x, relu(attention(LayerNorm(E))));   x = gate(x, relu(MLP(LayerNorm(x))))

    where attention scores are (q + u) . k + (q + v) . (W_R r[age]) / sqrt(K), r sines and cosines of the age and u, v
    learned (Dai et al. 2019, sec. 3.3), and the gate is a GRU's, biased towards passing x (sec. 3.2):

        r = sigmoid(W_r y + U_r x);   z = sigmoid(W_z y + U_z x - bias);   gate = (1 - z) x + z tanh(W y + U (r x))

    Rows that are not written yet and those of previous episodes are masked. As in the paper, no gradient enters the
    memory of the previous segment, while steps of one segment have gradients with respect to each other. A segment is
    the rollout between two detaches: rows keep their gradient until `state.detach`. The memory holds layer inputs, not
    keys, so that the key weights also get gradients from detached rows. Each member has a memory of its own.

    Args:
        input_size: D.
        hidden_size: W, size of the layers and of the output.
        layers: L; a step depends on inputs up to L x memory steps ago.
        heads: attention heads.
        memory: M, number of previous inputs of each layer.
        key_size: K and V of each head; None: hidden_size // heads.
        inner: hidden units of the MLP; None: 4 hidden_size (Vaswani et al. 2017).
        bias: initial bias of the gates (sec. 3.2: 2).

    Raises:
        ValueError: a size below 1.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layers: int = 2,
        heads: int = 2,
        memory: int = 64,
        key_size: int | None = None,
        inner: int | None = None,
        bias: float = 2.0,
    ):
        super().__init__()
        check_positive(input_size=input_size, hidden_size=hidden_size, layers=layers, heads=heads, memory=memory)
        if layers > MAX_LAYERS:
            raise ValueError(f"layers={layers}, want at most {MAX_LAYERS}")
        check_positive(key_size=1 if key_size is None else key_size, inner=1 if inner is None else inner)
        self.input_size, self.output_size, self.memory = input_size, hidden_size, memory
        key_size = max(1, hidden_size // heads) if key_size is None else key_size
        inner = 4 * hidden_size if inner is None else inner
        self.embed = nn.Linear(input_size, hidden_size)
        self.layers = nn.ModuleList(GTrXLLayer(hidden_size, heads, key_size, inner, bias) for _ in range(layers))
        self.register_buffer("ages", sinusoidal_encoding(memory, hidden_size), persistent=False)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> GTrXLState:
        lead, width = x.shape[:2], self.output_size
        return GTrXLState(
            x.new_zeros(*lead, len(self.layers), self.memory, width),
            x.new_zeros(lead, dtype=torch.long),
            x.new_zeros(*lead, width),
            x.new_zeros(*lead, len(self.layers) * width),
            x.new_zeros(*lead, self.memory + 1),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: GTrXLState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N W"], GTrXLState]:
        _, new = self._segment(x.unsqueeze(0), state)
        new = new if present is None else states.where(present, new, state)
        return new.y, new

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: GTrXLState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N W"], GTrXLState]:
        """As the loop of `forward`, many steps at once."""
        ys, size = [], band.chunk_size(self.memory)
        for start in range(0, len(xs), size):
            part = slice(start, start + size)
            y, state = self._segment(xs[part], state, None if reset is None else reset[part])
            ys.append(y)
        return torch.cat(ys), state

    def _segment(self, xs: Tensor, state: GTrXLState, reset: Tensor | None = None) -> tuple[Tensor, GTrXLState]:
        visible, count = band.window_mask(state.written, len(xs), self.memory, reset)
        x, inputs, reads, weights = self.embed(xs.movedim(0, 2)), [], [], []  # x (B, N, T, W)
        for layer, rows in zip(self.layers, state.rows.unbind(2), strict=True):
            inputs.append(x)
            x, read, layer_weights = layer(x, rows, visible, self.ages)
            reads.append(read[:, :, -1])
            weights.append(band.last_weights(layer_weights, self.memory))
        rows = band.update_window(state.rows, torch.stack(inputs, 2), count, reset)
        mean_weights = torch.stack(weights).mean(0)
        return x.movedim(2, 0), GTrXLState(rows, count, x[:, :, -1], torch.cat(reads, -1), mean_weights)

    def metrics(self, state: GTrXLState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of `experts.memory_metrics` for the rows of the first layer."""
        return band.window_metrics(state.rows[:, :, 0], state.written, state.weights)

    def read_weights(self, state: GTrXLState) -> Float[Tensor, "B N slots"]:
        """Attention weights, mean over heads and layers, newest last; the last one is that of the present step."""
        return state.weights

    def read_write_vectors(self, state: GTrXLState) -> dict[str, Float[Tensor, "B N _"]]:
        """Reads and writes of the last step; the present input of each layer is written, concatenated over layers."""
        return {"read": state.read, "write_value": state.rows[..., -1, :].flatten(2)}
