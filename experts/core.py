"""The one law: everything with memory is a core, `(x, state) -> (y, state)`. Members share its weights.

Shapes: T step, B episode, N members that share one store, D input, Y output.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.state import State

READ_WRITE_FIELDS = ("read", "write_key", "write_value")  # of `Core.read_write_vectors`


class Core(nn.Module, ABC):
    """A recurrent module whose state is passed in and returned, never kept.

    A core is written for N members of **one** store: a memory inside is shared by the members of an episode.
    `Private` gives each member a store of its own.
    """

    input_size: int
    output_size: int
    loss_weights: Mapping[str, float] = {}  # suggested weights of this module's own auxiliary losses, by name

    @abstractmethod
    def initial_state(self, x: Float[Tensor, "B N D"]) -> State:
        """The state before the first step. x gives sizes, device and dtype; its values are not read."""

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "B N D"], state: State, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], State]:
        """One step. Members that are not present keep their state, write nothing, and give their last output."""

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: State, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], State]:
        """Many steps; where reset is set, the row starts anew *before* its x is read."""
        ys = []
        for t, x in enumerate(xs):
            if reset is not None:
                state = states.where(reset[t], self.initial_state(x), state)
            y, state = self(x, state)
            ys.append(y)
        return torch.stack(ys), state

    def losses(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        """Auxiliary losses of the step that gave this state, one number an episode."""
        return {}

    def metrics(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        """What a researcher wants to plot of this state, one number an episode (mean over members)."""
        return {}

    def read_weights(self, state: State) -> Float[Tensor, "B N slots"] | None:
        """How the last read was spread over the slots of the memory; None where there is no such thing."""
        return None

    def read_write_vectors(self, state: State) -> dict[str, Float[Tensor, "B N _"]]:
        """What the last step read and wrote, by the names in `READ_WRITE_FIELDS`; empty where there is no such thing.

        Fields of the state that are called so, unless a core says it otherwise. Heads lie side by side.
        """
        return {name: getattr(state, name) for name in READ_WRITE_FIELDS if hasattr(state, name)}

    def select_members(self, state: State, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> State:
        """The state of members `index`, -1 for a fresh one: experts leave, return, and new ones join."""
        return states.select_or_reset_members(state, self.initial_state(x), index)


class Private(Core):
    """Gives each member of a core a store of its own, by folding the members into the batch.

    Equal to N separate copies with shared weights. State leaves are (B, N, ...).
    """

    def __init__(self, core: Core):
        super().__init__()
        self.core = core
        self.input_size, self.output_size = core.input_size, core.output_size

    def initial_state(self, x: Float[Tensor, "B N D"]) -> State:
        return states.unfold(self.core.initial_state(_each(x)), x.shape[1])

    def forward(
        self, x: Float[Tensor, "B N D"], state: State, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], State]:
        there = None if present is None else _each(present)
        y, folded = self.core(_each(x), states.fold(state), there)
        return y.view(*x.shape[:2], self.output_size), states.unfold(folded, x.shape[1])

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: State, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], State]:
        """As the loop of `forward`, by the unroll of the core within."""
        n = xs.shape[2]
        each = None if reset is None else reset.repeat_interleave(n, 1)
        ys, folded = self.core.unroll(xs.flatten(1, 2).unsqueeze(2), states.fold(state), each)
        return ys.view(*xs.shape[:3], self.output_size), states.unfold(folded, n)

    def losses(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        return self._averaged(self.core.losses, state)

    def metrics(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        return self._averaged(self.core.metrics, state)

    def read_weights(self, state: State) -> Float[Tensor, "B N slots"] | None:
        weights = self.core.read_weights(states.fold(state))  # (B * N, 1, slots)
        return None if weights is None else weights.unflatten(0, (-1, _num_members(state))).squeeze(2)

    def read_write_vectors(self, state: State) -> dict[str, Float[Tensor, "B N _"]]:
        found = self.core.read_write_vectors(states.fold(state))  # (B * N, 1, V)
        return {name: trace.unflatten(0, (-1, _num_members(state))).squeeze(2) for name, trace in found.items()}

    def _averaged(self, measure: Callable[[State], dict[str, Tensor]], state: State) -> dict[str, Tensor]:
        n = _num_members(state)
        return {name: v.unflatten(0, (-1, n)).mean(1) for name, v in measure(states.fold(state)).items()}


def _each(x: Tensor) -> Tensor:
    return x.flatten(0, 1).unsqueeze(1)  # (B, N, ...) -> (B * N, 1, ...)


def _num_members(state: State) -> int:
    """Members of an unfolded state, read off its first tensor."""
    while isinstance(state, tuple):
        state = next(part for part in state if isinstance(part, tuple | Tensor))
    return state.shape[1]


def default_loss_weights(core: nn.Module) -> dict[str, float]:
    """Suggested weights of the auxiliary losses of a core and of the cores inside it, by name.

    Args:
        core: any core; `Core.loss_weights` of each module in it is read.
    """
    parts = [part.loss_weights for part in core.modules() if isinstance(part, Core)]
    return {name: weight for part in parts for name, weight in part.items()}


def check_positive(**sizes: int) -> None:
    """Raises ValueError unless every size is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}, want at least 1")


def make_controller(controller: Callable[[int], Core], input_size: int, read_size: int) -> Core:
    """The controller of a memory: it eats [x, what is read].

    Raises:
        TypeError: it is not made by a factory, or is no core. ValueError: it eats something else.
    """
    wanted = input_size + read_size
    made = controller if isinstance(controller, nn.Module) else controller(wanted)
    if made is controller or not isinstance(made, Core):
        got = type(made).__name__
        raise TypeError(f"the controller is a {got}, want a factory int -> Core such as partial(GRU, hidden_size=64)")
    if made.input_size != wanted:
        raise ValueError(
            f"the controller's input_size={made.input_size}, want x {input_size} + read {read_size} = {wanted}; "
            "pass a factory int -> Core such as partial(GRU, hidden_size=64)"
        )
    return made
