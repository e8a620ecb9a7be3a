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
UNROLL_CHUNK = 16  # steps that an unroll takes at once
MAX_PLOTTED_SLOTS = 4096  # slots


class EpisodicState(NamedTuple):
    controller: State
    h: Float[Tensor, "B N H"]
    log: RowLog
    positions: Int[Tensor, "B N k"]  # rows of the last read, -1 for none
    weights: Float[Tensor, "B N k"]


class EpisodicMemory(Core):
    """A controller that records each step as a row and reads the rows most similar to its query.

    A drop-in for its controller: same input, same output. A step writes the row of the step before,
    [key(x, h), x, h]; reads m, the weighted sum of the `top_k` rows whose keys are most similar to
    query(x_t, h_{t-1}); and steps the controller on [x_t, m]. That equals read, step, write
    (Andersson 2020, "Module implementation").

    The store is a circular buffer of `slots` rows, shared by the N members; a window over several members moves by
    whole steps (slots // N). Wrap in `Private` for a store each.

    The query begins as a copy of the key, so that a random memory already recalls what resembles the present; with two
    independent projections it recalls the same few rows whatever is asked, and agents take longer to find its use.

    Around a `Cell` (GRU, LSTM), unless similarity is "cosine", a step is one function with its backward pass written
    out (`experts.episodic.fused_step`), and `unroll` takes many at once; hooks on the parts within are then not called.

    Rows are written in place, so there are no second derivatives: create_graph=True raises RuntimeError.
    `ClusteredMemory` has them, and with threshold=2 it is the same memory.

    Args:
        input_size: D.
        controller: a factory int -> Core, for the controller eats [x, m].
        slots: rows of one store; the oldest is overwritten.
        top_k: rows read; all rows if it is not smaller than slots.
        key_size: K.
        key_input_scale: of the first weights of x in key and query, beside those of h. Below 1 where x is louder than
            h, as an embedded symbol is: else all that is found is when the same was seen, not what came before it.
        similarity: of query and key. "dot"; "scaled_dot", divided by sqrt(K); "cosine", times a learned sharpness;
            "l2", minus the squared distance.
        weighting: of the rows read. "softmax" of the similarity; "similarity" itself (Andersson 2020);
            "inverse_distance" 1 / (d^2 + 0.001), normalised, which wants "l2" (Pritzel et al. 2017, eq. 5).
        row_content: what a row holds: "x", "h" or "both".
        row_size: V, numbers to which a row's content is compressed by a learned linear map before it is stored, so that
            stores of very many rows stay small; None: it is stored as it is.
        detach_rows: no gradient into what rows hold; keys and compressed rows still learn through their own
            projections (the "jumpy" backpropagation of Fortunato et al. 2019, sec. 2.1).

    Raises:
        ValueError: an option out of range, or a controller whose sizes do not fit.
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
        read_size = partial(_stored, input_size, row_content, row_size)
        self.controller = make_controller(controller, input_size, read_size(0) if row_content == "x" else read_size)
        self.output_size = self.controller.output_size
        held_size, value_size = held(input_size, row_content, self.output_size), read_size(self.output_size)
        self.key, self.query = key_query_layers(
            self.output_size, key_size, inputs=input_size, input_scale=key_input_scale
        )
        self.compress = None if row_size is None else nn.Linear(held_size, row_size, bias=False)
        if self.compress is not None:
            nn.init.orthogonal_(self.compress.weight)  # keeps as much as so many numbers can
        self.sharpness = nn.Parameter(torch.tensor(10.0)) if similarity == "cosine" else None
        self.slots, self.similarity, self.row_content, self.detach_rows = slots, similarity, row_content, detach_rows
        self.key_size, self.value_size = key_size, value_size
        self.attend = TopKAttention(min(top_k, slots), similarity == "l2", weighting)
        self.fused_config: FusedConfig | None = (
            None  # for steps in one function, where keys are linear and the controller is a cell
        )
        cell = isinstance(self.controller, Cell) and type(self.controller).forward is Cell.forward
        if cell and similarity != "cosine":
            scale = key_size**-0.5 if similarity == "scaled_dot" else 1.0
            self.fused_config = FusedConfig(type(self.controller), self.attend, scale, row_content, detach_rows)  # type: ignore[arg-type]

    def resize(self, slots: int) -> None:
        """Another number of slots for the episodes to come; as many rows are read as before, or all where fewer."""
        check_positive(slots=slots)
        self.slots = slots
        self.attend = self.attend._replace(top_k=min(self.attend.top_k, slots))
        if self.fused_config is not None:
            self.fused_config = self.fused_config._replace(attend=self.attend)

    def initial_state(self, x: Float[Tensor, "B N D"]) -> EpisodicState:
        batch, n, _ = x.shape
        if n > self.slots:
            raise ValueError(
                f"slots={self.slots} do not hold one step of {n} members that share a store; "
                f"want slots >= {n}, or Private(memory) for a store each"
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
        if self._is_fused(x):
            (y,), state = self._fused(x.unsqueeze(0), state, None if present is None else present.unsqueeze(0))
            return y, state
        m, positions, weights, log = state.log.read(self.make_query(x, state.h), self.attend)
        h, controller = self.controller(torch.cat([x, m], -1), state.controller, present)
        log = log.append(*self.make_row(x, h), present)  # an absent member's row does not count
        return h, EpisodicState(controller, h, log, positions, weights)

    def make_query(self, x: Float[Tensor, "B N D"], h: Float[Tensor, "B N H"]) -> Float[Tensor, "B N K"]:
        """What a step looks for."""
        query = self._compared(self.query(torch.cat([x, h], -1)))
        if self.sharpness is not None:
            return query * self.sharpness
        return query * self.key_size**-0.5 if self.similarity == "scaled_dot" else query

    def make_row(
        self, x: Float[Tensor, "B N D"], h: Float[Tensor, "B N H"]
    ) -> tuple[Float[Tensor, "B N K"], Float[Tensor, "B N V"]]:
        """Key and value of the row that a step leaves behind."""
        seen = torch.cat([x, h], -1)
        held = {"x": x, "h": h, "both": seen}[self.row_content]
        if self.detach_rows:
            seen, held = seen.detach(), held.detach()
        return self._compared(self.key(seen)), held if self.compress is None else self.compress(held)

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: EpisodicState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N Y"], EpisodicState]:
        """As the loop of `forward`, by one function for some steps at once where the controller is a cell."""
        if not self._is_fused(xs):
            return super().unroll(xs, state, reset)
        ys: list[Tensor] = []
        state = state._replace(log=state.log.reserve(len(xs) * xs.shape[2], xs.shape[2]))
        for begun in range(0, len(xs), UNROLL_CHUNK):
            part = slice(begun, begun + UNROLL_CHUNK)
            y, state = self._fused(xs[part], state, None, None if reset is None else reset[part])
            ys += y
        return torch.stack(ys), state

    def _is_fused(self, x: Tensor) -> bool:
        """Whether a step is one function: it has no rules for vmap, and none for no episodes at all."""
        return self.fused_config is not None and not functorch_active() and x.shape[-3] > 0

    def _fused(
        self, xs: Tensor, state: EpisodicState, present: Tensor | None = None, reset: Tensor | None = None
    ) -> tuple[tuple[Tensor, ...], EpisodicState]:
        assert self.fused_config is not None and isinstance(self.controller, Cell)
        c = self.controller
        weights = FusedWeights(
            self.key.weight, self.key.bias, self.query.weight, self.query.bias,
            c.weight_ih, c.weight_hh, c.bias_ih, c.bias_hh, None if self.compress is None else self.compress.weight,
        )  # fmt: skip
        hs, last, log, positions, shares = fused_steps(
            self.fused_config, weights, state.log, state.controller, xs, present, reset
        )
        return hs, EpisodicState(c.State(*last), hs[-1], log, positions, shares)

    def _compared(self, vector: Tensor) -> Tensor:
        return normalize(vector, dim=-1) if self.similarity == "cosine" else vector

    def losses(self, state: EpisodicState) -> dict[str, Float[Tensor, " B"]]:
        return self.controller.losses(state.controller)

    def metrics(self, state: EpisodicState) -> dict[str, Float[Tensor, " B"]]:
        """Of `experts.memory_metrics`, and the controller's; those of a memory within are called inner_slots_used."""
        own = store_metrics(state.log.keys(), state.log.valid(), state.weights)
        within = self.controller.metrics(state.controller).items()
        return own | {f"inner_{name}" if name in own else name: value for name, value in within}

    def read_weights(self, state: EpisodicState) -> Float[Tensor, "B N slots"] | None:
        """None of more slots than a picture has room for."""
        if self.slots > MAX_PLOTTED_SLOTS:
            return None
        spread = state.weights.new_zeros(*state.weights.shape[:2], self.slots)
        return spread.scatter_add(-1, state.positions.clamp(min=0) % self.slots, state.weights)

    def read_write_vectors(self, state: EpisodicState) -> dict[str, Float[Tensor, "B N _"]]:
        """What was written is the row of this step, which the next one can read; of writers, where not all write."""
        row = state.log.pending_rows
        read = state.log.reread(state.positions, state.weights.detach())
        return {"read": read, "write_key": row.key, "write_value": row.value}

    def select_members(
        self, state: EpisodicState, index: Int[Tensor, " M"], x: Float[Tensor, "B M D"]
    ) -> EpisodicState:
        """The store stays as it is; what belongs to the members is gathered, and fresh ones begin without a row."""
        fresh = self.initial_state(x)
        inner = x.new_zeros(*x.shape[:2], self.controller.input_size)
        own, blank = (s._replace(controller=None, log=None) for s in (state, fresh))  # type: ignore[arg-type]
        new = (index < 0).expand(x.shape[:2])
        kept = states.where(new, blank, states.select_members(own, index.clamp(min=0)))
        return kept._replace(controller=self.controller.select_members(state.controller, index, inner), log=state.log)


def held(input_size: int, row_content: RowContent, hidden: int) -> int:
    """How many numbers a row keeps of x and of h, of `hidden` numbers."""
    return (hidden if row_content != "x" else 0) + (input_size if row_content != "h" else 0)


def _stored(input_size: int, row_content: RowContent, row_size: int | None, hidden: int) -> int:
    """How many numbers a row has in the store, compressed or not."""
    return held(input_size, row_content, hidden) if row_size is None else row_size


def key_query_layers(
    hidden: int, key_size: int, *, inputs: int = 0, input_scale: float = 1, spread: float = 2
) -> tuple[nn.Linear, nn.Linear]:
    """Key and query of a memory, of [x, h]: from the start, what is alike is found, as a query is the key of what is
    seen now.

    Args:
        hidden, inputs: sizes of h, and of x, which comes first.
        input_scale: of the weights of x beside those of h.
        spread: see `scaled_normal_`.
    """
    key, query = nn.Linear(inputs + hidden, key_size), nn.Linear(inputs + hidden, key_size)
    scaled_normal_(key, gain=spread)  # 2: and the rest is not
    key.weight.detach()[:, :inputs].mul_(input_scale)
    query.load_state_dict(key.state_dict())
    return key, query


def scaled_normal_(linear: nn.Linear, *, gain: float) -> None:
    """First weights that tell what goes in apart: normal, of deviation spread / sqrt(inputs), and no biases.

    An output h of a core is small at first. By torch's own first weights all keys made of it are nearly the biases, all
    the same; and where they go through a tanh, 10 makes them of size one.
    """
    nn.init.normal_(linear.weight, std=gain * linear.in_features**-0.5)
    nn.init.zeros_(linear.bias)


def check_read_options(similarity: str, weighting: str, row_content: str, key_input_scale: float) -> None:
    """Raises ValueError for a way of reading that there is not."""
    _choose("similarity", similarity, SIMILARITIES)
    _choose("weighting", weighting, tuple(WEIGHTINGS))
    _choose("row_content", row_content, ROW_CONTENTS)
    if weighting == "inverse_distance" and similarity != "l2":
        raise ValueError(f'weighting="inverse_distance" wants similarity="l2", got {similarity!r}')
    if not 0 < key_input_scale < float("inf"):
        raise ValueError(f"key_input_scale={key_input_scale}, want a number above 0; 1 leaves all weights alike")


def _choose(name: str, got: str, valid: tuple[str, ...]) -> None:
    if got not in valid:
        raise ValueError(f"{name}={got!r}, want one of {', '.join(valid)}")
