"""Metalearned neural memory: a network that is written to by changing its weights (Munkhdalai et al. 2019)."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.episodic.memory import scaled_normal_
from experts.fast_weights.reversible_write import reversible_write_read
from experts.fast_weights.write_rules import RULES, FastWeights
from experts.state import State


class NeuralState(NamedTuple):
    """memory: the network's weights, a layer each. read: mean over the heads; write_key, write_value: of all heads side
    by side. rate: of the write. past_keys, past_values: of the last `delay` writes, newest first, zeros where there
    was none. meta: the loss of this step."""

    controller: State
    h: Float[Tensor, "B N H"]
    memory: FastWeights
    read: Float[Tensor, "B N V"]
    write_key: Float[Tensor, "B N K"]
    write_value: Float[Tensor, "B N K"]
    rate: Float[Tensor, "B N"]
    past_keys: Float[Tensor, "B N delay K"]
    past_values: Float[Tensor, "B N delay K"]
    meta: Float[Tensor, " B"]


class NeuralMemory(Core):
    """A controller beside a memory that is a feed-forward network f of `layers` matrices, tanh between them, no biases.

    A step steps the controller on [x, read of the step before]. Its output h gives, for each head, a write key, a write
    value and a read key, and for all of them one rate in 0 to 1. First f is changed so that write keys give write
    values, then the read is the mean over the heads of f(read key), and y = Linear([h, read]).

    Rule "local" (MNM-p) moves what each layer gives towards a target of its own, an affine map of the write value.
    Rule "gradient" (MNM-g) makes one step down the gradient of the mean squared error of f(write key).

    f begins each episode as the same random network, a buffer: learned, it overfits. Its matrices are orthogonal, which
    the paper leaves open: what the lower layers were taught then comes out at the top as strong as it went in. Read
    keys begin as write keys, so that what resembles the present is recalled from the start. The store is shared by the
    N members: each writes with its own rate, the mean of the changes is made, then all read. So f moves no further the
    more they are. Wrap in `Private` for a network each.

    The auxiliary loss "meta" is the mean squared error of f(write key) and the write value *after* the write. Give it a
    weight: without it, little teaches the controller to write. Both key and value learn from it.

    For the backward pass only what was written is kept, not the weights of each step
    (`experts.fast_weights.reversible_write`); but for steps before which a row may begin anew (`unroll` with reset),
    whose weights are chosen between two. So second derivatives are there only under `torch.func`, where plain
    operations are used; elsewhere create_graph=True raises RuntimeError.

    Args:
        input_size: D.
        controller: a factory int -> Core, for the controller eats [x, read].
        layers: matrices of f. width: numbers in a key, in a value, and in each layer.
        heads: writes and reads a step.
        rule: "local" or "gradient".
        output_size: Y; None: the controller's.
        scale: of a write, beside the rate; None: 2 / (heads width), the gradient of the mean squared error. It is not
            in the paper, and matters much.
        delay: the loss also asks for what was written in so many steps before. decay: what each of them counts, to the
            power of how many steps ago (eq. 5).

    Raises:
        ValueError: an option out of range, or a controller whose sizes do not fit.
    """

    initial: Tensor  # phi_0, (L, D, D)
    decay_weights: Tensor

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        layers: int = 3,
        width: int = 100,
        heads: int = 1,
        rule: Literal["local", "gradient"] = "local",
        output_size: int | None = None,
        scale: float | None = None,
        delay: int = 0,
        decay: float = 1.0,
    ):
        super().__init__()
        check_positive(layers=layers, width=width, heads=heads, output_size=1 if output_size is None else output_size)
        scale = 2 / (heads * width) if scale is None else scale
        _check(rule, scale, delay, decay)
        self.controller = make_controller(controller, input_size, width)
        self.input_size, hidden = input_size, self.controller.output_size
        self.output_size = hidden if output_size is None else output_size
        self.layers, self.width, self.heads, self.rule = layers, width, heads, rule
        self.scale, self.delay, self.decay = scale, delay, decay
        # The paper's weight is 1: values go to zero, which costs nothing, before the task uses them (notebooks/LOG.md).
        self.loss_weights = {"meta": 0.1 if rule == "local" else 0.01}
        self.interact = nn.Linear(hidden, width + 3 * heads * width)  # rate; read keys, write keys, write values
        self.rate = nn.Linear(width, 1)
        self.feedback = nn.Linear(width, layers * width) if rule == "local" else None
        self._init_weights()
        self.output = nn.Linear(hidden + width, self.output_size)
        initial = torch.empty(layers, width, width)
        for m in initial:
            nn.init.orthogonal_(m)
        self.register_buffer("initial", initial)
        self.register_buffer("decay_weights", decay ** torch.arange(1.0 + delay), persistent=False)

    def _init_weights(self) -> None:
        """First weights by which what was written can already be told from what else was (notebooks/LOG.md)."""
        scaled_normal_(self.interact, gain=10)
        width, size = self.width, self.heads * self.width
        _, ask, key, value = self.interact.weight.detach().split([width, size, size, size])
        key.mul_(0.3)  # louder ones are all in the tanh's flat ends
        ask.copy_(key)
        value.mul_(0.2)
        if self.feedback is not None:
            scaled_normal_(self.feedback, gain=1)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> NeuralState:
        batch, n, _ = x.shape
        told = x.new_zeros(batch, n, self.heads * self.width)
        past = x.new_zeros(batch, n, self.delay, self.heads * self.width)
        return NeuralState(
            self.controller.initial_state(x.new_zeros(batch, n, self.controller.input_size)),
            x.new_zeros(batch, n, self.controller.output_size),
            tuple(m.expand(batch, -1, -1) for m in self.initial),
            x.new_zeros(batch, n, self.width),
            told,
            told,
            x.new_zeros(batch, n),
            past,
            past,
            x.new_zeros(batch),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: NeuralState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], NeuralState]:
        h, controller = self.controller(torch.cat([x, state.read], -1), state.controller, present)
        size = self.heads * self.width
        for_rate, ask, key, value = torch.tanh(self.interact(h)).split([self.width, size, size, size], -1)
        rate = torch.sigmoid(self.rate(for_rate)).squeeze(-1)
        keys = torch.cat([key.unsqueeze(2), state.past_keys], 2)  # (B, N, 1 + delay, K): that the loss asks for
        values = torch.cat([value.unsqueeze(2), state.past_values], 2)
        queries = torch.cat([ask.unsqueeze(2), keys], 2)
        memory, recalled = self._write_and_read(state.memory, key, value, rate, queries, present)
        read = recalled[:, :, 0].unflatten(-1, (self.heads, -1)).mean(2)
        meta = self._meta(recalled[:, :, 1:], values, present)
        past = slice(None, self.delay)
        new = NeuralState(controller, h, memory, read, key, value, rate, keys[:, :, past], values[:, :, past], meta)
        if present is not None:
            new = _with(states.where(present, _own(new), _own(state)), controller, memory, meta)
        return self.output(torch.cat([h, new.read], -1)), new

    def _write_and_read(
        self, memory: FastWeights, key: Tensor, value: Tensor, rate: Tensor, queries: Tensor, present: Tensor | None
    ) -> tuple[FastWeights, Tensor]:
        """Memory after the write, and what it recalls of queries (B, N, ., K)."""
        batch, n = rate.shape
        if present is None:
            share = rate * (self.scale / n)
        else:
            share = torch.where(present, rate, 0) * self.scale / present.sum(1, keepdim=True).clamp(min=1)
        share = share.unsqueeze(-1).expand(-1, -1, self.heads).reshape(batch, n * self.heads, 1)
        keys, targets = (part.reshape(batch, n * self.heads, self.width) for part in (key, value))
        if self.feedback is not None:
            targets = self.feedback(targets)
        asked = queries.flatten(1, 2).unflatten(-1, (self.heads, self.width)).flatten(1, 2)
        memory, recalled = reversible_write_read(self.rule, memory, keys, targets, share, asked)
        return memory, recalled.view(queries.shape)

    def _meta(self, recalled: Tensor, values: Tensor, present: Tensor | None) -> Tensor:
        """(B,). Where there was no write yet, key and value are zero: f(0) = 0, which costs nothing."""
        each = (recalled - values).square().mean(-1) @ self.decay_weights  # (B, N)
        if present is None:
            return each.mean(1)
        return torch.where(present, each, 0).sum(1) / present.sum(1).clamp(min=1)

    def losses(self, state: NeuralState) -> dict[str, Float[Tensor, " B"]]:
        """The controller's, and meta."""
        return {**self.controller.losses(state.controller), "meta": state.meta}

    def metrics(self, state: NeuralState) -> dict[str, Float[Tensor, " B"]]:
        """The controller's; rate; norms: of all weights of the memory, of a head's write value (where it goes to 0, the
        loss "meta" has been fooled), of the read; and the loss "meta"."""
        layers = torch.stack([torch.linalg.matrix_norm(m) for m in state.memory], -1)
        values = state.write_value.unflatten(-1, (self.heads, -1))
        own = {
            "rate": state.rate.mean(1),
            "memory_norm": torch.linalg.vector_norm(layers, dim=-1),
            "write_norm": torch.linalg.vector_norm(values, dim=-1).mean((1, 2)),
            "read_norm": torch.linalg.vector_norm(state.read, dim=-1).mean(1),
            "meta_loss": state.meta,
        }
        return {**self.controller.metrics(state.controller), **{name: number.detach() for name, number in own.items()}}

    def select_members(self, state: NeuralState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> NeuralState:
        """The memory stays as it is; what belongs to the members is gathered."""
        inner = x.new_zeros(*x.shape[:2], self.controller.input_size)
        controller = self.controller.select_members(state.controller, index, inner)
        own = states.select_or_reset_members(_own(state), _own(self.initial_state(x)), index)
        return _with(own, controller, state.memory, state.meta)


def _own(state: NeuralState) -> NeuralState:
    """What belongs to the members, and has their axis."""
    return state._replace(controller=None, memory=(), meta=None)  # type: ignore[arg-type]


def _with(own: NeuralState, controller: State, memory: FastWeights, meta: Tensor) -> NeuralState:
    return own._replace(controller=controller, memory=memory, meta=meta)


def _check(rule: str, scale: float, delay: int, decay: float) -> None:
    if rule not in RULES:
        raise ValueError(f"rule={rule!r}, want one of {', '.join(RULES)}")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale={scale}, want a number above 0, or None for 2 / (heads width)")
    if delay < 0 or int(delay) != delay:
        raise ValueError(f"delay={delay}, want 0, or how many steps back the loss asks for what was written")
    if not 0 < decay <= 1:
        raise ValueError(f"decay={decay}, want above 0 and at most 1: what a write counts a step later")
