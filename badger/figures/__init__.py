"""Plots of agents, episodes and training, as matplotlib figures to show or save.

- `badger.figures.curves`: learning curves of seeds, bands over runs, scores over inner steps, performance profiles.
- `badger.figures.band_panels`: curves with bands, one panel for each arm of a simulation.
- `badger.figures.forest_plot`: estimates with intervals, beside a reference.
- `badger.figures.agents`: an agent and its parts, memory reads, messages, guesses and targets.
- `badger.figures.grid_paths`: the path of an agent through a grid.
- `badger.figures.episode_animation`: an episode that plays, in HTML, GIF or MP4, or as a strip of pictures.
  `badger.figures.episode_panels`: what each of its steps shows.
- `badger.figures.imagined_episode`: an episode beside what a world model imagines of it.
- `badger.figures.recorded_episodes`: a data set of recorded episodes.
- `badger.figures.episode_diagram`: a diagram of an episode, as in the README.

pyplot and global state are not used, and matplotlib is imported when a figure is drawn.

```python
from badger import figures

steps, values = [100, 200, 300], [0.9, 0.3, 0.1]
figure = figures.learning_curves({"private memory": [(steps, values)]}, {"answer 0": 1.0}, "final_error")
figure.savefig("curves.png")
```
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
from badger.figures.episode_diagram import plot_episode_diagram

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
    "plot_episode_diagram",
    "plot_guesses",
    "plot_read_weights",
]
