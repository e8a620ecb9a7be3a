"""What a recurrent core puts out, aggregated over the episode without regard to order (AMRL, Beck et al. 2020)."""

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
    """Of the steps of an episode up to now; the leading axis may be T."""

    total: Float[Tensor, "*T B N A"]
    maximum: Float[Tensor, "*T B N A"]  # without gradient
    steps: Int[Tensor, "*T B N 1"]


AGGREGATORS: dict[str, Callable[[Aggregates], Tensor]] = {
    "sum": lambda sums: sums.total,
    "avg": lambda sums: sums.total / sums.steps.clamp(min=1),
    "max": lambda sums: torch.where(sums.steps > 0, sums.maximum, 0),
}


class AMRLState(NamedTuple):
    controller: State
    sums: Aggregates
    read: Float[Tensor, "B N A"]  # what the last step was told by the aggregate
    write_value: Float[Tensor, "B N A"]  # and what it added to that


class AMRL(Core):
    """A recurrent core whose outputs of all steps stay in sight, as their sum, mean or maximum.

    h_t = controller(x_t) is halved; the first half a skips, of the second the aggregate over the episode is taken,
    m_t = sum, mean or max of a_1 ... a_t; and y_t = Linear(relu(Linear([skipped, m_t]))), for the feed-forward layers
    that the paper has behind the aggregate. What was seen once is neither forgotten nor, by max, drowned in noise.

    Gradients pass straight through (Bengio et al. 2013): those of mean and max are taken for that of the sum, which is
    1 for every step, however long ago. The mean's own would be divided by t; that of the maximum would reach one
    step only, where here both sides of each max(m_{t-1}, a_t) get it whole. Of such an estimate there is no derivative:
    with create_graph=True, mean and max raise RuntimeError; the sum has second derivatives.

    Args:
        input_size: D.
        controller: a factory int -> Core, of an output of two numbers or more.
        kind: "max", "avg" or "sum". The paper's best is max.
        output_size: Y; None: as many as the controller puts out.

    Raises:
        ValueError: no such kind, or a controller whose sizes do not fit.
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
        inner = 2 * hidden  # of few units all might be silent at once, and y with them
        self.out = nn.Sequential(nn.Linear(hidden, inner), nn.ReLU(), nn.Linear(inner, self.output_size))

    def initial_state(self, x: Float[Tensor, "B N D"]) -> AMRLState:
        nothing = x.new_zeros(*x.shape[:2], self.aggregated)
        steps = torch.zeros_like(nothing[..., :1], dtype=torch.long)
        sums = Aggregates(nothing, torch.full_like(nothing, -torch.inf), steps)
        return AMRLState(self.controller.initial_state(x), sums, nothing, nothing)

    def forward(
        self, x: Float[Tensor, "B N D"], state: AMRLState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], AMRLState]:
        h, controller = self.controller(x, state.controller, present)
        a = self._halves(h)[1]
        sums = _update(state.sums, a)
        sums = sums if present is None else states.where(present, sums, state.sums)
        read = self._read(sums)
        return self._out(h, read), AMRLState(controller, sums, read, a)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: AMRLState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], AMRLState]:
        """As the loop of `forward`: controller, aggregate and head each take all steps."""
        hs, controller = self.controller.unroll(xs, state.controller, reset)
        fresh = None if reset is None else self.initial_state(xs[0]).sums
        every = self._halves(hs)[1]
        sums = _scan(state.sums, every, fresh, reset)
        read = self._read(sums)
        last = Aggregates(*(part[-1] for part in sums))
        return self._out(hs, read), AMRLState(controller, last, read[-1], every[-1])

    def _halves(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """What skips, and what is aggregated."""
        skipped, aggregated = h.split([h.shape[-1] - self.aggregated, self.aggregated], -1)
        return skipped, aggregated

    def _read(self, sums: Aggregates) -> Tensor:
        """The aggregate, with the gradient of the sum."""
        return (
            sums.total
            if self.kind == "sum"
            else StraightThrough.apply(AGGREGATORS[self.kind](sums).detach(), sums.total)
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
        """Aggregates are gathered; the controller gathers for itself."""
        own, blank = (s._replace(controller=None) for s in (state, self.initial_state(x)))
        controller = self.controller.select_members(state.controller, index, x)
        return states.select_or_reset_members(own, blank, index)._replace(controller=controller)


class StraightThrough(Function):
    """(value, source) -> value, whose gradient goes to the source as it is (Bengio et al. 2013)."""

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


def _update(sums: Aggregates, a: Tensor) -> Aggregates:
    """One step more."""
    return Aggregates(sums.total + a, torch.maximum(sums.maximum, a.detach()), sums.steps + 1)


def _scan(sums: Aggregates, every: Tensor, fresh: Aggregates | None, reset: Tensor | None) -> Aggregates:
    """After each of T steps, T first; all at once where no row begins anew in between."""
    if reset is None:
        counts = torch.arange(1, len(every) + 1, device=every.device).view(-1, 1, 1, 1)
        most = torch.maximum(sums.maximum, every.detach().cummax(0).values)
        return Aggregates(sums.total + every.cumsum(0), most, sums.steps + counts)
    steps = []
    for a, begun in zip(every, reset, strict=True):
        sums = _update(states.where(begun, fresh, sums), a)
        steps.append(sums)
    return Aggregates(*(torch.stack(parts) for parts in zip(*steps, strict=True)))
