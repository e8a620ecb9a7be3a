"""Labyrinth: a search for the indicated one of two goals in random mazes.

- `tasks.control.labyrinth.task`: the task `Labyrinth`.
- `tasks.control.labyrinth.random_mazes`: a batch of random mazes of rooms, trees with some loops.
"""
