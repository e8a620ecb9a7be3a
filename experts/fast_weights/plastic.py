"""Differentiable plasticity: a recurrent network whose connections learn while it runs (Miconi et al. 2018)."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive
from experts.fast_weights.hebbian_rules import RULES
from experts.fast_weights.low_rank_sum import LowRankSum

RuleName = Literal["oja", "hebb"]

INIT_SCALE = 0.01  # connections and their plasticity are at most so large at first (Miconi et al. 2018, maze)


class PlasticState(NamedTuple):
    """trace: how often i, which sends, and j, which receives, were active together; (B, N, H, H) as `trace.dense()`.
    rate: the last one, mean over j."""

    h: Float[Tensor, "B N H"]
    trace: LowRankSum
    rate: Float[Tensor, "B N"]


class Plastic(Core):
    """h_t = tanh(W x_t + b + h_{t-1} (w + alpha * trace)): a connection has a fixed weight w_ij and a plastic part, its
    Hebbian trace, that counts as much as alpha_ij says. W, b, w and alpha are learned; the trace begins at 0 with each
    episode and follows x = h_{t-1} and y = h_t by one of two rules:

    "oja": trace_ij += rate y_j (x_i - y_j trace_ij); "hebb": trace_ij = clamp(trace_ij + rate x_i y_j, -1, 1).

    The rate is one learned number; or the network tells it anew at each step (Miconi et al. 2019, "Backpropamine"): one
    number m = tanh(Linear(h_t)), fanned out to the neurons that receive, rate_j = v_j m + b_j. Under "hebb" it may be
    negative, and unlearns. Under "oja" a negative rate would make the trace grow without bound, so that there it is the
    sigmoid of that. Either begins at about `rate`.

    Every member is a network of its own, whose trace no other member sees. The output is h.

    Second derivatives: rule "hebb" has them; "oja" only under `torch.func`, and elsewhere raises RuntimeError.

    Args:
        input_size: D. hidden_size: H.
        rule: "oja" or "hebb".
        modulated: whether the network tells its rate.
        rate: at first.

    Raises:
        ValueError: a size below 1, another rule, or a rate out of range.
    """

    def __init__(
        self, input_size: int, hidden_size: int, *, rule: RuleName = "oja", modulated: bool = False, rate: float = 0.01
    ):
        super().__init__()
        check_positive(input_size=input_size, hidden_size=hidden_size)
        if rule not in RULES:
            raise ValueError(f"rule={rule!r}, want one of {', '.join(RULES)}")
        if not 0 < rate < 1:
            raise ValueError(f"rate={rate}, want more than 0 and less than 1")
        self.input_size, self.output_size, self.rule = input_size, hidden_size, rule
        self.input_layer = nn.Linear(input_size, hidden_size)
        self.w = nn.Parameter(INIT_SCALE * torch.rand(hidden_size, hidden_size))
        self.alpha = nn.Parameter(INIT_SCALE * torch.rand(hidden_size, hidden_size))
        self.rate = None if modulated else nn.Parameter(torch.tensor(rate))
        self.modulator = nn.Linear(hidden_size, 1) if modulated else None
        self.fan = nn.Linear(1, hidden_size) if modulated else None
        if self.fan is not None:
            nn.init.constant_(self.fan.bias, rate if rule == "hebb" else math.log(rate / (1 - rate)))

    def initial_state(self, x: Float[Tensor, "B N D"]) -> PlasticState:
        like, size = x.new_zeros(()) + self.w.new_zeros(()), self.output_size  # batched wherever x or w are (vmap)
        shape = x.shape[:2]
        trace = LowRankSum.from_dense(like.new_zeros(*shape, size, size))
        return PlasticState(like.new_zeros(*shape, size), trace, like.new_zeros(shape))

    def forward(
        self, x: Float[Tensor, "B N D"], state: PlasticState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N H"], PlasticState]:
        return self._step(self.input_layer(x), state, present)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: PlasticState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N H"], PlasticState]:
        """As the loop of `forward`; the inputs' share is one product for all steps."""
        fresh, ys = self.initial_state(xs[0]), []
        for t, from_x in enumerate(self.input_layer(xs).unbind()):
            if reset is not None:
                state = states.where(reset[t], fresh, state)
            y, state = self._step(from_x, state)
            ys.append(y)
        return torch.stack(ys), state

    def _step(self, from_x: Tensor, state: PlasticState, present: Tensor | None = None) -> tuple[Tensor, PlasticState]:
        sent = state.h.flatten(0, 1).unsqueeze(1)  # (B * N, 1, H)
        plastic, trace = RULES[self.rule].read(state.trace, sent, self.alpha)
        h = torch.tanh(from_x + state.h @ self.w + plastic.view(from_x.shape))
        rate = self._rate(h)
        if present is not None:
            there = present.unsqueeze(-1)  # at rate 0 a trace stays as it is: no need to choose between two
            rate, h = torch.where(there, rate, 0), torch.where(there, h, state.h)
        received, rates = (part.flatten(0, 1).unsqueeze(1) for part in (h, rate))
        trace = RULES[self.rule].update(trace, sent, received, rates)
        told = rate.mean(-1)
        return h, PlasticState(h, trace, told if present is None else torch.where(present, told, state.rate))

    def _rate(self, h: Tensor) -> Tensor:
        """Of each neuron that receives, (B, N, H); of all of them (B, N, 1) where the network does not tell it."""
        if self.modulator is None or self.fan is None:
            assert self.rate is not None
            return self.rate.expand(*h.shape[:2], 1)
        fanned = self.fan(torch.tanh(self.modulator(h)))
        return fanned if self.rule == "hebb" else torch.sigmoid(fanned)

    def metrics(self, state: PlasticState) -> dict[str, Float[Tensor, " B"]]:
        """trace_norm: root of the mean square of a trace; rate: of the last step, mean over neurons."""
        return {"trace_norm": state.trace.dense().square().mean((-1, -2)).sqrt().mean(-1), "rate": state.rate.mean(-1)}
