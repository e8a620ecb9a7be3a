"""Numbers as bins: each bin has about as many of the recorded values, and frequent values have bins of their own.

Shapes: ... any leading axes, S numbers of a step, K bins, V values.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

MOST_VALUES = 200_000  # of a number, from which its bins are computed


class Discretizer(nn.Module):
    """Bins of each number of a step, by quantiles of recorded values.

    Quantiles alone make most bins empty where one value is frequent, as a reward of 0 is. Here no bin is empty: bins
    are intervals of distinct values, closed when they hold their share of those that are left, and where there are only
    a few distinct values each has a bin of its own. Options of a choice have a bin each. Before `fit`, bins of real
    numbers are equal intervals from -1 to 1.

    Args:
        options: of each number of a step; None: a real number.
        bins: K, the most bins of a number.

    Raises:
        ValueError: fewer than 2 bins, or more options than bins.

    Source: quantile bins: Janner, Li and Levine 2021 (arXiv:2106.02039), section 3.1.
    """

    edges: Tensor
    centers: Tensor
    used: Tensor

    def __init__(self, options: Sequence[int | None], bins: int):
        super().__init__()
        most = max([2, *(n for n in options if n is not None)])
        if bins < most:
            raise ValueError(f"bins={bins}, want at least {most}: 2, and one for each option of a choice")
        self.bins, self.options = bins, tuple(options)
        self.numbers = [dim for dim, n in enumerate(options) if n is None]
        tables = [_default_bins(n, bins) for n in options]
        for name, rows in zip(("edges", "centers"), zip(*tables, strict=True), strict=True):
            self.register_buffer(name, torch.stack(rows))
        self.register_buffer("used", self._used())

    def _used(self) -> Bool[Tensor, "S K"]:
        """Bins beyond the last edge have no values."""
        return torch.cat([torch.ones_like(self.edges[:, :1]), self.edges], 1) < torch.inf

    def fit(self, values: Float[Tensor, "V S"]) -> None:
        """Sets the bins.

        Args:
            values: of recorded steps.
        """
        self.set(*self.fitted(values))

    def fitted(self, values: Float[Tensor, "V S"]) -> tuple[Float[Tensor, "S K1"], Float[Tensor, "S K"]]:
        """Edges and centers of the bins of recorded values, on the host.

        Args:
            values: of recorded steps, on the host.
        """
        every = max(1, -(-len(values) // MOST_VALUES))
        tables = [_default_bins(n, self.bins) for n in self.options]
        for dim in self.numbers:
            found = quantile_bins(values[::every, dim].double().numpy(), self.bins)
            tables[dim] = torch.as_tensor(found[0]), torch.as_tensor(found[1])
        edges, centers = (torch.stack([row.double() for row in rows]) for rows in zip(*tables, strict=True))
        return edges, centers

    def set(self, edges: Float[Tensor, "S K1"], centers: Float[Tensor, "S K"]) -> None:
        """Sets the bins.

        Args:
            edges: between them, infinite after the last.
            centers: their mean values.
        """
        device = self.edges.device
        self.edges.copy_(edges.to(device))
        self.centers.copy_(centers.to(device))
        self.used.copy_(self._used())

    def encode(self, values: Float[Tensor, "*B d"], dims: Sequence[int]) -> Int[Tensor, "*B d"]:
        """The bins of numbers; what is beyond the recorded values is in the first or last bin.

        Args:
            values: some of the numbers of a step.
            dims: their places in a step.
        """
        return (values.unsqueeze(-1) > self.edges[list(dims)]).sum(-1)

    def decode(self, tokens: Int[Tensor, "*B d"], dims: Sequence[int]) -> Float[Tensor, "*B d"]:
        """The mean recorded value of each bin.

        Args:
            tokens: bins of some of the numbers of a step.
            dims: their places in a step.
        """
        return self.centers[list(dims)].expand(*tokens.shape, -1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1)

    def expectation(self, probs: Float[Tensor, "*B K"], dim: int) -> Float[Tensor, "*B"]:
        """The expected value of a number.

        Args:
            probs: of its bins.
            dim: its place in a step.
        """
        return (probs * self.centers[dim]).sum(-1)


def quantile_bins(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges between bins of about equally many values, infinite after the last, and the mean of each bin.

    Args:
        values: in any order.
        bins: the most bins.
    """
    distinct, counts = np.unique(values, return_counts=True)
    starts = [0]  # the first distinct value of each bin
    inside, left, wanted = 0, counts.sum(), counts.sum() / bins
    for i, count in enumerate(counts.tolist()):
        apart = len(distinct) <= bins or inside + count / 2 > wanted
        if i and inside and apart and len(starts) < bins:
            left -= inside
            wanted, inside = left / (bins - len(starts)), 0
            starts.append(i)
        inside += count
    edges, centers = np.full(bins - 1, np.inf), np.zeros(bins)
    ends = np.array([*starts[1:], len(distinct)])
    edges[: len(starts) - 1] = (distinct[ends[:-1] - 1] + distinct[ends[:-1]]) / 2
    sums, total = np.add.reduceat(distinct * counts, starts), np.add.reduceat(counts, starts)
    centers[: len(starts)] = sums / total
    return edges, centers


def _default_bins(options: int | None, bins: int) -> tuple[Tensor, Tensor]:
    """Edges and centers before anything was recorded."""
    centers = torch.linspace(-1, 1, bins) if options is None else torch.arange(options, dtype=torch.get_default_dtype())
    edges = torch.full((bins - 1,), torch.inf)
    edges[: len(centers) - 1] = (centers[1:] + centers[:-1]) / 2
    return edges, torch.cat([centers, centers.new_zeros(bins - len(centers))])
