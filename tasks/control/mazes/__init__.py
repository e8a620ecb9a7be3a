"""Mazes on a grid, batched in torch.

- `tasks.control.mazes.maze`: `Maze`, one maze with an invisible goal that is reached several times in an episode.
  `tasks.control.mazes.maze_tables`: its grid as look-up tables.
- `tasks.control.mazes.i_maze`: `IMaze`, a corridor with an indicator at one end and two goals at the other.
- `tasks.control.mazes.labyrinth`: `Labyrinth`, a search for the indicated one of two goals in random mazes.
  `tasks.control.mazes.random_mazes`: a batch of random mazes of rooms, trees with some loops.
"""
