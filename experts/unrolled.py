"""Any core in the shape of `nn.GRU`: a whole sequence in, a whole sequence out.

Shapes: T step, B sequence, D input, Y output.
"""

from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts.core import Core
from experts.state import State


class Unrolled(nn.Module):
    """A core of one member as a drop-in for `nn.GRU` and its kin: (T, B, D) -> (T, B, Y) and the state behind it.

        memory = Unrolled(EpisodicMemory(28, partial(GRU, hidden_size=64), slots=128))
        ys, state = memory(xs)              # and on, from there: ys, state = memory(more, state)

    Args:
        core: what is unrolled.
        batch_first: sequences are (B, T, D) and (B, T, Y), as in torch.
    """

    def __init__(self, core: Core, *, batch_first: bool = False):
        super().__init__()
        self.core, self.batch_first = core, batch_first

    def forward(
        self, x: Float[Tensor, "T B D"], state: State = None, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B Y"], State]:
        """state: None begins anew. reset (T, B), T first in any case: sequences that begin anew before that step."""
        xs = (x.transpose(0, 1) if self.batch_first else x).unsqueeze(2)
        if xs.shape[0] == 0 or xs.shape[-1] != self.core.input_size:
            wanted = "(batch, steps, input)" if self.batch_first else "(steps, batch, input)"
            raise ValueError(
                f"x {tuple(x.shape)}, want {wanted} with at least one step and input_size={self.core.input_size}"
            )
        state = self.core.initial_state(xs[0]) if state is None else state
        ys, state = self.core.unroll(xs, state, reset)
        ys = ys.squeeze(2)
        return (ys.transpose(0, 1) if self.batch_first else ys), state
