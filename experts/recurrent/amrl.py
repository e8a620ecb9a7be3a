"""AMRL: outputs of a recurrent core, aggregated over the episode without regard to order (Beck et al. 2020)."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd import Function

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.second_derivatives import first_order_only, note_recorded
from experts.state import State

AggregatorName = Literal["sum", "avg", "max"]


class Aggregates(NamedTuple):
    """Running aggregates of an episode up to the present step; the leading axis may be T."""

    total: Float[Tensor, "*T B N A"]
    maximum: Float[Tensor, "*T B N A"]  # without gradient
    steps: Int[Tensor, "*T B N 1"]


AGGREGATORS: dict[str, Callable[[Aggregates], Tensor]] = {
    "sum": lambda aggregates: aggregates.total,
    "avg": lambda aggregates: aggregates.total / aggregates.steps.clamp(min=1),
    "max": lambda aggregates: torch.where(aggregates.steps > 0, aggregates.maximum, 0),
}


class AMRLState(NamedTuple):
    """The controller's state, the aggregates, and the vectors that the last step read and wrote."""

    controller: State
    aggregates: Aggregates
    read: Float[Tensor, "B N A"]  # the aggregate after the last step
    write_value: Float[Tensor, "B N A"]  # the vector that the last step added to it


class AMRL(Core):
    """A recurrent core with an order-invariant aggregate (sum, mean or maximum) of its outputs over the episode.

    h_t = controller(x_t) is split in two halves. The first skips the aggregate; the second, a_t, is aggregated:
    m_t = sum, mean or max of a_1 ... a_t. The output is y_t = Linear(relu(Linear([skipped, m_t]))), as the paper has
    feed-forward layers after the aggregate. The maximum neither decays with time nor averages over noise.

    Mean and max use a straight-through gradient (Bengio et al. 2013): that of the sum, which is 1 for values step. The
    gradient of the mean would be divided by t, and that of the maximum would reach one step only. This estimate has no
    second derivatives: with create_graph=True, mean and max raise RuntimeError; the sum has second derivatives.

    Args:
        input_size: D.
        controller: a factory int -> Core with an output size of at least 2; its input is x.
        kind: "max", "avg" or "sum". "max" is best in the paper.
        output_size: Y; None: that of the controller.

    Raises:
        ValueError: an unknown kind, or a controller whose sizes do not fit.
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        kind: AggregatorName = "max",
        output_size: int | None = None,
    ):
        super().__init__()
        if kind not in AGGREGATORS:
            raise ValueError(f"kind={kind!r}, want one of {', '.join(AGGREGATORS)}")
        check_positive(output_size=1 if output_size is None else output_size)
        self.controller = make_controller(controller, input_size, 0)
        hidden = self.controller.output_size
        if hidden < 2:
            raise ValueError(f"the controller's output_size={hidden}, want at least 2: half is aggregated, half skips")
        self.input_size, self.output_size = input_size, hidden if output_size is None else output_size
        self.kind, self.aggregated = kind, hidden // 2
        inner = 2 * hidden  # with few ReLU units all could be 0 at once, and y with them
        self.out = nn.Sequential(nn.Linear(hidden, inner), nn.ReLU(), nn.Linear(inner, self.output_size))

    def initial_state(self, x: Float[Tensor, "B N D"]) -> AMRLState:
        zeros = x.new_zeros(*x.shape[:2], self.aggregated)
        steps = torch.zeros_like(zeros[..., :1], dtype=torch.long)
        aggregates = Aggregates(zeros, torch.full_like(zeros, -torch.inf), steps)
        return AMRLState(self.controller.initial_state(x), aggregates, zeros, zeros)

    def forward(
        self, x: Float[Tensor, "B N D"], state: AMRLState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], AMRLState]:
        h, controller = self.controller(x, state.controller, present)
        a = self._halves(h)[1]
        aggregates = _update(state.aggregates, a)
        aggregates = aggregates if present is None else states.where(present, aggregates, state.aggregates)
        read = self._read(aggregates)
        return self._out(h, read), AMRLState(controller, aggregates, read, a)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: AMRLState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], AMRLState]:
        """As the loop of `forward`; controller, aggregate and output layers each process all steps at once."""
        hs, controller = self.controller.unroll(xs, state.controller, reset)
        initial = None if reset is None else self.initial_state(xs[0]).aggregates
        values = self._halves(hs)[1]
        aggregates = _scan(state.aggregates, values, initial, reset)
        read = self._read(aggregates)
        last = Aggregates(*(part[-1] for part in aggregates))
        return self._out(hs, read), AMRLState(controller, last, read[-1], values[-1])

    def _halves(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The half that skips the aggregate, and the half that is aggregated."""
        skipped, aggregated = h.split([h.shape[-1] - self.aggregated, self.aggregated], -1)
        return skipped, aggregated

    def _read(self, aggregates: Aggregates) -> Tensor:
        """The aggregate, with the gradient of the sum."""
        return (
            aggregates.total
            if self.kind == "sum"
            else StraightThrough.apply(AGGREGATORS[self.kind](aggregates).detach(), aggregates.total)
        )

    def _out(self, h: Tensor, read: Tensor) -> Tensor:
        return self.out(torch.cat([self._halves(h)[0], read], -1))

    def losses(self, state: AMRLState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: AMRLState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.metrics(state.controller)

    def read_weights(self, state: AMRLState) -> Float[Tensor, "B N slots"] | None:
        return self.controller.read_weights(state.controller)

    def select_members(self, state: AMRLState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> AMRLState:
        """Selects members of the aggregates and of the controller's state; -1 gives an initial one."""
        member_state, initial = (s._replace(controller=None) for s in (state, self.initial_state(x)))
        controller = self.controller.select_members(state.controller, index, x)
        return states.select_or_reset_members(member_state, initial, index)._replace(controller=controller)


class StraightThrough(Function):
    """Straight-through estimate: returns `value`, passes the gradient to `source` (Bengio et al. 2013)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, source: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        note_recorded(ctx, inputs)

    @staticmethod
    @first_order_only("A straight-through estimate (AMRL)", 'AMRL(kind="sum") has them.')
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, grad


def _update(aggregates: Aggregates, a: Tensor) -> Aggregates:
    """The aggregates after one more step."""
    return Aggregates(aggregates.total + a, torch.maximum(aggregates.maximum, a.detach()), aggregates.steps + 1)


def _scan(aggregates: Aggregates, values: Tensor, initial: Aggregates | None, reset: Tensor | None) -> Aggregates:
    """The aggregates after each of T steps; without resets by cumulative sum and maximum, else step by step."""
    if reset is None:
        steps = torch.arange(1, len(values) + 1, device=values.device).view(-1, 1, 1, 1)
        maximum = torch.maximum(aggregates.maximum, values.detach().cummax(0).values)
        return Aggregates(aggregates.total + values.cumsum(0), maximum, aggregates.steps + steps)
    history = []
    for a, mask in zip(values, reset, strict=True):
        aggregates = _update(states.where(mask, initial, aggregates), a)
        history.append(aggregates)
    return Aggregates(*(torch.stack(parts) for parts in zip(*history, strict=True)))
