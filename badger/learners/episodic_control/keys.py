"""Keys of observations that no learning changes: a fixed random projection, or the observation itself.

Shapes: B episode, N member, D input, K number of a key.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import Core


class FixedKey(Core):
    """A core without memory and without learning: a fixed random projection of its input, or the input itself.

    The projection nearly keeps distances (Johnson and Lindenstrauss 1984). It is computed in float64 and rounded to
    float32, so that the key of an observation does not depend on the batch that it is in: a repeat must be equal in
    every bit.

    Args:
        input_size: D.
        key_size: K; 0: the key is the input, exactly.
        like: gives device and dtype.

    Raises:
        ValueError: a negative key_size.
    """

    memoryless = True

    def __init__(self, input_size: int, key_size: int, like: Tensor):
        super().__init__()
        if key_size < 0:
            raise ValueError(f"key_size={key_size}, want numbers of a key, or 0 for the observation itself")
        self.input_size, self.output_size = input_size, key_size or input_size
        projection = torch.randn(input_size, key_size) * key_size**-0.5 if key_size else torch.ones(())
        self.projection = nn.Parameter(projection.to(like), requires_grad=False)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> Float[Tensor, "B N K"]:
        return x.new_zeros(*x.shape[:2], self.output_size)

    def forward(
        self, x: Float[Tensor, "B N D"], state: Float[Tensor, "B N K"], present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N K"]]:
        """The keys; absent members return their last ones."""
        key = self.keys(x)
        key = key if present is None else torch.where(present.unsqueeze(-1), key, state)
        return key, key

    def keys(self, x: Float[Tensor, "*B D"]) -> Float[Tensor, "*B K"]:
        """The keys of some inputs.

        Args:
            x: the inputs.
        """
        if not self.projection.dim():
            return x * self.projection
        return (x.double() @ self.projection.double()).float().to(x)
