"""Metalearned neural memory: a feed-forward network written by changing its weights (Munkhdalai et al. 2019)."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts import state as states
from experts.core import Core, check_positive, make_controller, mean_of_present
from experts.episodic.memory import scaled_normal_
from experts.fast_weights.reversible_write import reversible_write_read
from experts.fast_weights.write_rules import RULES, FastWeights
from experts.state import State


class NeuralState(NamedTuple):
    """State of a `NeuralMemory`.

    Args:
        controller: state of the controller.
        h: output of the controller.
        memory: weight matrices of the network, one for each layer.
        read: read vector, mean over the heads.
        write_key: keys of the last write, heads concatenated.
        write_value: values of the last write, heads concatenated.
        rate: rate of the last write.
        past_keys: keys of the last `delay` writes, newest first; zeros where there was none.
        past_values: values of the last `delay` writes, likewise.
        meta: the auxiliary loss of the last step.
    """

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
    """Metalearned neural memory (MNM): a controller with a feed-forward network as a key-value memory.

    The memory is a network f of `layers` matrices with tanh between them and no biases. A step: the controller receives
    [x, previous read]. Its output h gives a write key, a write value and a read key for each head, and one write rate
    in 0 to 1. First f is changed so that write keys map to write values. Then the read vector is the mean over heads of
    f(read key), and y = Linear([h, read]).

    Rule "local" (MNM-p) moves the output of each layer towards its own target, an affine map of the write value. Rule
    "gradient" (MNM-g) takes one gradient step on the mean squared error of f(write key).

    Each episode starts with the same random network f, a buffer, as a learned one overfits. Its matrices are orthogonal
    (the paper does not specify them), so that the norm of written values is preserved through the layers. Read keys are
    initialized as write keys, so that an untrained memory retrieves values of similar inputs. The N members share
    the memory: each writes with its own rate, the changes are averaged, then all read. `Private(memory)` gives each
    member a network of its own.

    The auxiliary loss "meta" is the mean squared error between f(write key) and the write value *after* the write. It
    needs a weight in the learner: without it, the controller hardly learns to write. Keys and values are trained by it.

    The backward pass restores the weights of each step instead of saving them
    (`experts.fast_weights.reversible_write`), except at steps of `unroll` with a reset. Second derivatives exist only
    under `torch.func`, where plain operations are used; elsewhere create_graph=True raises RuntimeError.

    Args:
        input_size: D.
        controller: a factory int -> Core; the controller's input is [x, read].
        layers: L, matrices of f.
        width: size of keys, values and layers.
        heads: writes and reads of a step.
        rule: "local" or "gradient".
        output_size: Y; None: that of the controller.
        scale: factor of the write rate; None: 2 / (heads width), as in the gradient of the mean squared error. It is
            not in the paper, and results depend strongly on it.
        delay: number of previous writes that the loss also includes (eq. 5).
        decay: weight of a write in the loss, to the power of its age in steps (eq. 5).

    Raises:
        ValueError: an option out of range, or a controller whose sizes do not fit.

    Source: Munkhdalai et al. 2019.
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
        """Initializes the layers so that an untrained memory separates different writes (notebooks/LOG.md)."""
        scaled_normal_(self.interact, gain=10)
        width, size = self.width, self.heads * self.width
        _, query, key, value = self.interact.weight.detach().split([width, size, size, size])
        key.mul_(0.3)  # larger ones saturate the tanh
        query.copy_(key)
        value.mul_(0.2)
        if self.feedback is not None:
            scaled_normal_(self.feedback, gain=1)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> NeuralState:
        batch, n, _ = x.shape
        zeros = x.new_zeros(batch, n, self.heads * self.width)
        past = x.new_zeros(batch, n, self.delay, self.heads * self.width)
        return NeuralState(
            self.controller.initial_state(x.new_zeros(batch, n, self.controller.input_size)),
            x.new_zeros(batch, n, self.controller.output_size),
            tuple(m.expand(batch, -1, -1) for m in self.initial),
            x.new_zeros(batch, n, self.width),
            zeros,
            zeros,
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
        rate_features, query, key, value = torch.tanh(self.interact(h)).split([self.width, size, size, size], -1)
        rate = torch.sigmoid(self.rate(rate_features)).squeeze(-1)
        keys = torch.cat([key.unsqueeze(2), state.past_keys], 2)  # (B, N, 1 + delay, K): the queries of the loss
        values = torch.cat([value.unsqueeze(2), state.past_values], 2)
        queries = torch.cat([query.unsqueeze(2), keys], 2)
        memory, results = self._write_and_read(state.memory, key, value, rate, queries, present)
        read = results[:, :, 0].unflatten(-1, (self.heads, -1)).mean(2)
        meta = self._meta(results[:, :, 1:], values, present)
        past = slice(None, self.delay)
        new = NeuralState(controller, h, memory, read, key, value, rate, keys[:, :, past], values[:, :, past], meta)
        if present is not None:
            new = _with(states.where(present, _member_state(new), _member_state(state)), controller, memory, meta)
        return self.output(torch.cat([h, new.read], -1)), new

    def _write_and_read(
        self, memory: FastWeights, key: Tensor, value: Tensor, rate: Tensor, queries: Tensor, present: Tensor | None
    ) -> tuple[FastWeights, Tensor]:
        """The memory after the write, and its values for queries (B, N, ., K)."""
        batch, n = rate.shape
        if present is None:
            write_rate = rate * (self.scale / n)
        else:
            write_rate = torch.where(present, rate, 0) * self.scale / present.sum(1, keepdim=True).clamp(min=1)
        write_rate = write_rate.unsqueeze(-1).expand(-1, -1, self.heads).reshape(batch, n * self.heads, 1)
        keys, targets = (part.reshape(batch, n * self.heads, self.width) for part in (key, value))
        if self.feedback is not None:
            targets = self.feedback(targets)
        flat_queries = queries.flatten(1, 2).unflatten(-1, (self.heads, self.width)).flatten(1, 2)
        memory, results = reversible_write_read(self.rule, memory, keys, targets, write_rate, flat_queries)
        return memory, results.view(queries.shape)

    def _meta(self, results: Tensor, values: Tensor, present: Tensor | None) -> Tensor:
        """The auxiliary loss (B,). Keys and values of missing writes are zero, and f(0) = 0, so their loss is 0."""
        errors = (results - values).square().mean(-1) @ self.decay_weights  # (B, N)
        if present is None:
            return errors.mean(1)
        return mean_of_present(errors, present)

    def losses(self, state: NeuralState) -> dict[str, Float[Tensor, " B"]]:
        """The controller's losses, and "meta"."""
        return {**self.controller.losses(state.controller), "meta": state.meta}

    def metrics(self, state: NeuralState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of the controller; write rate, norms of memory, write values and read vector, and the loss "meta".

        A write norm near 0 shows that the loss "meta" is minimized by writing nothing.
        """
        layers = torch.stack([torch.linalg.matrix_norm(m) for m in state.memory], -1)
        values = state.write_value.unflatten(-1, (self.heads, -1))
        metrics = {
            "write_rate": state.rate.mean(1),
            "memory_norm": torch.linalg.vector_norm(layers, dim=-1),
            "write_norm": torch.linalg.vector_norm(values, dim=-1).mean((1, 2)),
            "read_norm": torch.linalg.vector_norm(state.read, dim=-1).mean(1),
            "meta_loss": state.meta,
        }
        return {
            **self.controller.metrics(state.controller),
            **{name: number.detach() for name, number in metrics.items()},
        }

    def select_members(self, state: NeuralState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]) -> NeuralState:
        """Selects the state of members; the memory, which they share, is unchanged."""
        controller_input = x.new_zeros(*x.shape[:2], self.controller.input_size)
        controller = self.controller.select_members(state.controller, index, controller_input)
        member_state = states.select_or_reset_members(_member_state(state), _member_state(self.initial_state(x)), index)
        return _with(member_state, controller, state.memory, state.meta)


def _member_state(state: NeuralState) -> NeuralState:
    """The part of the state that has a members' axis."""
    return state._replace(controller=None, memory=(), meta=None)  # type: ignore[arg-type]


def _with(member_state: NeuralState, controller: State, memory: FastWeights, meta: Tensor) -> NeuralState:
    return member_state._replace(controller=controller, memory=memory, meta=meta)


def _check(rule: str, scale: float, delay: int, decay: float) -> None:
    if rule not in RULES:
        raise ValueError(f"rule={rule!r}, want one of {', '.join(RULES)}")
    if not 0 < scale < math.inf:
        raise ValueError(f"scale={scale}, want a number above 0, or None for 2 / (heads width)")
    if delay < 0 or int(delay) != delay:
        raise ValueError(f"delay={delay}, want 0, or the number of previous writes in the loss")
    if not 0 < decay <= 1:
        raise ValueError(f"decay={decay}, want above 0 and at most 1")
