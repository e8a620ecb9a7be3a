"""Differentiable plasticity: a recurrent network with Hebbian traces on its connections (Miconi et al. 2018)."""

import math
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from experts import state as states
from experts.activation_gradients import sigmoid_backward, tanh_backward
from experts.core import Core, check_positive
from experts.fast_weights.deferred_matmul import LowRankMatrix
from experts.fast_weights.hebbian_rules import RULES
from experts.fast_weights.low_rank_sum import LowRankSum
from experts.fast_weights.plastic_kernels import LARGEST_RANK, oja_step, usable_without_graph
from experts.fast_weights.recorded_traces import RecordedTracesFunction
from experts.kernels.library import library

RuleName = Literal["oja", "hebb"]

INIT_SCALE = 0.01  # upper bound of the initial weights w and alpha (Miconi et al. 2018, maze)


class PlasticState(NamedTuple):
    """State of a `Plastic` core.

    Args:
        h: hidden state, which is the output.
        trace: Hebbian trace of each connection i -> j; `trace.dense()` is (B, N, H, H).
        rate: plasticity rate of the last step, mean over j.
    """

    h: Float[Tensor, "B N H"]
    trace: LowRankSum
    rate: Float[Tensor, "B N"]


class Plastic(Core):
    """Recurrent network with differentiable plasticity: each connection has a fixed weight and a Hebbian trace.

    h_t = tanh(W x_t + b + h_{t-1} (w + alpha * trace)). W, b, w and alpha are learned. The trace is 0 at the start of
    an episode and is updated with x = h_{t-1} and y = h_t by one of two rules:

    "oja": trace_ij += rate y_j (x_i - y_j trace_ij); "hebb": trace_ij = clamp(trace_ij + rate x_i y_j, -1, 1).

    The rate is one learned number, or (modulated) an output of the network at each step: m = tanh(Linear(h_t)),
    rate_j = v_j m + b_j for the postsynaptic neuron j. With "hebb" the rate may be negative. With "oja" a negative rate
    would make the trace unbounded, so a sigmoid is applied to it. Both start at about `rate`.

    Each member has a trace of its own. The output is h.

    Second derivatives: rule "hebb" has them; "oja" only under `torch.func`, and elsewhere raises RuntimeError.

    Args:
        input_size: D.
        hidden_size: H, also the output size.
        rule: "oja" or "hebb".
        modulated: whether the network outputs its rate at each step.
        rate: initial rate, in 0 to 1.

    Raises:
        ValueError: a size below 1, an unknown rule, or a rate out of range.

    Source: Miconi et al. 2018; modulated: Miconi et al. 2019, "Backpropamine".
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
        """As the loop of `forward`; the input layer is one product for all steps."""
        initial, ys = self.initial_state(xs[0]), []
        for t, x_proj in enumerate(self.input_layer(xs).unbind()):
            if reset is not None:
                state = states.where(reset[t], initial, state)
            y, state = self._step(x_proj, state)
            ys.append(y)
        return torch.stack(ys), state

    def step_record(self, state: PlasticState) -> tuple[Tensor, ...]:
        """The output; nothing without kernels, as the graph of the steps is then as quick."""
        return (state.h,) if state.h.device.type == "cpu" and library() is not None else ()

    def unroll_recorded(
        self,
        xs: Float[Tensor, "T B N D"],
        records: tuple[Tensor, ...],
        state: PlasticState,
        reset: Bool[Tensor, "T B"] | None = None,
    ) -> tuple[Float[Tensor, "T B N H"], dict[str, Float[Tensor, "T B"]]]:
        """By `experts.fast_weights.recorded_traces`."""
        (hs,) = records
        sent = torch.cat([state.h.unsqueeze(0), hs[:-1]])
        if reset is not None:
            sent = sent.masked_fill(reset[..., None, None], 0)
            reset = reset.repeat_interleave(xs.shape[2], 1)
        rate, slope, direction = self._rate(hs.flatten(0, 1)).unflatten(0, hs.shape[:2]), None, None
        if self.modulator is not None and self.fan is not None:
            slope, direction = self._rate_slope(hs, rate.detach()), self.modulator.weight.detach()[0]
        flat = (None if part is None else part.flatten(1, 2) for part in (sent, hs, slope))
        ys = RecordedTracesFunction.apply(
            self.input_layer(xs).flatten(1, 2),
            self.w,
            self.alpha,
            rate.flatten(1, 2),
            self.rule,
            direction,
            *flat,
            reset,
            state.trace.dense().flatten(0, 1),
        )
        return ys.view(hs.shape), {}

    def _step(self, x_proj: Tensor, state: PlasticState, present: Tensor | None = None) -> tuple[Tensor, PlasticState]:
        if self.rule == "oja" and self.rate is not None and present is None and not torch.is_grad_enabled():
            parts = state.trace.parts
            if len(parts.left[0]) <= LARGEST_RANK and usable_without_graph(x_proj, self.alpha, parts.matrix):
                return self._kernel_step(x_proj, state, self.rate)
        sent = state.h.flatten(0, 1).unsqueeze(1)  # (B * N, 1, H)
        plastic, trace = RULES[self.rule].read(state.trace, sent, self.alpha)
        h = torch.tanh(x_proj + state.h @ self.w + plastic.view(x_proj.shape))
        rate = self._rate(h)
        if present is not None:
            mask = present.unsqueeze(-1)  # a rate of 0 leaves the trace unchanged
            rate, h = torch.where(mask, rate, 0), torch.where(mask, h, state.h)
        received, rates = (part.flatten(0, 1).unsqueeze(1) for part in (h, rate))
        trace = RULES[self.rule].update(trace, sent, received, rates)
        mean_rate = rate.mean(-1)
        mean_rate = mean_rate if present is None else torch.where(present, mean_rate, state.rate)
        return h, PlasticState(h, trace, mean_rate)

    def _kernel_step(self, x_proj: Tensor, state: PlasticState, rate: Tensor) -> tuple[Tensor, PlasticState]:
        sent = state.h.flatten(0, 1)
        h, parts = oja_step(torch.addmm(x_proj.flatten(0, 1), sent, self.w), sent, self.alpha, rate, state.trace.parts)
        h = h.view(x_proj.shape)
        return h, PlasticState(h, LowRankSum(LowRankMatrix(*parts), state.trace.lead), rate.expand(x_proj.shape[:2]))

    def _rate(self, h: Tensor) -> Tensor:
        """The rate of each postsynaptic neuron, (B, N, H); where it is not modulated, one for all, (B, N, 1)."""
        if self.modulator is None or self.fan is None:
            assert self.rate is not None
            return self.rate.expand(*h.shape[:2], 1)
        rate = self.fan(torch.tanh(self.modulator(h)))
        return rate if self.rule == "hebb" else torch.sigmoid(rate)

    def _rate_slope(self, h: Tensor, rate: Tensor) -> Tensor:
        """Derivative of a modulated rate by the input of the tanh of m; (..., H)."""
        assert self.modulator is not None and self.fan is not None
        slope = tanh_backward(self.fan.weight[:, 0], torch.tanh(self.modulator(h))).detach()
        return slope if self.rule == "hebb" else sigmoid_backward(slope, rate)

    def metrics(self, state: PlasticState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics: trace_norm, the root mean square of the trace; plasticity, the mean rate of the last step."""
        return {
            "trace_norm": state.trace.dense().square().mean((-1, -2)).sqrt().mean(-1),
            "plasticity": state.rate.mean(-1),
        }
