"""Random Fourier features of a Gaussian kernel, projected on their principal components.

Shapes: D input, R random feature, K component.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from experts.core import check_positive

BANDWIDTH_ROWS = 500  # of which the median distance is taken
LEAST_DEVIATION = 0.3  # of the largest: a filter of weak components at full scale diverges


class RandomFeatures(nn.Module):
    """Principal components of random Fourier features: P cos(W z / bandwidth + b) of standardized inputs z.

    Inner products of random features approximate a Gaussian kernel. Before `fit`, inputs are not standardized, the
    components are random, and the bandwidth is the square root of D.

    Args:
        input_size: D.
        components: K.
        random: R.

    Raises:
        ValueError: a size below 1, or more components than random features.

    Source: Rahimi and Recht 2007, Random features for large-scale kernel machines.
    """

    frequency: Tensor
    phase: Tensor
    mean: Tensor
    scale: Tensor
    bandwidth: Tensor
    projection: Tensor
    offset: Tensor

    def __init__(self, input_size: int, components: int, *, random: int):
        super().__init__()
        check_positive(components=components, random=random)
        if components > random:
            raise ValueError(f"random={random}, want at least {components}, the components of random features")
        self.register_buffer("frequency", torch.randn(random, input_size))
        self.register_buffer("phase", 2 * math.pi * torch.rand(random))
        self.register_buffer("mean", torch.zeros(input_size))
        self.register_buffer("scale", torch.ones(input_size))
        self.register_buffer("bandwidth", torch.tensor(input_size**0.5))
        self.register_buffer("offset", torch.zeros(components))
        self.register_buffer("projection", torch.randn(components, random) * (2 / random) ** 0.5)

    def forward(self, x: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead K"]:
        return self._random(x) @ self.projection.T - self.offset

    def standardized(self, x: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead D"]:
        """The inputs with mean 0 and deviation 1 over the rows of the fit.

        Args:
            x: inputs.
        """
        return (x - self.mean) / self.scale

    def _random(self, x: Float[Tensor, "*lead D"]) -> Float[Tensor, "*lead R"]:
        return torch.cos(self.standardized(x) / self.bandwidth @ self.frequency.T + self.phase)

    @torch.no_grad()
    def fit(self, x: Float[Tensor, "rows D"], bandwidth: float) -> None:
        """Sets moments, bandwidth and principal components; the largest has the second moment 1.

        The features are not centered, so that a constant is nearly one of the components.

        Args:
            x: inputs.
            bandwidth: in median distances of rows.
        """
        deviation = x.std(0, correction=0)
        self.mean.copy_(x.mean(0))
        self.scale.copy_(deviation.where(deviation > 1e-6, 1))
        distances = torch.pdist(self.standardized(x[:: max(1, len(x) // BANDWIDTH_ROWS)]))
        self.bandwidth.copy_(bandwidth * distances.median().clamp(min=1e-3))
        features = self._random(x)
        values, vectors = torch.linalg.eigh((features.T @ features).double() / len(x))
        self.projection.copy_(vectors.flip(1)[:, : len(self.projection)].T / values[-1].sqrt())
        self.offset.zero_()

    @torch.no_grad()
    def standardize(self, values: Float[Tensor, "rows K"]) -> None:
        """Shifts and scales the features so that these values of them get mean 0 and deviation 1.

        Args:
            values: features, or predictions of them; what varies little, compared with the most, is scaled up less.
        """
        deviation = values.std(0, correction=0)
        scale = deviation.clamp(min=LEAST_DEVIATION * deviation.max())
        self.offset.copy_((self.offset + values.mean(0)) / scale)
        self.projection.div_(scale[:, None])
