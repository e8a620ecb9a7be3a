"""Decision Transformer: a core that is asked for a return (Chen et al. 2021).

Shapes: B episode, N members, R = B N, T step, D input, F numbers of a row, W width, K context, U row of a window.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import pad

from experts import state as states
from experts.attention.causal_transformer import INITIAL_STD, CausalTransformer
from experts.attention.return_to_go import ReturnToGo
from experts.attention.step_tokens import TOKENS, StepTokens, visible_tokens
from experts.attention.step_window import StepWindow
from experts.core import Core, check_positive
from experts.trajectory.layout import EXAMPLE, StepLayout

MAX_LAYERS = 1000  # each is a module of its own
MAX_TIME = 1_000_000  # rows of a table


class DecisionTransformerState(NamedTuple):
    """State of a `DecisionTransformer`.

    Args:
        window: the last K - 1 rows, and keys and values of each layer where they are known.
        to_go: the return that is still asked for, and the time.
        y: the last output.
    """

    window: StepWindow
    to_go: ReturnToGo
    y: Float[Tensor, "B N W"]


class DecisionTransformer(Core):
    """Decision Transformer: a causal transformer over returns-to-go, states and actions of the last K steps.

    Each step is three tokens, (g, s, a), with the same embedding of its time; the output is that of the token of s, so
    that the action is predicted from what is asked for and what was seen. g begins at `target_return`, and the reward
    of each step is taken off: g_t = g_{t-1} - r_{t-1}. So a trained agent can be asked for another return.

    The input is that of `PreviousActionReward`: observation, last action, last reward; what follows (its end flag, an
    inbox, an identity) is part of the state. Once more than K steps have passed, the last K are encoded anew in each
    step, as published: nothing of older ones is left. Before, keys and values of the earlier steps are kept. With
    `sliding`, they are kept throughout, and each layer sees the last K steps, in training as well: a layer then reads
    what the one below it made of still older steps, and a step costs the same at any time.

    A step at `max_time` or later has the time embedding of all such steps, which is zero unless the data had such
    steps; the metric `late` is their share. There is no dropout. Members are separate.

    Args:
        input_size: D.
        hidden_size: W, of tokens and output.
        layout: sizes of observation and last action in the input; None: it has no last action and reward.
        target_return: the return that is asked for; learned agents keep it.
        return_scale: returns are divided by it.
        context: K, in steps.
        layers: of the transformer.
        heads: of its attention.
        max_time: steps with a time embedding of their own.
        sliding: keep keys and values when the window slides.

    Raises:
        ValueError: no last action and reward in the observation, or a size or scale that is out of range.

    Source: Chen et al. 2021 (arXiv:2106.01345).
    """

    target_return: Tensor
    return_scale: Tensor
    reads_measurements = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int = 128,
        *,
        layout: StepLayout | None = EXAMPLE,
        target_return: float = 0.0,
        return_scale: float = 1.0,
        context: int = 20,
        layers: int = 3,
        heads: int = 1,
        max_time: int = 1024,
        sliding: bool = False,
    ):
        super().__init__()
        check_positive(hidden_size=hidden_size, context=context, layers=layers, heads=heads, max_time=max_time)
        for name, (size, most) in {"layers": (layers, MAX_LAYERS), "max_time": (max_time, MAX_TIME)}.items():
            if size > most:
                raise ValueError(f"{name}={size}, want at most {most:,}")
        if layout is None:
            raise ValueError(
                "core 'decision_transformer' finds no last action and reward in the observation: want a task in "
                "PreviousActionReward, and the sense broadcast"
            )
        obs_size, action_size = layout.obs, layout.action_inputs
        if input_size < layout.input_size:
            raise ValueError(f"input_size={input_size}, want obs {obs_size} + action {action_size} + 1, or more")
        if hidden_size % heads:
            raise ValueError(f"heads={heads}, want a divisor of hidden_size={hidden_size}")
        if not return_scale > 0:
            raise ValueError(f"return_scale={return_scale}, want a number above 0")
        self.input_size, self.output_size = input_size, hidden_size
        self.obs_size, self.action_size = obs_size, action_size
        self.context, self.max_time, self.sliding = context, max_time, sliding
        self.register_buffer("target_return", torch.tensor(float(target_return)))
        self.register_buffer("return_scale", torch.tensor(float(return_scale)))
        self.tokens = StepTokens(input_size - action_size - 1, action_size, hidden_size, max_time, INITIAL_STD)
        self.transformer = CausalTransformer(hidden_size, layers, heads)

    @property
    def row_size(self) -> int:
        """F: action, return-to-go and state."""
        return self.input_size

    def initial_state(self, x: Float[Tensor, "B N D"]) -> DecisionTransformerState:
        lead, layers = x.shape[:2], len(self.transformer.blocks)
        rows = x.new_zeros(*lead, 0, self.row_size)
        cache = [x.new_zeros(*lead, 0, TOKENS, 2 * self.output_size) for _ in range(layers)]
        zero = x.new_zeros(lead, dtype=torch.long)
        asked = x.new_zeros(lead) + self.target_return.to(x.dtype)
        return DecisionTransformerState(
            StepWindow((rows, *cache), zero), ReturnToGo(asked, zero), x.new_zeros(*lead, self.output_size)
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: DecisionTransformerState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N W"], DecisionTransformerState]:
        _, new = self._segment(x.unsqueeze(0), state)
        new = new if present is None else states.where(present, new, state)
        return new.y, new

    def unroll(
        self, xs: Float[Tensor, "T B N D"], state: DecisionTransformerState, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T B N W"], DecisionTransformerState]:
        """As the loop of `forward`, up to K steps at once."""
        ys = []
        for start in range(0, len(xs), self.context):
            part = slice(start, start + self.context)
            y, state = self._segment(xs[part], state, None if reset is None else reset[part])
            ys.append(y)
        return torch.cat(ys), state

    def _segment(
        self, xs: Tensor, state: DecisionTransformerState, reset: Tensor | None = None
    ) -> tuple[Tensor, DecisionTransformerState]:
        """Outputs of at most K steps, (T, B, N, W), and the state after them."""
        reward_at = self.obs_size + self.action_size
        obs, action, reward, rest = xs.tensor_split([self.obs_size, reward_at, reward_at + 1], -1)
        asked, time, to_go = state.to_go.advance(reward.squeeze(-1), self.target_return, reset)
        scaled = (asked / self.return_scale.to(asked.dtype)).unsqueeze(-1)
        new = torch.cat([action, scaled, obs, rest], -1).movedim(0, 2).flatten(0, 1)  # (R, T, F)
        segment = _Segment(new, time.movedim(0, 2).flatten(0, 1), state.window.fold(), reset)
        y, window = self._encode(segment)
        ys = y.unflatten(0, xs.shape[1:3]).movedim(2, 0)
        return ys, DecisionTransformerState(window.unfold(xs.shape[2]), to_go, ys[-1])

    def _encode(self, segment: "_Segment") -> tuple[Tensor, StepWindow]:
        """Outputs (R, T, W), and the window after them, of the members folded into the batch."""
        steps, old, kept = segment.new.shape[1], segment.window, self.context - 1
        rows = torch.cat([old.parts[0], segment.new], 1)  # (R, U, F)
        count = segment.count_after.clamp(max=kept)
        cached = len(old.parts) > 1 and (self.sliding or rows.shape[1] <= self.context)
        if not cached and rows.shape[1] > self.context:
            y = self._encode_windows(segment, rows)
            return y, StepWindow((rows[:, -kept:] if kept else rows[:, :0],), count)
        y, cache = self._encode_new(segment, rows, old.parts[1:] if cached else None)
        keep = self.sliding or (steps == 1 and rows.shape[1] <= kept)
        parts = (rows, *cache) if keep else (rows,)
        return y, StepWindow(tuple(part[:, max(0, part.shape[1] - kept) :] for part in parts), count)

    def _encode_new(
        self, segment: "_Segment", rows: Tensor, cache: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Outputs of the new rows, and keys and values of all rows; the old ones are in the cache, if there is one."""
        size, steps = rows.shape[1], segment.new.shape[1]
        past = size - steps
        first = 0 if cache is None else past  # row of the first new token
        tokens = self.tokens(rows[:, first:], segment.times(size)[:, first:])
        fresh = not past and segment.reset is None  # no mask: each token sees all before it
        if fresh:
            y, keys = self.transformer(tokens[:, 1:], every=TOKENS)  # the first one stands for no action
            keys = [pad(part, (0, 0, 1, 0)) for part in keys]
        else:
            band = self.context if self.sliding else None
            mask = visible_tokens(segment.episodes(size), segment.valid(size), band)[:, first * TOKENS :]
            flat = None if cache is None else tuple(part.flatten(1, 2) for part in cache)
            y, keys = self.transformer(tokens, mask, flat, every=TOKENS)
        return y[:, -steps:], [part.unflatten(1, (-1, TOKENS)) for part in keys]

    def _encode_windows(self, segment: "_Segment", rows: Tensor) -> Tensor:
        """Outputs of the new rows, each from the K rows that end with it, encoded alone."""
        size, steps = rows.shape[1], segment.new.shape[1]
        missing = self.context - 1 - (size - steps)

        def windows(part: Tensor, value: float = 0) -> Tensor:
            """(R, U, ...) -> (R T, K, ...)."""
            part = pad(part, [0, 0] * (part.dim() - 2) + [missing, 0], value=value)
            return part.unfold(1, self.context, 1).movedim(-1, 2).flatten(0, 1)

        episode, valid = windows(segment.episodes(size)), windows(segment.valid(size), False)
        mask = visible_tokens(episode, valid)
        y, _ = self.transformer(self.tokens(windows(rows), windows(segment.times(size))), mask, every=TOKENS)
        return y[:, -1].unflatten(0, (-1, steps))

    def metrics(self, state: DecisionTransformerState) -> dict[str, Float[Tensor, " B"]]:
        """`return_to_go`, what is still asked for; `late`, the share of members beyond the table of times."""
        late = (state.to_go.time > self.max_time).to(state.y.dtype)
        return {"return_to_go": state.to_go.asked.detach().mean(1), "late": late.mean(1)}


class _Segment(NamedTuple):
    """New rows (R, T, F) with their times (R, T), the window before them, and where episodes begin (T, B)."""

    new: Tensor
    time: Tensor
    window: StepWindow
    reset: Tensor | None

    @property
    def began(self) -> Tensor:
        """(R, T): how many episodes have begun in the segment so far."""
        assert self.reset is not None
        members = len(self.new) // self.reset.shape[1]
        return self.reset.t().long().cumsum(1).repeat_interleave(members, 0)

    @property
    def count_after(self) -> Tensor:
        """(R,): rows of the last episode, at most all."""
        if self.reset is None:
            return self.window.count + self.new.shape[1]
        began = self.began
        since = (began == began[:, -1:]).sum(1)
        return torch.where(began[:, -1] > 0, since, self.window.count + self.new.shape[1])

    def episodes(self, size: int) -> Tensor:
        """(R, U): a number of the episode of each row."""
        if self.reset is None:
            return self.time.new_zeros(len(self.time), size)
        return pad(self.began, (size - self.new.shape[1], 0))

    def valid(self, size: int) -> Tensor:
        """(R, U): rows that there are."""
        return pad(self.window.valid(), (0, size - self.window.rows), value=True)

    def times(self, size: int) -> Tensor:
        """(R, U): the time of each row; those of the window precede the first new one."""
        past = size - self.new.shape[1]
        before = torch.arange(-past, 0, device=self.time.device) + self.time[:, :1]
        return torch.cat([before, self.time], 1)
