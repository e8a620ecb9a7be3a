"""The base class of cores that wrap another one, leave its outputs unchanged, and add a loss."""

from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from experts import state as states
from experts.core import Core, check_target_size


class AuxiliaryLoss(Core):
    """A core around another one, with an auxiliary loss. Its state is a NamedTuple with that of the core as `core`.

    Args:
        core: the wrapped core; its outputs are unchanged.
        target_size: only the first `target_size` numbers of x are targets; None: all.

    Raises:
        ValueError: target_size is out of range.
    """

    def __init__(self, core: Core, *, target_size: int | None):
        super().__init__()
        self.core, self.target_size = core, check_target_size(target_size, core.input_size)
        self.input_size, self.output_size = core.input_size, core.output_size

    def read_weights(self, state: Any) -> Float[Tensor, "B N slots"] | None:
        return self.core.read_weights(state.core)

    def write_weights(self, state: Any) -> Float[Tensor, "B N slots"] | None:
        return self.core.write_weights(state.core)

    def read_write_vectors(self, state: Any) -> dict[str, Float[Tensor, "B N _"]]:
        return self.core.read_write_vectors(state.core)

    def select_members(self, state: Any, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> Any:
        member_state, initial = (s._replace(core=None) for s in (state, self.initial_state(x)))
        return states.select_or_reset_members(member_state, initial, index)._replace(
            core=self.core.select_members(state.core, index, x)
        )
