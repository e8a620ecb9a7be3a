"""A real episode beside what a world model imagines of it.

Shapes: T step, K imagined episodes, O numbers of an observation.
"""

from jaxtyping import Float
from torch import Tensor

from badger.figures.curves import Figure, integer_ticks, new_figure

MAX_CURVES = 6  # numbers of an observation with a panel of their own; more are heat maps


def plot_imagined_episode(real: Float[Tensor, "T O"], imagined: Float[Tensor, "K S O"]) -> Figure:
    """The observations of an episode, and those that were imagined of its last steps, from the same actions.

    A panel for each number of an observation, with a thin line for each imagined episode; of many numbers two heat
    maps, of the real episode and of the first imagined one, and their difference.

    Args:
        real: observations.
        imagined: of the last S steps, several times.
    """
    start = len(real) - imagined.shape[1]
    return _curves(real, imagined, start) if real.shape[1] <= MAX_CURVES else _maps(real, imagined[0], start)


def _curves(real: Tensor, imagined: Tensor, start: int) -> Figure:
    figure = new_figure(7, 1 + 1.4 * real.shape[1])
    first = None
    for i in range(real.shape[1]):
        axes = figure.add_subplot(real.shape[1], 1, i + 1, sharex=first, ylabel=f"obs {i}")
        for k, episode in enumerate(imagined[..., i].tolist()):
            label = "imagined" if k == 0 else None
            axes.plot(range(start, len(real)), episode, color="C1", alpha=0.7, lw=0.9, label=label)
        axes.plot(range(len(real)), real[:, i].tolist(), color="black", lw=1.4, label="real")
        axes.axvline(start - 0.5, color="gray", lw=0.8, ls=":")
        first = first or axes
    assert first is not None
    first.legend(fontsize=8)
    first.set_title(f"from step {start} on without observations", fontsize=9)
    axes.set_xlabel("step")
    integer_ticks(axes.xaxis)
    return figure


def _maps(real: Tensor, imagined: Tensor, start: int) -> Figure:
    figure, seen = new_figure(7, 7), real[start:]
    low, high = float(seen.min()), float(seen.max())
    widest = max(float((imagined - seen).abs().max()), 1e-6)
    rows = {
        "real": (seen, {"cmap": "viridis", "vmin": low, "vmax": high}),
        "imagined": (imagined, {"cmap": "viridis", "vmin": low, "vmax": high}),
        "imagined - real": (imagined - seen, {"cmap": "coolwarm", "vmin": -widest, "vmax": widest}),
    }
    for i, (title, (values, style)) in enumerate(rows.items()):
        axes = figure.add_subplot(3, 1, i + 1, title=title, ylabel="component of obs")
        extent = (start - 0.5, len(real) - 0.5, real.shape[1] - 0.5, -0.5)
        image = axes.imshow(values.T.numpy(), aspect="auto", interpolation="nearest", extent=extent, **style)
        figure.colorbar(image, ax=axes, pad=0.01)
        integer_ticks(axes.xaxis, axes.yaxis)
    axes.set_xlabel("step")
    return figure
