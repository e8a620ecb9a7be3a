"""A sense with an encoder for each part of an observation: convolutions for images, an embedding for texts.

Shapes: B episode, E expert, P agent of the environment, O observation, S input of an expert.
"""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from badger.sense.base import Sense
from badger.sense.image_networks import RECEPTIVE_FIELD, ImpalaNetwork, NatureNetwork
from badger.sense.vectors import Scaled, Team
from badger.teams import team_size
from tasks import ObsPart

SHRUNK_SIDE = 84
"""Pixels that the smaller side of a large image has left, at least."""
ImageNetwork = Callable[[int, int, int, int], nn.Module]
"""A network by channels, height, width and number of features, such as `NatureNetwork`."""


class MultiInput(Sense):
    """Encodes each part of an observation; every expert receives the features of all parts.

    Images pass through a network of their own, with pixels from 0 to 1 and stacked frames as channels. Large ones,
    whose smaller side has at least 168 pixels, are averaged over squares first, so that 84 or more are left. In small
    ones, of less than 36, bytes are often indices, as 0 to 10 in MiniGrid: they are scaled by the logarithm, which
    keeps small indices separate (1 becomes .125, and 10 becomes .43) and pixels from 0 to 1. Texts,
    which are counts of words, pass through a linear embedding; vectors and symbols are unchanged. In an environment of
    several agents an expert receives the features of its agent's observation, as of `Team`.

    Args:
        obs_size: O.
        obs_parts: the parts of an observation, in their order.
        network: makes the network of an image.
        features: of an image, the outputs of its network.
        text_size: of the embedding of a text.

    Raises:
        ValueError: parts whose sizes do not add up to O.
    """

    def __init__(
        self,
        obs_size: int,
        obs_parts: Sequence[ObsPart],
        *,
        network: ImageNetwork = NatureNetwork,
        features: int = 256,
        text_size: int = 64,
    ):
        super().__init__()
        self.obs_size, self.parts = obs_size, tuple(obs_parts)
        if sum(part.size for part in self.parts) != obs_size:
            raise ValueError(f"obs_parts={self.parts} have {sum(p.size for p in self.parts)} numbers, want {obs_size}")
        self.encoders, self.output_size = nn.ModuleList(), 0
        for part in self.parts:
            if part.kind == "image":
                (channels, height, width), factor = _image_shape(part), _shrink_factor(part)
                self.encoders.append(network(channels, height // factor, width // factor, features))
            elif part.kind == "text":
                self.encoders.append(nn.Linear(part.size, text_size, bias=False))
            else:
                self.encoders.append(nn.Identity())
            self.output_size += {"image": features, "text": text_size}.get(part.kind, part.size)

    def forward(self, obs: Float[Tensor, "B *EO"], experts: int, outputs: int) -> Float[Tensor, "B E S"]:
        if obs.dim() not in (2, 3) or obs.shape[-1] != self.obs_size:
            raise ValueError(
                f"obs {tuple(obs.shape)}, want (batch, {self.obs_size}), or (batch, agents, {self.obs_size})"
            )
        values = zip(obs.split([part.size for part in self.parts], -1), self.parts, self.encoders, strict=True)
        features = torch.cat([encoder(_prepared(value, part)).reshape(*obs.shape[:-1], -1)
                              for value, part, encoder in values], -1)  # fmt: skip
        if obs.dim() == 2:
            return features.unsqueeze(1).expand(-1, experts, -1)
        return features.repeat(1, team_size(experts, obs.shape[1]), 1)


def nature(obs_size: int, *, obs_parts: Sequence[ObsPart] = (), features: int = 512, text_size: int = 64) -> MultiInput:
    """`MultiInput` with the convolutional network of Mnih et al. 2015 for images.

    Args:
        obs_size: O.
        obs_parts: the parts of an observation.
        features: of an image.
        text_size: of the embedding of a text.
    """
    return MultiInput(obs_size, obs_parts, network=NatureNetwork, features=features, text_size=text_size)


def impala(obs_size: int, *, obs_parts: Sequence[ObsPart] = (), features: int = 256, text_size: int = 64) -> MultiInput:
    """`MultiInput` with the residual convolutional network of Espeholt et al. 2018 for images.

    Args:
        obs_size: O.
        obs_parts: the parts of an observation.
        features: of an image.
        text_size: of the embedding of a text.
    """
    return MultiInput(obs_size, obs_parts, network=ImpalaNetwork, features=features, text_size=text_size)


def auto(obs_size: int, *, obs_parts: Sequence[ObsPart] = (), agents: int | None = None, scale: float = 1.0) -> Sense:
    """The sense that suits the observation: `nature` where it has images or texts, else all of it as a vector.

    Args:
        obs_size: O.
        obs_parts: the parts of an observation.
        agents: P, the number of agents of the environment; None: one.
        scale: a constant factor of a vector.
    """
    if any(part.kind in ("image", "text") for part in obs_parts):
        return nature(obs_size, obs_parts=obs_parts)
    return Scaled(obs_size, power=0.0, scale=scale) if agents is None else Team(obs_size, scale=scale)


def _shrink_factor(part: ObsPart) -> int:
    """The side of the squares that are averaged to one pixel."""
    return max(1, min(_image_shape(part)[1:]) // SHRUNK_SIDE)


def _image_shape(part: ObsPart) -> tuple[int, int, int]:
    """Channels, with those of stacked frames, height and width of an image."""
    sizes = dict(zip(part.layout, part.shape, strict=True))
    return sizes.get("N", 1) * sizes.get("C", 1), sizes["H"], sizes["W"]


def _prepared(values: Tensor, part: ObsPart) -> Tensor:
    """The input of an encoder: images (rows, C, H, W) from 0 to 1, else the values as they are."""
    if part.kind != "image":
        return values
    axes = [part.layout.index(axis) + 1 for axis in "NCHW" if axis in part.layout]
    images = values.reshape(-1, *part.shape).permute(0, *axes)
    values, span = images - part.low, part.high - part.low
    small = min(_image_shape(part)[1:]) < RECEPTIVE_FIELD
    values, span = (values.log1p(), math.log1p(span)) if small and span > 1 else (values, span)
    scaled = (values / span).reshape(-1, *_image_shape(part))
    factor = _shrink_factor(part)
    return avg_pool2d(scaled, factor) if factor > 1 else scaled
