"""Similarity of a memory's reads and writes at pairs of steps of an episode.

    trajectory, _ = rollout(
        agent, task, carry, rng, steps=task.steps, hook=lambda state: agent.core.read_write_vectors(state.core)
    )
    plot_similarities(similarities(trajectory.hook_outputs), task.step_labels(carry.env_state))

Shapes: T step, V size of a vector.

Source: Munkhdalai et al. 2019 (arXiv:1907.09720), figure 5.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from badger.figures.curves import Figure, integer_ticks, new_figure

PAIRS = {  # title -> vectors of the rows, of the columns
    "read values, written values": ("read", "write_value"),
    "written values": ("write_value", "write_value"),
    "written keys": ("write_key", "write_key"),
}
MAX_LABELS = 64  # step labels of normal size along an axis
MAX_SMALL_LABELS = 128  # in a small font
MAX_STEPS = 400  # steps plotted


def similarities(
    traces: Sequence[dict[str, Tensor]], episode: int = 0, expert: int = 0
) -> dict[str, Float[Tensor, "T T"]]:
    """Cosine similarity of the vectors read or written at one step (rows) and written at another (columns).

    A vector of zeros has similarity 0. If one vector has several heads of the other's size, their mean is compared.

    Args:
        traces: of `Core.read_write_vectors`, one for each step.
        episode: row of the batch.
        expert: index of the expert.

    Returns:
        A matrix for each pair of vectors; empty for a core without such vectors.
    """
    if not traces:
        return {}
    vectors = {name: torch.stack([t[name][episode, expert] for t in traces]).detach().cpu() for name in traces[0]}
    pairs = {title: pair for title, pair in PAIRS.items() if set(pair) <= set(vectors)}
    return {
        title: cosine_matrix(*_match_width(vectors[row], vectors[column])) for title, (row, column) in pairs.items()
    }


def cosine_matrix(a: Float[Tensor, "T V"], b: Float[Tensor, "T V"]) -> Float[Tensor, "T T"]:
    """Cosine similarity of each row of a with each row of b.

    Args:
        a: vectors.
        b: vectors.
    """
    return normalize(a, dim=-1) @ normalize(b, dim=-1).mT


def _match_width(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    narrow = min(a.shape[-1], b.shape[-1])
    if max(a.shape[-1], b.shape[-1]) % narrow:
        raise ValueError(
            f"vectors of sizes {a.shape[-1]} and {b.shape[-1]}, want equal sizes, or one a multiple of the other "
            "(concatenated heads)"
        )
    first, second = (part.unflatten(-1, (-1, narrow)).mean(-2) for part in (a, b))
    return first, second


def plot_similarities(matrices: dict[str, Tensor], labels: Sequence[str] | None = None) -> Figure:
    """Heat maps of similarities side by side, of the first `MAX_STEPS` steps.

    Args:
        matrices: of `similarities`.
        labels: the observation of each step as text; steps beyond the last label are not plotted. More than
            `MAX_SMALL_LABELS` are not shown.

    Raises:
        ValueError: no matrices.
    """
    if not matrices:
        raise ValueError("no similarities: the core has no read and write vectors (Core.read_write_vectors)")
    steps = min(MAX_STEPS, *(len(part) for part in (*matrices.values(), *([] if labels is None else [labels]))))
    shown = [] if labels is None or steps > MAX_SMALL_LABELS else list(labels[:steps])
    small = len(shown) > MAX_LABELS
    side = 0.1 * steps if small else min(9.0, max(3.2, 0.16 * steps))
    figure = new_figure((side + 0.9) * len(matrices), side + 0.9)
    for i, (title, matrix) in enumerate(matrices.items()):
        row, _, column = title.partition(", ")
        axes = figure.add_subplot(1, len(matrices), i + 1, xlabel=column or row, ylabel=row)
        image = axes.imshow(matrix[:steps, :steps].numpy(), cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        integer_ticks(axes.xaxis, axes.yaxis)
        if shown:
            axes.set_xticks(range(steps), shown, rotation=90, fontsize=5 if small else 7)
            axes.set_yticks(range(steps), shown, fontsize=5 if small else 7)
    figure.colorbar(image, ax=figure.axes, shrink=0.8, label="cosine")
    return figure
