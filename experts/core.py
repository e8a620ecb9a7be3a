"""The base class of recurrent cores, `(x, state) -> (y, state)`, and a wrapper that separates their members.

Shapes: T step, B episode, N members that share one store, D input, Y output.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.state import State

READ_WRITE_FIELDS = ("read", "write_key", "write_value")  # names of `Core.read_write_vectors`


class Core(nn.Module, ABC):
    """A recurrent module whose state is passed in and returned, never kept on `self`.

    A core is written for N members of **one** store: a memory inside is shared by the members of an episode.
    `Private` gives each member a store of its own. A subclass sets `input_size` (D) and `output_size` (Y), and
    implements `initial_state` and `forward`; the other methods have defaults.
    """

    input_size: int
    output_size: int
    memoryless: bool = False  # outputs do not depend on earlier steps
    reads_measurements: bool = False  # the input begins with the task's observation, which no sense may change
    loss_weights: Mapping[str, float] = {}  # suggested weights of this module's own auxiliary losses, by name

    @abstractmethod
    def initial_state(self, x: Float[Tensor, "B N D"]) -> State:
        """The state before the first step.

        Args:
            x: gives batch, members, device and dtype; its values are not read.
        """

    @abstractmethod
    def forward(
        self, x: Float[Tensor, "B N D"], state: State, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], State]:
        """One step of every member.

        Args:
            x: the inputs.
            state: the state after the previous step.
            present: members that take part; None: all. The others keep their state, write nothing, and return their
                last output.

        Returns:
            The outputs, and the state after this step.
        """

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: State, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], State]:
        """Several steps, equal to a loop of `forward`.

        Args:
            xs: the inputs of all steps.
            state: the state before the first of them.
            reset: episodes that begin at a step: their state is set to the initial one *before* x is read. None: none.

        Returns:
            The outputs of all steps, and the state after the last one.
        """
        ys = []
        for t, x in enumerate(xs):
            if reset is not None:
                state = states.where(reset[t], self.initial_state(x), state)
            y, state = self(x, state)
            ys.append(y)
        return torch.stack(ys), state

    def step_record(self, state: State) -> tuple[Tensor, ...]:
        """The record of a step for `unroll_recorded`; empty for a core that needs the graph of its steps.

        Args:
            state: the state after a step, without a graph.
        """
        return ()

    def unroll_recorded(
        self,
        xs: Float[Tensor, "T B N D"],
        records: tuple[Tensor, ...],
        state: State,
        reset: Bool[Tensor, "T B"] | None = None,
    ) -> tuple[Float[Tensor, "T B N Y"], dict[str, Float[Tensor, "T B"]]]:
        """The outputs of steps that were made without a graph, with the gradient to inputs and parameters.

        There is no second forward pass: a core that keeps records goes backward through all steps from them.

        Args:
            xs: the inputs of all steps.
            records: the results of `step_record` with the present parameters, stacked along a first axis.
            state: the state before the first step, which gets no gradient.
            reset: as in `unroll`.

        Returns:
            The outputs, and the auxiliary losses, of all steps.

        Raises:
            NotImplementedError: the core keeps no records.
        """
        raise NotImplementedError(f"{type(self).__name__} keeps no records of its steps (step_record)")

    def losses(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        """Auxiliary losses by name, one value for each episode.

        Args:
            state: the state after the step whose losses are computed.
        """
        return {}

    def metrics(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        """Diagnostics of a state by name, such as slots used, one value for each episode (mean over members).

        Args:
            state: the state after a step.
        """
        return {}

    def read_weights(self, state: State) -> Float[Tensor, "B N slots"] | None:
        """The weights of the last read over the slots of the memory; None for a core without slots.

        Args:
            state: the state after a step.
        """
        return None

    def write_weights(self, state: State) -> Float[Tensor, "B N slots"] | None:
        """The weights of the last write over the slots; None for a core that does not address where it writes.

        Args:
            state: the state after a step.
        """
        return None

    def read_write_vectors(self, state: State) -> dict[str, Float[Tensor, "B N _"]]:
        """The vectors that the last step read and wrote; empty for a core without memory.

        Names are those in `READ_WRITE_FIELDS`. By default these are the fields of the state with these names. Heads
        are concatenated.

        Args:
            state: the state after a step.
        """
        return {name: getattr(state, name) for name in READ_WRITE_FIELDS if hasattr(state, name)}

    def select_members(self, state: State, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> State:
        """Selects members of a state, and adds new ones.

        Args:
            state: the state of all members.
            index: the members of the returned state, in that order; -1 for a new one with the initial state.
            x: gives batch, device and dtype for new members, as in `initial_state`.
        """
        return states.select_or_reset_members(state, self.initial_state(x), index)


class Private(Core):
    """A wrapper that gives each member of a core a store of its own, by folding the members into the batch.

    Equal to N separate copies with shared weights. State leaves are (B, N, ...).

    Args:
        core: the core that is wrapped.
    """

    def __init__(self, core: Core):
        super().__init__()
        self.core = core
        self.input_size, self.output_size = core.input_size, core.output_size

    def initial_state(self, x: Float[Tensor, "B N D"]) -> State:
        return states.unfold(self.core.initial_state(_fold(x)), x.shape[1])

    def forward(
        self, x: Float[Tensor, "B N D"], state: State, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], State]:
        mask = None if present is None else _fold(present)
        y, folded = self.core(_fold(x), states.fold(state), mask)
        return y.view(*x.shape[:2], self.output_size), states.unfold(folded, x.shape[1])

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: State, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], State]:
        """Several steps, by `unroll` of the wrapped core."""
        n = xs.shape[2]
        folded_reset = None if reset is None else reset.repeat_interleave(n, 1)
        ys, folded = self.core.unroll(xs.flatten(1, 2).unsqueeze(2), states.fold(state), folded_reset)
        return ys.view(*xs.shape[:3], self.output_size), states.unfold(folded, n)

    def step_record(self, state: State) -> tuple[Tensor, ...]:
        return self.core.step_record(states.fold(state))

    def unroll_recorded(
        self,
        xs: Float[Tensor, "T B N D"],
        records: tuple[Tensor, ...],
        state: State,
        reset: Bool[Tensor, "T B"] | None = None,
    ) -> tuple[Float[Tensor, "T B N Y"], dict[str, Float[Tensor, "T B"]]]:
        """By `unroll_recorded` of the wrapped core."""
        n = xs.shape[2]
        folded_reset = None if reset is None else reset.repeat_interleave(n, 1)
        ys, losses = self.core.unroll_recorded(xs.flatten(1, 2).unsqueeze(2), records, states.fold(state), folded_reset)
        means = {name: loss.unflatten(1, (-1, n)).mean(2) for name, loss in losses.items()}
        return ys.view(*xs.shape[:3], self.output_size), means

    def losses(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        return self._mean_over_members(self.core.losses, state)

    def metrics(self, state: State) -> dict[str, Float[Tensor, " B"]]:
        return self._mean_over_members(self.core.metrics, state)

    def read_weights(self, state: State) -> Float[Tensor, "B N slots"] | None:
        return _unfolded(self.core.read_weights(states.fold(state)), state)

    def write_weights(self, state: State) -> Float[Tensor, "B N slots"] | None:
        return _unfolded(self.core.write_weights(states.fold(state)), state)

    def read_write_vectors(self, state: State) -> dict[str, Float[Tensor, "B N _"]]:
        vectors = self.core.read_write_vectors(states.fold(state))  # (B * N, 1, V)
        return {name: v.unflatten(0, (-1, _num_members(state))).squeeze(2) for name, v in vectors.items()}

    def _mean_over_members(self, function: Callable[[State], dict[str, Tensor]], state: State) -> dict[str, Tensor]:
        n = _num_members(state)
        return {name: v.unflatten(0, (-1, n)).mean(1) for name, v in function(states.fold(state)).items()}


def mean_of_present(values: Float[Tensor, "B N"], present: Bool[Tensor, "B N"]) -> Float[Tensor, " B"]:
    """Mean over the members that take part; 0 where none does.

    Args:
        values: of all members.
        present: members that take part.
    """
    return torch.where(present, values, 0).sum(1) / present.sum(1).clamp(min=1)


def _fold(x: Tensor) -> Tensor:
    return x.flatten(0, 1).unsqueeze(1)  # (B, N, ...) -> (B * N, 1, ...)


def _unfolded(weights: Tensor | None, state: State) -> Tensor | None:
    """Weights of members that are folded into the batch, (B * N, 1, slots) -> (B, N, slots)."""
    return None if weights is None else weights.unflatten(0, (-1, _num_members(state))).squeeze(2)


def _num_members(state: State) -> int:
    """Number of members of an unfolded state, from its first tensor."""
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
    """Raises ValueError unless each size is at least 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}, want at least 1")


def check_at_most(largest: int, **sizes: int) -> None:
    """Raises ValueError unless each size is at most the largest one."""
    for name, size in sizes.items():
        if size > largest:
            raise ValueError(f"{name}={size}, want at most {largest}")


def check_target_size(target_size: int | None, input_size: int) -> int:
    """The number of inputs, from the first on, that an auxiliary loss is about; all for None.

    Args:
        target_size: the first numbers of the input.
        input_size: D.

    Raises:
        ValueError: not 1 to D.
    """
    target_size = input_size if target_size is None else target_size
    if not 1 <= target_size <= input_size:
        raise ValueError(
            f"target_size={target_size}, want 1 to the core's input_size={input_size}: the first numbers of x"
        )
    return target_size


def make_controller(controller: Callable[[int], Core], input_size: int, read_size: int | Callable[[int], int]) -> Core:
    """Builds the controller of a memory, whose input is [x, read vector].

    Args:
        controller: a factory int -> Core.
        input_size: size of x.
        read_size: size of the read vector, or a function of the controller's output size.

    Raises:
        TypeError: the controller is not a factory, or does not return a core.
        ValueError: the controller has another input size, or its output size depends on its input size where the read
            size depends on the output size.
    """
    if isinstance(read_size, int):
        return _build_controller(controller, input_size, read_size)
    output_size = _build_controller(controller, 1, None).output_size
    core = _build_controller(controller, input_size, read_size(output_size))
    if core.output_size != output_size:
        raise ValueError(
            f"the controller's output_size={core.output_size} for input_size={core.input_size}, but {output_size} for "
            "input_size=1; want an output size that does not depend on the input size, as in "
            "partial(GRU, hidden_size=64)"
        )
    return core


def _build_controller(controller: Callable[[int], Core], input_size: int, read_size: int | None) -> Core:
    """The controller with a checked type and input size; read_size None: without a check of the input size."""
    expected = input_size + (read_size or 0)
    core = controller if isinstance(controller, nn.Module) else controller(expected)
    if core is controller or not isinstance(core, Core):
        got = type(core).__name__
        raise TypeError(f"the controller is a {got}, want a factory int -> Core such as partial(GRU, hidden_size=64)")
    if read_size is not None and core.input_size != expected:
        raise ValueError(
            f"the controller's input_size={core.input_size}, want x {input_size} + read {read_size} = {expected}; "
            "pass a factory int -> Core such as partial(GRU, hidden_size=64)"
        )
    return core
