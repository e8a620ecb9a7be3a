"""Descriptions of the rewards that an agent is asked for: a histogram, or a learned code of their order.

Shapes: B episode, N members, L rewards of a future, U bins, Z size of a code, K steps.
"""

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from experts.attention.causal_transformer import CausalTransformer


class Future(nn.Module, ABC):
    """A description of future rewards, of which the rewards that were lived are taken off.

    A subclass sets `size` and `target`, what is asked for at the start of an episode.
    """

    size: int
    target: Tensor

    @abstractmethod
    def describe(self, reward: Float[Tensor, "*B L"], valid: Bool[Tensor, "*B L"]) -> Tensor:
        """What an agent is told that is to live these rewards: a part of its core's state.

        Args:
            reward: of the steps to come, in order.
            valid: those that are not padding.
        """

    @abstractmethod
    def advance(self, left: Tensor, reward: Float[Tensor, "B N"]) -> Tensor:
        """What is left after a reward.

        Args:
            left: what was asked for before it.
            reward: that was lived.
        """

    @abstractmethod
    def forward(self, left: Tensor) -> Float[Tensor, "B N size"]:
        """What is left, as the input of a network.

        Args:
            left: what is asked for.
        """

    @abstractmethod
    def fit(self, low: float, high: float) -> None:
        """Sets the range of rewards.

        Args:
            low: the lowest recorded reward.
            high: the highest one.
        """

    @torch.no_grad()
    def ask(self, reward: Float[Tensor, " L"]) -> None:
        """Asks for these rewards in each new episode.

        Args:
            reward: of an episode, in order.
        """
        reward = reward.to(self.target)
        self.target.copy_(self.describe(reward, torch.ones_like(reward, dtype=torch.bool)))


class CategoricalFuture(Future):
    """The histogram of the rewards to come: how many of them are still asked for in each bin.

    A network reads the shares. A reward that was lived is taken off its bin, or off the nearest one that still asks for
    some, so that what is left is always as much as there are steps left.

    Args:
        bins: U, equal intervals between the lowest and the highest recorded reward.

    Source: Furuta, Matsuo and Gu 2022 (arXiv:2111.10364), categorical Decision Transformer.
    """

    low: Tensor
    high: Tensor

    def __init__(self, bins: int = 30):
        super().__init__()
        self.size = bins
        for name, value in (("low", -1.0), ("high", 1.0)):
            self.register_buffer(name, torch.tensor(value))
        self.register_buffer("target", torch.ones(bins))

    @property
    def width(self) -> float:
        """Of a bin."""
        return float(self.high - self.low) / self.size

    def fit(self, low: float, high: float) -> None:
        self.low.fill_(low)
        self.high.fill_(high if high > low else low + 1)

    def describe(self, reward: Float[Tensor, "*B L"], valid: Bool[Tensor, "*B L"]) -> Float[Tensor, "*B U"]:
        return (one_hot(self._bin(reward), self.size) * valid.unsqueeze(-1)).sum(-2).to(reward)

    def advance(self, left: Float[Tensor, "B N U"], reward: Float[Tensor, "B N"]) -> Float[Tensor, "B N U"]:
        asked = left > 0.5
        distance = (torch.arange(self.size, device=left.device) - self._bin(reward).unsqueeze(-1)).abs()
        nearest = torch.where(asked, distance, self.size).argmin(-1)
        return left - one_hot(nearest, self.size) * asked

    def forward(self, left: Float[Tensor, "B N U"]) -> Float[Tensor, "B N U"]:
        return left / left.sum(-1, keepdim=True).clamp(min=1)

    def _bin(self, reward: Float[Tensor, "*B"]) -> Int[Tensor, "*B"]:
        low, high = self.low.to(reward), self.high.to(reward)
        bins = ((reward.detach() - low) / (high - low) * self.size).floor()
        return bins.clamp(0, self.size - 1).nan_to_num().long()


class BidirectionalFuture(Future):
    """The next K rewards in order, as a code that an anti-causal transformer makes of them.

    The transformer reads them from the last one back to the present one, whose output is the code.

    Args:
        size: Z of the code.
        steps: K.
        longest: L, rewards of a target; later ones are not asked for.
        width: of the transformer.

    Source: Furuta, Matsuo and Gu 2022 (arXiv:2111.10364), bi-directional Decision Transformer.
    """

    scale: Tensor

    def __init__(self, size: int = 16, steps: int = 20, longest: int = 64, width: int = 32):
        super().__init__()
        self.size, self.steps, self.longest = size, steps, longest
        self.register_buffer("scale", torch.tensor(1.0))
        self.register_buffer("target", torch.zeros(longest, 2))
        self.embed, self.place = nn.Linear(2, width), nn.Parameter(0.1 * torch.randn(steps, width))
        self.transformer, self.out = CausalTransformer(width, 1, 1), nn.Linear(width, size)

    def fit(self, low: float, high: float) -> None:
        self.scale.fill_(max(abs(low), abs(high)) or 1.0)

    def describe(self, reward: Float[Tensor, "*B L"], valid: Bool[Tensor, "*B L"]) -> Float[Tensor, "*B longest 2"]:
        values = torch.stack([reward / self.scale.to(reward), torch.ones_like(reward)], -1) * valid.unsqueeze(-1)
        return pad(values[..., : self.longest, :], (0, 0, 0, max(0, self.longest - reward.shape[-1])))

    def advance(self, left: Tensor, reward: Float[Tensor, "B N"]) -> Tensor:
        return pad(left[..., 1:, :], (0, 0, 0, 1))

    def forward(self, left: Tensor) -> Float[Tensor, "B N Z"]:
        following = pad(left[..., : self.steps, :], (0, 0, 0, max(0, self.steps - self.longest)))
        tokens = (self.embed(following) + self.place).flip(-2)  # the present step last
        y, _ = self.transformer(tokens.flatten(0, -3))
        return self.out(y[:, -1]).view(*left.shape[:-2], self.size)


def wasserstein(one: Float[Tensor, "*B U"], other: Float[Tensor, "*B U"], width: float) -> Float[Tensor, "*B"]:
    """The Wasserstein-1 distance of two histograms: the width of a bin times sum |CDF - CDF'|.

    Args:
        one: counts or shares, which are normalized.
        other: likewise.
        width: of a bin.
    """
    shares = [counts / counts.sum(-1, keepdim=True) for counts in (one, other)]
    return width * (shares[0] - shares[1]).cumsum(-1).abs().sum(-1)
