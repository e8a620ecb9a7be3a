"""Networks that predict reward, end and value from the features of a world model's state.

Shapes: ... any leading axes, F features, K bins.
"""

import copy

from jaxtyping import Float
from torch import Tensor, nn

from badger.learners.imagination.two_hot import TwoHot
from experts.world_model.networks import mlp


class Heads(nn.Module):
    """Networks with two hidden layers; rewards and values are learned as distributions over bins (`TwoHot`).

    All rewards and values are 0 at first. `slow` is the target network of the value.

    Args:
        features: F.
        hidden_size: of a hidden layer.
        bins: K.
        like: gives dtype and device.
    """

    def __init__(self, features: int, hidden_size: int, bins: int, like: Tensor):
        super().__init__()
        self.two_hot = TwoHot(bins, like)
        self.reward, self.continues, self.critic = (mlp(features, hidden_size, n, layers=2) for n in (bins, 1, bins))
        for layer in self.modules():  # drawn on the CPU; not by Module.to, which fake tensors do not allow
            for name, parameter in layer.named_parameters(recurse=False):
                setattr(layer, name, nn.Parameter(parameter.detach().to(like)))
        for head in (self.reward, self.critic):
            for parameter in head[-1].parameters():
                nn.init.zeros_(parameter)
        self.slow = copy.deepcopy(self.critic).requires_grad_(False)

    def update_slow(self) -> None:
        """Copies the weights of the critic into its target network."""
        self.slow.load_state_dict(self.critic.state_dict())

    def read(self, head: nn.Module, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B"]:
        """A reward or value.

        Args:
            head: `reward`, `critic` or `slow`.
            features: of states.
        """
        return self.two_hot.mean(head(features))

    def error(
        self, head: nn.Module, features: Float[Tensor, "*B F"], target: Float[Tensor, "*B"]
    ) -> Float[Tensor, "*B"]:
        """The loss of a prediction.

        Args:
            head: `reward` or `critic`.
            features: of states.
            target: what is to be predicted.
        """
        return self.two_hot.loss(head(features), target)
