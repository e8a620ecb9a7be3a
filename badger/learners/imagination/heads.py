"""Networks that predict reward, end and value from the features of a world model's state.

Shapes: ... any leading axes, F features.
"""

import copy

from jaxtyping import Float
from torch import Tensor, nn

from badger.learners.q_learning.targets import ValueTransform
from experts.world_model.networks import mlp, symexp, symlog

SYMLOG = ValueTransform(symlog, symexp)
"""The rescaling of DreamerV3."""


class Heads(nn.Module):
    """Networks with two hidden layers; rewards and values are learned in the units of a transform.

    `slow` is the target network of the value.

    Args:
        features: F.
        hidden_size: of a hidden layer.
        transform: of rewards and values.
        like: gives dtype and device.
    """

    def __init__(self, features: int, hidden_size: int, transform: ValueTransform, like: Tensor):
        super().__init__()
        self.reward, self.continues, self.critic = (mlp(features, hidden_size, 1, layers=2) for _ in range(3))
        for layer in self.modules():  # drawn on the CPU; not by Module.to, which fake tensors do not allow
            for name, parameter in layer.named_parameters(recurse=False):
                setattr(layer, name, nn.Parameter(parameter.detach().to(like)))
        self.slow = copy.deepcopy(self.critic).requires_grad_(False)
        self.transform = transform

    def update_slow(self) -> None:
        """Copies the weights of the critic into its target network."""
        self.slow.load_state_dict(self.critic.state_dict())

    def read(self, head: nn.Module, features: Float[Tensor, "*B F"]) -> Float[Tensor, "*B"]:
        """A reward or value, in its own units.

        Args:
            head: `reward`, `critic` or `slow`.
            features: of states.
        """
        return self.transform.apply_inv(head(features).squeeze(-1))

    def squared_error(
        self, head: nn.Module, features: Float[Tensor, "*B F"], target: Float[Tensor, "*B"]
    ) -> Float[Tensor, "*B"]:
        """Half the squared error in the units of the transform.

        Args:
            head: `reward` or `critic`.
            features: of states.
            target: what is to be predicted, in its own units.
        """
        return 0.5 * (head(features).squeeze(-1) - self.transform.apply(target)).square()
