"""Convolutional networks for images of any size: those of DQN and of IMPALA.

Shapes: B image, C channel, H height, W width, F feature.
"""

import math

from jaxtyping import Float
from torch import Tensor, nn

RECEPTIVE_FIELD = 36  # pixels that one unit of Nature's last layer sees


class NatureNetwork(nn.Module):
    """Three convolutions and a linear layer; for images smaller than 36 pixels two convolutions with small kernels.

    Args:
        channels: C.
        height: H.
        width: W.
        features: F.

    Source: Mnih et al. 2015 (Nature 518, 529), Methods. The small network is after that of Young & Tian 2019
    (arXiv:1903.03176), with a second layer.
    """

    def __init__(self, channels: int, height: int, width: int, features: int = 512):
        super().__init__()
        small = min(height, width) < RECEPTIVE_FIELD
        sizes = [(16, 3, 1), (32, 3, 1)] if small else [(32, 8, 4), (64, 4, 2), (64, 3, 1)]
        layers: list[nn.Module] = []
        for out_channels, kernel, stride in sizes:
            layers += [_orthogonal(nn.Conv2d(channels, out_channels, kernel, stride)), nn.ReLU()]
            channels = out_channels
            height, width = ((side - kernel) // stride + 1 for side in (height, width))
        linear = _orthogonal(nn.Linear(channels * height * width, features))
        self.layers = nn.Sequential(*layers, nn.Flatten(), linear, nn.ReLU())

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """Features of images with pixels from 0 to 1.

        Args:
            images: any number of them.
        """
        return self.layers(images)


class ImpalaNetwork(nn.Module):
    """Three sections of a convolution, a pooling and two residual blocks, then a linear layer.

    Args:
        channels: C.
        height: H.
        width: W.
        features: F.

    Source: Espeholt et al. 2018 (arXiv:1802.01561), figure 3, right.
    """

    def __init__(self, channels: int, height: int, width: int, features: int = 256):
        super().__init__()
        sections: list[nn.Module] = []
        for out_channels in (16, 32, 32):
            pool = nn.MaxPool2d(3, stride=2, padding=1)
            convolution = nn.Conv2d(channels, out_channels, 3, padding=1)
            sections += [convolution, pool, _Residual(out_channels), _Residual(out_channels)]
            channels = out_channels
            height, width = (math.ceil(side / 2) for side in (height, width))
        linear = _orthogonal(nn.Linear(channels * height * width, features))
        self.layers = nn.Sequential(*sections, nn.ReLU(), nn.Flatten(), linear, nn.ReLU())

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B F"]:
        """Features of images with pixels from 0 to 1.

        Args:
            images: any number of them.
        """
        return self.layers(images)


class _Residual(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int):
        super().__init__()
        self.first, self.second = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        return x + self.second(self.first(x.relu()).relu())


def _orthogonal(layer: nn.Conv2d | nn.Linear) -> nn.Module:
    """Orthogonal weights with the gain of a ReLU."""
    if layer.weight.device.type != "meta":
        nn.init.orthogonal_(layer.weight, math.sqrt(2))
        assert layer.bias is not None
        nn.init.zeros_(layer.bias)
    return layer
