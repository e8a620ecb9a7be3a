"""Episodic memory beside a recurrent controller (Andersson 2020; Fortunato et al. 2019, MRA; Rae et al. 2016, SAM)."""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from experts import state as states
from experts.core import Core, check_positive, make_controller
from experts.episodic.fused_step import FusedConfig, FusedWeights, fused_steps
from experts.episodic.kernel_step import kernel_steps, supported
from experts.episodic.row_log import RowLog
from experts.episodic.top_k_read import WEIGHTINGS, TopKAttention
from experts.memory_metrics import store_metrics
from experts.recurrent.cell import Cell
from experts.state import State
from experts.torch_internals import functorch_active

Similarity = Literal["dot", "scaled_dot", "cosine", "l2"]
Weighting = Literal["softmax", "similarity", "inverse_distance"]
RowContent = Literal["x", "h", "both"]

SIMILARITIES = ("dot", "scaled_dot", "cosine", "l2")
ROW_CONTENTS = ("x", "h", "both")
UNROLL_CHUNK = 16  # steps of one fused call in `unroll`
MAX_PLOTTED_SLOTS = 4096  # `read_weights` returns None for more slots


class EpisodicState(NamedTuple):
    """State of an `EpisodicMemory`: the store as a log, and the controller and the last read of each member."""

    controller: State
    h: Float[Tensor, "B N H"]
    log: RowLog
    positions: Int[Tensor, "B N k"]  # rows of the last read, -1 for none
    weights: Float[Tensor, "B N k"]


class EpisodicMemory(Core):
    """Episodic key-value memory: a controller that stores each step as a row and reads the top-k most similar rows.

    Input and output are those of the controller. A step writes the row of the previous step, [key(x, h), x, h]; reads
    m, the weighted sum of the `top_k` rows whose keys are most similar to query(x_t, h_{t-1}); and steps the controller
    on [x_t, m]. That equals the order read, step, write.

    The store is a circular buffer of `slots` rows, shared by the N members. With several members the window moves by
    whole steps, slots // N of them. `Private(memory)` gives each member a store of its own.

    The query layer is initialized as a copy of the key layer, so that an untrained memory retrieves rows similar to the
    present. With two independent layers it retrieves the same few rows for every query, and training takes longer.

    Around a `Cell` (GRU, LSTM), unless similarity is "cosine", `unroll` computes many steps at once, by one autograd
    function with a backward pass written by hand (`experts.episodic.fused_step`). Around a GRU on the CPU, `unroll` and
    `forward` use kernels in C where they were built (`experts.kernels`). Neither calls hooks on submodules.

    Rows are written in place, so there are no second derivatives: create_graph=True raises RuntimeError.
    `ClusteredMemory` has second derivatives, and with threshold=2 it is the same memory.

    Args:
        input_size: D.
        controller: a factory int -> Core; the controller's input is [x, m].
        slots: rows of one store; the oldest row is overwritten.
        top_k: number of rows read; all rows if top_k >= slots.
        key_size: K.
        key_input_scale: factor of the initial weights of x in key and query, relative to those of h. Take less than 1
            where x has a larger norm than h, as embedded symbols have; else keys depend on x alone.
        similarity: of query and key. "dot"; "scaled_dot", divided by sqrt(K); "cosine", times a learned sharpness;
            "l2", the negative squared distance.
        weighting: weights of the rows read. "softmax" of the similarity; "similarity" itself (Andersson 2020);
            "inverse_distance" 1 / (d^2 + 0.001), normalized, which requires "l2" (Pritzel et al. 2017, eq. 5).
        row_content: value of a row: "x", "h" or "both".
        row_size: V, size to which values are compressed by a learned linear map before they are stored; None: values
            are not compressed.
        detach_rows: x and h are detached before they are stored; the layers of key and compression are still trained
            (the "jumpy" backpropagation of Fortunato et al. 2019, sec. 2.1).

    Raises:
        ValueError: an option out of range, or a controller whose sizes do not fit.

    Source: Andersson 2020, "Module implementation"; Fortunato et al. 2019 (MRA); Rae et al. 2016 (SAM).
    """

    def __init__(
        self,
        input_size: int,
        controller: Callable[[int], Core],
        *,
        slots: int = 64,
        top_k: int = 8,
        key_size: int = 16,
        key_input_scale: float = 1.0,
        similarity: Similarity = "scaled_dot",
        weighting: Weighting = "softmax",
        row_content: RowContent = "both",
        row_size: int | None = None,
        detach_rows: bool = False,
    ):
        super().__init__()
        check_positive(slots=slots, top_k=top_k, key_size=key_size, row_size=1 if row_size is None else row_size)
        check_read_options(similarity, weighting, row_content, key_input_scale)
        self.input_size = input_size
        read_size = partial(_value_size, input_size, row_content, row_size)
        self.controller = make_controller(controller, input_size, read_size(0) if row_content == "x" else read_size)
        self.output_size = self.controller.output_size
        uncompressed = content_size(input_size, row_content, self.output_size)
        value_size = read_size(self.output_size)
        self.key, self.query = key_query_layers(
            self.output_size, key_size, inputs=input_size, input_scale=key_input_scale
        )
        self.compress = None if row_size is None else nn.Linear(uncompressed, row_size, bias=False)
        if self.compress is not None:
            nn.init.orthogonal_(self.compress.weight)  # preserves norms in the projected subspace
        self.sharpness = nn.Parameter(torch.tensor(10.0)) if similarity == "cosine" else None
        self.slots, self.similarity, self.row_content, self.detach_rows = slots, similarity, row_content, detach_rows
        self.key_size, self.value_size = key_size, value_size
        self.attend = TopKAttention(min(top_k, slots), similarity == "l2", weighting)
        self.fused_config: FusedConfig | None = None  # set where keys are linear and the controller is a cell
        cell = isinstance(self.controller, Cell) and type(self.controller).forward is Cell.forward
        if cell and similarity != "cosine":
            scale = key_size**-0.5 if similarity == "scaled_dot" else 1.0
            self.fused_config = FusedConfig(type(self.controller), self.attend, scale, row_content, detach_rows)  # type: ignore[arg-type]

    def resize(self, slots: int) -> None:
        """Changes the number of slots for later episodes; `top_k` is kept, or reduced to the number of slots.

        Args:
            slots: rows of one store.
        """
        check_positive(slots=slots)
        self.slots = slots
        self.attend = self.attend._replace(top_k=min(self.attend.top_k, slots))
        if self.fused_config is not None:
            self.fused_config = self.fused_config._replace(attend=self.attend)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> EpisodicState:
        """The state before the first step, with an empty store.

        Args:
            x: gives batch, members, device and dtype; its values are not read.

        Raises:
            ValueError: more members than slots.
        """
        batch, n, _ = x.shape
        if n > self.slots:
            raise ValueError(
                f"slots={self.slots} with {n} members that share a store, want slots >= {n} for the rows of one step, "
                "or Private(memory) for a store of each member"
            )
        like = x.new_zeros(()) + self.key.weight.new_zeros(())  # batched wherever x or the weights are (vmap)
        k = self.attend.top_k
        return EpisodicState(
            self.controller.initial_state(like.new_zeros(batch, n, self.controller.input_size)),
            like.new_zeros(batch, n, self.output_size),
            RowLog.empty(like, (batch,), self.key_size, self.value_size, self.slots),
            like.new_full((batch, n, k), -1, dtype=torch.long),
            like.new_zeros(batch, n, k),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: EpisodicState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], EpisodicState]:
        parameters = None if present is not None else self._kernel_weights(x, state)
        if parameters is not None:
            return self._by_kernels(parameters, x, state, None)
        m, positions, weights, log = state.log.read(self.make_query(x, state.h), self.attend)
        h, controller = self.controller(torch.cat([x, m], -1), state.controller, present)
        log = log.append(*self.make_row(x, h), present)  # rows of absent members are invalid
        return h, EpisodicState(controller, h, log, positions, weights)

    def make_query(self, x: Float[Tensor, "B N D"], h: Float[Tensor, "B N H"]) -> Float[Tensor, "B N K"]:
        """The query vector of a step, scaled for the similarity.

        Args:
            x: the input of this step.
            h: the controller's output of the previous step.
        """
        query = self._normalize_for_cosine(self.query(torch.cat([x, h], -1)))
        if self.sharpness is not None:
            return query * self.sharpness
        return query * self.key_size**-0.5 if self.similarity == "scaled_dot" else query

    def make_row(
        self, x: Float[Tensor, "B N D"], h: Float[Tensor, "B N H"]
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N V"]]:
        """Key and value of the row that a step writes.

        Args:
            x: the input of this step.
            h: the controller's output of this step.
        """
        both = torch.cat([x, h], -1)
        value = {"x": x, "h": h, "both": both}[self.row_content]
        if self.detach_rows:
            both, value = both.detach(), value.detach()
        return self._normalize_for_cosine(self.key(both)), value if self.compress is None else self.compress(value)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: EpisodicState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], EpisodicState]:
        """As the loop of `forward`; around a cell by one autograd function for several steps at once."""
        if self.fused_config is None or functorch_active() or not xs.shape[1]:  # neither vmap nor an empty batch
            return super().unroll(xs, state, reset)
        ys: list[Tensor] = []
        weights = self._kernel_weights(xs, state)
        steps = self._fused if weights is None else partial(self._by_kernels, weights)
        state = state._replace(log=state.log.reserve(len(xs) * xs.shape[2], xs.shape[2]))
        for start in range(0, len(xs), UNROLL_CHUNK):
            part = slice(start, start + UNROLL_CHUNK)
            y, state = steps(xs[part], state, None if reset is None else reset[part])
            ys.append(y)
        return ys[0] if len(ys) == 1 else torch.cat(ys), state

    def _weights(self) -> FusedWeights:
        c = self.controller
        assert isinstance(c, Cell)
        return FusedWeights(
            self.key.weight, self.key.bias, self.query.weight, self.query.bias,
            c.weight_ih, c.weight_hh, c.bias_ih, c.bias_hh, None if self.compress is None else self.compress.weight,
        )  # fmt: skip

    def _fused(self, xs: Tensor, state: EpisodicState, reset: Tensor | None) -> tuple[Tensor, EpisodicState]:
        assert self.fused_config is not None and isinstance(self.controller, Cell)
        hs, final, log, positions, read_weights = fused_steps(
            self.fused_config, self._weights(), state.log, state.controller, xs, reset
        )
        return torch.stack(hs), EpisodicState(self.controller.State(*final), hs[-1], log, positions, read_weights)

    def _kernel_weights(self, x: Tensor, state: EpisodicState) -> FusedWeights | None:
        """The parameters, if the kernels compute steps with input x; else None."""
        config = self.fused_config
        if config is None or torch.compiler.is_compiling() or not x.numel():
            return None
        weights = self._weights()
        return weights if supported(config, weights, state.log, state.h, x) else None

    def _by_kernels(
        self, weights: FusedWeights, xs: Tensor, state: EpisodicState, reset: Tensor | None
    ) -> tuple[Tensor, EpisodicState]:
        """One step (B, N, D), or several (T, B, N, D)."""
        assert self.fused_config is not None and isinstance(self.controller, Cell)
        hs, log, positions, read_weights = kernel_steps(self.fused_config, weights, state.log, state.h, xs, reset)
        h = hs if xs.dim() == state.h.dim() else hs[-1]
        return hs, EpisodicState(self.controller.State(h), h, log, positions, read_weights)

    def _normalize_for_cosine(self, vector: Tensor) -> Tensor:
        return normalize(vector, dim=-1) if self.similarity == "cosine" else vector

    def losses(self, state: EpisodicState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: EpisodicState) -> dict[str, Float[Tensor, " B"]]:
        """Metrics of `experts.memory_metrics`, and the controller's, where equal names get the prefix inner_."""
        metrics = store_metrics(state.log.keys(), state.log.valid(), state.weights)
        inner = self.controller.metrics(state.controller).items()
        return metrics | {f"inner_{name}" if name in metrics else name: value for name, value in inner}

    def read_weights(self, state: EpisodicState) -> Float[Tensor, "B N slots"] | None:
        """The weights of the last read over slots; None for more than `MAX_PLOTTED_SLOTS` slots."""
        if self.slots > MAX_PLOTTED_SLOTS:
            return None
        zeros = state.weights.new_zeros(*state.weights.shape[:2], self.slots)
        return zeros.scatter_add(-1, state.positions.clamp(min=0) % self.slots, state.weights)

    def read_write_vectors(self, state: EpisodicState) -> dict[str, Float[Tensor, "B N _"]]:
        """The read vector, and key and value of the row of this step, which the next step can read."""
        row = state.log.pending_rows
        read = state.log.reread(state.positions, state.weights.detach())
        return {"read": read, "write_key": row.key, "write_value": row.value}

    def select_members(
        self, state: EpisodicState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]
    ) -> EpisodicState:
        """Selects the state of members; the store, which they share, is unchanged. New members have no rows."""
        initial = self.initial_state(x)
        controller_input = x.new_zeros(*x.shape[:2], self.controller.input_size)
        member_state, blank = (s._replace(controller=None, log=None) for s in (state, initial))  # type: ignore[arg-type]
        new = (index < 0).expand(x.shape[:2])
        selected = states.where(new, blank, states.select_members(member_state, index.clamp(min=0)))
        return selected._replace(
            controller=self.controller.select_members(state.controller, index, controller_input), log=state.log
        )


def content_size(input_size: int, row_content: RowContent, hidden: int) -> int:
    """Size of the uncompressed value of a row; hidden: H."""
    return (hidden if row_content != "x" else 0) + (input_size if row_content != "h" else 0)


def _value_size(input_size: int, row_content: RowContent, row_size: int | None, hidden: int) -> int:
    """Size V of the stored value of a row, compressed or not."""
    return content_size(input_size, row_content, hidden) if row_size is None else row_size


def key_query_layers(
    hidden: int, key_size: int, *, inputs: int = 0, input_scale: float = 1, gain: float = 2
) -> tuple[nn.Linear, nn.Linear]:
    """Key and query layers of a memory, linear in [x, h], with equal initial weights.

    Equal weights make an untrained memory retrieve rows whose [x, h] is similar to the present one.

    Args:
        hidden, inputs: sizes of h, and of x, which comes first.
        key_size: K.
        input_scale: factor of the weights of x, relative to those of h.
        gain: see `scaled_normal_`; with 2, dissimilar inputs get dissimilar keys.
    """
    key, query = nn.Linear(inputs + hidden, key_size), nn.Linear(inputs + hidden, key_size)
    scaled_normal_(key, gain=gain)
    key.weight.detach()[:, :inputs].mul_(input_scale)
    query.load_state_dict(key.state_dict())
    return key, query


def scaled_normal_(linear: nn.Linear, *, gain: float) -> None:
    """Initializes weights from a normal distribution with standard deviation gain / sqrt(fan_in), and biases with 0.

    The output h of an untrained core is small. With torch's default initialization all keys computed from it nearly
    equal the biases. Before a tanh, a gain of 10 gives keys of order one.
    """
    nn.init.normal_(linear.weight, std=gain * linear.in_features**-0.5)
    nn.init.zeros_(linear.bias)


def check_read_options(similarity: str, weighting: str, row_content: str, key_input_scale: float) -> None:
    """Raises ValueError for an invalid option of a read."""
    _check_choice("similarity", similarity, SIMILARITIES)
    _check_choice("weighting", weighting, tuple(WEIGHTINGS))
    _check_choice("row_content", row_content, ROW_CONTENTS)
    if weighting == "inverse_distance" and similarity != "l2":
        raise ValueError(f'weighting="inverse_distance" with similarity={similarity!r}, want similarity="l2"')
    if not 0 < key_input_scale < float("inf"):
        raise ValueError(f"key_input_scale={key_input_scale}, want a number above 0; 1 for no scaling")


def _check_choice(name: str, got: str, valid: tuple[str, ...]) -> None:
    if got not in valid:
        raise ValueError(f"{name}={got!r}, want one of {', '.join(valid)}")
