"""Pictures as matplotlib figures that the caller shows or saves. No pyplot, no global state.

curves.py       a score over outer steps (one curve a seed, or a band), over inner steps; performance profiles
agents.py       an agent and its parts, its memory reads, who hears whom, guesses against targets
grid_paths.py   the way of an agent through a grid world

matplotlib is imported when a picture is drawn, not before, and in curves.py (`blank`) alone.
"""

from badger.figures.agents import first_episode, message_graph, pad_slots, plot_agent, plot_guesses, plot_read_weights
from badger.figures.curves import (
    Band,
    Figure,
    inner_curve,
    learning_bands,
    learning_curves,
    new_figure,
    performance_profiles,
)

__all__ = [
    "Band",
    "Figure",
    "first_episode",
    "inner_curve",
    "learning_bands",
    "learning_curves",
    "message_graph",
    "new_figure",
    "pad_slots",
    "performance_profiles",
    "plot_agent",
    "plot_guesses",
    "plot_read_weights",
]
