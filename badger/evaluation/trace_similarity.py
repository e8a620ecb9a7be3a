"""What a memory reads and writes, compared over pairs of steps of an episode (Munkhdalai et al. 2019, figure 5).

    frames, _ = rollout(agent, task, carry, rng, steps=task.steps, watch=lambda state: agent.core.traces(state.core))
    figure(similarities(frames.watched), task.words(carry.world))

Shapes: T step, V number of a vector.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from badger.figures.curves import Figure, new_figure

PAIRS = {  # title -> down, across
    "read values, written values": ("read", "write_value"),
    "written values": ("write_value", "write_value"),
    "written keys": ("write_key", "write_key"),
}
MAX_LABELS = 64  # steps whose words still find room along an axis
MAX_SMALL_LABELS = 128  # and in small print
MAX_STEPS = 400  # steps that are drawn, at most


def similarities(
    traces: Sequence[dict[str, Tensor]], episode: int = 0, expert: int = 0
) -> dict[str, Float[Tensor, "T T"]]:
    """Cosines between what was read or written at one step (down) and what was written at another (across).

    traces: of `Core.read_write_vectors`, one a step. Empty where the core has none. A vector of zeros is like nothing. Where one
    side is several heads of the other's size it is their mean, for so a read is made of its heads.
    """
    if not traces:
        return {}
    series = {name: torch.stack([t[name][episode, expert] for t in traces]).detach().cpu() for name in traces[0]}
    pairs = {title: pair for title, pair in PAIRS.items() if set(pair) <= set(series)}
    return {title: cosine_matrix(*_as_wide(series[down], series[across])) for title, (down, across) in pairs.items()}


def cosine_matrix(a: Float[Tensor, "T V"], b: Float[Tensor, "T V"]) -> Float[Tensor, "T T"]:
    """Of each row of a with each row of b."""
    return normalize(a, dim=-1) @ normalize(b, dim=-1).mT


def _as_wide(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    narrow = min(a.shape[-1], b.shape[-1])
    if max(a.shape[-1], b.shape[-1]) % narrow:
        raise ValueError(
            f"vectors of {a.shape[-1]} and of {b.shape[-1]} numbers cannot be compared; want as many, or of one side a "
            "multiple: heads side by side"
        )
    first, second = (part.unflatten(-1, (-1, narrow)).mean(-2) for part in (a, b))
    return first, second


def plot_similarities(matrices: dict[str, Tensor], words: Sequence[str] | None = None) -> Figure:
    """Heat maps side by side, of the first steps where there are very many.

    words: what was seen at each step; where there are fewer of them the episode ended, and what comes after it is not
    drawn. More than `MAX_SMALL_LABELS` find no room.

    Raises:
        ValueError: nothing to draw.
    """
    if not matrices:
        raise ValueError("no similarities to draw: the core tells no traces (Core.traces); want one with a memory")
    steps = min(MAX_STEPS, *(len(part) for part in (*matrices.values(), *([] if words is None else [words]))))
    shown = [] if words is None or steps > MAX_SMALL_LABELS else list(words[:steps])
    small = len(shown) > MAX_LABELS
    side = 0.1 * steps if small else min(9.0, max(3.2, 0.16 * steps))
    drawing = new_figure((side + 0.9) * len(matrices), side + 0.9)
    for i, (title, matrix) in enumerate(matrices.items()):
        down, _, across = title.partition(", ")
        axes = drawing.add_subplot(1, len(matrices), i + 1, xlabel=across or down, ylabel=down)
        image = axes.imshow(matrix[:steps, :steps].numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        if shown:
            axes.set_xticks(range(steps), shown, rotation=90, fontsize=5 if small else 7)
            axes.set_yticks(range(steps), shown, fontsize=5 if small else 7)
    drawing.colorbar(image, ax=drawing.axes, shrink=0.8, label="cosine")
    return drawing
