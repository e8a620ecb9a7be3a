"""Layer of a gated transformer, GTrXL (Parisotto et al. 2019); `experts.attention.gtrxl` has the equations.

Shapes: B episode, N members, T step, M rows of the window, S = M + T, W width, K key.
"""

import torch
from torch import Tensor, nn

from experts.attention import sliding_window as band


class GTrXLLayer(nn.Module):
    """Attention over previous rows and present steps, then an MLP on each step, both with gated residuals."""

    def __init__(self, width: int, heads: int, key_size: int, inner: int, bias: float):
        super().__init__()
        self.heads, self.scale, size = heads, key_size**-0.5, heads * key_size
        self.norm, self.norm_within = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.position = (nn.Linear(width, size, bias=False) for _ in range(4))
        self.content_bias, self.age_bias = (nn.Parameter(torch.zeros(size)) for _ in range(2))  # u, v
        self.out = nn.Linear(size, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.gate, self.gate_within = GRUGate(width, bias), GRUGate(width, bias)

    def forward(self, x: Tensor, rows: Tensor, visible: Tensor, ages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, N, T, W), rows (B, N, M, W), visible (B, N, T, S), ages (M + 1, W) -> x, read and weights."""
        inputs = self.norm(torch.cat([rows, x], -2))
        query = self.query(inputs[..., rows.shape[-2] :, :])
        content_query, age_query, keys, values, age_keys = (
            band.split_heads(part, self.heads)
            for part in (
                (query + self.content_bias) * self.scale,
                (query + self.age_bias) * self.scale,
                self.key(inputs),
                self.value(inputs),
                self.position(ages),
            )
        )
        read, weights = band.attend(content_query, keys, values, age_query, age_keys, visible)
        read = self.out(band.merge_heads(read))
        x = self.gate(x, torch.relu(read))
        return self.gate_within(x, torch.relu(self.mlp(self.norm_within(x)))), read, weights


class GRUGate(nn.Module):
    """GRU-type gate: (1 - z) x + z tanh(W y + U (r x)) (Parisotto et al. 2019, sec. 3.2).

    Args:
        width: W.
        bias: keeps z initially small, so that a layer initially passes x on.
    """

    def __init__(self, width: int, bias: float):
        super().__init__()
        self.of_y = nn.Linear(width, 3 * width, bias=False)
        self.of_x = nn.Linear(width, 2 * width, bias=False)
        self.of_reset = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.full((width,), float(bias)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        (reset_y, update_y, new_y), (reset_x, update_x) = self.of_y(y).chunk(3, -1), self.of_x(x).chunk(2, -1)
        update = torch.sigmoid(update_y + update_x - self.bias)
        new = torch.tanh(new_y + self.of_reset(torch.sigmoid(reset_y + reset_x) * x))
        return torch.lerp(x, new, update)


def sinusoidal_encoding(oldest: int, width: int) -> Tensor:
    """Sinusoidal encoding of the ages from `oldest` to 0, (oldest + 1, width): sines, then cosines.

    Wavelengths are from 2 pi to 2 pi 10^4 (Vaswani et al. 2017, sec. 3.5).
    """
    ages = torch.arange(oldest, -1, -1, dtype=torch.double).unsqueeze(-1)
    half = (width + 1) // 2
    angles = ages * 10_000 ** (-torch.arange(half, dtype=torch.double) / half)
    return torch.cat([angles.sin(), angles.cos()], -1)[:, :width].to(torch.get_default_dtype())
