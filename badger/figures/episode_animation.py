"""An episode that plays: its inner steps as an animation in HTML, GIF or MP4, or as a strip of pictures."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from badger.figures.curves import Figure, matplotlib_module, new_figure
from badger.figures.episode_panels import INK, EpisodeFrames, episode_panels, step_title

MAX_FRAMES = 120  # of longer episodes every k-th step is shown
FPS = 3  # frames a second


def animate(frames: EpisodeFrames, *, dpi: int = 80) -> Any:
    """A `matplotlib.animation.FuncAnimation` of an episode, which a notebook shows by `HTML(animation.to_jshtml())`.

    Panels, where there is something to show: who hears whom, with edges as wide as their weight in the delivery; the
    rows of memory that each expert reads; the actions so far, and the target; the picture of the world.

    Args:
        frames: of the episode.
        dpi: pixels an inch.
    """
    panels = episode_panels(frames)
    columns = min(2, len(panels)) if len(panels) == 4 else len(panels)
    rows = math.ceil(len(panels) / columns)
    figure = new_figure(3.3 * columns, 3.0 * rows + 0.4)
    figure.set_dpi(dpi)
    matplotlib_module("backends.backend_agg").FigureCanvasAgg(figure)
    title = figure.suptitle(step_title(frames, frames.steps - 1), fontsize=10, color=INK)
    updates = [panel(figure.add_subplot(rows, columns, i + 1), frames) for i, panel in enumerate(panels)]

    def draw(step: int) -> None:
        title.set_text(step_title(frames, step))
        for update in updates:
            update(step)

    draw(frames.steps - 1)  # the layout is that of the widest labels
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    shown = range(0, frames.steps, math.ceil(frames.steps / MAX_FRAMES))
    return matplotlib_module("animation").FuncAnimation(
        figure, draw, frames=shown, init_func=lambda: None, interval=1000 / FPS, cache_frame_data=False
    )


def save_animation(animation: Any, file: Path, *, fps: int = FPS) -> None:
    """Saves an animation; the end of the file's name says how: .html, with a slider, .gif, or .mp4 by ffmpeg.

    Args:
        animation: from `animate`.
        file: its folder exists.
        fps: inner steps a second.

    Raises:
        ValueError: another kind of file, or .mp4 where there is no ffmpeg.
    """
    check_animation_file(file)
    writers = matplotlib_module("animation")
    if file.suffix == ".html":
        writer = writers.HTMLWriter(fps=fps, embed_frames=True, embed_limit=200, default_mode="once")  # megabytes
    else:
        writer = (writers.PillowWriter if file.suffix == ".gif" else writers.FFMpegWriter)(fps=fps)
    animation.save(file, writer=writer)


def check_animation_file(file: Path) -> None:
    """Checks that a file's name has an end that `save_animation` can write.

    Args:
        file: to be written.

    Raises:
        ValueError: another kind of file, or .mp4 where there is no ffmpeg.
    """
    if file.suffix not in (".html", ".gif", ".mp4"):
        raise ValueError(f"{file}: want a file that ends in .html, .gif or .mp4")
    if file.suffix == ".mp4" and not matplotlib_module("animation").FFMpegWriter.isAvailable():
        raise ValueError(f"{file}: there is no ffmpeg to write .mp4; install it, or want .html or .gif")


def episode_strip(frames: EpisodeFrames, count: int = 4) -> Figure:
    """A few steps of an episode below each other, from the first to the last, each a row of panels.

    Args:
        frames: of the episode.
        count: number of rows.
    """
    panels, steps = episode_panels(frames), sorted({round(t) for t in np.linspace(0, frames.steps - 1, count)})
    figure = new_figure(3.0 * len(panels), 2.5 * len(steps))
    for row, subfigure in enumerate(np.atleast_1d(figure.subfigures(len(steps), 1))):
        subfigure.suptitle(step_title(frames, steps[row]), fontsize=9, color=INK)
        for i, panel in enumerate(panels):
            panel(subfigure.add_subplot(1, len(panels), i + 1), frames)(steps[row])
    return figure
