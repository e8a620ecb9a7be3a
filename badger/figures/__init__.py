"""Pictures as matplotlib figures that the caller shows or saves. No pyplot, no global state.

curves.py       a score over outer steps (one curve a seed, or a band), over inner steps; performance profiles
agents.py       an agent and its parts, its memory reads, who hears whom, guesses against targets
grid_paths.py   the way of an agent through a grid world

matplotlib is imported when a picture is drawn, not before, and in curves.py (`blank`) alone.
"""

from badger.figures.agents import plot_agent, pad_slots, first_episode, plot_guesses, message_graph, plot_read_weights
from badger.figures.curves import (
    Band,
    Figure,
    new_figure,
    inner_curve,
    learning_bands,
    learning_curves,
    performance_profiles,
)

__all__ = [
    "Band",
    "Figure",
    "agent",
    "as_wide",
    "blank",
    "first",
    "guesses",
    "inner_curve",
    "learning_bands",
    "learning_curves",
    "message_graph",
    "performance_profiles",
    "read_weights",
]
