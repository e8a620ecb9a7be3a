"""A layer of a gated transformer (Parisotto et al. 2019): the equations are in `experts.attention.gtrxl`.

Shapes: B episode, N members, T step, M rows remembered, S = M + T, W width, K key.
"""

import torch
from torch import Tensor, nn

from experts.attention import sliding_window as band


class GTrXLLayer(nn.Module):
    """Attention over rows and the present steps, then an MLP on each step; gates let both in."""

    def __init__(self, width: int, heads: int, key_size: int, inner: int, bias: float):
        super().__init__()
        self.heads, self.scale, size = heads, key_size**-0.5, heads * key_size
        self.norm, self.norm_within = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.position = (nn.Linear(width, size, bias=False) for _ in range(4))
        self.content_bias, self.place_bias = (nn.Parameter(torch.zeros(size)) for _ in range(2))  # u, v
        self.out = nn.Linear(size, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Linear(inner, width))
        self.gate, self.gate_within = GRUGate(width, bias), GRUGate(width, bias)

    def forward(self, x: Tensor, rows: Tensor, seen: Tensor, ages: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, N, T, W), rows (B, N, M, W), seen (B, N, T, S), ages (M + 1, W): x, read (B, N, T, W) and weights."""
        every = self.norm(torch.cat([rows, x], -2))
        query = self.query(every[..., rows.shape[-2] :, :])
        by_content, by_place, keys, values, places = (
            band.split_heads(part, self.heads)
            for part in (
                (query + self.content_bias) * self.scale,
                (query + self.place_bias) * self.scale,
                self.key(every),
                self.value(every),
                self.position(ages),
            )
        )
        read, weights = band.attend(by_content, keys, values, by_place, places, seen)
        read = self.out(band.merge_heads(read))
        x = self.gate(x, torch.relu(read))
        return self.gate_within(x, torch.relu(self.mlp(self.norm_within(x)))), read, weights


class GRUGate(nn.Module):
    """Lets y into x as a GRU would: (1 - z) x + z tanh(W y + U (r x)) (Parisotto et al. 2019, sec. 3.2).

    bias: keeps z small at first, so that a layer begins by passing x on.
    """

    def __init__(self, width: int, bias: float):
        super().__init__()
        self.of_y = nn.Linear(width, 3 * width, bias=False)
        self.of_x = nn.Linear(width, 2 * width, bias=False)
        self.of_reset = nn.Linear(width, width, bias=False)
        self.bias = nn.Parameter(torch.full((width,), float(bias)))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        (reset_y, open_y, new_y), (reset_x, open_x) = self.of_y(y).chunk(3, -1), self.of_x(x).chunk(2, -1)
        opened = torch.sigmoid(open_y + open_x - self.bias)
        new = torch.tanh(new_y + self.of_reset(torch.sigmoid(reset_y + reset_x) * x))
        return torch.lerp(x, new, opened)


def sinusoidal_encoding(oldest: int, width: int) -> Tensor:
    """Sines, then cosines, of the ages from `oldest` to 0, (oldest + 1, width), of wavelengths from 2 pi to 10^4 times
    that (Vaswani et al. 2017, sec. 3.5)."""
    ages = torch.arange(oldest, -1, -1, dtype=torch.double).unsqueeze(-1)
    half = (width + 1) // 2
    angles = ages * 10_000 ** (-torch.arange(half, dtype=torch.double) / half)
    return torch.cat([angles.sin(), angles.cos()], -1)[:, :width].to(torch.get_default_dtype())
