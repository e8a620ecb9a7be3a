"""A picture of a data set of recorded episodes: returns, lengths, actions, and one episode.

Shapes: N episode, T step, O observation.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor

from badger.figures.curves import Figure, integer_ticks, new_figure

MAX_CHOICES = 6  # of an action, drawn


def plot_recorded_episodes(
    returns: Float[Tensor, " N"],
    length: Int[Tensor, " N"],
    choices: Sequence[Int[Tensor, " _"]],
    obs: Float[Tensor, "T1 O"],
    reward: Float[Tensor, " T"],
    *,
    title: str,
) -> Figure:
    """Histograms of returns and lengths, frequencies of choices, and the observations and rewards of one episode.

    Args:
        returns: of all episodes.
        length: of all episodes.
        choices: of each choice of an action, how often each option was taken; none of real numbers.
        obs: the observations of one episode, as a heat map; a single number as a curve.
        reward: its rewards.
        title: of the episode.
    """
    figure = new_figure(10, 6)
    grid = figure.add_gridspec(3, 3, height_ratios=(3, 3, 1))
    _histogram(figure.add_subplot(grid[0, 0], xlabel="return", ylabel="episodes"), returns.numpy())
    axes = figure.add_subplot(grid[0, 1], xlabel="length in steps", ylabel="episodes")
    _histogram(axes, length.numpy())
    integer_ticks(axes.yaxis)
    axes = figure.add_subplot(grid[0, 2], xlabel="option", ylabel="fraction of steps", ylim=(0, 1))
    for i, counts in enumerate(choices[:MAX_CHOICES]):
        fractions = (counts / counts.sum().clamp(min=1)).tolist()
        axes.plot(range(len(fractions)), fractions, marker="o", ms=4, lw=0.8, label=f"choice {i}")
    integer_ticks(axes.xaxis)
    if len(choices) > 1:
        axes.legend(fontsize=8)
    if not choices:
        axes.set(xticks=[], yticks=[], xlabel="", ylabel="", title="actions are real numbers")
    axes = figure.add_subplot(grid[1, :], title=title)
    if obs.shape[1] == 1:
        axes.plot(range(len(obs)), obs[:, 0].tolist(), lw=1.2)
        axes.set_ylabel("observation")
        axes.set_xlim(-0.5, len(obs) - 0.5)
    else:
        image = axes.imshow(obs.T.numpy(), aspect="auto", interpolation="nearest", cmap="viridis")
        figure.colorbar(image, ax=axes, pad=0.01)
        axes.set_ylabel("component of obs")
        integer_ticks(axes.yaxis)
    rewards = figure.add_subplot(grid[2, :], sharex=axes, xlabel="step", ylabel="reward")
    rewards.step(range(len(reward)), reward.tolist(), where="mid", lw=1.2, color="C1")
    integer_ticks(rewards.xaxis)
    return figure


def _histogram(axes: object, values: np.ndarray) -> None:
    """A histogram; of equal values one bar."""
    bins = min(40, max(1, len(np.unique(values))))
    axes.hist(values, bins=bins, color="C0", rwidth=0.9)  # type: ignore[attr-defined]
