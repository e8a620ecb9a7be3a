"""Curves with confidence bands, one panel for each arm, over a logarithmic axis."""

from badger.figures.curves import Band, Figure, new_figure


def plot_band_panels(panels: dict[str, dict[str, Band]], x: str, y: str) -> Figure:
    """Panels side by side with a common y-axis; a curve has the same color in all panels.

    Args:
        panels: by title, the curves by name.
        x: label of the x-axis.
        y: label of the y-axis.
    """
    figure = new_figure(1 + 3.4 * len(panels), 4)
    names = list(dict.fromkeys(name for bands in panels.values() for name in bands))
    first = None
    for i, (title, bands) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1, sharey=first, title=title, xlabel=x, xscale="log")
        for name, band in bands.items():
            color = f"C{names.index(name)}"
            axes.plot(band.x, band.y, color=color, lw=1.4, label=name)
            axes.fill_between(band.x, band.low, band.high, color=color, alpha=0.2, lw=0)
        if first is None:
            first = axes
            axes.set_ylabel(y)
            axes.legend(fontsize=8)
    return figure
